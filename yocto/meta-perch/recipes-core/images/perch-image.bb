SUMMARY = "A camera that goes live by itself"
DESCRIPTION = "Perch on a read-only root without any login. What must survive an update lies on /data."
LICENSE = "MIT"

inherit core-image

IMAGE_FEATURES += "read-only-rootfs"
IMAGE_LINGUAS = ""
IMAGE_INSTALL = "packagegroup-core-boot perch perch-appliance ${CORE_IMAGE_EXTRA_INSTALL}"

# One to write to a card or disk, and the root alone, which is what an update carries.
IMAGE_FSTYPES = "ext4 wic.bmap wic.zst"
WKS_FILE:qemux86-64 = "perch-qemux86-64.wks.in"
WKS_FILE:rpi = "perch-raspberrypi.wks.in"
# /data is found by its label, which is the same for both slots.
WIC_CREATE_EXTRA_ARGS = "--no-fstab-update"
# Each of the two slots, and the data, in MiB. An image that does not fit fails to build.
PERCH_SLOT_SIZE ?= "768"
PERCH_DATA_SIZE ?= "128"

# Without /data the system starts all the same, so that whatever updates or repairs it can be reached.
perch_data_partition() {
    echo "LABEL=perch-data /data ext4 nosuid,nodev,noexec,noatime,nofail,x-systemd.device-timeout=30s 0 2" \
        >>${IMAGE_ROOTFS}${sysconfdir}/fstab
}

# Root has no password, and nobody is even asked for one. A development image that has `empty-root-password`
# among its EXTRA_IMAGE_FEATURES keeps its consoles.
perch_no_login() {
    if ${@bb.utils.contains('IMAGE_FEATURES', 'empty-root-password', 'false', 'true', d)}; then
        install -d ${IMAGE_ROOTFS}${sysconfdir}/systemd/system
        for unit in autovt@ console-getty container-getty@ getty@ serial-getty@; do
            ln -sf /dev/null ${IMAGE_ROOTFS}${sysconfdir}/systemd/system/$unit.service
        done
    fi
}

# Last: systemctl complains when it is to preset what is masked.
ROOTFS_POSTPROCESS_COMMAND:append = " perch_data_partition perch_no_login"
