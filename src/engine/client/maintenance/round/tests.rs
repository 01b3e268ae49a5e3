// SPDX-License-Identifier: GPL-2.0

use super::*;
use crate::engine::client::dirty_chunks::words_for;
use crate::engine::client::maintenance::bench::{cluster, device};
use crate::engine::client::storage::heap::words;
use crate::wire::{Header, MacAddress};

struct Nowhere;

impl Outbox for Nowhere {
    fn send(&mut self, _: MacAddress, _: &Header, _: &[u8]) {}
}

#[test]
fn frees_and_removals_rest_while_the_machine_hibernates() {
    let (mut cluster, device, mut round) = (cluster(), device(), Round::new(1));
    let chunks = DirtyChunks::new(words(words_for(device.map.len())));
    let mut run = |steps: &[Step], left| {
        chunks.mark(PageIndex(0));
        round.begin(&device);
        round.stage = Stage::Free;
        round.with_cluster(0, &mut cluster, &mut Nowhere, &device, &chunks);
        assert_eq!(chunks.count(), left);
        round.stage = Stage::Repair;
        for step in steps {
            assert_eq!(round.next_step(), *step);
        }
    };
    run(&[Step::Repair, Step::Drain, Step::Done], 0);
    device.begin_hibernation();
    run(&[Step::Repair, Step::Done], 1);
    device.end_hibernation(7);
    run(&[Step::Repair, Step::Drain, Step::Done], 0);
}

#[test]
fn a_round_follows_each_jump_of_the_versions_once() {
    let (device, mut round) = (device(), Round::new(1));
    device.versions().jump(7);
    round.begin(&device);
    assert_eq!(round.next_step(), Step::Notify(0));
    round.begin(&device);
    assert_eq!(round.next_step(), Step::Inspect(0));
}

#[test]
fn frames_that_wait_are_due_at_once() {
    let mut round = Round::new(1);
    round.next_ns = 1000;
    assert_eq!(round.next_ns(true), 0);
    assert_eq!(round.next_ns(false), 1000);
}

#[test]
fn a_round_takes_one_inbox_however_many_copies_are_to_be_freed() {
    let (device, mut round) = (device(), Round::new(1));
    for _ in 0..2 {
        round.begin(&device);
        assert_eq!(round.next_step(), Step::Inspect(0));
        round.stage = Stage::Free;
        assert_eq!(round.next_step(), Step::Cluster(INBOX_FRAMES));
        for _ in 0..3 {
            // As after a full batch.
            round.stage = Stage::Stale(0);
            assert_eq!(round.next_step(), Step::Inspect(0));
            round.stage = Stage::Free;
            assert_eq!(round.next_step(), Step::Cluster(0));
        }
    }
}
