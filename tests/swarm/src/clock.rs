//! A camera whose picture tells when it was taken: the time as black and white blocks, over a moving
//! gradient that gives the encoder something to do.
//!
//! The blocks stand in the upper left corner, 16 to a row, the highest bit first: 56 bits of
//! microseconds since the Unix epoch and 8 bits to check them. H.264 at any useful rate keeps them.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use gst::prelude::*;

const FRAMES_PER_SECOND: u32 = 30;
const COLUMNS: usize = 16;
const BITS: usize = 64;
/// A block is this part of the picture's width.
const BLOCK: usize = 20;
/// Video range (ITU-R BT.601): luma from 16 to 235, no colour at 128.
const BLACK: u8 = 16;
const WHITE: u8 = 235;
const NO_COLOUR: u8 = 128;

/// Serves pictures on a shared-memory socket at `socket` until the process ends. The size's sides
/// are even, and the width is a multiple of 20.
pub fn run(socket: &Path, width: usize, height: usize) -> Result<()> {
    gst::init()?;
    let _ = std::fs::remove_file(socket);
    let sink = gst::ElementFactory::make("shmsink")
        .property(
            "socket-path",
            socket.to_str().context("the socket's path is not text")?,
        )
        .property("wait-for-connection", false)
        .property("sync", false)
        .property("shm-size", u32::try_from(width * height * 3 / 2 * 8)?)
        .build()
        .context("GStreamer's shm plugin is needed")?;
    let source = gst_app::AppSrc::builder()
        .caps(
            &gst::Caps::builder("video/x-raw")
                .field("format", "I420")
                .field("width", i32::try_from(width)?)
                .field("height", i32::try_from(height)?)
                .field("framerate", gst::Fraction::new(FRAMES_PER_SECOND as i32, 1))
                .build(),
        )
        .is_live(true)
        .do_timestamp(true)
        .format(gst::Format::Time)
        .build();
    let pipeline = gst::Pipeline::new();
    pipeline.add_many([source.upcast_ref(), &sink])?;
    source.link(&sink)?;
    pipeline.set_state(gst::State::Playing)?;

    let mut due = Instant::now();
    for count in 0.. {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        due += Duration::from_secs(1) / FRAMES_PER_SECOND;
        let mut picture = gradient(width, height, count);
        stamp(&mut picture, width, now_micros()?);
        source
            .push_buffer(gst::Buffer::from_mut_slice(picture))
            .context("nobody takes the pictures any more")?;
    }
    Ok(())
}

fn now_micros() -> Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(u64::try_from(now.as_micros())?)
}

/// An I420 picture: a slope of greys that moves to the left.
fn gradient(width: usize, height: usize, count: usize) -> Vec<u8> {
    let row: Vec<u8> = (0..width)
        .map(|x| 64 + u8::try_from((x + 4 * count) % 128).expect("below 128"))
        .collect();
    let mut picture = row.repeat(height);
    picture.resize(width * height * 3 / 2, NO_COLOUR);
    picture
}

/// Draws `micros` into the luma plane.
fn stamp(picture: &mut [u8], width: usize, micros: u64) {
    let block = width / BLOCK;
    let bytes = micros.to_be_bytes();
    let check = bytes[1..].iter().fold(0x5a, |check, byte| check ^ byte);
    let code = micros << 8 | u64::from(check);
    for bit in 0..BITS {
        let luma = if code >> (BITS - 1 - bit) & 1 == 1 {
            WHITE
        } else {
            BLACK
        };
        let (left, top) = (bit % COLUMNS * block, bit / COLUMNS * block);
        for y in top..top + block {
            let start = y * width + left;
            picture[start..start + block].fill(luma);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_blocks_say_the_time() {
        let micros = 1_795_000_000_123_456;
        let mut picture = gradient(1280, 720, 3);
        assert_eq!(picture.len(), 1280 * 720 * 3 / 2);
        stamp(&mut picture, 1280, micros);
        let code = (0..BITS).fold(0u64, |code, bit| {
            let (x, y) = (bit % 16 * 64 + 32, bit / 16 * 64 + 32);
            code << 1 | u64::from(picture[y * 1280 + x] > 128)
        });
        assert_eq!(code >> 8, micros);
        let check = micros
            .to_be_bytes()
            .iter()
            .fold(0x5a, |check, byte| check ^ byte);
        assert_eq!(code & 0xff, u64::from(check));
        assert_eq!(
            picture[300 * 1280],
            64 + 12,
            "below the code the gradient is left alone"
        );
    }
}
