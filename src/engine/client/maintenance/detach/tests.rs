// SPDX-License-Identifier: GPL-2.0

use super::super::bench::{cluster, device, Ones};
use super::super::removal_need::ServerNeed;
use super::*;
use crate::engine::client::cluster::PING_LEN;
use crate::engine::client::ids::{PageIndex, ServerSlot};
use crate::engine::client::mirror::{self, Buffer, Head, Io};
use crate::engine::client::storage::heap::Heap;
use crate::wire::{Frame, Header, HelloAck, MacAddress, Opcode, Status};

use std::boxed::Box;

use zerocopy::IntoBytes;

const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const PAGE: PageIndex = PageIndex(1);
const INCARNATION: u64 = 5;

/// The last frame that was sent.
#[derive(Default)]
struct Last(Option<Header>);

impl Outbox for Last {
    fn send(&mut self, _: MacAddress, header: &Header, payload: &[u8]) {
        // A longer PING asks for the path MTU.
        if header.opcode != Opcode::Ping || payload.len() == PING_LEN {
            self.0 = Some(*header);
        }
    }
}

/// A disk and a server that both have one page.
struct Bench {
    cluster: Box<Cluster<Heap, Ones>>,
    device: Box<SwapDevice<Heap>>,
    mirror: Box<Mirror<Heap>>,
    last: Last,
    slot: ServerSlot,
    now_ns: u64,
}

impl Bench {
    fn new() -> Self {
        let (mut cluster, (device, mirror)) = (cluster(), disk());
        let mut last = Last::default();
        let slot = cluster.add(0, MAC, &device.servers).unwrap();
        cluster.handle_timeout(0, &device.servers, |_| 0, &mut last);
        let mut bench = Self {
            cluster,
            device,
            mirror,
            last,
            slot,
            now_ns: 1,
        };
        for status in [Status::Cookie, Status::Ok] {
            bench.answer(Opcode::HelloAck, status, INCARNATION);
        }
        bench.now_ns += 1;
        let map = &bench.device.map;
        let begun = map.begin_write(PAGE).unwrap();
        let version = bench.device.take_version();
        map.finish_write(PAGE, begun, version, SlotSet::one(slot), true);
        bench
    }

    /// The server answers the last frame that was sent.
    fn answer(&mut self, opcode: Opcode, status: Status, incarnation: u64) {
        let mut header = self.last.0.take().unwrap().answer(opcode, status);
        header.incarnation = incarnation;
        let ack = HelloAck {
            cookie: 99.into(),
            quota_pages: 1000.into(),
            held_pages: 0.into(),
            lease_s: 10.into(),
            reserved: 0.into(),
        };
        let payload = match opcode {
            Opcode::HelloAck => ack.as_bytes(),
            _ => &[],
        };
        let (table, frame) = (&self.device.servers, Frame { header, payload });
        self.cluster
            .handle_frame(self.now_ns, MAC, &frame, table, &mut self.last);
    }

    /// Detaches the disk. `then` happens after each step.
    fn detach(&mut self, mut then: impl FnMut(&mut Self, &mut Detach, Step)) -> Step {
        let mut detach = Detach::new(false);
        for _ in 0..10_000 {
            let step = detach.next_step();
            let (now_ns, device) = (self.now_ns, &self.device);
            match step {
                Step::Mirror => detach.with_mirror(now_ns, &mut self.mirror, device, true),
                Step::Walk => detach.walk(device, 2),
                Step::Cluster => {
                    detach.with_cluster(now_ns, &mut self.cluster, &mut self.last, device);
                }
                Step::Shards => {}
                Step::Wait(ns) => {
                    self.now_ns += ns;
                    let (table, last) = (&device.servers, &mut self.last);
                    self.cluster.handle_timeout(self.now_ns, table, |_| 0, last);
                }
                Step::Done(_) => return step,
            }
            then(self, &mut detach, step);
        }
        panic!("no end");
    }

    /// The disk is kept with its page.
    fn assert_kept(&self) {
        assert!(self.mirror.is_attached() && self.mirror.is_usable());
        assert!(self.device.map.load(PAGE).is_on_disk());
    }
}

/// A device with an attached disk.
fn disk() -> (Box<SwapDevice<Heap>>, Box<Mirror<Heap>>) {
    let device = device();
    let parts = mirror::Parts {
        buffers: std::vec![Buffer::default(); 64],
        heads: std::vec![Head::default(); 64],
        ios: std::vec![Io::default(); 4],
    };
    let mut mirror = Box::new(Mirror::<Heap>::new(mirror::Config::default(), parts));
    mirror.attach(&device).unwrap();
    (device, mirror)
}

#[test]
fn a_disk_is_detached_when_the_server_has_confirmed_that_it_has_the_page() {
    let mut bench = Bench::new();
    let need = |bench: &Bench| {
        let (table, disk) = (&bench.device.servers, bench.device.disk.load());
        ServerNeed::at_once(bench.slot, table, disk, SlotSet::ALL)
    };
    let is_valid = |bench: &Bench, need: &ServerNeed| {
        need.is_valid(&bench.device.servers, bench.device.disk.load())
    };
    let before = need(&bench);
    let result = bench.detach(|bench, detach, step| {
        let is_on_disk = bench.device.map.load(PAGE).is_on_disk();
        assert!(is_on_disk || detach.has_given_up());
        if matches!(step, Step::Wait(_)) {
            assert!(!detach.has_given_up());
            bench.answer(Opcode::Pong, Status::Ok, INCARNATION);
        }
    });
    assert_eq!(result, Step::Done(Ok(())));
    assert!(!bench.device.map.load(PAGE).is_on_disk());
    // A removal that has counted on the disk notices that it was detached.
    bench.mirror.attach(&bench.device).unwrap();
    assert!(is_valid(&bench, &need(&bench)) && !is_valid(&bench, &before));
}

#[test]
fn a_restart_that_was_not_noticed_keeps_the_disk() {
    let mut bench = Bench::new();
    let result = bench.detach(|bench, _, step| {
        if matches!(step, Step::Wait(_)) {
            bench.answer(Opcode::Pong, Status::Ok, INCARNATION + 1);
        }
    });
    assert_eq!(result, Step::Done(Err(DetachError::OnlyCopies(1))));
    bench.assert_kept();
}

#[test]
fn an_answer_to_an_earlier_request_does_not_count() {
    let mut bench = Bench::new();
    let mut early = None;
    bench.now_ns += NS_PER_S;
    let (table, last) = (&bench.device.servers, &mut bench.last);
    bench
        .cluster
        .handle_timeout(bench.now_ns, table, |_| 0, last);
    bench.now_ns += 1;
    let result = bench.detach(|bench, detach, step| {
        if matches!(step, Step::Wait(_)) {
            let is_new = early.replace(bench.now_ns).is_some();
            let incarnation = INCARNATION + u64::from(is_new);
            bench.answer(Opcode::Pong, Status::Ok, incarnation);
        }
        assert!(!detach.has_given_up());
    });
    assert!(early.is_some());
    assert_eq!(result, Step::Done(Err(DetachError::OnlyCopies(1))));
    bench.assert_kept();
}

#[test]
fn a_server_that_does_not_answer_is_not_counted_on() {
    let mut bench = Bench::new();
    let result = bench.detach(|_, _, _| {});
    assert_eq!(result, Step::Done(Err(DetachError::OnlyCopies(1))));
    assert!(bench.now_ns < NS_PER_S);
    bench.assert_kept();
}

#[test]
fn a_signal_ends_the_wait_for_servers() {
    let mut bench = Bench::new();
    let result = bench.detach(|_, detach, _| detach.interrupt());
    assert_eq!(result, Step::Done(Err(DetachError::Interrupted)));
    bench.assert_kept();
}

#[test]
fn servers_that_keep_changing_are_not_waited_for_without_end() {
    let mut bench = Bench::new();
    let begin_ns = bench.now_ns;
    let result = bench.detach(|bench, _, step| match step {
        Step::Wait(_) => bench.answer(Opcode::Pong, Status::Ok, INCARNATION),
        Step::Walk => {
            bench.device.servers.note_missing(bench.slot);
            bench.now_ns += RECHECK_NS;
        }
        _ => {}
    });
    assert_eq!(result, Step::Done(Err(DetachError::TookTooLong)));
    assert!(bench.now_ns - begin_ns < 2 * ANSWER_NS);
    bench.assert_kept();
}

#[test]
fn a_server_that_is_lost_after_the_count_keeps_the_disk() {
    let mut bench = Bench::new();
    let mut walks = 0;
    let result = bench.detach(|bench, detach, step| {
        assert!(!detach.has_given_up());
        match step {
            Step::Wait(_) => bench.answer(Opcode::Pong, Status::Ok, INCARNATION),
            Step::Walk => walks += 1,
            _ => {}
        }
        // Two steps for each count.
        if walks == 4 {
            bench.device.servers.close(bench.slot);
        }
    });
    assert_eq!(result, Step::Done(Err(DetachError::OnlyCopies(1))));
    bench.assert_kept();
}

#[test]
fn servers_are_asked_again_if_the_machine_is_put_back_after_they_have_answered() {
    let mut bench = Bench::new();
    let (mut walks, mut answers) = (0, 0);
    let result = bench.detach(|bench, _, step| match step {
        // The server restarted in the rolled-back interval.
        Step::Wait(_) => {
            bench.answer(Opcode::Pong, Status::Ok, INCARNATION + answers);
            answers += 1;
        }
        Step::Walk => {
            walks += 1;
            if walks == 4 {
                bench.device.end_hibernation(0);
                bench.now_ns += 1;
            }
        }
        _ => {}
    });
    assert_eq!(result, Step::Done(Err(DetachError::OnlyCopies(1))));
    assert_eq!(answers, 2);
    bench.assert_kept();
}
