SUMMARY = "What makes a system with Perch an appliance"
DESCRIPTION = "The journal in memory, what must survive an update on a partition of its own, credentials without \
a change to the unit, and the answer to whether a boot was good."
SECTION = "base"
LICENSE = "MIT"
# nooelint: oelint.var.licenseremotefile - there are no sources but the files here
LIC_FILES_CHKSUM = "file://${COREBASE}/meta/COPYING.MIT;md5=3da9cfbcb788c80a0384361b4de20420"

SRC_URI = "\
    file://etc-credstore.mount \
    file://etc-perch.mount \
    file://journald.conf \
    file://perch-healthy.service \
    file://perch.conf \
    file://var-lib-perch.mount \
"
S = "${UNPACKDIR}"

inherit features_check systemd

REQUIRED_DISTRO_FEATURES = "systemd"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -d ${D}/data
    install -d -m 0700 ${D}${sysconfdir}/credstore
    install -d ${D}${sysconfdir}/perch
    install -Dm 0644 ${S}/journald.conf ${D}${systemd_unitdir}/journald.conf.d/10-perch.conf
    install -Dm 0644 ${S}/perch.conf ${D}${systemd_system_unitdir}/perch.service.d/10-appliance.conf
    for unit in etc-credstore.mount etc-perch.mount var-lib-perch.mount perch-healthy.service; do
        install -m 0644 ${S}/$unit ${D}${systemd_system_unitdir}/
    done
}

# The mounts need no enabling: perch.service requires what its directories lie on.
SYSTEMD_SERVICE:${PN} = "perch-healthy.service"

FILES:${PN} += "/data ${systemd_unitdir}/journald.conf.d ${systemd_system_unitdir}"

RDEPENDS:${PN} += "perch"
# For /data, which is checked before it is mounted.
RRECOMMENDS:${PN} += "e2fsprogs-e2fsck"
