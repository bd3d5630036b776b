SUMMARY = "Streams a camera to every browser that asks, over WebRTC"
DESCRIPTION = "Userland of a camera appliance: encodes the camera's picture once and sends it over WebRTC to \
every browser that asks, as a host on a Socket.IO lobby or with a lobby and a page of its own."
SECTION = "multimedia"
# The crates are linked in; deny.toml in the sources lists the licences that they may have.
LICENSE = "MIT | Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE-MIT;md5=8a0af690569d0bd8eab6e340f58125be \
                    file://LICENSE-APACHE;md5=22a53954e4e0ec258dfce4391e905dac"

# Nothing is registered there, and the name alone is that of other products, too.
CVE_PRODUCT = ""

DEPENDS = "glib-2.0 gstreamer1.0 gstreamer1.0-plugins-bad gstreamer1.0-plugins-base"

# The release tarball rather than the repository: it has the lobby's page ready-made, which only npm and
# a network could make. `make dist` puts it into dist/ of the sources that this layer is a part of. One from elsewhere
# is taken with its address here, and its checksum as a parameter of it: ;sha256sum=…
PERCH_DIST_DIR ?= "${FILE_DIRNAME}/../../../../dist"
PERCH_TARBALL ?= "file://perch-${PV}.tar.gz"
# nooelint: oelint.vars.fileextrapaths,oelint.vars.outofcontext - the tarball lies outside of the layer
FILESEXTRAPATHS:prepend := "${PERCH_DIST_DIR}:"
SRC_URI = "${PERCH_TARBALL};name=perch"

require perch-crates.inc

inherit cargo cargo-update-recipe-crates features_check pkgconfig systemd useradd

# The unit is what keeps it running, and in its sandbox.
REQUIRED_DISTRO_FEATURES = "systemd"

# nooelint: oelint.task.noanonpython - says what to do, where bitbake would only say which file it did not find
python () {
    import os
    tarball = os.path.normpath(d.expand("${PERCH_DIST_DIR}/perch-${PV}.tar.gz"))
    if d.getVar("PERCH_TARBALL").startswith("file://") and not d.getVar("EXTERNALSRC"):
        bb.parse.mark_dependency(d, tarball)
        if not os.path.exists(tarball):
            raise bb.parse.SkipRecipe("there is no %s: run `make dist` in Perch's sources, or set PERCH_TARBALL" % tarball)
}

# Cameras, sound and encoders: what is left out costs nothing in the image. `perch check` on the device says
# what a chosen profile lacks.
PACKAGECONFIG ??= "${@bb.utils.filter('DISTRO_FEATURES', 'alsa', d)} mjpeg test v4l2"
PACKAGECONFIG[alsa] = ",,,gstreamer1.0-plugins-base-alsa gstreamer1.0-plugins-base-audioconvert gstreamer1.0-plugins-base-audioresample gstreamer1.0-plugins-base-opus,kernel-module-snd-usb-audio"
PACKAGECONFIG[libcamera] = ",,,libcamera-gst"
PACKAGECONFIG[mjpeg] = ",,,gstreamer1.0-plugins-good-jpeg"
PACKAGECONFIG[openh264] = ",,,gstreamer1.0-plugins-bad-openh264"
PACKAGECONFIG[test] = ",,,gstreamer1.0-plugins-base-audiotestsrc gstreamer1.0-plugins-base-opus gstreamer1.0-plugins-base-pango gstreamer1.0-plugins-base-videotestsrc"
PACKAGECONFIG[v4l2] = ",,,gstreamer1.0-plugins-good-video4linux2,kernel-module-uvcvideo"
PACKAGECONFIG[va] = ",,,gstreamer1.0-plugins-bad-va"
PACKAGECONFIG[x264] = ",,,gstreamer1.0-plugins-ugly-x264"

# The same target as everywhere, so that the image has what the other packages have.
do_install() {
    oe_runmake -C ${S} install \
        DESTDIR="${D}" \
        MANUAL="${S}/manual" \
        PERCH_BIN="${B}/target/${CARGO_TARGET_SUBDIR}/perch" \
        PREFIX="${prefix}" \
        SYSCONFDIR="${sysconfdir}" \
        SYSUSERSDIR="${nonarch_libdir}/sysusers.d" \
        UDEVDIR="${nonarch_base_libdir}/udev" \
        UNITDIR="${systemd_system_unitdir}" \
        ZSHDIR="${datadir}/zsh/site-functions"
}

SYSTEMD_SERVICE:${PN} = "perch.service"

# A read-only root has no room for systemd-sysusers: the same user as in systemd/perch.sysusers, made beforehand.
USERADD_PACKAGES = "${PN}"
USERADD_PARAM:${PN} = "--system --user-group --home-dir ${localstatedir}/lib/perch --no-create-home \
                       --shell ${base_sbindir}/nologin --comment 'Perch camera' perch"

FILES:${PN} += "${nonarch_libdir}/sysusers.d ${datadir}/bash-completion ${datadir}/fish ${datadir}/zsh"
CONFFILES:${PN} = "${sysconfdir}/perch/perch.toml"

# What every stream takes, whatever the camera: appsrc and appsink, conversion, h264parse, payloaders, webrtcbin
# and the parts that it makes by name.
RDEPENDS:${PN} += "\
    gstreamer1.0 \
    gstreamer1.0-plugins-bad-dtls \
    gstreamer1.0-plugins-bad-srtp \
    gstreamer1.0-plugins-bad-videoparsersbad \
    gstreamer1.0-plugins-bad-webrtc \
    gstreamer1.0-plugins-base-app \
    gstreamer1.0-plugins-base-videoconvertscale \
    gstreamer1.0-plugins-base-videorate \
    gstreamer1.0-plugins-good-rtp \
    gstreamer1.0-plugins-good-rtpmanager \
    libnice \
"
# For a lobby over TLS.
RRECOMMENDS:${PN} += "ca-certificates"
