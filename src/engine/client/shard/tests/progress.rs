// SPDX-License-Identifier: GPL-2.0

//! A request continues with a server that answers, and ends on the state at its end.

use super::bench::{Bench, MS, US};
use super::*;
use crate::engine::client::config::NS_PER_S;
use crate::engine::client::ids::{Generation, ServerSlot};
use crate::engine::client::shard::{Send, SendPayload, TransferId};
use crate::wire::{FragmentMask, Fragmentation};

/// Has pages of these servers come in three fragments.
fn cut(bench: &Bench, servers: &[usize]) {
    let cut = Fragmentation::from_count(3).unwrap();
    for &server in servers {
        bench
            .device
            .servers
            .set_fragmentation(bench.slot(server), cut);
    }
}

/// The next transfer, whose frames are still being handed over.
fn begin_send(bench: &mut Bench) -> (TransferId, Send) {
    match bench.poll() {
        Some(Action::Send(send)) => (send.id, send),
        other => panic!("{other:?}"),
    }
}

fn end_send(bench: &mut Bench, id: TransferId) {
    bench.shard.sent(bench.now_ns, id, &bench.device);
}

fn restart_session(bench: &mut Bench, slot: ServerSlot) {
    bench.device.servers.close(slot);
    bench.shard.servers_changed(bench.now_ns, &bench.device);
}

#[test]
fn an_acknowledgement_counts_only_if_its_server_is_the_same_at_the_end() {
    let mut bench = Bench::new(3);
    bench.start_page_out(0, PAGE);
    let (first, to_first) = begin_send(&mut bench);
    let (second, to_second) = begin_send(&mut bench);
    bench.acknowledge(&to_first, Status::Ok);
    bench.acknowledge(&to_second, Status::Ok);
    // The CPU that sends is held up.
    assert_eq!(bench.poll(), None);
    let gone = bench.slot_of(to_first.destination);
    restart_session(&mut bench, gone);
    end_send(&mut bench, first);
    end_send(&mut bench, second);
    let third = bench.next_send();
    assert_ne!(third.destination, to_second.destination);
    bench.acknowledge(&third, Status::Ok);
    assert_eq!(bench.next_completion().outcome, Outcome::Done);
    let holders = bench.device.map.load(PAGE).replicas();
    assert_eq!(holders.len(), 2);
    assert!(!holders.contains(gone));
}

#[test]
fn a_page_out_whose_only_copy_is_lost_while_it_is_sent_does_not_end() {
    let mut bench = Bench::new(1);
    bench.start_page_out(0, PAGE);
    let (id, send) = begin_send(&mut bench);
    bench.acknowledge(&send, Status::Ok);
    let only = bench.slot(0);
    restart_session(&mut bench, only);
    end_send(&mut bench, id);
    assert_eq!(bench.poll(), None);
}

#[test]
fn a_page_out_ends_when_its_last_frames_have_been_handed_over() {
    let mut bench = Bench::new(2);
    bench.start_page_out(0, PAGE);
    let (first, to_first) = begin_send(&mut bench);
    let (second, to_second) = begin_send(&mut bench);
    bench.acknowledge(&to_first, Status::Ok);
    end_send(&mut bench, first);
    bench.acknowledge(&to_second, Status::Ok);
    assert_eq!(bench.poll(), None);
    end_send(&mut bench, second);
    assert_eq!(bench.next_completion().outcome, Outcome::Done);
}

#[test]
fn two_servers_make_one_page() {
    let mut bench = Bench::new(2);
    bench.write(PAGE, &[0, 1]);
    warm_up(&mut bench, 100, 100 * US);
    cut(&bench, &[0, 1]);
    bench.start_page_in(0, PAGE);
    let first = bench.next_send();
    bench.answer_page(&first, &[0, 2]);
    let second = bench.wait_for_send();
    assert_ne!(first.destination, second.destination);
    // A copy that repair wrote there is of the same generation.
    let generation = Generation(second.header.version as u8);
    let copy = bench.device.take_version_of(generation);
    bench.answer_version(&second, copy.0, &[1]);
    assert_eq!(bench.next_completion().outcome, Outcome::Done);
}

#[test]
fn only_missing_fragments_are_asked_for_again() {
    let mut bench = Bench::new(2);
    bench.device.set_hedge_percent(0);
    bench.write(PAGE, &[0, 1]);
    cut(&bench, &[0, 1]);
    bench.start_page_in(0, PAGE);
    let first = bench.next_send();
    bench.answer_page(&first, &[0]);
    // Both have been asked by now, for the missing fragments.
    for _ in 0..40 {
        bench.advance(MS);
        bench.discard_sends();
    }
    bench.answer_page(&first, &[1]);
    for _ in 0..4 {
        let send = bench.wait_for_send();
        assert_eq!(
            send.header
                .fragment_mask
                .iter()
                .collect::<std::vec::Vec<_>>(),
            [2]
        );
    }
}

#[test]
fn a_server_that_answers_is_asked_again_soon() {
    let mut bench = Bench::new(1);
    bench.write(PAGE, &[0]);
    warm_up(&mut bench, 100, 100 * US);
    cut(&bench, &[0]);
    bench.start_page_in(0, PAGE);
    let mut send = bench.next_send();
    // No answer comes for long, so the timeout grows.
    for _ in 0..5 {
        send = bench.wait_for_send();
    }
    bench.answer_page(&send, &[0]);
    let answered_ns = bench.now_ns;
    let again = bench.wait_for_send();
    assert!(bench.now_ns - answered_ns < 20 * MS);
    bench.answer_page(&again, &[1, 2]);
    assert_eq!(bench.next_completion().outcome, Outcome::Done);
}

#[test]
fn a_page_in_does_not_wait_for_a_silent_servers_window() {
    const ELSEWHERE: PageIndex = PageIndex(7);
    let mut bench = Bench::new(2);
    bench.device.set_hedge_percent(0);
    bench.write(ELSEWHERE, &[1]);
    for _ in 0..20 {
        bench.start_page_in(0, ELSEWHERE);
        let send = bench.next_send();
        bench.now_ns += 6 * MS;
        bench.answer_page(&send, &[0]);
        assert_eq!(bench.next_completion().outcome, Outcome::Done);
    }
    bench.write(PAGE, &[0]);
    warm_up(&mut bench, 20, 100 * US);
    // Losses shrink the window of server 0, the quicker one.
    for _ in 0..8 {
        bench.start_page_in(0, PAGE);
        bench.next_send();
        let send = bench.wait_for_send();
        bench.answer_page(&send, &[0]);
        assert_eq!(bench.next_completion().outcome, Outcome::Done);
        bench.now_ns += 50 * MS;
    }
    // It falls silent with its window full.
    for op in 0..5 {
        bench.start_page_in(op, PAGE);
    }
    bench.discard_sends();
    bench.write(PAGE, &[0, 1]);
    let op = bench.ops() - 1;
    bench.start_page_in(op, PAGE);
    assert_eq!(bench.poll(), None, "no room");
    let began_ns = bench.now_ns;
    loop {
        while let Some(action) = bench.poll() {
            if let Action::Send(send) = action {
                let send = bench.sent(send);
                if send.id.op.index() == op {
                    assert_eq!(send.destination, bench.mac(1));
                    bench.answer_page(&send, &[0]);
                    assert_eq!(bench.next_completion().op.index(), op);
                    return;
                }
            }
        }
        bench.advance(MS / 2);
        assert!(bench.now_ns - began_ns < 40 * MS);
    }
}

#[test]
fn an_io_timeout_that_becomes_shorter_is_enough_for_another_try() {
    let mut bench = Bench::new(2);
    bench.device.set_hedge_percent(0);
    bench.write(PAGE, &[0, 1]);
    // As slow as servers can be.
    warm_up(&mut bench, 200, 900 * MS);
    bench.start_page_in(0, PAGE);
    let first = bench.next_send();
    bench.advance(300 * MS);
    assert_eq!(bench.poll(), None);
    bench.device.set_io_timeout_ns(NS_PER_S);
    let cut_ns = bench.now_ns;
    let second = bench.wait_for_send();
    assert_ne!(first.destination, second.destination);
    assert!(bench.now_ns - cut_ns < 200 * MS);
}

#[test]
fn the_missing_fragments_are_sent_again_and_then_the_whole_page() {
    let mut bench = Bench::new(1);
    cut(&bench, &[0]);
    bench.start_page_out(0, PAGE);
    let first = bench.next_send();
    // The first of three has arrived; nothing is known of the others.
    let held = FragmentMask::from_bits(0b001);
    bench.acknowledge_part(&first, Status::Incomplete, held);
    // Then all of it: the server may have dropped what it held for other pages.
    for sent in [0b110, 0b111, 0b111] {
        let again = bench.wait_for_send();
        let SendPayload::Page { fragments, .. } = again.payload else {
            panic!("{again:?}");
        };
        assert_eq!(fragments.bits(), sent);
    }
}

#[test]
fn a_page_in_asks_another_server_although_the_silent_ones_path_changes_each_time() {
    let mut bench = Bench::new(2);
    bench.device.set_hedge_percent(0);
    bench.write(PAGE, &[0, 1]);
    bench.start_page_in(0, PAGE);
    let first = bench.next_send();
    let slot = bench.slot_of(first.destination);
    let mut counts = [8, 3].into_iter().cycle();
    let began_ns = bench.now_ns;
    loop {
        let cut = counts.next().and_then(Fragmentation::from_count).unwrap();
        bench.device.servers.set_fragmentation(slot, cut);
        if bench.wait_for_send().destination != first.destination {
            break;
        }
        assert!(bench.now_ns - began_ns < NS_PER_S);
    }
}

#[test]
fn a_server_that_is_back_is_asked_at_once_what_it_has_not_answered() {
    let mut bench = Bench::new(1);
    bench.write(PAGE, &[0]);
    let slot = bench.slot(0);
    bench.shard.servers_changed(bench.now_ns, &bench.device);
    bench.start_page_in(0, PAGE);
    bench.next_send();
    // It is silent for so long that the next attempt is far away.
    let mut between_ns = 0;
    while between_ns < NS_PER_S / 2 {
        let before_ns = bench.now_ns;
        bench.wait_for_send();
        between_ns = bench.now_ns - before_ns;
    }
    assert!(!bench.device.servers.usable().contains(slot));
    bench.advance(MS);
    assert_eq!(bench.poll(), None);
    // A change of another server does not concern this one.
    bench.shard.servers_changed(bench.now_ns, &bench.device);
    assert_eq!(bench.poll(), None);
    bench.device.servers.set_usable(slot, true);
    bench.shard.servers_changed(bench.now_ns, &bench.device);
    let send = bench.next_send();
    assert_eq!(send.destination, bench.mac(0));
    // Its earlier silence does not count, and a change does not make the shard ask it again.
    assert!(bench.device.servers.usable().contains(slot));
    bench.shard.servers_changed(bench.now_ns, &bench.device);
    assert_eq!(bench.poll(), None);
    bench.advance(100 * MS);
    bench.discard_sends();
    assert!(bench.device.servers.usable().contains(slot));
    bench.answer_page(&send, &[0]);
    assert_eq!(bench.next_completion().outcome, Outcome::Done);
}

#[test]
fn a_page_in_that_waits_for_a_silent_server_asks_another_that_is_back() {
    let mut bench = Bench::new(2);
    bench.write(PAGE, &[0, 1]);
    let (silent, other) = (bench.slot(0), bench.slot(1));
    bench.device.servers.set_usable(other, false);
    bench.start_page_in(0, PAGE);
    let first = bench.next_send();
    assert_eq!(bench.slot_of(first.destination), silent);
    bench.device.servers.set_usable(silent, false);
    bench.device.servers.set_usable(other, true);
    bench.shard.servers_changed(bench.now_ns, &bench.device);
    let send = bench.next_send();
    assert_eq!(bench.slot_of(send.destination), other);
    bench.answer_page(&send, &[0]);
    assert_eq!(bench.next_completion().outcome, Outcome::Done);
}
