// SPDX-License-Identifier: GPL-2.0

//! A page that is written or freed while repair copies it.

use super::*;

#[test]
fn a_page_out_cancels_the_copy_of_its_page() {
    let mut rig = Rig::new(3);
    let copy = copy_under_way(&mut rig);
    assert_eq!(
        rig.bench.shard.oldest_version(),
        Some(Version(copy.header.version)),
        "it is under way"
    );
    rig.bench.start_page_out(REQUEST, PageIndex(5));
    let mut outs = Vec::new();
    while let Some(send) = rig.next_send() {
        outs.push(send);
    }
    assert_eq!(outs.len(), 2);
    for out in &outs {
        assert!(out.header.version > copy.header.version);
        rig.bench.acknowledge(out, Status::Ok);
    }
    while rig.next_send().is_some() {}
    let entry = rig.bench.device.map.load(PageIndex(5));
    rig.bench.acknowledge(&copy, Status::Ok);
    assert_eq!(rig.next_send(), None);
    assert_eq!(rig.bench.device.map.load(PageIndex(5)), entry);
    assert_eq!(rig.repair.counters().repairs_cancelled, 1);
    assert_eq!(rig.repair.counters().pages_repaired, 0);
    // What has arrived of it is to be freed, but not the page-out's copy.
    let mut is_freed = false;
    while let Some(stale) = rig.bench.shard.take_stale() {
        if stale.slots.contains(rig.bench.slot(2)) {
            assert_eq!(stale.below.0, copy.header.version + 1);
            is_freed = true;
        }
    }
    assert!(is_freed);
}

#[test]
fn a_cancelled_copy_is_never_sent() {
    let mut rig = Rig::new(3);
    rig.bench.write(PageIndex(5), &[0, 1]);
    rig.kill(1);
    rig.drive();
    let read = rig.next_send().unwrap();
    // It ends before the page has been read. Even with the same generation nothing is copied.
    rig.bench.device.copies.cancel(PageIndex(5));
    rig.bench.answer_page(&read, &[0]);
    assert_eq!(rig.next_send(), None);
    assert_eq!(rig.holders(5), [0, 1]);
    assert_eq!(rig.repair.counters().repairs_cancelled, 1);
    // Later it is checked again.
    rig.bench.advance(2000 * MS);
    assert_eq!(rig.settle(&[1]).len(), 1);
    assert_eq!(rig.holders(5), [0, 2]);
}

#[test]
fn eight_bits_of_generation_do_not_wrap_behind_a_copy() {
    let mut rig = Rig::new(3);
    let copy = copy_under_way(&mut rig);
    let old = rig.bench.device.map.load(PageIndex(5));
    // Page-outs until the entry looks as it did before.
    loop {
        let begun = rig.bench.device.map.begin_write(PageIndex(5)).unwrap();
        rig.bench.device.copies.cancel(PageIndex(5));
        let version = rig.bench.device.take_version();
        let map = &rig.bench.device.map;
        map.finish_write(PageIndex(5), begun, version, old.replicas(), false);
        if map.load(PageIndex(5)) == old {
            break;
        }
    }
    rig.bench.acknowledge(&copy, Status::Ok);
    assert_eq!(rig.next_send(), None);
    assert_eq!(rig.bench.device.map.load(PageIndex(5)), old);
    assert_eq!(rig.repair.counters().repairs_cancelled, 1);
}

#[test]
fn a_page_freed_meanwhile_stays_free() {
    let mut rig = Rig::new(3);
    let copy = copy_under_way(&mut rig);
    rig.bench.device.map.set_free_pending(PageIndex(5));
    let device = &rig.bench.device;
    let freed = device.map.take_free(PageIndex(5), || device.take_version());
    assert!(freed.is_some());
    rig.bench.acknowledge(&copy, Status::Ok);
    assert_eq!(rig.next_send(), None);
    assert!(rig.holders(5).is_empty());
    let stale = rig.bench.shard.take_stale().unwrap();
    assert_eq!(stale.slots, SlotSet::one(rig.bench.slot(2)));
    assert_eq!(stale.below.0, copy.header.version + 1);
    rig.bench.advance(5000 * MS);
    assert_eq!(rig.settle(&[1]), vec![]);
    assert_eq!(rig.left(), 0);
}
