// SPDX-License-Identifier: GPL-2.0

//! Page-outs and page-ins while servers are removed.

use std::vec::Vec;

use super::super::super::ids::{ServerSlot, SlotSet};
use super::super::Outcome;
use super::bench::Bench;
use super::{Action, PAGE};
use crate::wire::{Fragmentation, Opcode, Status};

/// The servers that a page-out is sent to. It is then answered and must succeed.
fn targets(bench: &mut Bench) -> SlotSet {
    bench.start_page_out(0, PAGE);
    let mut targets = SlotSet::EMPTY;
    let mut sends = Vec::new();
    let completion = loop {
        match bench.poll() {
            Some(Action::Send(send)) => {
                let send = bench.sent(send);
                targets.insert(bench.slot_of(send.destination));
                sends.push(send);
            }
            Some(Action::Complete(completion)) => break completion,
            None => {
                let send = sends.pop().expect("the page-out waits");
                bench.acknowledge(&send, Status::Ok);
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(completion.outcome, Outcome::Done);
    assert_eq!(bench.device.map.load(PAGE).replicas(), targets);
    targets
}

fn slots(bench: &Bench, numbers: &[usize]) -> SlotSet {
    let mut set = SlotSet::EMPTY;
    for &number in numbers {
        set.insert(bench.slot(number));
    }
    set
}

fn notify(bench: &mut Bench) {
    bench.shard.servers_changed(bench.now_ns, &bench.device);
}

fn slot_0(bench: &Bench) -> ServerSlot {
    bench.slot(0)
}

#[test]
fn no_page_is_placed_on_a_draining_server_while_there_is_another() {
    let mut bench = Bench::new(3);
    // Even if it holds an older version.
    bench.write(PAGE, &[0, 1]);
    let slot = slot_0(&bench);
    bench.device.servers.set_draining(slot, true);
    let others = slots(&bench, &[1, 2]);
    assert_eq!(targets(&mut bench), others);
    assert_eq!(bench.shard.counters().pages_out_degraded, 0);
    // A missing copy is better than one on a draining server.
    let gone = bench.slot(1);
    bench.device.servers.set_usable(gone, false);
    let other = slots(&bench, &[2]);
    assert_eq!(targets(&mut bench), other);
    assert_eq!(bench.shard.counters().pages_out_degraded, 1);
    // A copy there is better than none.
    let gone = bench.slot(2);
    bench.device.servers.set_usable(gone, false);
    let last = slots(&bench, &[0]);
    assert_eq!(targets(&mut bench), last);
    assert_eq!(bench.shard.counters().pages_out_degraded, 2);
}

#[test]
fn a_page_in_reads_from_a_server_that_drains() {
    let mut bench = Bench::new(2);
    bench.write(PAGE, &[0]);
    let slot = slot_0(&bench);
    bench.device.servers.set_draining(slot, true);
    bench.device.servers.set_quiescing(slot, true);
    notify(&mut bench);
    bench.start_page_in(0, PAGE);
    let send = bench.next_send();
    assert_eq!(bench.slot_of(send.destination), slot);
    // It is asked already when the shard is notified.
    notify(&mut bench);
    bench.answer_page(&send, &[0]);
    assert_eq!(bench.next_completion().outcome, Outcome::Done);
}

#[test]
fn no_page_out_relies_on_a_copy_on_a_quiescing_server() {
    let mut bench = Bench::new(3);
    bench.start_page_out(0, PAGE);
    let sends = [bench.next_send(), bench.next_send()];
    let mut slots = sends.map(|send| bench.slot_of(send.destination));
    // The first has the page already when it begins to quiesce.
    bench.acknowledge(&sends[0], Status::Ok);
    bench.device.servers.set_draining(slots[0], true);
    bench.device.servers.set_quiescing(slots[0], true);
    notify(&mut bench);
    let third = bench.next_send();
    assert_eq!(third.header.opcode, Opcode::Write);
    slots[0] = bench.slot_of(third.destination);
    assert!(!slots[1..].contains(&slots[0]));
    bench.acknowledge(&sends[1], Status::Ok);
    assert_eq!(bench.poll(), None, "the third copy is waited for");
    bench.acknowledge(&third, Status::Ok);
    assert_eq!(bench.next_completion().outcome, Outcome::Done);
    let mut holders = SlotSet::one(slots[0]);
    holders.insert(slots[1]);
    assert_eq!(bench.device.map.load(PAGE).replicas(), holders);
    // The quiescing server may hold the page all the same, and is to free it.
    let stale = bench.shard.take_stale().unwrap();
    assert_eq!(
        stale.slots,
        SlotSet::one(bench.slot_of(sends[0].destination))
    );
}

/// A page-out of which a server has a copy while both are removed. They are added again, in the incarnation
/// in which they are, and get the slots that they had.
fn both_are_removed_and_added_again(is_told_between: bool) {
    let mut bench = Bench::with_min_copies(2, 2);
    bench.start_page_out(0, PAGE);
    let sends = [bench.next_send(), bench.next_send()];
    let slots = sends.map(|send| bench.slot_of(send.destination));
    bench.acknowledge(&sends[1], Status::Ok);
    for slot in slots {
        bench.device.servers.close(slot);
        if is_told_between {
            notify(&mut bench);
            assert_eq!(bench.poll(), None);
        }
    }
    let mut sent = Vec::new();
    for slot in [slots[1], slots[0]] {
        let mut address = bench.device.servers.address(slot);
        address.session += 1000;
        let servers = &bench.device.servers;
        servers.open(slot, address, Fragmentation::WHOLE);
        bench.shard.reset_path(slot);
        // The first releases what was sent, the second asks a server again that has been asked.
        notify(&mut bench);
        notify(&mut bench);
        let send = bench.next_send();
        bench.acknowledge(&send, Status::Ok);
        sent.push((bench.slot_of(send.destination), send.header.session));
    }
    for slot in slots {
        let session = bench.device.servers.address(slot).session;
        assert!(sent.contains(&(slot, session)), "{sent:?}");
    }
    assert_eq!(bench.next_completion().outcome, Outcome::Done);
}

#[test]
fn a_copy_in_a_session_that_was_closed_does_not_count_in_the_next() {
    both_are_removed_and_added_again(false);
    both_are_removed_and_added_again(true);
}

#[test]
fn a_page_out_waits_for_the_last_server_while_it_drains() {
    let mut bench = Bench::new(1);
    let slot = slot_0(&bench);
    bench.device.servers.set_draining(slot, true);
    bench.device.servers.set_quiescing(slot, true);
    bench.start_page_out(0, PAGE);
    assert_eq!(bench.poll(), None);
    // Some page needs it: it stays draining.
    bench.device.servers.set_quiescing(slot, false);
    notify(&mut bench);
    let send = bench.next_send();
    bench.acknowledge(&send, Status::Ok);
    assert_eq!(bench.next_completion().outcome, Outcome::Done);
}
