use std::sync::mpsc;

use super::*;

const SSRC: u32 = 7;
const RTX_SSRC: u32 = 8;

/// With one word of extensions and, where asked for, three bytes of padding.
fn rtp(sequence: u16, ssrc: u32, payload_type: u8, padded: bool) -> gst::Buffer {
    let first = if padded { 0xb0 } else { 0x90 };
    let mut packet = vec![first, 0x80 | payload_type];
    packet.extend(sequence.to_be_bytes());
    packet.extend([0, 0, 0, 1]);
    packet.extend(ssrc.to_be_bytes());
    packet.extend([0xbe, 0xde, 0, 1, 0x10, 0xaa, 0, 0]);
    packet.extend(sequence.to_be_bytes());
    packet.extend([42; 10]);
    if padded {
        packet.extend([0, 0, 3]);
    }
    gst::Buffer::from_slice(packet)
}

fn request(ssrc: u32, sequence: u32) -> gst::Event {
    gst::event::CustomUpstream::new(
        gst::Structure::builder(REQUEST)
            .field("ssrc", ssrc)
            .field("seqnum", sequence)
            .build(),
    )
}

/// The element between two pads of the test's own, and what leaves it.
struct Bench {
    element: gst::Element,
    source: gst::Pad,
    sink: gst::Pad,
    packets: mpsc::Receiver<Vec<u8>>,
}

impl Bench {
    fn new(most: u32) -> Self {
        crate::media::init().expect("GStreamer starts");
        let element: gst::Element = glib::Object::new::<RtxSend>().upcast();
        element.set_property("max-size-packets", most);
        let map = |name, field, number: u32| {
            let fields = gst::Structure::builder(name).field(field, number).build();
            Some(fields)
        };
        element.set_property(
            "payload-type-map",
            map("application/x-rtp-pt-map", "96", 97),
        );
        element.set_property("ssrc-map", map("application/x-rtp-ssrc-map", "7", RTX_SSRC));
        let (comes, packets) = mpsc::channel();
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
        let source = gst::Pad::builder(gst::PadDirection::Src)
            .name("src")
            .build();
        let pad = |name| element.static_pad(name).expect("a pad");
        source.link(&pad("sink")).expect("linked");
        pad("src").link(&sink).expect("linked");
        sink.set_active(true).expect("active");
        element.set_state(gst::State::Playing).expect("playing");
        source.set_active(true).expect("active");
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        let caps = gst::Caps::builder("application/x-rtp")
            .field("ssrc", SSRC)
            .field("payload", 96i32)
            .build();
        for event in [
            gst::event::StreamStart::new("test"),
            gst::event::Caps::new(&caps),
            gst::event::Segment::new(&segment),
        ] {
            assert!(source.push_event(event));
        }
        Self {
            element,
            source,
            sink,
            packets,
        }
    }

    fn list(&self, sequences: impl IntoIterator<Item = u16>) {
        let list = sequences.into_iter().map(|n| rtp(n, SSRC, 96, false));
        self.source.push_list(list.collect()).expect("taken");
    }

    fn came(&self) -> Vec<Vec<u8>> {
        self.packets.try_iter().collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.element.set_state(gst::State::Null);
    }
}

#[test]
fn what_is_asked_for_is_sent_again_as_rfc_4588_says() {
    let bench = Bench::new(500);
    bench.list(65_534..=65_535);
    bench.list([0, 1, 2]);
    let single = rtp(3, SSRC, 96, true);
    bench.source.push(single).expect("taken");
    assert_eq!(bench.came().len(), 6);

    let mut former = None;
    for sequence in [65_535u16, 1, 3] {
        assert!(bench.sink.push_event(request(SSRC, sequence.into())));
        let came = bench.came();
        let [again] = &came[..] else {
            panic!("{sequence}: {came:?}");
        };
        assert_eq!(again[0], 0x90, "no padding any more");
        assert_eq!(again[1], 0x80 | 97, "the marker stays");
        assert_eq!(again[8..12], RTX_SSRC.to_be_bytes());
        assert_eq!(again[12..20], [0xbe, 0xde, 0, 1, 0x10, 0xaa, 0, 0]);
        assert_eq!(again[20..22], sequence.to_be_bytes(), "the original one");
        assert_eq!(again[22..24], sequence.to_be_bytes(), "the payload");
        assert_eq!(again[24..], [42; 10]);
        let number = u16::from_be_bytes([again[2], again[3]]);
        assert!(former.is_none_or(|former: u16| former.wrapping_add(1) == number));
        former = Some(number);
    }
    assert_eq!(bench.element.property::<u32>("num-rtx-packets"), 3);
}

#[test]
fn only_so_much_is_kept_and_only_what_may_be_sent_again() {
    let bench = Bench::new(6);
    bench.list(0..4);
    bench.list(4..8);
    // Sequence numbers with a gap.
    bench.list([10, 12]);
    let other = rtp(11, SSRC + 2, 111, false);
    bench.source.push(other).expect("taken");
    bench.came();
    let asks = |ssrc, sequence| {
        assert!(bench.sink.push_event(request(ssrc, sequence)));
        bench.came().len()
    };
    for (sequence, answers) in [(3, 0), (4, 1), (7, 1), (8, 0), (10, 1), (11, 0), (12, 1)] {
        assert_eq!(asks(SSRC, sequence), answers, "{sequence}");
    }
    assert_eq!(asks(SSRC + 2, 11), 0, "another payload type");
    assert_eq!(asks(SSRC, 70_000), 0, "no sequence number");
    assert_eq!(bench.element.property::<u32>("num-rtx-packets"), 4);
}

#[test]
fn what_is_old_is_not_kept() {
    let bench = Bench::new(500);
    for (sequence, milliseconds) in [(0u16, 0), (1, 500), (2, 1_100)] {
        let mut packet = rtp(sequence, SSRC, 96, false);
        let time = gst::ClockTime::from_mseconds(milliseconds);
        packet.get_mut().expect("it is new").set_pts(time);
        bench.source.push(packet).expect("taken");
    }
    bench.came();
    for (sequence, answers) in [(0, 0), (1, 1), (2, 1)] {
        assert!(bench.sink.push_event(request(SSRC, sequence)));
        assert_eq!(bench.came().len(), answers, "{sequence}");
    }
}

#[test]
fn the_session_learns_of_the_second_ssrc_and_may_refuse_it() {
    let bench = Bench::new(500);
    let announced = || {
        let caps = bench.sink.current_caps().expect("caps");
        let structure = caps.structure(0).expect("one").to_owned();
        (
            structure.get::<u32>("rtx-ssrc"),
            structure.get::<i32>("rtx-payload"),
        )
    };
    assert_eq!(announced(), (Ok(RTX_SSRC), Ok(97)));
    bench.list(0..2);
    bench.came();
    let collision = gst::Structure::builder(COLLISION)
        .field("ssrc", RTX_SSRC)
        .build();
    assert!(
        bench
            .sink
            .push_event(gst::event::CustomUpstream::new(collision))
    );
    assert!(bench.sink.push_event(request(SSRC, 1)));
    let again = bench.came().remove(0);
    assert_ne!(again[8..12], RTX_SSRC.to_be_bytes());
}

#[test]
fn a_packet_that_is_none_is_let_through() {
    let bench = Bench::new(500);
    for bytes in [&[][..], &[0x80], &[0xff; 12], &[0x90; 12], &[0xaf; 40]] {
        let packet = gst::Buffer::from_slice(bytes);
        bench.source.push(packet).expect("taken");
        assert_eq!(bench.came(), [bytes]);
    }
    assert!(bench.sink.push_event(request(0xffff_ffff, 0xffff)));
    assert_eq!(bench.came(), Vec::<Vec<u8>>::new());
}
