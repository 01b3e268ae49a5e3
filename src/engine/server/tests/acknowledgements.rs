// SPDX-License-Identifier: GPL-2.0

//! Acknowledgements that share frames.

use super::*;

/// Writes whole pages whose version is their number, without a flush in between.
fn put_at_once(bench: &mut Bench, writes: &[(&Client, u64)]) -> Vec<Answer> {
    for (client, page) in writes {
        let bytes = content(*page);
        let header = Header {
            tag: 500 + *page as u32,
            ..client.of(write(*page, *page, &bytes))
        };
        bench.take_in(client.mac, &frame(header, &bytes));
    }
    bench.answers()
}

#[test]
fn acknowledgements_for_one_client_share_a_frame() {
    let mut bench = bench(40, NO_QUOTA);
    let (me, other) = (client(1), client(2));
    bench.open(&me);
    bench.open(&other);

    // A single acknowledgement is an ordinary WRITE_ACK.
    let answers = put_at_once(&mut bench, &[(&me, 1)]);
    let [answer] = &answers[..] else { panic!() };
    assert_eq!(answer.header.opcode, Opcode::WriteAck);
    assert_eq!(answer.header.tag, 501);

    // Each client gets its own frames, and no frame more than it holds.
    let mut writes: Vec<_> = (2..2 + MAX_ACKS as u64 + 3)
        .map(|page| (&me, page))
        .collect();
    writes.extend([(&other, 1), (&other, 2)]);
    let answers = put_at_once(&mut bench, &writes);
    let counts: Vec<_> = answers
        .iter()
        .map(|answer| (answer.to, answer.payload.len() / size_of::<Ack>()))
        .collect();
    assert_eq!(counts, [(me.mac, MAX_ACKS), (me.mac, 3), (other.mac, 2)]);
    let mut acknowledged = Vec::new();
    for answer in &answers {
        assert_eq!(answer.header.opcode, Opcode::WriteAcks);
        assert_eq!(answer.header.payload_crc, crc32c(&answer.payload));
        for ack in <[Ack]>::ref_from_bytes(&answer.payload).unwrap() {
            let header = ack.header(&answer.header).unwrap();
            assert_eq!(header.opcode, Opcode::WriteAck);
            assert_eq!(header.status, Status::Ok);
            assert_eq!(header.incarnation, INCARNATION);
            assert_eq!(u64::from(header.tag), 500 + header.page);
            assert_eq!((header.version, header.attempt), (header.page, 3));
            assert_eq!(header.fragment_mask, FragmentMask::from_bits(1));
            acknowledged.push((header.session, header.page));
        }
    }
    let wanted: Vec<_> = writes
        .iter()
        .map(|(client, page)| (client.session, *page))
        .collect();
    assert_eq!(acknowledged, wanted);
}

#[test]
fn kept_acknowledgements_fit_in_what_an_outbox_keeps_free() {
    let mut bench = bench(80, NO_QUOTA);
    let (me, other) = (client(1), client(2));
    bench.open(&me);
    bench.open(&other);
    let mut most = 0;
    for page in 1..2 * MAX_ACKS as u64 {
        // An acknowledgement to the second client sends the first client's.
        for client in [&me, &other] {
            let bytes = content(page);
            let bytes = frame(client.of(write(page, page, &bytes)), &bytes);
            most = most.max(bench.take_in(client.mac, &bytes));
        }
    }
    assert_eq!(most, 1);
    assert!(bench.server.has_kept());
    bench.answers();
    assert!(!bench.server.has_kept());
    assert!(
        most + 8 <= <Network as Outbox>::MOST,
        "beside a page's fragments"
    );
}
