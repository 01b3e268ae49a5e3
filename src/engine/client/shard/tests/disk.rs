// SPDX-License-Identifier: GPL-2.0

//! One shard, a mirror, and servers and a disk that the test plays.

mod full_servers;
mod page_in;
mod wait;

use std::vec::Vec;

use super::super::super::ids::{Generation, PageIndex};
use super::super::super::mirror::{DiskIo, Get, Mirror, Policy, Token};
use super::super::super::storage::heap::Heap;
use super::super::{Action, Outcome, Send};
use super::bench::{Bench, MS};
use super::mirroring::{copy, new_mirror, notify, BUFFERS};
use crate::wire::Status;

const PAGE: PageIndex = PageIndex(3);

/// A bench with a disk.
struct Disked {
    bench: Bench,
    mirror: Mirror<Heap>,
    sends: Vec<Send>,
    /// Ops that have ended.
    ended: Vec<(usize, Outcome)>,
    /// The checksum found when the page is copied to a buffer, if it differs from the op's.
    changed: Option<u32>,
}

impl Disked {
    fn new(servers: usize, policy: Policy) -> Self {
        let bench = Bench::new(servers);
        let mirror = new_mirror(policy, &bench.device);
        let mut disked = Self {
            bench,
            mirror,
            sends: Vec::new(),
            ended: Vec::new(),
            changed: None,
        };
        disked.run();
        disked
    }

    /// Carries out the actions of shard and mirror, except for the disk's I/O.
    fn run(&mut self) {
        loop {
            let (bench, mirror) = (&mut self.bench, &mut self.mirror);
            if let Some(action) = bench.poll_with(mirror) {
                match action {
                    Action::Send(send) => {
                        let send = bench.sent(send);
                        self.sends.push(send);
                    }
                    Action::Complete(completion) => {
                        self.ended.push((completion.op.index(), completion.outcome));
                    }
                    other => copy(bench, mirror, other, &mut self.changed),
                }
                continue;
            }
            let Some(event) = mirror.poll_event() else {
                return;
            };
            notify(bench, mirror, event);
        }
    }

    /// The next I/O that is submitted to the disk.
    fn io(&mut self) -> Option<DiskIo> {
        self.run();
        self.mirror.poll(self.bench.now_ns, &self.bench.device)
    }

    fn io_ended(&mut self, io: &DiskIo, ok: bool) {
        self.mirror
            .ended(self.bench.now_ns, io.id, ok, &self.bench.device);
        self.run();
    }

    fn advance(&mut self, ns: u64) {
        self.bench.advance(ns);
        self.mirror
            .handle_timeout(self.bench.now_ns, &self.bench.device);
        self.run();
    }

    fn page_out(&mut self, op: usize, page: PageIndex) {
        self.bench.start_page_out(op, page);
        self.run();
    }

    fn page_in(&mut self, op: usize, page: PageIndex) {
        self.bench.start_page_in(op, page);
        self.run();
    }

    /// The servers answer all requests.
    fn servers_answer(&mut self) {
        for send in core::mem::take(&mut self.sends) {
            match send.header.opcode {
                crate::wire::Opcode::Write => self.bench.acknowledge(&send, Status::Ok),
                _ => self.bench.answer_page(&send, &[0]),
            }
        }
        self.run();
    }

    /// Another shard reads from the disk until there is no buffer left. An I/O that ends frees one.
    fn fill_pool(&mut self) {
        for number in 0..BUFFERS as u32 {
            let page = PageIndex(1000 + 2 * number);
            let generation = write_with_disk(&mut self.bench, page, &[]);
            let reader = Token {
                tag: 1 << 16,
                attempt: 0,
            };
            let device = &self.bench.device;
            let get = self
                .mirror
                .begin_read(page, generation, reader, false, device);
            assert_eq!(get, Get::Queued);
        }
    }

    /// All I/O of the disk ends.
    fn finish_io(&mut self) {
        while let Some(io) = self.io() {
            self.io_ended(&io, true);
        }
    }

    fn ended(&mut self) -> Vec<(usize, Outcome)> {
        core::mem::take(&mut self.ended)
    }

    fn is_on_disk(&self) -> bool {
        self.bench.device.map.load(PAGE).is_on_disk()
    }

    fn lose_server(&mut self, number: usize) {
        let slot = self.bench.slot(number);
        self.bench.device.servers.close(slot);
        self.bench
            .shard
            .servers_changed(self.bench.now_ns, &self.bench.device);
        self.run();
    }
}

#[test]
fn the_disk_follows_the_servers() {
    let mut disked = Disked::new(2, Policy::Lag);
    disked.page_out(0, PAGE);
    assert_eq!(disked.sends.len(), 2);
    assert_eq!(
        disked.mirror.buffered(),
        1,
        "copied while servers are at it"
    );
    disked.advance(5 * MS / 2);
    assert_eq!(disked.io(), None, "not before the page-out has completed");
    disked.servers_answer();
    assert_eq!(disked.ended(), [(0, Outcome::Done)]);
    assert!(!disked.is_on_disk());

    // From the buffer, without a frame.
    disked.page_in(1, PAGE);
    assert_eq!(disked.ended(), [(1, Outcome::Done)]);
    assert!(disked.sends.is_empty());

    disked.advance(3 * MS);
    let io = disked.io().unwrap();
    disked.io_ended(&io, true);
    assert!(disked.is_on_disk() && disked.mirror.is_idle());

    // It is on the disk, but servers are quicker.
    disked.page_in(1, PAGE);
    assert_eq!(disked.sends.len(), 1);
    disked.servers_answer();
    assert_eq!(disked.ended(), [(1, Outcome::Done)]);
}

#[test]
fn the_disk_replaces_a_missing_server() {
    let mut disked = Disked::new(1, Policy::Lag);
    disked.page_out(0, PAGE);
    disked.servers_answer();
    assert_eq!(disked.ended(), []);
    let io = disked.io().expect("at once");
    disked.io_ended(&io, true);
    assert_eq!(disked.ended(), [(0, Outcome::Done)]);
    assert!(disked.is_on_disk());
    let entry = disked.bench.device.map.load(PAGE);
    assert_eq!(entry.replicas().len(), 1);
    assert!(disked.mirror.is_idle());
    assert_eq!(disked.bench.shard.counters().local_out, 1);
}

#[test]
fn without_servers_the_disk_serves_all_requests() {
    let mut disked = Disked::new(0, Policy::Off);
    disked.page_out(0, PAGE);
    let io = disked.io().unwrap();
    disked.io_ended(&io, true);
    assert_eq!(disked.ended(), [(0, Outcome::Done)]);
    disked.page_in(1, PAGE);
    let io = disked.io().unwrap();
    assert!(!io.is_write);
    disked.io_ended(&io, true);
    assert_eq!(disked.ended(), [(1, Outcome::Done)]);
    assert_eq!(disked.bench.shard.counters().local_in, 1);
    assert!(disked.mirror.is_idle());

    // Every copy is lost when the disk cannot read it.
    disked.page_in(1, PAGE);
    for _ in 0..3 {
        let io = disked.io().unwrap();
        disked.io_ended(&io, false);
        disked.advance(100 * MS);
    }
    assert_eq!(disked.ended(), [(1, Outcome::Failed)]);
}

#[test]
fn a_server_lost_half_way_makes_the_disk_waited_for() {
    let mut disked = Disked::new(2, Policy::Lag);
    disked.page_out(0, PAGE);
    assert_eq!(disked.io(), None);
    disked.lose_server(1);
    assert_eq!(disked.io(), None, "server 0 has not answered");
    disked.servers_answer();
    assert_eq!(disked.ended(), []);
    let io = disked.io().expect("waited for now");
    disked.io_ended(&io, true);
    assert_eq!(disked.ended(), [(0, Outcome::Done)]);
    assert!(disked.is_on_disk());
}

#[test]
fn a_disk_that_is_off_is_waited_for_when_a_server_is_full() {
    let mut disked = Disked::new(2, Policy::Off);
    disked.page_out(0, PAGE);
    assert!(disked.mirror.is_idle());
    let send = disked.sends.pop().unwrap();
    disked.bench.acknowledge(&send, Status::NoSpace);
    disked.servers_answer();
    assert_eq!(disked.ended(), []);
    let io = disked.io().unwrap();
    disked.io_ended(&io, true);
    assert_eq!(disked.ended(), [(0, Outcome::Done)]);
    assert!(disked.is_on_disk());
}

#[test]
fn a_page_out_ends_only_after_its_page_has_been_copied() {
    let mut disked = Disked::new(2, Policy::Lag);
    disked.bench.start_page_out(0, PAGE);
    let mut fill = None;
    // Copying takes long; meanwhile the I/O timeout is out.
    for _ in 0..610 {
        while let Some(action) = disked.bench.poll_with(&mut disked.mirror) {
            match action {
                Action::Send(send) => {
                    disked.bench.sent(send);
                }
                Action::FillBuffer(_) if fill.is_none() => fill = Some(action),
                other => panic!("{other:?}"),
            }
        }
        disked.bench.advance(100 * MS);
    }
    assert!(disked.bench.device.map.load(PAGE).is_busy());
    let (bench, mirror) = (&mut disked.bench, &mut disked.mirror);
    copy(bench, mirror, fill.unwrap(), &mut disked.changed);
    disked.run();
    assert_eq!(disked.ended(), [(0, Outcome::Failed)]);
    assert!(disked.mirror.is_idle());
}

#[test]
fn a_disk_that_fails_fails_no_page_out() {
    let mut disked = Disked::new(1, Policy::Lag);
    disked.page_out(0, PAGE);
    disked.servers_answer();
    for _ in 0..3 {
        let io = disked.io().unwrap();
        assert_eq!(disked.ended(), []);
        disked.io_ended(&io, false);
        disked.advance(100 * MS);
    }
    assert_eq!(disked.ended(), [(0, Outcome::Done)]);
    assert!(!disked.is_on_disk() && disked.mirror.is_idle());
}

#[test]
fn a_disk_that_hangs_is_not_waited_for_longer_than_its_io_timeout() {
    let mut disked = Disked::new(1, Policy::Lag);
    disked.page_out(0, PAGE);
    disked.servers_answer();
    let io = disked.io().unwrap();
    // In steps too short to be taken for a stop.
    for _ in 0..41 {
        disked.advance(249 * MS);
    }
    assert_eq!(disked.ended(), [(0, Outcome::Done)]);
    assert!(!disked.is_on_disk() && disked.mirror.has_timed_out());
    // Meanwhile requests behave as if there were no disk.
    disked.page_out(0, PAGE);
    disked.servers_answer();
    assert_eq!(disked.ended(), [(0, Outcome::Done)]);
    // An I/O that ends late is older than what has come since.
    disked.io_ended(&io, true);
    assert!(!disked.is_on_disk() && disked.mirror.is_idle());
    assert!(disked.bench.device.disk.load().is_usable());
}

#[test]
fn with_only_a_disk_that_hangs_requests_end_after_the_io_timeout() {
    let mut disked = Disked::new(0, Policy::Lag);
    disked.page_out(0, PAGE);
    assert!(disked.io().is_some());
    let mut waited_ns = 0;
    while disked.ended.is_empty() {
        disked.advance(100 * MS);
        waited_ns += 100 * MS;
    }
    assert_eq!(disked.ended(), [(0, Outcome::Failed)]);
    assert_eq!(waited_ns, 60_000 * MS);
    assert!(!disked.bench.device.map.load(PAGE).is_busy());
}

#[test]
fn a_page_changed_while_it_is_copied() {
    // Two servers hold the old contents, so the disk does not need them.
    let mut disked = Disked::new(2, Policy::Lag);
    disked.changed = Some(1);
    disked.page_out(0, PAGE);
    disked.servers_answer();
    assert_eq!(disked.ended(), [(0, Outcome::Done)]);
    assert!(disked.mirror.is_idle());

    // The disk is needed: all copies are of the new contents.
    let mut disked = Disked::new(1, Policy::Lag);
    disked.changed = Some(1);
    disked.page_out(0, PAGE);
    let first = disked.sends.first().unwrap().header.version;
    assert_eq!(disked.bench.shard.counters().pages_changed, 1);
    let again = disked.sends.pop().unwrap();
    assert!(again.header.version > first);
    assert_eq!(again.header.payload_crc, 1);
    disked.bench.acknowledge(&again, Status::Ok);
    let io = disked.io().unwrap();
    disked.io_ended(&io, true);
    assert_eq!(disked.ended(), [(0, Outcome::Done)]);
    assert!(disked.is_on_disk());
}

#[test]
fn a_page_out_that_its_servers_acknowledge_before_the_disk_is_asked_does_not_wait_for_the_disk() {
    let mut disked = Disked::new(2, Policy::Strict);
    disked.page_out(0, PAGE);
    assert_eq!(disked.mirror.buffered(), 1);
    // The servers are late, so the disk is to be asked. Their answers come to another CPU first.
    disked.bench.advance(200 * MS);
    disked.servers_answer();
    assert_eq!(disked.ended(), [(0, Outcome::Done)]);
    // The mirror knows that the page-out has ended, and writes the page.
    disked.advance(200 * MS);
    let io = disked.io().expect("the page is written");
    disked.io_ended(&io, true);
    assert_eq!(disked.mirror.buffered(), 0);
}

/// Enters the disk and these servers as the page's holders.
fn write_with_disk(bench: &mut Bench, page: PageIndex, servers: &[usize]) -> Generation {
    let generation = bench.write(page, servers).generation();
    assert!(bench.device.mark_on_disk(page, generation));
    generation
}
