// SPDX-License-Identifier: GPL-2.0

//! An op to whose page a fragment is being copied.

use super::super::super::disk_port::DiskPort;
use super::super::super::ids::PageIndex;
use super::super::super::mirror::{Mirror, Policy, Put};
use super::super::super::storage::heap::Heap;
use super::super::{Action, Outcome, Received};
use super::bench::Bench;
use super::mirroring::{copy, new_mirror};
use crate::wire::Fragmentation;

const PAGE: PageIndex = PageIndex(3);

/// A port that ends a shard's endless calls.
struct Counted<'a> {
    mirror: &'a mut Mirror<Heap>,
    calls: u32,
}

impl DiskPort<Heap> for Counted<'_> {
    fn call<R>(&mut self, call: impl FnOnce(&mut Mirror<Heap>) -> R) -> Option<R> {
        self.calls += 1;
        assert!(self.calls < 10, "the shard calls the mirror endlessly");
        Some(call(self.mirror))
    }
}

#[test]
fn a_fragment_that_came_during_a_claim_is_requested_when_the_claim_ends() {
    let mut bench = Bench::new(1);
    bench
        .device
        .servers
        .set_fragmentation(bench.slot(0), Fragmentation::for_mtu(1500).unwrap());
    bench.write(PAGE, &[0]);
    bench.start_page_in(0, PAGE);
    let send = bench.next_send();
    let receive = bench.begin_answer(&send);
    bench.answer_page(&send, &[2]);
    assert_eq!(bench.poll(), None);
    bench
        .shard
        .received(bench.now_ns, &receive, Received::Copied, &bench.device);
    let again = bench.next_send();
    assert_eq!(again.header.fragment_mask.bits(), 1 << 2);
    bench.answer_page(&send, &[1]);
    assert_eq!(bench.poll(), None);
    bench.answer_page(&again, &[2]);
    assert_eq!(bench.next_completion().outcome, Outcome::Done);
}

#[test]
fn a_buffer_for_a_claimed_op_is_asked_for_again_when_the_claim_ends() {
    let mut bench = Bench::new(1);
    let mirror = &mut new_mirror(Policy::Lag, &bench.device);
    // The page is on the disk, and a buffer holds it too.
    let version = bench.write(PAGE, &[0]);
    let put = mirror.begin_copy(PAGE, version, &bench.device);
    assert!(matches!(put, Put::Buffer(_)), "{put:?}");
    mirror.settle(bench.now_ns, PAGE, version, true, &bench.device);
    assert!(bench.device.mark_on_disk(PAGE, version.generation()));
    bench.start_page_in(0, PAGE);
    let Some(Action::Send(send)) = bench.poll_with(mirror) else {
        panic!("the server is asked first");
    };
    let send = bench.sent(send);
    let receive = bench.begin_answer(&send);
    // The server is lost while its fragment is being copied, so the mirror is asked.
    bench.device.servers.close(bench.slot(0));
    let (now_ns, device) = (bench.now_ns, &bench.device);
    bench.shard.servers_changed(now_ns, device);
    let port = &mut Counted { mirror, calls: 0 };
    assert_eq!(bench.shard.poll(now_ns, port, device), None);
    bench
        .shard
        .received(now_ns, &receive, Received::Copied, device);
    let Some(read @ Action::ReadBuffer(_)) = bench.shard.poll(now_ns, port, device) else {
        panic!("the buffer is not copied");
    };
    copy(&mut bench, mirror, read, &mut None);
    let Some(Action::Complete(completion)) = bench.poll_with(mirror) else {
        panic!("it does not end");
    };
    assert_eq!(completion.outcome, Outcome::Done);
}
