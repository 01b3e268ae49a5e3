// SPDX-License-Identifier: GPL-2.0

//! One shard, a mirror, and servers and a disk that the test plays.

use std::vec::Vec;

use super::super::super::ids::PageIndex;
use super::super::super::mirror::{DiskIo, Mirror, Policy, Way};
use super::super::super::storage::heap::Heap;
use super::super::{Action, AskAnswer, DiskRead, DiskTurn, DiskWork, Outcome, PutAnswer, Send};
use super::bench::{Bench, MS};
use super::mirroring::{do_work, new_mirror, notify, BUFFERS};
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
            if let Some(action) = self.bench.poll() {
                match action {
                    Action::Send(id) => {
                        let send = self.bench.sent(id);
                        self.sends.push(send);
                    }
                    Action::Complete(completion) => {
                        self.ended.push((completion.op, completion.outcome));
                    }
                    Action::Disk(work) => {
                        do_work(&mut self.bench, &mut self.mirror, work, &mut self.changed);
                    }
                }
                continue;
            }
            let Some(event) = self.mirror.poll_event() else {
                return;
            };
            notify(&mut self.bench, &mut self.mirror, event);
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
fn the_disk_stands_in_for_a_missing_server() {
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
fn without_servers_the_disk_does_it_all() {
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
fn a_page_out_ends_only_after_the_mirror_has_heard_of_it() {
    let mut disked = Disked::new(2, Policy::Lag);
    disked.bench.start_page_out(0, PAGE);
    let mut write = None;
    while let Some(action) = disked.bench.poll() {
        match action {
            Action::Send(id) => {
                disked.bench.sent(id);
            }
            Action::Disk(DiskWork::Write(found)) => write = Some(found),
            other => panic!("{other:?}"),
        }
    }
    // The CPU that is to notify the mirror is slow; meanwhile the I/O timeout passes.
    for _ in 0..610 {
        disked.bench.advance(100 * MS);
        while let Some(action) = disked.bench.poll() {
            let Action::Send(id) = action else {
                panic!("{action:?}");
            };
            disked.bench.sent(id);
        }
    }
    assert!(disked.bench.device.map.load(PAGE).is_busy());
    let work = DiskWork::Write(write.unwrap());
    do_work(
        &mut disked.bench,
        &mut disked.mirror,
        work,
        &mut disked.changed,
    );
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
    assert!(!disked.is_on_disk() && disked.mirror.has_abandoned());
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
fn with_nothing_but_a_disk_that_hangs_requests_end_with_the_io_timeout() {
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
fn a_full_pool_lags_or_holds_back() {
    for policy in [Policy::Lag, Policy::Strict] {
        let mut disked = Disked::new(2, policy);
        let mut ended = 0;
        for page in 0..BUFFERS as u32 {
            disked.page_out(0, PageIndex(10 + 2 * page));
            disked.servers_answer();
            if disked.ended().is_empty() {
                break;
            }
            ended += 1;
        }
        if policy == Policy::Lag {
            assert_eq!(ended, BUFFERS);
            assert_eq!(disked.mirror.counters().pool_full, BUFFERS as u64 / 8);
            continue;
        }
        assert_eq!(ended, BUFFERS - BUFFERS / 8);
        let io = disked.io().unwrap();
        assert_eq!(disked.ended(), []);
        disked.io_ended(&io, true);
        assert_eq!(disked.ended(), [(0, Outcome::Done)]);
    }
}

#[test]
fn no_page_out_is_passed_by_those_that_come_later() {
    let mut disked = Disked::new(2, Policy::Strict);
    let mut page = PAGE.0;
    let mut begin = |disked: &mut Disked, op: usize| {
        page += 2;
        disked.bench.start_page_out(op, PageIndex(page));
    };
    loop {
        begin(&mut disked, 0);
        disked.run();
        disked.servers_answer();
        if disked.ended().is_empty() {
            break;
        }
    }
    // The first waits for room. From now on another arrives each time just when there is some.
    let mut order = Vec::new();
    for op in 1..20 {
        let io = disked.io().unwrap();
        begin(&mut disked, op);
        let now_ns = disked.bench.now_ns;
        disked
            .mirror
            .ended(now_ns, io.id, true, &disked.bench.device);
        disked.run();
        disked.servers_answer();
        order.extend(disked.ended().iter().map(|(op, _)| *op));
    }
    assert_eq!(order, (0..19).collect::<Vec<_>>());
}

#[test]
fn a_page_changed_while_it_is_copied() {
    // Two servers hold the old contents: the disk does without.
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
fn a_page_in_goes_to_the_disk_when_its_server_falls_silent() {
    let mut disked = Disked::new(1, Policy::Lag);
    disked.page_out(0, PAGE);
    disked.servers_answer();
    let io = disked.io().unwrap();
    disked.io_ended(&io, true);
    disked.ended();
    disked.page_in(1, PAGE);
    assert_eq!(disked.sends.len(), 1);
    let mut io = None;
    for _ in 0..1000 {
        disked.advance(MS);
        io = disked.io();
        if io.is_some() {
            break;
        }
    }
    disked.io_ended(&io.unwrap(), true);
    assert_eq!(disked.ended(), [(1, Outcome::Done)]);
}

#[test]
fn a_page_in_takes_a_server_that_comes_back_while_the_disk_hangs() {
    let mut disked = Disked::new(1, Policy::Lag);
    disked.page_out(0, PAGE);
    disked.servers_answer();
    let io = disked.io().unwrap();
    disked.io_ended(&io, true);
    disked.ended();
    let slot = disked.bench.slot(0);
    assert!(disked.bench.device.servers.suspect(slot));
    disked.page_in(1, PAGE);
    assert!(disked.sends.is_empty());
    let io = disked.io().unwrap();
    disked.bench.device.servers.set_usable(slot, true);
    let now_ns = disked.bench.now_ns;
    disked
        .bench
        .shard
        .servers_changed(now_ns, &disked.bench.device);
    disked.run();
    disked.servers_answer();
    assert_eq!(disked.ended(), [(1, Outcome::Done)]);
    // The page-in no longer waits.
    disked.io_ended(&io, true);
    assert_eq!(disked.ended(), []);
    assert!(disked.mirror.is_idle());
}

#[test]
fn detaching_gives_buffers_back_that_page_outs_hold() {
    let mut disked = Disked::new(2, Policy::Lag);
    disked.page_out(0, PAGE);
    assert_eq!(disked.mirror.buffered(), 1);
    disked.mirror.begin_detach(&disked.bench.device);
    disked.run();
    assert!(disked.mirror.is_idle());
    assert_eq!(disked.mirror.finish_detach(&disked.bench.device), Ok(()));
    disked.servers_answer();
    assert_eq!(disked.ended(), [(0, Outcome::Done)]);
    assert!(!disked.bench.device.disk.load().is_tracked());
}

#[test]
fn a_page_in_waits_while_it_is_open_whether_the_disk_that_has_its_page_is_detached() {
    for is_cancelled in [true, false] {
        let mut disked = Disked::new(0, Policy::Off);
        disked.page_out(0, PAGE);
        let io = disked.io().unwrap();
        disked.io_ended(&io, true);
        assert_eq!(disked.ended(), [(0, Outcome::Done)]);
        disked.mirror.begin_detach(&disked.bench.device);
        disked.run();
        disked.page_in(1, PAGE);
        disked.advance(100 * MS);
        assert_eq!(disked.ended(), []);
        if is_cancelled {
            // The page needs the disk.
            disked.mirror.cancel_detach(&disked.bench.device);
            disked.advance(100 * MS);
            let io = disked.io().expect("the disk is asked");
            disked.io_ended(&io, true);
            assert_eq!(disked.ended(), [(1, Outcome::Done)]);
        } else {
            // By force.
            assert_eq!(disked.mirror.finish_detach(&disked.bench.device), Ok(()));
            disked.advance(100 * MS);
            assert_eq!(disked.ended(), [(1, Outcome::Failed)]);
        }
    }
}

#[test]
fn a_page_in_that_waits_for_the_disk_alone_follows_a_shorter_io_timeout() {
    const SECOND: u64 = 1000 * MS;
    let mut disked = Disked::new(0, Policy::Off);
    disked.page_out(0, PAGE);
    let io = disked.io().unwrap();
    disked.io_ended(&io, true);
    disked.ended();
    disked.page_in(1, PAGE);
    disked.io().expect("it never ends");
    disked.bench.device.set_io_timeout_ns(2000 * MS);
    for _ in 0..19 {
        disked.advance(SECOND / 10);
        assert_eq!(disked.ended(), []);
    }
    disked.advance(SECOND / 10);
    assert_eq!(disked.ended(), [(1, Outcome::Failed)]);
}

#[test]
fn a_page_in_whose_io_timeout_is_out_reads_what_the_disk_has_got_meanwhile() {
    let mut disked = Disked::new(1, Policy::Lag);
    let version = disked.bench.write(PAGE, &[0]);
    // The server that was asked does not answer. Meanwhile repair has copied the page to the disk.
    disked.page_in(1, PAGE);
    let map = &disked.bench.device.map;
    assert!(map.mark_on_disk(PAGE, version.generation()));
    disked.bench.device.set_io_timeout_ns(MS);
    disked.advance(200 * MS);
    let io = disked.io().expect("the disk is asked");
    disked.advance(MS / 2);
    assert_eq!(disked.ended(), []);
    disked.io_ended(&io, true);
    assert_eq!(disked.ended(), [(1, Outcome::Done)]);
}

#[test]
fn a_page_in_exceeds_its_io_timeout_by_no_more_than_a_look() {
    let mut disked = Disked::new(1, Policy::Lag);
    let version = disked.bench.write(PAGE, &[0]);
    disked.page_in(1, PAGE);
    let map = &disked.bench.device.map;
    assert!(map.mark_on_disk(PAGE, version.generation()));
    disked.bench.device.set_io_timeout_ns(200 * MS);
    disked.advance(200 * MS);
    disked.io().expect("the disk is asked");
    // The disk does not answer either.
    disked.advance(124 * MS);
    assert_eq!(disked.ended(), []);
    disked.advance(MS);
    assert_eq!(disked.ended(), [(1, Outcome::Failed)]);
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

#[test]
fn room_that_comes_before_it_is_heard_that_there_is_none_is_not_missed() {
    let mut bench = Bench::new(0);
    let _mirror = new_mirror(Policy::Lag, &bench.device);
    bench.start_page_out(0, PAGE);
    let Some(Action::Disk(DiskWork::Write(write))) = bench.poll() else {
        panic!("the disk is not asked");
    };
    // The mirror is asked without the shard's lock: first it has no room, then it has.
    let now_ns = bench.now_ns;
    bench.shard.disk_turn(Way::Out);
    let answer = PutAnswer::Full;
    bench.shard.disk_put(now_ns, &write, answer, &bench.device);
    let passed = bench.poll();
    assert_eq!(passed, Some(Action::Disk(DiskWork::PassTurn(0, Way::Out))));
    let again = bench.poll();
    assert!(
        matches!(again, Some(Action::Disk(DiskWork::Write(_)))),
        "{again:?}"
    );
    // Without such an event it waits for its turn.
    bench.shard.disk_put(now_ns, &write, answer, &bench.device);
    assert_eq!(bench.poll(), None);
    bench.shard.disk_turn(Way::Out);
    let Some(Action::Disk(DiskWork::Write(write))) = bench.poll() else {
        panic!("it has its turn");
    };
    assert_eq!(write.turn, Some(DiskTurn { others: false }));
}

#[test]
fn a_page_out_that_hears_late_of_no_room_stands_behind_those_that_wait() {
    let mut bench = Bench::new(0);
    let _mirror = new_mirror(Policy::Lag, &bench.device);
    let next = |bench: &mut Bench| match bench.poll() {
        Some(Action::Disk(DiskWork::Write(write))) => write,
        other => panic!("{other:?}"),
    };
    let asked: Vec<_> = (0..3)
        .map(|op| {
            bench.start_page_out(op, PageIndex(op as u32));
            next(&mut bench)
        })
        .collect();
    let (now_ns, answer) = (bench.now_ns, PutAnswer::Full);
    for write in &asked[..2] {
        bench.shard.disk_put(now_ns, write, answer, &bench.device);
    }
    bench.shard.disk_turn(Way::Out);
    bench
        .shard
        .disk_put(now_ns, &asked[2], answer, &bench.device);
    for op in 0..3 {
        let write = next(&mut bench);
        assert_eq!(write.op, op);
        assert_eq!(write.turn, Some(DiskTurn { others: op != 2 }));
        assert_eq!(bench.poll(), None);
        let answer = PutAnswer::Copied;
        bench.shard.disk_put(now_ns, &write, answer, &bench.device);
        bench.shard.disk_turn(Way::Out);
    }
}

/// The next page that a page-in requests from the disk; frames to servers are dropped.
fn next_ask(bench: &mut Bench) -> Option<DiskRead> {
    while let Some(action) = bench.poll() {
        match action {
            Action::Send(id) => {
                bench.sent(id);
            }
            Action::Disk(DiskWork::Read(read)) => return Some(read),
            other => panic!("{other:?}"),
        }
    }
    None
}

/// Enters the disk and these servers as the page's holders.
fn write_with_disk(bench: &mut Bench, page: PageIndex, servers: &[usize]) {
    let version = bench.write(page, servers);
    bench.device.mark_on_disk(page, version.generation());
}

#[test]
fn a_page_in_that_waits_for_a_server_hears_that_the_disk_has_room() {
    let mut bench = Bench::new(1);
    let _mirror = new_mirror(Policy::Lag, &bench.device);
    write_with_disk(&mut bench, PAGE, &[0]);
    bench.start_page_in(0, PAGE);
    assert_eq!(next_ask(&mut bench), None, "the server is asked first");
    let read = (0..1000).find_map(|_| {
        bench.advance(MS);
        next_ask(&mut bench)
    });
    let (read, now_ns) = (read.expect("the server does not answer"), bench.now_ns);
    let answer = AskAnswer::Full;
    bench.shard.disk_asked(now_ns, &read, answer, &bench.device);
    assert_eq!(next_ask(&mut bench), None);
    bench.shard.disk_turn(Way::In);
    let read = next_ask(&mut bench).unwrap();
    assert_eq!((read.op, read.turn), (0, Some(DiskTurn { others: false })));
}

#[test]
fn the_page_in_that_has_waited_longest_for_room_gets_it_first() {
    let mut bench = Bench::new(0);
    let _mirror = new_mirror(Policy::Lag, &bench.device);
    let start = |bench: &mut Bench, op: usize| {
        write_with_disk(bench, PageIndex(op as u32), &[]);
        bench.start_page_in(op, PageIndex(op as u32));
        next_ask(bench)
    };
    let read = start(&mut bench, 0).unwrap();
    let now_ns = bench.now_ns;
    bench
        .shard
        .disk_asked(now_ns, &read, AskAnswer::Full, &bench.device);
    // Later page-ins do not ask before those that wait, nor when they are retried.
    for op in 1..4 {
        assert_eq!(start(&mut bench, op), None);
    }
    bench.advance(100 * MS);
    assert_eq!(next_ask(&mut bench), None);
    for op in 0..4 {
        bench.shard.disk_turn(Way::In);
        let read = next_ask(&mut bench).unwrap();
        let turn = DiskTurn { others: op != 3 };
        assert_eq!((read.op, read.turn), (op, Some(turn)));
        bench
            .shard
            .disk_asked(now_ns, &read, AskAnswer::Queued, &bench.device);
        assert_eq!(next_ask(&mut bench), None);
    }
    // None waits any more: the next one asks at once.
    let read = start(&mut bench, 4).unwrap();
    assert_eq!((read.op, read.turn), (4, None));
}

#[test]
fn a_page_in_that_has_ended_keeps_no_turn() {
    let mut bench = Bench::new(0);
    let _mirror = new_mirror(Policy::Lag, &bench.device);
    for op in 0..2 {
        write_with_disk(&mut bench, PageIndex(op as u32), &[]);
        bench.start_page_in(op, PageIndex(op as u32));
    }
    let (read, now_ns) = (next_ask(&mut bench).unwrap(), bench.now_ns);
    let answer = AskAnswer::Full;
    bench.shard.disk_asked(now_ns, &read, answer, &bench.device);
    let read = next_ask(&mut bench).unwrap();
    bench.shard.disk_asked(now_ns, &read, answer, &bench.device);
    bench.shard.give_up_all(&bench.device);
    while let Some(action) = bench.poll() {
        assert!(matches!(action, Action::Complete(_)), "{action:?}");
    }
    bench.shard.disk_turn(Way::In);
    let passed = bench.poll();
    assert_eq!(passed, Some(Action::Disk(DiskWork::PassTurn(0, Way::In))));
    assert_eq!(bench.poll(), None);
    bench.start_page_in(1, PageIndex(1));
    let read = next_ask(&mut bench).unwrap();
    assert_eq!((read.op, read.turn), (1, None));
}

#[test]
fn a_page_in_does_not_miss_room_that_comes_before_it_hears_that_there_is_none() {
    let mut bench = Bench::new(0);
    let _mirror = new_mirror(Policy::Lag, &bench.device);
    write_with_disk(&mut bench, PAGE, &[]);
    bench.start_page_in(0, PAGE);
    let (read, now_ns) = (next_ask(&mut bench).unwrap(), bench.now_ns);
    bench.shard.disk_turn(Way::In);
    let answer = AskAnswer::Full;
    bench.shard.disk_asked(now_ns, &read, answer, &bench.device);
    let passed = bench.poll();
    assert_eq!(passed, Some(Action::Disk(DiskWork::PassTurn(0, Way::In))));
    let read = next_ask(&mut bench).expect("there may be room");
    bench.shard.disk_asked(now_ns, &read, answer, &bench.device);
    assert_eq!(next_ask(&mut bench), None);
}

/// A page-out that the server has no room for, and that the disk may accept only later.
fn page_out_without_room(disked: &mut Disked) {
    disked.page_out(0, PAGE);
    for send in core::mem::take(&mut disked.sends) {
        disked.bench.acknowledge(&send, Status::NoSpace);
    }
    for _ in 0..20 {
        disked.advance(100 * MS);
        assert_eq!(disked.ended(), []);
        disked.sends.clear();
    }
}

#[test]
fn a_page_out_that_full_servers_refuse_waits_for_a_disk_that_may_be_kept_after_all() {
    let mut disked = Disked::new(1, Policy::Lag);
    disked.mirror.pause(&disked.bench.device);
    disked.run();
    assert!(!disked.mirror.is_usable() && !disked.mirror.has_failed());
    page_out_without_room(&mut disked);
    disked.mirror.resume(&disked.bench.device);
    let io = disked.io().unwrap();
    disked.io_ended(&io, true);
    assert_eq!(disked.ended(), [(0, Outcome::Done)]);

    // It is detached: there is no room anywhere.
    disked.mirror.pause(&disked.bench.device);
    disked.run();
    disked.page_out(1, PageIndex(9));
    assert_eq!(disked.ended(), []);
    disked.mirror.begin_detach(&disked.bench.device);
    disked.run();
    assert_eq!(disked.ended(), [], "it may still stay");
    disked.mirror.finish_detach(&disked.bench.device).unwrap();
    disked.advance(100 * MS);
    assert_eq!(disked.ended(), [(1, Outcome::NoSpace)]);
    // The next disk starts from scratch.
    disked.mirror.attach(&disked.bench.device).unwrap();
    assert!(disked.mirror.is_usable());
}

#[test]
fn a_page_out_without_servers_waits_for_a_disk_that_may_be_kept_after_all() {
    let mut disked = Disked::new(1, Policy::Lag);
    disked.lose_server(0);
    disked.bench.device.servers.set_hoped(0);
    disked.mirror.pause(&disked.bench.device);
    disked.run();
    page_out_without_room(&mut disked);
    disked.mirror.resume(&disked.bench.device);
    let io = disked.io().unwrap();
    disked.io_ended(&io, true);
    assert_eq!(disked.ended(), [(0, Outcome::Done)]);
}

#[test]
fn a_page_out_that_full_servers_refuse_does_not_wait_for_a_disk_that_has_failed() {
    let mut disked = Disked::new(1, Policy::Lag);
    disked.mirror.mark_faulty(&disked.bench.device);
    disked.run();
    disked.bench.device.servers.set_full(disked.bench.slot(0));
    disked.page_out(0, PAGE);
    assert_eq!(disked.ended(), [(0, Outcome::NoSpace)]);
}

#[test]
fn a_page_out_that_full_servers_refuse_waits_for_a_disk_that_does_not_answer_now() {
    let mut disked = Disked::new(1, Policy::Lag);
    disked.bench.write(PageIndex(9), &[0]);
    disked.page_out(0, PageIndex(9));
    disked.servers_answer();
    disked.advance(3 * MS);
    let silent = disked.io().unwrap();
    for _ in 0..200 {
        disked.advance(100 * MS);
    }
    assert!(disked.mirror.has_abandoned());
    disked.ended();
    page_out_without_room(&mut disked);
    disked.io_ended(&silent, true);
    let io = disked.io().unwrap();
    disked.io_ended(&io, true);
    assert_eq!(disked.ended(), [(0, Outcome::Done)]);
}
