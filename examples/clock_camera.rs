//! A camera whose picture tells when it was taken: for the latency benchmark.
//!
//! `clock_camera SOCKET WIDTH HEIGHT FRAMERATE` writes raw I420 pictures to a shared-memory socket
//! (`shmsrc` reads them) until standard input ends. The wall clock in units of 100 µs, modulo 2³²,
//! stands in each picture's top 128 rows: 32 blocks black or white, most significant bit first, and
//! below them their inverse, so that a reader knows a torn code when it sees one.

use std::{
    io::Read,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use gst::prelude::*;

const BITS: usize = 32;
/// Height of one row of blocks in pixels.
const BLOCK_ROWS: usize = 64;
/// Luma of black and white (BT.601, narrow range).
const BLACK: u8 = 16;
const WHITE: u8 = 235;
/// Chroma without colour.
const GREY: u8 = 128;

fn main() -> anyhow::Result<()> {
    let [socket, width, height, framerate] = std::env::args()
        .skip(1)
        .collect::<Vec<_>>()
        .try_into()
        .map_err(|_| anyhow::anyhow!("usage: clock_camera SOCKET WIDTH HEIGHT FRAMERATE"))?;
    let stride: usize = width.parse().context("WIDTH is a number")?;
    let rows: usize = height.parse().context("HEIGHT is a number")?;
    gst::init()?;
    let pipeline = gst::parse::launch(&format!(
        "videotestsrc is-live=true pattern=smpte horizontal-speed=4 \
         ! video/x-raw,format=I420,width={width},height={height},framerate={framerate}/1 \
         ! shmsink name=sink socket-path={socket} shm-size=33554432 sync=false wait-for-connection=false"
    ))?
    .downcast::<gst::Pipeline>()
    .map_err(|_| anyhow::anyhow!("a pipeline"))?;
    let pad = pipeline
        .by_name("sink")
        .and_then(|sink| sink.static_pad("sink"))
        .context("shmsink has a sink pad")?;
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(buffer) = info.buffer_mut()
            && let Ok(mut picture) = buffer.make_mut().map_writable()
        {
            stamp(&mut picture, stride, rows, now());
        }
        gst::PadProbeReturn::Ok
    });
    pipeline.set_state(gst::State::Playing)?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    pipeline.set_state(gst::State::Null)?;
    Ok(())
}

/// The wall clock in units of 100 µs.
fn now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    // Truncated on purpose: the reader subtracts modulo 2³².
    (since.unwrap_or_default().as_micros() / 100) as u32
}

fn stamp(picture: &mut [u8], stride: usize, rows: usize, time: u32) {
    let (luma, chroma) = picture.split_at_mut(stride * rows);
    let block = stride / BITS;
    for (row, line) in luma
        .chunks_exact_mut(stride)
        .take(2 * BLOCK_ROWS)
        .enumerate()
    {
        let shown = if row < BLOCK_ROWS { time } else { !time };
        for (bit, pixels) in line.chunks_exact_mut(block).take(BITS).enumerate() {
            let white = shown >> (BITS - 1 - bit) & 1 == 1;
            pixels.fill(if white { WHITE } else { BLACK });
        }
    }
    // Both chroma planes have half the width and half the rows.
    let (u, v) = chroma.split_at_mut(chroma.len() / 2);
    for plane in [u, v] {
        plane[..stride / 2 * BLOCK_ROWS].fill(GREY);
    }
}
