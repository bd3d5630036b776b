//! Controls of a V4L2 device that somebody else has open.
//!
//! An encoder's controls belong to the open file, not to the device: each one who opens it has an encoder of his own
//! (<https://docs.kernel.org/userspace-api/media/v4l/dev-encoder.html>). So a control is set on the descriptor that
//! GStreamer's element itself encodes with.

use std::{io, os::fd::RawFd};

/// A control of a stateful video encoder, by its number in `linux/v4l2-controls.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Control {
    /// `V4L2_CID_MPEG_VIDEO_BITRATE`, in bit/s. The driver takes the nearest that it can do.
    Bitrate = 0x0099_09cf,
    /// `V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME`: the next frame is to be a keyframe, whatever the value.
    ForceKeyFrame = 0x0099_09e5,
    /// `V4L2_CID_MPEG_VIDEO_GOP_SIZE`, in frames.
    GopSize = 0x0099_09cb,
    /// `V4L2_CID_MPEG_VIDEO_B_FRAMES`, between two others.
    BFrames = 0x0099_09ca,
}

/// `struct v4l2_control`.
#[repr(C)]
struct Setting {
    id: u32,
    value: i32,
}

#[allow(
    unsafe_code,
    reason = "nix makes the function that calls ioctl(2): the request's number says the argument's size, which is that of `Setting`"
)]
mod request {
    // VIDIOC_S_CTRL of linux/videodev2.h.
    nix::ioctl_readwrite!(set_control, b'V', 28, super::Setting);
}

/// Sets a control through a descriptor of the device. Anything else that has this number is refused by the kernel
/// (`ENOTTY`), a control that the driver does not have as well (`EINVAL`).
pub fn set(device: RawFd, control: Control, value: i32) -> io::Result<()> {
    let mut setting = Setting {
        id: control as u32,
        value,
    };
    #[allow(
        unsafe_code,
        reason = "the kernel reads and writes one `Setting`, which lives until it returns; of a descriptor that is closed or no encoder's it makes an error, and where the number is another encoder's by then, it is at worst that one's setting"
    )]
    let outcome = unsafe { request::set_control(device, &raw mut setting) };
    outcome.map(drop).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::AsRawFd as _};

    use super::*;

    #[test]
    fn what_is_no_video_device_is_an_error() {
        let null = File::open("/dev/null").unwrap();
        let error = set(null.as_raw_fd(), Control::Bitrate, 1).unwrap_err();
        assert_eq!(error.kind(), io::Error::from_raw_os_error(25).kind());
        assert_eq!(error.raw_os_error(), Some(nix::errno::Errno::ENOTTY as i32));
        let error = set(-1, Control::ForceKeyFrame, 1).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(nix::errno::Errno::EBADF as i32));
    }
}
