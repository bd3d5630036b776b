//! What is protected here is taken back by GStreamer's `srtpdec`, which is libsrtp2.

use super::*;

const SSRC: u32 = 0xcafe_babe;
const PATIENCE: gst::ClockTime = gst::ClockTime::from_seconds(20);

struct Case {
    cipher: u32,
    auth: u32,
    /// As `srtpdec` calls them.
    names: (&'static str, &'static str),
    master: usize,
}

const CASES: [Case; 2] = [
    Case {
        cipher: 1,
        auth: 2,
        names: ("aes-128-icm", "hmac-sha1-80"),
        master: 30,
    },
    Case {
        cipher: 3,
        auth: 0,
        names: ("aes-128-gcm", "null"),
        master: 28,
    },
];

fn rtp(sequence: u16, size: usize) -> gst::Buffer {
    let mut header = vec![0x90, 96];
    header.extend(sequence.to_be_bytes());
    header.extend([0, 0, 0, 1]);
    header.extend(SSRC.to_be_bytes());
    // One word of extensions.
    header.extend([0xbe, 0xde, 0, 1, 0x10, 0xaa, 0, 0]);
    let mut packet = gst::Buffer::from_slice(header);
    let payload: Vec<u8> = (0..size).map(|at| (at as u16 ^ sequence) as u8).collect();
    packet
        .make_mut()
        .append_memory(gst::Memory::from_slice(payload));
    packet
}

fn rtcp() -> gst::Buffer {
    let mut report = vec![0x80, 200, 0, 6];
    report.extend(SSRC.to_be_bytes());
    report.extend([7; 20]);
    gst::Buffer::from_slice(report)
}

/// The bytes that come back of what is put in, in order.
fn there_and_back(case: &Case, kind: &str, put_in: impl FnOnce(&gst_app::AppSrc)) -> Vec<Vec<u8>> {
    let key = gst::Buffer::from_slice((1..=case.master as u8).collect::<Vec<_>>());
    let source = gst_app::AppSrc::builder()
        .format(gst::Format::Time)
        .caps(&gst::Caps::new_empty_simple(format!(
            "application/x-{kind}"
        )))
        .build();
    let encoder = glib::Object::new::<SrtpEnc>();
    encoder.number(begun());
    let encoder: gst::Element = encoder.upcast();
    for (name, number) in [
        ("rtp-cipher", case.cipher),
        ("rtcp-cipher", case.cipher),
        ("rtp-auth", case.auth),
        ("rtcp-auth", case.auth),
    ] {
        encoder.set_property(name, number);
    }
    encoder.set_property("key", &key);
    let decoder = gst::ElementFactory::make("srtpdec")
        .build()
        .expect("libsrtp");
    let (cipher, auth) = case.names;
    let policy = gst::Caps::builder("application/x-srtp")
        .field("srtp-key", &key)
        .field("srtp-cipher", cipher)
        .field("srtp-auth", auth)
        .field("srtcp-cipher", cipher)
        .field("srtcp-auth", auth)
        .build();
    decoder.connect("request-key", false, move |_| Some(policy.to_value()));
    let sink = gst_app::AppSink::builder().sync(false).build();
    let pipeline = gst::Pipeline::new();
    pipeline
        .add_many([source.upcast_ref(), &encoder, &decoder, sink.upcast_ref()])
        .expect("added");
    let names = |way: &str| (format!("{kind}_sink{way}"), format!("{kind}_src{way}"));
    let (into_encoder, out_of_encoder) = names("_0");
    let (into_decoder, out_of_decoder) = names("");
    source
        .link_pads(Some("src"), &encoder, Some(&into_encoder))
        .and_then(|()| encoder.link_pads(Some(&out_of_encoder), &decoder, Some(&into_decoder)))
        .and_then(|()| decoder.link_pads(Some(&out_of_decoder), &sink, Some("sink")))
        .expect("linked");
    one_by_one(&encoder.static_pad(&out_of_encoder).expect("a pad"));
    pipeline.set_state(gst::State::Playing).expect("playing");
    put_in(&source);
    source.end_of_stream().expect("ended");
    let mut came = Vec::new();
    while let Ok(sample) = sink.pull_sample() {
        let bytes = sample
            .buffer()
            .and_then(|packet| packet.map_readable().ok());
        came.push(bytes.expect("readable").to_vec());
    }
    assert!(sink.is_eos());
    let trouble = pipeline
        .bus()
        .and_then(|bus| bus.pop_filtered(&[gst::MessageType::Error]));
    assert!(trouble.is_none(), "{trouble:?}");
    pipeline.set_state(gst::State::Null).expect("stopped");
    came
}

/// `srtpdec` of 1.22 writes into packets of a list that are not its own.
fn one_by_one(pad: &gst::Pad) {
    pad.add_probe(gst::PadProbeType::BUFFER_LIST, |pad, info| {
        let Some(list) = info.buffer_list() else {
            return gst::PadProbeReturn::Ok;
        };
        for packet in list.iter() {
            pad.push(packet.copy()).expect("taken");
        }
        gst::PadProbeReturn::Drop
    });
}

fn bytes(buffer: &gst::BufferRef) -> Vec<u8> {
    buffer.map_readable().expect("readable").to_vec()
}

fn begun() -> Arc<Mutex<Arrivals>> {
    let mut arrivals = Arrivals::default();
    arrivals.begin();
    Arc::new(Mutex::new(arrivals))
}

/// A packet as it arrives, with the time that it says, and its number, if it has one.
fn stamped(packet: &[u8], arrived: &[u8]) -> Vec<u8> {
    let mut stamped = packet.to_vec();
    stamped[15] = 3;
    let [_, a, b, c, id, high, low, _, ..] = arrived[20..] else {
        panic!("it is longer than that");
    };
    assert!(id == stamp::NUMBER_ID << 4 | 1 || [id, high, low] == [0; 3]);
    let said = [stamp::TIME_ID << 4 | 2, a, b, c, id, high, low, 0];
    stamped.splice(20..20, said);
    stamped
}

#[test]
fn what_is_numbered_is_as_long_as_the_rest() {
    crate::media::init().expect("GStreamer starts");
    let master: Vec<u8> = (1..=30).collect();
    let mut sender = Sender::new(Profile::Aes128CmSha1_80, &master).expect("a sender");
    let arrivals = begun();
    let mut stamps = Stamps::new(Some(&arrivals), 8);
    let protected: Vec<_> = (0..8)
        .map(|number| protected_rtp(&mut sender, &rtp(number, 100), &mut stamps))
        .map(|packet| bytes(&packet.expect("protected")))
        .collect();
    // Headers are not encrypted.
    let numbers: Vec<_> = protected.iter().map(|it| &it[24..28]).collect();
    let said: Vec<_> = numbers.iter().filter(|it| ***it != [0; 4]).collect();
    let id = stamp::NUMBER_ID << 4 | 1;
    assert!(said.len() < numbers.len());
    assert_eq!(said[..2], [&&[id, 0, 0, 0], &&[id, 0, 1, 0]]);
    assert!(protected.iter().all(|it| it.len() == protected[0].len()));
}

#[test]
fn a_receiver_reads_what_is_protected_and_when_it_was_sent() {
    crate::media::init().expect("GStreamer starts");
    for case in CASES {
        // Across the end of the sequence numbers, in lists and one by one.
        let packets: Vec<_> = (0..40u16)
            .map(|at| rtp(65_520u16.wrapping_add(at), 20 * usize::from(at)))
            .collect();
        let expected: Vec<_> = packets.iter().map(|packet| bytes(packet)).collect();
        let came = there_and_back(&case, "rtp", |source| {
            for (at, few) in packets.chunks(10).enumerate() {
                if at % 2 == 0 {
                    let list: gst::BufferList = few.iter().cloned().collect();
                    source.push_buffer_list(list).expect("taken");
                } else {
                    for packet in few {
                        source.push_buffer(packet.clone()).expect("taken");
                    }
                }
            }
        });
        let both = expected.iter().zip(&came);
        let expected: Vec<_> = both
            .map(|(packet, arrived)| stamped(packet, arrived))
            .collect();
        assert_eq!(came, expected, "{:?}", case.names);
        let times = came.iter().map(|packet| &packet[21..24]);
        assert!(times.is_sorted(), "one after the other");
        assert_ne!(came[0][21..24], came[39][21..24], "each its own");
    }
}

#[test]
fn sound_is_left_as_it_is() {
    crate::media::init().expect("GStreamer starts");
    let mut sound = bytes(&rtp(1, 50));
    sound[1] = 0x80 | AUDIO_PAYLOAD_TYPE;
    let came = there_and_back(&CASES[0], "rtp", |source| {
        let packet = gst::Buffer::from_slice(sound.clone());
        source.push_buffer(packet).expect("taken");
    });
    assert_eq!(came, [sound]);
}

#[test]
fn a_receiver_reads_the_reports() {
    crate::media::init().expect("GStreamer starts");
    for case in CASES {
        let came = there_and_back(&case, "rtcp", |source| {
            for _ in 0..3 {
                source.push_buffer(rtcp()).expect("taken");
            }
        });
        assert_eq!(came, vec![bytes(&rtcp()); 3], "{:?}", case.names);
    }
}

#[test]
fn without_a_key_nothing_leaves() {
    crate::media::init().expect("GStreamer starts");
    let encoder: gst::Element = glib::Object::new::<SrtpEnc>().upcast();
    let pipeline = gst::Pipeline::new();
    pipeline.add(&encoder).expect("added");
    let sink = encoder.request_pad_simple("rtp_sink_0").expect("a pad");
    pipeline.set_state(gst::State::Playing).expect("playing");
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    assert!(sink.send_event(gst::event::StreamStart::new("test")));
    assert!(sink.send_event(gst::event::Segment::new(&segment)));
    assert_eq!(sink.chain(rtp(1, 10)), Err(gst::FlowError::Error));
    let bus = pipeline.bus().expect("a bus");
    let trouble = bus.timed_pop_filtered(PATIENCE, &[gst::MessageType::Error]);
    let trouble = format!("{:?}", trouble.expect("an error"));
    assert!(
        trouble.contains("not supported") || trouble.contains("no SRTP key"),
        "{trouble}"
    );
    encoder.release_request_pad(&sink);
    assert!(encoder.pads().is_empty(), "both are gone");
    pipeline.set_state(gst::State::Null).expect("stopped");
}
