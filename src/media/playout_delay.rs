//! The playout-delay RTP header extension, which GStreamer does not have.
//!
//! With a delay of (0, 0) a browser renders each frame as soon as it is complete instead of
//! holding it for its own estimate of the jitter
//! (<http://www.webrtc.org/experiments/rtp-hdrext/playout-delay>).
//!
//! A receiver keeps the delay until it is told another one, so keyframes say it and nothing else does. As one of
//! GStreamer's own header extensions it would be in every packet, and every packet's payload, which all viewers share,
//! would be copied for each of them: a quarter of what a packet cost.

use std::ops::ControlFlow;

use gst::prelude::*;

/// The URI that names the extension in SDP (RFC 8285 §5).
pub const URI: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";

/// Bytes that it makes a packet longer.
pub const SIZE: u32 = 8;

/// Of the RTP header that payloaders write: without contributing sources, and without extensions.
const HEADER: usize = 12;
/// "Extensions follow" (RFC 3550 §5.1).
const EXTENDED: u8 = 0x10;

/// Writes a playout delay of (0, 0) into the packets of each keyframe that leave here. `id` is the local identifier that
/// the SDP's `extmap` gives to the URI (1 to 14).
pub fn write(payloader: &gst::Pad, id: u8) {
    let kind = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
    payloader.add_probe(kind, move |_, info| {
        if let Some(list) = info.buffer_list_mut() {
            if list.get(0).is_some_and(is_of_keyframe) {
                list.make_mut().foreach_mut(|mut packet, _| {
                    extend(packet.make_mut(), id);
                    ControlFlow::Continue(Some(packet))
                });
            }
        } else if let Some(packet) = info.buffer_mut()
            && is_of_keyframe(packet)
        {
            extend(packet.make_mut(), id);
        }
        gst::PadProbeReturn::Ok
    });
}

fn is_of_keyframe(packet: &gst::BufferRef) -> bool {
    !packet.flags().contains(gst::BufferFlags::DELTA_UNIT)
}

/// Puts a longer header in the place of a packet's; what follows it stays where it is.
fn extend(packet: &mut gst::BufferRef, id: u8) {
    if packet.n_memory() == 0 {
        return;
    }
    let extended = packet
        .peek_memory(0)
        .map_readable()
        .ok()
        .and_then(|first| extended(&first, id));
    if let Some(extended) = extended {
        packet.replace_memory(0, gst::Memory::from_slice(extended));
    }
}

/// The beginning of a packet once more, with the extension (RFC 8285 §4.2): two 12-bit numbers in units of 10 ms,
/// minimum and maximum delay. Nothing for what has extensions already.
fn extended(first: &[u8], id: u8) -> Option<Vec<u8>> {
    let (header, rest) = first.split_at_checked(HEADER)?;
    if header[0] & (EXTENDED | 0x0f) != 0 {
        return None;
    }
    let mut extended = Vec::with_capacity(first.len() + SIZE as usize);
    extended.extend_from_slice(header);
    extended[0] |= EXTENDED;
    extended.extend([0xbe, 0xde, 0, 1, id << 4 | 2, 0, 0, 0]);
    extended.extend_from_slice(rest);
    Some(extended)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const HEAD: [u8; HEADER] = [0x80, 0xe0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];

    fn packet(first: &[u8], flags: gst::BufferFlags) -> gst::Buffer {
        let mut packet = gst::Buffer::from_slice(first.to_vec());
        let writable = packet.get_mut().expect("it is new");
        writable.append_memory(gst::Memory::from_slice([7, 8, 9]));
        writable.set_flags(flags);
        packet
    }

    /// What comes of packets, alone and in a list.
    fn written(first: &[u8], flags: gst::BufferFlags) -> Vec<Vec<u8>> {
        crate::media::init().expect("GStreamer starts");
        let (comes, came) = mpsc::channel();
        let source = gst::Pad::builder(gst::PadDirection::Src)
            .name("src")
            .build();
        let several = comes.clone();
        let bytes = |packet: &gst::BufferRef| packet.map_readable().expect("readable").to_vec();
        let sink = gst::Pad::builder(gst::PadDirection::Sink)
            .name("sink")
            .chain_function(move |_, _, packet| {
                let _ = comes.send(bytes(&packet));
                Ok(gst::FlowSuccess::Ok)
            })
            .chain_list_function(move |_, _, list| {
                for packet in list.iter() {
                    let _ = several.send(bytes(packet));
                }
                Ok(gst::FlowSuccess::Ok)
            })
            .build();
        write(&source, 5);
        source.link(&sink).expect("linked");
        for pad in [&sink, &source] {
            pad.set_active(true).expect("active");
        }
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        assert!(source.push_event(gst::event::StreamStart::new("test")));
        assert!(source.push_event(gst::event::Segment::new(&segment)));
        source.push(packet(first, flags)).expect("taken");
        let list = [packet(first, flags), packet(first, flags)];
        source.push_list(list.into_iter().collect()).expect("taken");
        came.try_iter().collect()
    }

    #[test]
    fn a_keyframes_packets_say_it() {
        let mut said = HEAD.to_vec();
        said[0] = 0x90;
        said.extend([0xbe, 0xde, 0, 1, 0x52, 0, 0, 0, 7, 8, 9]);
        assert_eq!(written(&HEAD, gst::BufferFlags::empty()), vec![said; 3]);
    }

    #[test]
    fn other_packets_stay_as_they_are() {
        let delta = gst::BufferFlags::DELTA_UNIT;
        assert_eq!(written(&HEAD, delta)[2], [&HEAD[..], &[7, 8, 9]].concat());
        // With an extension, with a contributing source, and no packet at all.
        let mut extended = HEAD;
        extended[0] |= EXTENDED;
        let mut contributed = HEAD;
        contributed[0] |= 1;
        for first in [&extended[..], &contributed, &HEAD[..3], &[]] {
            let written = written(first, gst::BufferFlags::empty());
            assert_eq!(written, vec![[first, &[7, 8, 9]].concat(); 3]);
        }
    }
}
