// SPDX-License-Identifier: GPL-2.0

//! Pages that a server lists and the map does not name.

use super::super::super::config::Config;
use super::super::super::ids::{PageIndex, Version};
use super::super::super::storage::heap::Heap;
use super::super::super::swap_device::SwapDevice;
use super::super::super::versions::Reporter;
use super::super::inventory::{judge, Judgement};
use super::*;
use crate::sync::Atomic;
use crate::wire::PageVersion;

fn device() -> SwapDevice<Heap> {
    let words = (0..8).map(|_| Atomic::<u32>::new(0)).collect();
    SwapDevice::new(words, Config::new(2, 1, 60).unwrap(), 1)
}

#[test]
fn pages_that_the_map_names_are_kept_and_others_are_freed() {
    let device = device();
    let judge = |slot: usize, page: u64, version: Version| {
        let (page, version) = (page.into(), version.0.into());
        let one = PageVersion { page, version };
        judge(ServerSlot::new(slot).unwrap(), one, &device)
    };
    let page = PageIndex(3);
    let old = device.take_version();
    let begun = device.map.begin_write(page).unwrap();
    let new = device.take_version();
    // While it is being written, it is undecided.
    assert_eq!(judge(1, 3, old), Judgement::Unclear);
    let slots = SlotSet::from_bits(0b01);
    assert!(device.versions().enter(0, new));
    device.map.finish_write(page, begun, new, slots, false);
    assert_eq!(judge(0, 3, new), Judgement::Needed);
    let below = new;
    let stale = StaleCopy { page, slots, below };
    assert_eq!(judge(0, 3, old), Judgement::Orphan(stale));
    assert!(matches!(judge(1, 3, new), Judgement::Orphan(_)));
    // A page that was never written, one that is being copied, one that does not exist, and a
    // version that was never given out.
    assert!(matches!(judge(0, 4, old), Judgement::Orphan(_)));
    device.copies.begin(0, PageIndex(4));
    assert_eq!(judge(0, 4, old), Judgement::Unclear);
    device.copies.end(0);
    assert_eq!(judge(0, 8, old), Judgement::Needed);
    assert_eq!(judge(0, 1 << 40, old), Judgement::Needed);
    assert_eq!(judge(0, 4, device.next_version()), Judgement::Needed);
    // A version of a rolled-back interval, of the generation that the map names.
    let forgotten = Version(new.0 + (1 << 16));
    assert_eq!(forgotten.generation(), new.generation());
    assert_eq!(judge(0, 3, forgotten), Judgement::Needed);
    device.versions().jump(1);
    assert!(matches!(judge(0, 3, forgotten), Judgement::Orphan(_)));
    assert_eq!(judge(0, 3, new), Judgement::Needed);
}

#[test]
fn the_versions_that_servers_report_are_passed_on() {
    let mut world = World::open(1500);
    world.cluster.take_changes();
    die(&mut world);
    let mut answer = world
        .wait_for(Opcode::Ping)
        .answer(Opcode::Pong, Status::Ok);
    answer.incarnation = 5;
    answer.low_water = 5000;
    world.receive(answer, &[]);
    let reporter = Reporter {
        slot: world.slot,
        incarnation: 5,
    };
    let said = Some((Version(5000), reporter));
    assert_eq!(world.cluster.take_changes().high_water, said);
    world.cluster.look_for_orphans(world.now_ns);
    world.wait_for(Opcode::Inventory);
}

#[test]
fn a_server_that_reports_impossible_versions_counts_as_silent_until_it_restarts() {
    let mut world = World::open(1500);
    world.table.distrust(world.slot);
    assert!(world.table.suspect(world.slot));
    for _ in 0..20 {
        answer_ping(&mut world);
        assert!(!world.table.usable().contains(world.slot));
    }
    let health = world.cluster.report(world.slot).map(|report| report.health);
    assert_eq!(health, Some(Health::Suspected));
    let mut pong = world
        .wait_for(Opcode::Ping)
        .answer(Opcode::Pong, Status::Ok);
    pong.incarnation = 6;
    world.receive(pong, &[]);
    assert!(!world.table.valid().contains(world.slot));
    world.slot = world.cluster.slot_of(MAC).unwrap();
    world.pass(MS);
    world.acknowledge_hello(Status::Ok, 6);
    assert!(world.table.usable().contains(world.slot));
}

#[test]
fn a_listed_page_that_is_being_written_is_checked_later() {
    let device = device();
    let old = device.take_version();
    let begun = device.map.begin_write(PageIndex(3)).unwrap();
    let new = device.take_version();
    let mut world = World::open(1500);
    die(&mut world);
    answer_ping(&mut world);
    let question = world.wait_for(Opcode::Inventory);
    name(&mut world, &question, 50, &[(3, old.0), (4, old.0)]);
    assert_eq!(
        world.cluster.free_orphans(world.now_ns, &device),
        1,
        "page 4"
    );
    world.sent.0.clear();
    for _ in 0..1000 {
        world.pass(MS);
        assert_eq!(world.cluster.free_orphans(world.now_ns, &device), 0);
    }
    assert_eq!(world.last(Opcode::Inventory), None, "nothing more is asked");
    answer_ping(&mut world);
    let elsewhere = SlotSet::from_bits(0b10);
    device
        .map
        .finish_write(PageIndex(3), begun, new, elsewhere, false);
    assert_eq!(world.cluster.free_orphans(world.now_ns, &device), 1);
    world.wait_for(Opcode::Inventory);
}
