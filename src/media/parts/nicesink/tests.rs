use std::{net::UdpSocket, time::Duration};

use proptest::prelude::*;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// A way over the loopback interface, and its end.
fn way(trains: bool) -> (Way, UdpSocket) {
    let end = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    end.set_read_timeout(Some(PATIENCE)).expect("set");
    let way = Way {
        socket: UdpSocket::bind("127.0.0.1:0").expect("a socket").into(),
        to: end.local_addr().expect("bound").into(),
        trains,
        tried: false,
    };
    (way, end)
}

fn packets(sizes: &[usize]) -> Vec<Vec<u8>> {
    let numbered = sizes.iter().zip(0u8..);
    numbered.map(|(size, n)| vec![n; *size]).collect()
}

fn arrive(way: &mut Way, end: &UdpSocket, sizes: &[usize]) {
    let sent = packets(sizes);
    let slices: Vec<&[u8]> = sent.iter().map(Vec::as_slice).collect();
    way.send(&slices);
    let mut buffer = [0; 2000];
    for packet in &sent {
        let length = end.recv(&mut buffer).expect("each one arrives");
        assert_eq!(&buffer[..length], packet, "{sizes:?}");
    }
}

#[test]
fn each_packet_arrives_by_itself_and_in_order() {
    for trains in [true, false] {
        let (mut way, end) = way(trains);
        for sizes in [
            &[40][..],
            &[1200, 1200, 1200, 700],
            &[30, 1200, 1200, 80, 1200, 1200],
            &[1; 70],
            &[1200; 60],
        ] {
            arrive(&mut way, &end, sizes);
        }
        assert_eq!(way.trains, trains, "the kernel takes them");
    }
}

#[test]
fn what_fits_no_path_as_a_train_is_tried_packet_by_packet() {
    let (mut way, end) = way(true);
    // Longer than any datagram may be, whatever cuts it up: the kernel refuses the train, and each packet.
    let long = vec![0; 70_000];
    way.send(&[&long, &long]);
    arrive(&mut way, &end, &[100, 100, 100]);
}

#[test]
fn a_full_socket_or_nobody_at_the_other_end_holds_nothing_up() {
    let (mut way, end) = way(true);
    drop(end);
    let sent = packets(&[1200; 60]);
    let slices: Vec<&[u8]> = sent.iter().map(Vec::as_slice).collect();
    for _ in 0..100 {
        way.send(&slices);
    }
}

proptest! {
    #[test]
    fn trains_are_of_one_size_but_for_the_last(sizes in prop::collection::vec(1usize..1500, 1..200)) {
        let made = packets(&sizes);
        let slices: Vec<&[u8]> = made.iter().map(Vec::as_slice).collect();
        let mut rest = &slices[..];
        while let Some(first) = rest.first() {
            let length = train(rest);
            prop_assert!((1..=PACKETS).contains(&length) && length <= rest.len());
            let (train, later) = rest.split_at(length);
            let (last, others) = train.split_last().expect("at least one");
            prop_assert!(others.iter().all(|packet| packet.len() == first.len()));
            prop_assert!(last.len() <= first.len());
            prop_assert!(length == 1 || train.iter().map(|packet| packet.len()).sum::<usize>() <= BYTES);
            rest = later;
        }
    }
}
