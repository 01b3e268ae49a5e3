// SPDX-License-Identifier: GPL-2.0

//! Servers that keep reporting that fragments are missing, or that the page is damaged.

use super::super::super::ids::PageIndex;
use super::super::{Action, Outcome, SendPayload};
use super::bench::{Bench, MS, US};
use crate::wire::{FragmentMask, Fragmentation, Status};

/// A page-out to three servers. The first never has fragments 0 and 1, whatever it is sent. Returns
/// how often it was sent to, and how long the page-out took.
fn page_out(servers: usize) -> (usize, u64, Outcome) {
    let mut bench = Bench::new(servers);
    for number in 0..servers {
        let cut = Fragmentation::from_count(3).unwrap();
        let slot = bench.slot(number);
        bench.device.servers.set_fragmentation(slot, cut);
        // The first one has the most room.
        bench
            .device
            .servers
            .announce(slot, 1000, 100 * number as u32);
    }
    let began_ns = bench.now_ns;
    bench.start_page_out(0, PageIndex(3));
    let mut sent = 0;
    loop {
        match bench.poll() {
            Some(Action::Send(send)) => {
                let send = bench.sent(send);
                bench.now_ns += 50 * US;
                if send.destination == bench.mac(0) {
                    sent += 1;
                    bench.acknowledge_part(&send, Status::Incomplete, FragmentMask::from_bits(4));
                } else {
                    bench.acknowledge(&send, Status::Ok);
                }
            }
            Some(Action::Complete(completion)) => {
                return (sent, bench.now_ns - began_ns, completion.outcome);
            }
            Some(other) => panic!("{other:?}"),
            None => bench.advance(MS),
        }
        if bench.shard.take_suspicion() {
            let usable = bench.device.servers.usable();
            assert!(!usable.contains(bench.slot(0)), "it is suspected");
        }
    }
}

#[test]
fn a_server_that_never_sends_the_page_gets_few_requests() {
    let (sent, took_ns, outcome) = page_out(3);
    assert_eq!(outcome, Outcome::Done);
    assert!((3..40).contains(&sent), "{sent} times");
    assert!(took_ns < 1000 * MS, "{took_ns} ns");
}

#[test]
fn without_another_server_the_page_out_ends_with_the_copies_it_has() {
    let (sent, took_ns, outcome) = page_out(2);
    assert_eq!(outcome, Outcome::Done);
    assert!((3..40).contains(&sent), "{sent} times");
    assert!(took_ns < 1000 * MS, "{took_ns} ns");
}

#[test]
fn a_page_in_leaves_a_server_that_always_sends_the_page_damaged() {
    let mut bench = Bench::new(3);
    bench.device.servers.announce(bench.slot(1), 1000, 100);
    bench.device.servers.announce(bench.slot(2), 1000, 200);
    let began_ns = bench.now_ns;
    bench.start_page_out(0, PageIndex(3));
    let (mut damaged, mut others, mut other_due_ns) = (0, 0, began_ns);
    let outcome = loop {
        if bench.now_ns >= other_due_ns {
            other_due_ns = u64::MAX;
            bench.start_page_out(1, PageIndex(4));
        }
        match bench.poll() {
            Some(Action::Send(send)) => {
                let send = bench.sent(send);
                bench.now_ns += 50 * US;
                let is_first = send.destination == bench.mac(0);
                if is_first && send.header.page == 3 {
                    damaged += 1;
                    bench.acknowledge(&send, Status::Corrupt);
                } else {
                    others += u32::from(is_first);
                    bench.acknowledge(&send, Status::Ok);
                }
            }
            Some(Action::Complete(completion)) if completion.op.index() == 0 => {
                break completion.outcome
            }
            Some(Action::Complete(_)) => other_due_ns = bench.now_ns + 5 * MS,
            Some(other) => panic!("{other:?}"),
            None => bench.advance(MS),
        }
    };
    assert_eq!(outcome, Outcome::Done);
    assert!(others > 10, "it answers what else it is sent: {others}");
    assert!((3..20).contains(&damaged), "{damaged} times");
    let took_ns = bench.now_ns - began_ns;
    assert!(took_ns < 1000 * MS, "{took_ns} ns");
    let holders = bench.device.map.load(PageIndex(3)).replicas();
    assert!(!holders.contains(bench.slot(0)));
}

#[test]
fn a_server_cannot_have_fragments_sent_that_do_not_exist() {
    let mut bench = Bench::new(1);
    let cut = Fragmentation::from_count(3).unwrap();
    bench.device.servers.set_fragmentation(bench.slot(0), cut);
    bench.start_page_out(0, PageIndex(3));
    for mask in [0x80, 0xf0, 0xff, 0x82] {
        let send = bench.wait_for_send();
        let SendPayload::Page { fragments, .. } = send.payload else {
            panic!("{send:?}");
        };
        assert!(fragments.without(cut.all()).is_empty(), "{fragments:?}");
        bench.acknowledge_part(&send, Status::Incomplete, FragmentMask::from_bits(mask));
    }
}
