// SPDX-License-Identifier: GPL-2.0

//! Repair from and to the local disk.

use super::*;
use crate::engine::client::mirror::{DiskIo, Mirror, Policy, Write};
use crate::engine::client::shard::tests::mirroring::{
    copy, new_mirror, new_mirror_of, notify, BUFFERS,
};

/// Repair with a disk that the test plays.
struct Disked {
    rig: Rig,
    mirror: Mirror<Heap>,
    /// The checksum that its pages are found to have, once, if it differs.
    changed: Option<u32>,
}

impl Disked {
    fn new(servers: usize, policy: Policy) -> Self {
        let rig = Rig::new(servers);
        let mirror = new_mirror(policy, &rig.bench.device);
        Self {
            rig,
            mirror,
            changed: None,
        }
    }

    /// Carries out the actions of repair, its shard and the mirror, except for I/O. Returns the
    /// next frames to be sent.
    fn next_send(&mut self) -> Option<Send> {
        loop {
            let Self {
                rig,
                mirror,
                changed,
            } = self;
            if let Some(action) = rig.bench.poll_with(mirror) {
                match action {
                    Action::Send(send) => return Some(rig.bench.sent(send)),
                    Action::Complete(completion) => rig.completed(&completion),
                    other => copy(&mut rig.bench, mirror, other, changed),
                }
                continue;
            }
            let event = mirror.poll_event()?;
            notify(&mut rig.bench, mirror, event);
        }
    }

    fn next_io(&mut self) -> Option<DiskIo> {
        assert_eq!(self.next_send(), None);
        self.poll_disk()
    }

    fn poll_disk(&mut self) -> Option<DiskIo> {
        let Bench { now_ns, device, .. } = &self.rig.bench;
        self.mirror.poll(*now_ns, device)
    }

    fn io_ended(&mut self, io: &DiskIo, ok: bool) {
        let Bench { now_ns, device, .. } = &self.rig.bench;
        self.mirror.ended(*now_ns, io.id, ok, device);
    }

    fn advance(&mut self, ns: u64) {
        self.rig.bench.advance(ns);
        let Bench { now_ns, device, .. } = &self.rig.bench;
        self.mirror.handle_timeout(*now_ns, device);
    }

    /// Plays servers and disk until nothing happens for half a second. Returns how many pages were
    /// written to servers and to the disk.
    fn settle(&mut self, ok: bool) -> (usize, usize) {
        let (mut sent, mut mirrored) = (0, 0);
        let mut idle_ns = 0;
        while idle_ns < 500 * MS {
            self.rig.drive();
            let before = (sent, mirrored, self.mirror.counters().reads);
            while let Some(send) = self.next_send() {
                if send.header.opcode == Opcode::Read {
                    self.rig.bench.answer_page(&send, &[0]);
                } else {
                    sent += 1;
                    self.rig.bench.acknowledge(&send, Status::Ok);
                }
            }
            while let Some(io) = self.poll_disk() {
                mirrored += usize::from(io.is_write && ok) * io.buffers().len();
                self.io_ended(&io, ok);
            }
            idle_ns += MS / 2;
            if before != (sent, mirrored, self.mirror.counters().reads) {
                idle_ns = 0;
            }
            self.advance(MS / 2);
        }
        (sent, mirrored)
    }

    fn write_to_disk(&mut self, page: u32) {
        let Bench { device, .. } = &self.rig.bench;
        let page = PageIndex(page);
        let begun = device.map.begin_write(page).unwrap();
        let version = device.take_version();
        let none = SlotSet::EMPTY;
        device.map.finish_write(page, begun, version, none, true);
        device.note_degraded(page);
    }

    fn entry(&self, page: u32) -> Entry {
        self.rig.bench.device.map.load(PageIndex(page))
    }

    fn out_of_sync_left(&self) -> u64 {
        self.rig.repair.out_of_sync_left(&self.rig.bench.device)
    }

    fn write(&mut self, page: u32) {
        self.rig.bench.write(PageIndex(page), &[0, 1]);
        self.rig.bench.device.mark_out_of_sync(PageIndex(page));
    }
}

#[test]
fn a_disk_that_is_attached_gets_every_page() {
    let mut disked = Disked::new(2, Policy::Lag);
    let pages: Vec<u32> = (0..300).chain((400..PAGES as u32).step_by(7)).collect();
    for &page in &pages {
        // As before a disk was attached: they are not noted.
        disked.rig.bench.write(PageIndex(page), &[0, 1]);
    }
    assert_ne!(disked.out_of_sync_left(), 0);
    assert_eq!(disked.settle(true), (0, pages.len()));
    assert!(pages.iter().all(|&page| disked.entry(page).is_on_disk()));
    assert!(!disked.entry(301).is_on_disk(), "never written");
    assert_eq!(disked.out_of_sync_left(), 0);
    let counters = *disked.rig.repair.counters();
    assert_eq!(counters.pages_mirrored, pages.len() as u64);
    assert_eq!((counters.pages_repaired, counters.repairs_failed), (0, 0));
    assert!(disked.mirror.is_idle());
    assert!(disked.mirror.counters().writes < pages.len() as u64);
}

#[test]
fn a_disk_with_mirror_off_gets_no_page_until_mirror_changes() {
    let mut disked = Disked::new(2, Policy::Off);
    disked.write(9);
    assert_eq!(disked.out_of_sync_left(), 0);
    assert_eq!(disked.settle(true), (0, 0));
    let mut config = disked.mirror.config();
    config.policy = Policy::Lag;
    disked.mirror.set_config(config, &disked.rig.bench.device);
    assert_eq!(disked.settle(true), (0, 1));
    assert!(disked.entry(9).is_on_disk());
}

#[test]
fn a_disk_that_fails_is_not_hammered_and_gets_the_page_in_the_end() {
    let mut disked = Disked::new(2, Policy::Lag);
    disked.write(9);
    assert_eq!(disked.settle(false), (0, 0));
    assert!(
        disked.mirror.counters().errors <= 8,
        "{:?}",
        disked.mirror.counters()
    );
    assert_ne!(disked.rig.repair.counters().repairs_failed, 0);
    assert_ne!(disked.out_of_sync_left(), 0);
    disked.advance(8000 * MS);
    assert_eq!(disked.settle(true), (0, 1));
    assert_eq!(disked.out_of_sync_left(), 0);
}

#[test]
fn a_faulty_disk_gets_what_it_missed_when_it_is_added_again() {
    let mut disked = Disked::new(2, Policy::Strict);
    disked.mirror.mark_faulty(&disked.rig.bench.device);
    disked.write(9);
    assert_eq!(disked.settle(true), (0, 0));
    assert_ne!(disked.out_of_sync_left(), 0);
    disked.mirror.re_add(&disked.rig.bench.device).unwrap();
    assert_eq!(disked.settle(true), (0, 1));
    assert_eq!(disked.out_of_sync_left(), 0);
}

#[test]
fn copies_to_the_disk_leave_half_of_the_pool_to_page_outs() {
    let mut disked = Disked::new(2, Policy::Lag);
    for page in 0..200 {
        disked.write(page);
    }
    // Page-outs have most of it.
    for page in 1000..1000 + BUFFERS as u32 / 2 {
        let device = &disked.rig.bench.device;
        let page = PageIndex(page);
        let begun = device.map.begin_write(page).unwrap();
        let version = device.take_version();
        let put = disked.mirror.begin_write(&unhurried(page, version), device);
        assert!(matches!(put, crate::engine::client::mirror::Put::Buffer(_)));
        device
            .map
            .finish_write(page, begun, version, SlotSet::from_bits(3), false);
    }
    let mut reads = 0;
    for _ in 0..1000 {
        disked.rig.drive();
        while let Some(send) = disked.next_send() {
            reads += 1;
            disked.rig.bench.answer_page(&send, &[0]);
        }
        disked.advance(MS);
    }
    assert_eq!(disked.rig.repair.counters().pages_mirrored, 0);
    assert!(reads < 200, "{reads} pages read for nothing in a second");
    assert_ne!(disked.out_of_sync_left(), 0);
}

/// What a page-out that does not need the disk asks for.
fn unhurried(page: PageIndex, version: Version) -> Write {
    Write {
        page,
        version,
        is_urgent: false,
        replaces: None,
        shard: 0,
    }
}

/// Has page 5 under way to the disk, with its I/O submitted.
fn on_its_way(disked: &mut Disked) -> DiskIo {
    disked.write(5);
    disked.rig.drive();
    let read = disked.next_send().unwrap();
    disked.rig.bench.answer_page(&read, &[0]);
    assert_eq!(disked.next_send(), None);
    assert_eq!(disked.mirror.buffered(), 1);
    disked.advance(3 * MS);
    disked.next_io().unwrap()
}

#[test]
fn a_page_out_cancels_the_copy_to_the_disk() {
    let mut disked = Disked::new(2, Policy::Lag);
    let io = on_its_way(&mut disked);
    disked.rig.bench.start_page_out(REQUEST, PageIndex(5));
    let mut outs = Vec::new();
    while let Some(send) = disked.next_send() {
        outs.push(send);
    }
    assert_eq!(outs.len(), 2);
    for out in &outs {
        disked.rig.bench.acknowledge(out, Status::Ok);
    }
    assert_eq!(disked.next_send(), None);
    let entry = disked.entry(5);
    disked.io_ended(&io, true);
    assert_eq!(disked.next_send(), None);
    assert_eq!(disked.entry(5), entry, "the disk has the older version");
    assert_eq!(disked.rig.repair.counters().repairs_cancelled, 1);
    // The newer one follows.
    disked.settle(true);
    assert!(disked.entry(5).is_on_disk());
    assert_eq!(disked.rig.repair.counters().pages_mirrored, 0);
    disked.advance(2000 * MS);
    disked.settle(true);
    assert_eq!(disked.out_of_sync_left(), 0);
}

#[test]
fn eight_bits_of_generation_do_not_wrap_behind_a_copy_to_the_disk() {
    let mut disked = Disked::new(2, Policy::Lag);
    let io = on_its_way(&mut disked);
    let old = disked.entry(5);
    loop {
        let device = &disked.rig.bench.device;
        let begun = device.map.begin_write(PageIndex(5)).unwrap();
        device.copies.cancel(PageIndex(5));
        let version = device.take_version();
        let mirror = &mut disked.mirror;
        mirror.begin_write(&unhurried(PageIndex(5), version), device);
        device
            .map
            .finish_write(PageIndex(5), begun, version, old.replicas(), false);
        mirror.settle(
            disked.rig.bench.now_ns,
            PageIndex(5),
            version,
            false,
            device,
        );
        if device.map.load(PageIndex(5)) == old {
            break;
        }
    }
    disked.io_ended(&io, true);
    assert_eq!(disked.next_send(), None);
    assert_eq!(disked.entry(5), old);
    assert_eq!(disked.rig.repair.counters().repairs_cancelled, 1);
}

#[test]
fn a_page_freed_on_its_way_to_the_disk_stays_free() {
    let mut disked = Disked::new(2, Policy::Lag);
    let io = on_its_way(&mut disked);
    let map = &disked.rig.bench.device.map;
    map.set_free_pending(PageIndex(5));
    map.take_free(PageIndex(5), || Version(1 << 20)).unwrap();
    disked.io_ended(&io, true);
    assert_eq!(disked.next_send(), None);
    assert_eq!(disked.entry(5), Entry::default());
    disked.advance(2000 * MS);
    disked.settle(true);
    assert_eq!(disked.out_of_sync_left(), 0);
}

#[test]
fn a_disk_that_is_detached_meanwhile_does_not_count() {
    let mut disked = Disked::new(2, Policy::Lag);
    let io = on_its_way(&mut disked);
    disked
        .mirror
        .begin_detach(disked.rig.bench.now_ns, &disked.rig.bench.device);
    disked.io_ended(&io, true);
    assert_eq!(disked.next_send(), None);
    assert!(!disked.entry(5).is_on_disk());
    assert!(disked.mirror.is_idle());
}

#[test]
fn pages_damaged_on_their_way_are_not_entered() {
    let mut disked = Disked::new(2, Policy::Lag);
    disked.write(5);
    disked.changed = Some(1);
    disked.rig.drive();
    let read = disked.next_send().unwrap();
    disked.rig.bench.answer_page(&read, &[0]);
    assert_eq!(disked.next_send(), None);
    assert!(disked.mirror.is_idle());
    disked.advance(2000 * MS);
    assert_eq!(disked.settle(true), (0, 1));
}

#[test]
fn pages_that_only_the_disk_holds_are_copied_to_new_servers() {
    let mut disked = Disked::new(2, Policy::Lag);
    disked.rig.kill(0);
    disked.rig.kill(1);
    let pages: Vec<u32> = (0..PAGES as u32).step_by(11).collect();
    for &page in &pages {
        disked.write_to_disk(page);
    }
    assert_eq!(disked.settle(true), (0, 0));
    assert_ne!(disked.rig.left(), 0);
    // One server: one copy there.
    disked.rig.recover(0);
    assert_eq!(disked.settle(true), (pages.len(), 0));
    assert!(pages.iter().all(|&page| disked.rig.holders(page) == [0]));
    let read = disked.mirror.counters().pages_read;
    assert_eq!(read, pages.len() as u64);
    // Another server: one more copy, from the first.
    disked.rig.recover(1);
    assert_eq!(disked.settle(true), (pages.len(), 0));
    assert!(pages.iter().all(|&page| disked.rig.holders(page) == [0, 1]));
    assert!(pages.iter().all(|&page| disked.entry(page).is_on_disk()));
    assert_eq!(disked.mirror.counters().pages_read, read);
    assert_eq!(disked.rig.left(), 0);
}

#[test]
fn pages_of_a_disk_whose_detach_is_cancelled_are_copied_to_servers() {
    let mut disked = Disked::new(2, Policy::Off);
    disked.mirror.pause(&disked.rig.bench.device);
    disked
        .mirror
        .begin_detach(disked.rig.bench.now_ns, &disked.rig.bench.device);
    disked.write_to_disk(9);
    assert_eq!(disked.settle(true), (0, 0));
    disked.mirror.cancel_detach(&disked.rig.bench.device);
    disked.mirror.resume(&disked.rig.bench.device);
    disked.advance(2000 * MS);
    assert_eq!(disked.settle(true), (2, 0));
    assert_eq!(disked.rig.holders(9), [0, 1]);
}

#[test]
fn pages_that_are_gone_are_not_waited_for() {
    let mut disked = Disked::new(2, Policy::Lag);
    let page = PageIndex(5);
    disked.rig.bench.write(page, &[]);
    disked.rig.bench.device.note_degraded(page);
    disked.rig.bench.device.mark_out_of_sync(page);
    assert_eq!(disked.settle(true), (0, 0));
    assert_eq!((disked.rig.left(), disked.out_of_sync_left()), (0, 0));
}

#[test]
fn a_page_that_only_waits_for_the_disk_is_copied_to_servers_when_it_is_there() {
    let mut disked = Disked::new(2, Policy::Strict);
    let Bench { device, .. } = &disked.rig.bench;
    let page = PageIndex(5);
    let begun = device.map.begin_write(page).unwrap();
    let version = device.take_version();
    let mirror = &mut disked.mirror;
    mirror.begin_write(&unhurried(page, version), device);
    device
        .map
        .finish_write(page, begun, version, SlotSet::from_bits(3), false);
    mirror.settle(disked.rig.bench.now_ns, page, version, true, device);
    // Both servers lose it before it is on the disk.
    device.map.forget(page, SlotSet::from_bits(3));
    disked.rig.repair.look_at_everything(device);
    disked.rig.drive();
    assert_eq!(disked.next_send(), None);
    assert_eq!(disked.settle(true), (2, 1));
    assert_eq!(disked.rig.holders(5), [0, 1]);
}

#[test]
fn a_page_is_copied_to_the_disk_as_soon_as_the_mirror_has_room() {
    let mut disked = Disked::new(1, Policy::Lag);
    disked.mirror = new_mirror_of(Policy::Lag, 4, &disked.rig.bench.device);
    let pages = 200;
    for page in 0..pages {
        disked.write_to_disk(page);
    }
    let began_ns = disked.rig.bench.now_ns;
    let mut sent = 0;
    while sent < pages as usize {
        disked.rig.drive();
        let mut ios = std::vec::Vec::new();
        while let Some(send) = disked.next_send() {
            sent += 1;
            disked.rig.bench.acknowledge(&send, Status::Ok);
        }
        while let Some(io) = disked.poll_disk() {
            ios.push(io);
        }
        // The disk is slow: until then there is no more room.
        disked.advance(5 * MS);
        for io in &ios {
            disked.io_ended(io, true);
        }
        assert!(disked.rig.bench.now_ns - began_ns < 600 * MS, "{sent}");
    }
}
