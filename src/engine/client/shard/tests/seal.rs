// SPDX-License-Identifier: GPL-2.0

//! Pages that are sealed before they are sent.

use super::super::super::ids::{PageIndex, Version};
use super::super::super::mirror::Policy;
use super::super::{Action, CopyOut, Outcome, Received, Seal, Sealed};
use super::bench::{page_crc, Bench, MS};
use super::mirroring::{copy, new_mirror};
use crate::wire::{Flags, Fragmentation, PageSum, PageTag, Status};

const PAGE: PageIndex = PageIndex(3);
/// What a value is sealed to, here.
const SEALED_FILL: u64 = 0x5ea1_ed00_0000_0001;

/// The sums of the sealed page, which differ for each version.
fn sum_of(version: Version) -> PageSum {
    PageSum {
        crc: version.0 as u32,
        tag: PageTag([version.0 as u8; 16]),
    }
}

fn next_seal(bench: &mut Bench) -> Seal {
    match bench.poll() {
        Some(Action::Seal(seal)) => seal,
        other => panic!("{other:?}"),
    }
}

/// The page is sealed. Its checksum before was `crc`, if that was wanted.
fn end_seal(bench: &mut Bench, seal: &Seal, crc: u32) {
    let sealed = Sealed {
        sum: sum_of(seal.version),
        fill: SEALED_FILL,
        crc: seal.wants_crc.then_some(crc),
    };
    bench
        .shard
        .sealed(bench.now_ns, seal, Some(sealed), &bench.device);
}

#[test]
fn a_page_is_sealed_once_for_all_its_copies_and_retransmissions() {
    let mut bench = Bench::sealed(2);
    bench.start_page_out(0, PAGE);
    let seal = next_seal(&mut bench);
    assert_eq!((seal.page, seal.fill, seal.wants_crc), (PAGE, None, false));
    // Nothing is sent before, however long that takes.
    assert_eq!(bench.poll(), None);
    bench.advance(100 * MS);
    assert_eq!(bench.poll(), None);
    end_seal(&mut bench, &seal, 0);
    let sends = [bench.next_send(), bench.next_send()];
    assert_ne!(sends[0].destination, sends[1].destination);
    bench.acknowledge(&sends[0], Status::Ok);
    let again = bench.wait_for_send();
    assert_eq!(again.destination, sends[1].destination);
    for send in [&sends[0], &sends[1], &again] {
        assert_eq!(send.header.version, seal.version.0);
        assert_eq!(send.header.page_sum(), sum_of(seal.version));
    }
    bench.acknowledge(&again, Status::Ok);
    assert_eq!(bench.next_completion().outcome, Outcome::Done);
}

#[test]
fn another_version_is_sealed_again() {
    let mut bench = Bench::sealed(2);
    bench.start_page_out(0, PAGE);
    let first = next_seal(&mut bench);
    // The versions jump while the page is being sealed.
    bench.shard.versions_jumped(bench.now_ns, &bench.device);
    assert_eq!(bench.poll(), None);
    end_seal(&mut bench, &first, 0);
    let second = next_seal(&mut bench);
    assert!(second.version > first.version);
    end_seal(&mut bench, &second, 0);
    let sends = [bench.next_send(), bench.next_send()];
    // A server has a later version.
    bench.acknowledge(&sends[0], Status::Stale);
    let third = next_seal(&mut bench);
    assert!(third.version > second.version);
    end_seal(&mut bench, &third, 0);
    for _ in 0..2 {
        let send = bench.next_send();
        assert_eq!(send.header.page_sum(), sum_of(third.version));
        bench.acknowledge(&send, Status::Ok);
    }
    assert_eq!(bench.next_completion().outcome, Outcome::Done);
    assert_eq!(
        bench.device.map.load(PAGE).generation(),
        third.version.generation()
    );
}

#[test]
fn an_op_does_not_end_while_its_page_is_being_sealed() {
    let mut bench = Bench::sealed(1);
    bench.start_page_out(0, PAGE);
    let seal = next_seal(&mut bench);
    for _ in 0..610 {
        bench.advance(100 * MS);
        assert_eq!(bench.poll(), None);
    }
    end_seal(&mut bench, &seal, 0);
    assert_eq!(bench.next_completion().outcome, Outcome::Failed);
    assert!(!bench.device.map.load(PAGE).is_busy());
}

#[test]
fn a_page_that_cannot_be_sealed_is_an_error() {
    let mut bench = Bench::sealed(2);
    let before = bench.write(PAGE, &[0]);
    bench.start_page_out(0, PAGE);
    let seal = next_seal(&mut bench);
    bench.shard.sealed(bench.now_ns, &seal, None, &bench.device);
    assert_eq!(bench.next_completion().outcome, Outcome::Failed);
    assert_eq!(bench.poll(), None);
    // No server was asked, so the page is as it was.
    let entry = bench.device.map.load(PAGE);
    assert_eq!(entry.generation(), before.generation());
}

#[test]
fn the_value_that_fills_a_page_is_sealed() {
    let mut bench = Bench::sealed(2);
    let start = |bench: &mut Bench| {
        let (shard, device) = (&mut bench.shard, &bench.device);
        shard.start_page_out(bench.now_ns, 0, PAGE, Some(7), Some(1), device)
    };
    start(&mut bench).unwrap();
    let seal = next_seal(&mut bench);
    assert_eq!(seal.fill, Some(7));
    end_seal(&mut bench, &seal, 0);
    let send = bench.next_send();
    assert!(send.header.flags.contains(Flags::SAME_FILLED));
    assert_eq!(send.payload, super::super::SendPayload::Fill(SEALED_FILL));
}

#[test]
fn a_page_that_changes_between_the_mirror_and_the_seal_is_written_again() {
    let mut bench = Bench::sealed(1);
    let mirror = &mut new_mirror(Policy::Lag, &bench.device);
    bench.start_page_out(0, PAGE);
    let Some(Action::Seal(seal)) = bench.poll_with(mirror) else {
        panic!("the page is not sealed");
    };
    assert!(seal.wants_crc);
    // Meanwhile another CPU copies the page to a buffer. It changes before it is sealed.
    let fill = bench.poll_with(mirror).unwrap();
    copy(&mut bench, mirror, fill, &mut Some(page_crc()));
    end_seal(&mut bench, &seal, page_crc() ^ 1);
    let Some(Action::Seal(again)) = bench.poll_with(mirror) else {
        panic!("the page is not sealed again");
    };
    assert!(again.version > seal.version);
    assert_eq!(bench.shard.counters().pages_changed, 1);
    end_seal(&mut bench, &again, page_crc());
    let Some(Action::Send(send)) = bench.poll_with(mirror) else {
        panic!("the page is not sent");
    };
    assert_eq!(send.header.page_sum(), sum_of(again.version));
    bench.sent(send);
    let fill = bench.poll_with(mirror).unwrap();
    assert!(matches!(fill, Action::FillBuffer(fill) if fill.crc == Some(page_crc())));
    copy(&mut bench, mirror, fill, &mut None);
    assert_eq!(bench.shard.counters().pages_changed, 1);
}

#[test]
fn a_page_that_changes_between_the_seal_and_the_mirror_is_written_again() {
    // With one server of two the disk is needed.
    let mut bench = Bench::sealed(1);
    let mirror = &mut new_mirror(Policy::Lag, &bench.device);
    bench.start_page_out(0, PAGE);
    let Some(Action::Seal(seal)) = bench.poll_with(mirror) else {
        panic!("the page is not sealed");
    };
    end_seal(&mut bench, &seal, page_crc());
    let Some(Action::Send(send)) = bench.poll_with(mirror) else {
        panic!("the page is not sent");
    };
    bench.sent(send);
    let fill = bench.poll_with(mirror).unwrap();
    copy(&mut bench, mirror, fill, &mut Some(1));
    let Some(Action::Seal(again)) = bench.poll_with(mirror) else {
        panic!("the page is not sealed again");
    };
    assert!(again.version > seal.version);
    assert_eq!(bench.shard.counters().pages_changed, 1);
}

#[test]
fn a_disk_attached_after_the_seal_gets_no_page_of_unknown_contents() {
    let mut bench = Bench::sealed(2);
    bench.start_page_out(0, PAGE);
    let seal = next_seal(&mut bench);
    assert!(!seal.wants_crc);
    end_seal(&mut bench, &seal, 0);
    let sends = [bench.next_send(), bench.next_send()];
    let mirror = &mut new_mirror(Policy::Lag, &bench.device);
    for send in sends {
        bench.acknowledge(&send, Status::Ok);
    }
    let fill = bench.poll_with(mirror).unwrap();
    assert!(matches!(fill, Action::FillBuffer(fill) if fill.crc.is_none()));
    copy(&mut bench, mirror, fill, &mut Some(1));
    let Some(Action::Complete(completion)) = bench.poll_with(mirror) else {
        panic!("it does not end");
    };
    assert_eq!(completion.outcome, Outcome::Done);
    assert!(mirror.is_idle());
    assert!(!bench.device.map.load(PAGE).is_on_disk());
}

#[test]
fn a_page_is_opened_under_the_version_that_its_server_names() {
    let mut bench = Bench::sealed(2);
    let version = bench.write(PAGE, &[0, 1]);
    bench.start_page_in(0, PAGE);
    let send = bench.next_send();
    let receive = bench.begin_answer(&send);
    let verify = receive.verify.unwrap();
    assert_eq!((verify.page, verify.version), (PAGE, version));
    // It does not open, so the other server is asked.
    let (now_ns, device) = (bench.now_ns, &bench.device);
    bench
        .shard
        .received(now_ns, &receive, Received::Wrong, device);
    let other = bench.next_send();
    assert_ne!(other.destination, send.destination);
    assert_eq!(bench.shard.counters().corrupt_in, 1);
    let receive = bench.begin_answer(&other);
    let whole = Received::Whole {
        crc: None,
        fill: None,
    };
    let (now_ns, device) = (bench.now_ns, &bench.device);
    bench.shard.received(now_ns, &receive, whole, device);
    assert_eq!(bench.next_completion().outcome, Outcome::Done);
}

#[test]
fn fragments_of_two_versions_are_not_mixed() {
    // Repair has given one server the page under another version of the same generation.
    let begin = |mut bench: Bench| {
        for number in 0..2 {
            let cut = Fragmentation::for_mtu(1500).unwrap();
            bench
                .device
                .servers
                .set_fragmentation(bench.slot(number), cut);
        }
        let old = bench.write(PAGE, &[0, 1]);
        let copy = bench.device.take_version_of(old.generation());
        bench.start_page_in(0, PAGE);
        let first = bench.next_send();
        bench.answer_version(&first, old.0, &[0]);
        bench.advance(20 * MS);
        let second = bench.wait_for_send();
        assert_ne!(second.destination, first.destination);
        bench.answer_version(&second, copy.0, &[1, 2]);
        bench
    };
    // Not sealed, they are equal.
    let mut bench = begin(Bench::new(2));
    assert_eq!(bench.next_completion().outcome, Outcome::Done);
    let mut bench = begin(Bench::sealed(2));
    let action = bench.poll();
    assert!(!matches!(action, Some(Action::Complete(_))), "{action:?}");
}

#[test]
fn a_value_is_taken_only_for_the_attempt_that_asked() {
    let mut bench = Bench::sealed(2);
    let version = bench.write(PAGE, &[0]);
    bench.start_page_in(0, PAGE);
    let send = bench.next_send();
    let mut header = send
        .header
        .answer(crate::wire::Opcode::ReadReply, Status::Ok);
    header.flags = Flags::SAME_FILLED;
    header.fragment_count = 1;
    header.version = version.0;
    let handle = |bench: &mut Bench| {
        let (shard, device) = (&mut bench.shard, &bench.device);
        let (now_ns, source) = (bench.now_ns, send.destination);
        shard.handle_frame(now_ns, source, &header, device)
    };
    let receive = handle(&mut bench).unwrap();
    assert!(receive.filled && receive.verify.is_some());
    // The page is claimed.
    assert_eq!(handle(&mut bench), None);
    // Meanwhile the server is replaced, and the page-in begins again.
    bench.device.servers.close(bench.slot(0));
    let (now_ns, device) = (bench.now_ns, &bench.device);
    bench.shard.servers_changed(now_ns, device);
    let filled = Received::Whole {
        crc: None,
        fill: Some(7),
    };
    bench.shard.received(now_ns, &receive, filled, device);
    let action = bench.poll();
    let is_filled = |outcome| outcome == Outcome::Filled(7);
    assert!(
        !matches!(action, Some(Action::Complete(completion)) if is_filled(completion.outcome)),
        "{action:?}"
    );
}

/// A client that begins to copy a page to a server, as repair does, and the version of the copy.
fn copying() -> (Bench, Version) {
    let mut bench = Bench::sealed(2);
    let old = bench.write(PAGE, &[0]);
    let version = bench.device.take_version_of(old.generation());
    let copy = CopyOut {
        page: PAGE,
        version,
        fill: None,
        crc: None,
    };
    let (now_ns, slot) = (bench.now_ns, bench.slot(1));
    bench
        .shard
        .start_copy_to_server(now_ns, 0, &copy, slot, &bench.device)
        .unwrap();
    (bench, version)
}

#[test]
fn a_copy_of_repair_is_sealed_under_its_own_version() {
    let (mut bench, version) = copying();
    let seal = next_seal(&mut bench);
    assert_eq!((seal.version, seal.wants_crc), (version, false));
    end_seal(&mut bench, &seal, 0);
    let send = bench.next_send();
    assert_eq!(send.header.page_sum(), sum_of(version));
    bench.acknowledge(&send, Status::Ok);
    assert_eq!(bench.next_completion().outcome, Outcome::Done);
}

#[test]
fn an_older_version_of_the_same_generation_is_not_taken() {
    for is_newest_known in [false, true] {
        let mut bench = match is_newest_known {
            true => Bench::with_newest_versions(2),
            false => Bench::sealed(2),
        };
        let old = bench.write(PAGE, &[0, 1]);
        let version = loop {
            let version = bench.write(PAGE, &[0, 1]);
            if version.generation() == old.generation() {
                break version;
            }
        };
        bench.start_page_in(0, PAGE);
        let first = bench.next_send();
        bench.answer_version(&first, old.0, &[0]);
        if !is_newest_known {
            assert_eq!(bench.next_completion().outcome, Outcome::Done);
            continue;
        }
        // The other holder is asked at once, and the first one's copy is made again.
        let second = bench.next_send();
        assert_ne!(second.destination, first.destination);
        bench.answer_version(&second, version.0, &[0]);
        assert_eq!(bench.next_completion().outcome, Outcome::Done);
        assert_eq!(bench.shard.counters().outdated_in, 1);
        assert_eq!(bench.device.map.load(PAGE).replicas().len(), 1);
        // The last copy is not given up for such an answer: the page-in ends with an error.
        bench.start_page_in(0, PAGE);
        let send = bench.next_send();
        bench.answer_version(&send, old.0, &[0]);
        assert_eq!(bench.next_completion().outcome, Outcome::Failed);
        assert_eq!(bench.device.map.load(PAGE).replicas().len(), 1);
        // A copy of repair's has a later version.
        let copy = bench.device.take_version_of(version.generation());
        bench.start_page_in(0, PAGE);
        let send = bench.next_send();
        bench.answer_version(&send, copy.0, &[0]);
        assert_eq!(bench.next_completion().outcome, Outcome::Done);
    }
}

#[test]
fn a_page_that_is_written_while_it_is_read_is_not_taken_for_an_older_version() {
    let mut bench = Bench::with_newest_versions(2);
    let old = bench.write(PAGE, &[0, 1]);
    bench.start_page_in(0, PAGE);
    let send = bench.next_send();
    loop {
        let version = bench.write(PAGE, &[0, 1]);
        if version.generation() == old.generation() {
            break;
        }
    }
    bench.answer_version(&send, old.0, &[0]);
    assert_eq!(bench.next_completion().outcome, Outcome::Done);
    assert_eq!(bench.shard.counters().outdated_in, 0);
    assert_eq!(bench.device.map.load(PAGE).replicas().len(), 2);
}

#[test]
fn a_server_that_begins_another_page_again_and_again_does_not_keep_others_away() {
    let mut bench = Bench::sealed(2);
    for server in 0..2 {
        let (slot, cut) = (bench.slot(server), Fragmentation::from_count(3).unwrap());
        bench.device.servers.set_fragmentation(slot, cut);
    }
    let version = bench.write(PAGE, &[0, 1]);
    for _ in 0..1 << 18 {
        bench.device.versions().take();
    }
    bench.start_page_in(0, PAGE);
    let mut asked = bench.next_send();
    let (liar, began_ns) = (asked.destination, bench.now_ns);
    for later in 1..1000 {
        bench.answer_version(&asked, version.0 + 0x100 * later, &[0]);
        match bench.poll() {
            Some(Action::Send(send)) if send.destination == liar => asked = bench.sent(send),
            Some(Action::Send(send)) => {
                let send = bench.sent(send);
                bench.answer_version(&send, version.0, &[0, 1, 2]);
            }
            Some(Action::Complete(completion)) => {
                assert_eq!(completion.outcome, Outcome::Done);
                assert!(bench.now_ns - began_ns < 500 * MS);
                return;
            }
            other => assert_eq!(other, None),
        }
        bench.advance(MS);
    }
    panic!("it has not ended");
}

#[test]
fn a_page_that_could_not_be_opened_for_a_local_reason_is_asked_for_as_a_whole() {
    let mut bench = Bench::sealed(1);
    let (slot, cut) = (bench.slot(0), Fragmentation::from_count(2).unwrap());
    bench.device.servers.set_fragmentation(slot, cut);
    let version = bench.write(PAGE, &[0]);
    bench.start_page_in(0, PAGE);
    let send = bench.next_send();
    bench.answer_version(&send, version.0, &[1]);
    let receive = bench.begin_answer(&send);
    assert!(receive.verify.is_some());
    let (now_ns, device) = (bench.now_ns, &bench.device);
    bench
        .shard
        .received(now_ns, &receive, Received::Lost, device);
    let again = bench.wait_for_send();
    assert_eq!(again.header.fragment_mask, cut.all());
    bench.answer_version(&again, version.0, &[0, 1]);
    assert_eq!(bench.next_completion().outcome, Outcome::Done);
    assert_eq!(bench.shard.counters().corrupt_in, 0);
}

#[test]
fn a_copy_whose_version_is_from_before_a_key_ends_at_once() {
    let (mut bench, _) = copying();
    bench.device.begin_key(0);
    assert_eq!(bench.next_completion().outcome, Outcome::Failed);
}
