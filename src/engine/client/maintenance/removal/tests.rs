// SPDX-License-Identifier: GPL-2.0

use super::super::bench::{cluster, device, Ones};
use super::quiescing::{Stage, BUSY_NS};
use super::*;
use crate::engine::client::cluster::PING_LEN;
use crate::engine::client::config::NS_PER_S;
use crate::engine::client::ids::{PageIndex, ServerSlot, SlotSet};
use crate::engine::client::storage::heap::Heap;
use crate::wire::{Frame, Header, HelloAck, Opcode, Status};

use std::boxed::Box;
use std::vec::Vec;
use zerocopy::IntoBytes;

const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const OTHER: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
const PAGE: PageIndex = PageIndex(1);
const INCARNATION: u64 = 5;

/// The frames that were sent.
#[derive(Default)]
struct Sent(Vec<(MacAddress, Header)>);

impl Outbox for Sent {
    fn send(&mut self, mac: MacAddress, header: &Header, payload: &[u8]) {
        // A longer PING asks for the path MTU.
        if header.opcode != Opcode::Ping || payload.len() == PING_LEN {
            self.0.push((mac, *header));
        }
    }
}

/// Two servers that both have one page. The first is to be removed.
struct Bench {
    cluster: Box<Cluster<Heap, Ones>>,
    device: Box<SwapDevice<Heap>>,
    removals: Removals,
    sent: Sent,
    now_ns: u64,
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self {
            cluster: cluster(),
            device: device(),
            removals: Removals::default(),
            sent: Sent::default(),
            now_ns: 1,
        };
        let mut slots = SlotSet::EMPTY;
        for mac in [MAC, OTHER] {
            let slot = bench.cluster.add(1, mac, &bench.device.servers).unwrap();
            slots.insert(slot);
            bench.wait(1);
            for status in [Status::Cookie, Status::Ok] {
                bench.answer(mac, Opcode::HelloAck, status, INCARNATION);
            }
        }
        bench.wait(1);
        let begun = bench.device.map.begin_write(PAGE).unwrap();
        let version = bench.device.take_version();
        let map = &bench.device.map;
        map.finish_write(PAGE, begun, version, slots, false);
        bench
    }

    fn wait(&mut self, wait_ns: u64) {
        self.now_ns += wait_ns;
        let (table, sent) = (&self.device.servers, &mut self.sent);
        self.cluster.handle_timeout(self.now_ns, table, |_| 0, sent);
    }

    /// A server answers the last frame that was sent to it, if it has not answered that one.
    fn answer(&mut self, mac: MacAddress, opcode: Opcode, status: Status, incarnation: u64) {
        let last = self.sent.0.iter().rposition(|(to, _)| *to == mac);
        let Some((_, sent)) = last.map(|index| self.sent.0.remove(index)) else {
            return;
        };
        let mut header = sent.answer(opcode, status);
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
            .handle_frame(self.now_ns, mac, &frame, table, &mut self.sent);
    }

    /// Removes the first server. `then` happens after each step.
    fn remove(&mut self, mode: RemovalMode, then: impl FnMut(&mut Self, RemovalStep)) -> Outcome {
        let (cluster, device) = (&mut self.cluster, &self.device);
        let begun = self
            .removals
            .remove(self.now_ns, MAC, mode, cluster, device)
            .unwrap();
        assert_eq!(mode == RemovalMode::Drained, begun != Begun::Quiescing);
        self.sent.0.clear();
        self.carry_out(mode, then)
    }

    fn carry_out(
        &mut self,
        mode: RemovalMode,
        mut then: impl FnMut(&mut Self, RemovalStep),
    ) -> Outcome {
        for _ in 0..10_000 {
            let step = match mode {
                RemovalMode::Drained => self.removals.next_step_of_run(),
                _ => self.removals.next_step().unwrap(),
            };
            match step {
                RemovalStep::Cluster => {
                    let (cluster, sent) = (&mut self.cluster, &mut self.sent);
                    self.removals
                        .with_cluster(self.now_ns, cluster, sent, &self.device);
                }
                RemovalStep::VerifyQuiescing => self.removals.verify_quiescing(&self.device, 2),
                RemovalStep::ScanDraining => self.removals.scan_draining(&self.device, 2),
                RemovalStep::Wait(wait_ns) => self.wait(wait_ns),
                RemovalStep::Done(outcome) => return outcome,
                RemovalStep::Shards | RemovalStep::Idle => {}
            }
            then(self, step);
        }
        panic!("no end");
    }

    /// The other server answers what it is asked.
    fn confirm(&mut self, incarnation: u64) {
        self.answer(MAC, Opcode::Pong, Status::Ok, INCARNATION);
        self.answer(OTHER, Opcode::Pong, Status::Ok, incarnation);
    }

    fn is_there(&self) -> bool {
        self.cluster.is_draining(MAC) || self.device.servers.counting().len() == 2
    }
}

fn quiescing() -> Removals {
    let mut removals = Removals::default();
    let slot = ServerSlot::new(3).unwrap();
    removals.quiescing = Some(Quiescing::new(slot, 7, MAC, RemovalMode::Drained, false));
    removals
}

#[test]
fn a_removal_waits_for_the_one_under_way() {
    let (mut cluster, device, mut removals) = (cluster(), device(), quiescing());
    let other = MacAddress([2, 0, 0, 0, 0, 2]);
    cluster.add(0, other, &device.servers).unwrap();
    let mut remove = |removals: &mut Removals| {
        removals.remove(0, other, RemovalMode::AtOnce, &mut cluster, &device)
    };
    assert_eq!(remove(&mut removals), Ok(Begun::Another));
    assert_eq!(removals.quiescing.as_ref().map(|one| one.mac), Some(MAC));
    removals.quiescing = None;
    assert_eq!(remove(&mut removals), Ok(Begun::Gone));
}

#[test]
fn a_run_of_the_worker_checks_one_part_of_the_map() {
    let (mut cluster, device, mut removals) = (cluster(), device(), quiescing());
    for stage in [Stage::Verify, Stage::Busy] {
        removals.quiescing.as_mut().unwrap().stage = stage;
        if stage == Stage::Verify {
            assert_eq!(removals.next_step_of_run(), RemovalStep::VerifyQuiescing);
            assert_eq!(removals.next_step_of_run(), RemovalStep::Wait(0));
        } else {
            assert_eq!(removals.next_step_of_run(), RemovalStep::Wait(BUSY_NS));
        }
    }
    // The server is gone.
    removals.quiescing.as_mut().unwrap().stage = Stage::Begin;
    assert_eq!(removals.next_step_of_run(), RemovalStep::Cluster);
    removals.with_cluster(0, &mut cluster, &mut Sent::default(), &device);
    assert!(matches!(removals.next_step_of_run(), RemovalStep::Done(_)));
    assert_eq!(removals.next_step_of_run(), RemovalStep::Wait(SCAN_NS));
    assert_eq!(removals.next_step_of_run(), RemovalStep::ScanDraining);
    removals.scan_draining(&device, 1);
    assert_eq!(removals.next_step_of_run(), RemovalStep::Idle);
    assert_eq!(removals.next_step_of_run(), RemovalStep::ScanDraining);
}

#[test]
fn the_worker_closes_no_server_while_the_machine_hibernates() {
    let (mut cluster, device) = (cluster(), device());
    for (mode, stage) in [
        (
            RemovalMode::Drained,
            Stage::Notify(Err(RemoveError::Unknown)),
        ),
        // The tasks of operators still run.
        (RemovalMode::AtOnce, Stage::Notify(Ok(0))),
    ] {
        let mut removals = quiescing();
        device.begin_hibernation();
        let one = removals.quiescing.as_mut().unwrap();
        (one.mode, one.stage) = (mode, Stage::Close);
        removals.with_cluster(0, &mut cluster, &mut Sent::default(), &device);
        assert_eq!(removals.quiescing.unwrap().stage, stage);
    }
}

const ASKING: [RemovalMode; 2] = [RemovalMode::Drained, RemovalMode::AtOnce];

#[test]
fn a_server_is_closed_when_the_other_has_confirmed_that_it_has_the_page() {
    for mode in ASKING {
        let mut bench = Bench::new();
        let mut has_answered = false;
        let outcome = bench.remove(mode, |bench, step| {
            assert!(has_answered || bench.is_there());
            if matches!(step, RemovalStep::Wait(_)) && !bench.sent.0.is_empty() {
                bench.confirm(INCARNATION);
                has_answered = true;
            }
        });
        assert!(has_answered && outcome.is_closed);
        assert_eq!(outcome.result, Ok(0));
    }
}

#[test]
fn a_server_is_kept_if_the_other_has_restarted_unnoticed() {
    for mode in ASKING {
        let mut bench = Bench::new();
        let outcome = bench.remove(mode, |bench, step| {
            if matches!(step, RemovalStep::Wait(_)) {
                bench.confirm(INCARNATION + 1);
            }
        });
        assert_eq!(outcome.result, Err(RemoveError::Needed(1)));
    }
}

#[test]
fn a_server_is_kept_while_the_other_does_not_answer() {
    for mode in ASKING {
        let mut bench = Bench::new();
        let began_ns = bench.now_ns;
        let outcome = bench.remove(mode, |_, _| {});
        assert_eq!(outcome.result, Err(RemoveError::Needed(1)));
        assert!(bench.now_ns < began_ns + NS_PER_S);
        assert!(bench.is_there());
        if mode == RemovalMode::AtOnce {
            continue;
        }
        // The worker does not try again before the other server has answered.
        for _ in 0..100 {
            match bench.removals.next_step_of_run() {
                RemovalStep::ScanDraining => bench.removals.scan_draining(&bench.device, 4),
                RemovalStep::Wait(wait_ns) => bench.wait(wait_ns),
                step => panic!("{step:?}"),
            }
        }
        let outcome = bench.carry_out(mode, |bench, step| {
            if matches!(step, RemovalStep::Wait(_)) {
                bench.confirm(INCARNATION);
            }
        });
        assert!(outcome.is_closed);
    }
}

#[test]
fn a_server_that_is_removed_regardless_of_pages_waits_for_no_answer() {
    let mut bench = Bench::new();
    let outcome = bench.remove(RemovalMode::Regardless, |_, step| {
        assert!(!matches!(step, RemovalStep::Wait(_)));
    });
    assert!(outcome.is_closed);
    assert_eq!(outcome.result, Ok(0));
}

#[test]
fn an_answer_from_before_a_hibernation_does_not_count() {
    for mode in ASKING {
        let mut bench = Bench::new();
        let mut incarnation = INCARNATION;
        let outcome = bench.remove(mode, |bench, step| match step {
            RemovalStep::Wait(_) => bench.confirm(incarnation),
            RemovalStep::VerifyQuiescing if incarnation == INCARNATION => {
                incarnation += 1;
                bench.device.begin_hibernation();
                bench.device.end_hibernation(0);
            }
            _ => {}
        });
        assert_eq!(outcome.result, Err(RemoveError::Needed(1)));
    }
}
