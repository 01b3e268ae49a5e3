// SPDX-License-Identifier: GPL-2.0

//! Unit tests of the mirror.

use super::super::config;
use super::super::ids::{Generation, SlotSet, Version};
use super::super::storage::heap::{words, Heap};
use super::super::swap_device::SwapDevice;
use super::*;

use std::vec::Vec;

mod buffer_room;
#[cfg(not(MODULE))]
mod model;
mod submit;

const MS: u64 = 1_000_000;
const TOKEN: Token = Token { tag: 7, attempt: 3 };

fn device(pages: usize) -> SwapDevice<Heap> {
    SwapDevice::new(words(pages), config::Config::new(2, 1, 60).unwrap(), 1)
}

fn mirror(buffers: usize, device: &SwapDevice<Heap>) -> Mirror<Heap> {
    let mut mirror = Mirror::new(
        Config::default(),
        Parts {
            buffers: std::vec![Buffer::default(); buffers],
            heads: std::vec![Head::default(); 16],
            ios: std::vec![Io::default(); 8],
        },
    );
    mirror.attach(device).unwrap();
    while mirror.poll_event().is_some() {}
    mirror
}

/// What a page-out of shard 0 asks for.
fn write(page: PageIndex, version: Version, is_urgent: bool) -> Write {
    Write {
        page,
        version,
        is_urgent,
        replaces: None,
        shard: 0,
    }
}

/// A page-out that two servers hold and that finds room.
fn page_out(
    mirror: &mut Mirror<Heap>,
    now_ns: u64,
    page: u32,
    device: &SwapDevice<Heap>,
) -> Version {
    let page = PageIndex(page);
    let begun = device.map.begin_write(page).unwrap();
    let version = device.take_version();
    let put = mirror.begin_write(&write(page, version, false), device);
    assert!(matches!(put, Put::Buffer(_)), "{put:?}");
    device
        .map
        .finish_write(page, begun, version, SlotSet::from_bits(3), false);
    mirror.settle(now_ns, page, version, true, device);
    version
}

/// A page-in's token, of a shard.
fn reader(shard: u32) -> Token {
    Token {
        tag: shard << 16,
        attempt: 1,
    }
}

/// A mirror whose buffers are all being read, by shard 0, and pages for more.
fn read_full(device: &SwapDevice<Heap>, buffers: u32) -> (Mirror<Heap>, Generation, Vec<DiskIo>) {
    let mut mirror = mirror(buffers as usize, device);
    // Every second page, so that there is an I/O for each: all of one generation.
    for number in 0..64 {
        let page = PageIndex(2 * number);
        let begun = device.map.begin_write(page).unwrap();
        let servers = SlotSet::from_bits(3);
        let version = Version(256 * u64::from(number) + 5);
        device
            .map
            .finish_write(page, begun, version, servers, false);
        device.mark_on_disk(page, version.generation());
    }
    let generation = Generation(5);
    let mut ios = Vec::new();
    for number in 0..buffers {
        let page = PageIndex(2 * number);
        let get = mirror.begin_read(page, generation, reader(0), false, device);
        assert_eq!(get, Get::Queued);
        ios.push(mirror.poll(0, device).unwrap());
    }
    (mirror, generation, ios)
}

fn pages(io: &DiskIo) -> (bool, u32, usize) {
    (io.is_write, io.first.0, io.buffers().len())
}

#[test]
fn pages_are_gathered_merged_and_marked() {
    let device = device(100);
    let mut mirror = mirror(64, &device);
    for page in [12, 10, 11, 20] {
        page_out(&mut mirror, 0, page, &device);
    }
    assert_eq!(mirror.poll(MS, &device), None, "neighbours may come");
    assert_eq!(mirror.next_timeout_ns(), 2 * MS);
    mirror.handle_timeout(2 * MS, &device);
    let first = mirror.poll(2 * MS, &device).unwrap();
    assert_eq!(pages(&first), (true, 10, 3));
    let second = mirror.poll(2 * MS, &device).unwrap();
    assert_eq!(pages(&second), (true, 20, 1));
    assert!(!device.map.load(PageIndex(10)).is_on_disk());
    mirror.ended(3 * MS, first.id, true, &device);
    assert!(device.map.load(PageIndex(10)).is_on_disk());
    assert!(device.map.load(PageIndex(12)).is_on_disk());
    assert!(!device.map.load(PageIndex(20)).is_on_disk());
    mirror.ended(3 * MS, second.id, true, &device);
    assert!(mirror.is_idle());
    assert_eq!(mirror.poll_event(), None);
}

#[test]
fn a_newer_version_replaces_or_follows() {
    let device = device(100);
    let mut mirror = mirror(64, &device);
    page_out(&mut mirror, 0, 5, &device);
    let second = page_out(&mut mirror, 0, 5, &device);
    assert_eq!(mirror.buffered(), 1, "replaced");
    let io = mirror.poll(5 * MS, &device).unwrap();
    let third = page_out(&mut mirror, 5 * MS, 5, &device);
    assert_eq!(mirror.poll(9 * MS, &device), None, "it follows");
    let read = |mirror: &mut Mirror<Heap>, version: Version| {
        mirror.begin_read(PageIndex(5), version.generation(), TOKEN, true, &device)
    };
    assert_eq!(read(&mut mirror, second), Get::Changed);
    let Get::Buffered(id) = read(&mut mirror, third) else {
        panic!("the newest is buffered");
    };
    mirror.ended(9 * MS, io.id, true, &device);
    assert!(
        !device.map.load(PageIndex(5)).is_on_disk(),
        "an older one is"
    );
    let io = mirror.poll(9 * MS, &device).unwrap();
    mirror.ended(9 * MS, io.id, true, &device);
    assert!(device.map.load(PageIndex(5)).is_on_disk());
    assert!(!mirror.is_idle(), "it is being copied from");
    mirror.release(id);
    assert!(mirror.is_idle());
}

#[test]
fn a_version_that_found_no_space_supersedes_older_ones() {
    let device = device(2000);
    let mut mirror = mirror(64, &device);
    let first = page_out(&mut mirror, 0, 5, &device);
    let io = mirror.poll(5 * MS, &device).unwrap();
    for page in 0..55 {
        page_out(&mut mirror, 5 * MS, 100 + 2 * page, &device);
    }
    // The same generation, 256 versions later.
    let begun = device.map.begin_write(PageIndex(5)).unwrap();
    let version = Version(first.0 + 256);
    let put = mirror.begin_write(&write(PageIndex(5), version, false), &device);
    assert_eq!(put, Put::Full);
    let servers = SlotSet::from_bits(3);
    device
        .map
        .finish_write(PageIndex(5), begun, version, servers, false);
    let get = mirror.begin_read(PageIndex(5), version.generation(), TOKEN, false, &device);
    assert_eq!(get, Get::Absent);
    mirror.ended(6 * MS, io.id, true, &device);
    assert!(!device.map.load(PageIndex(5)).is_on_disk());
    assert_eq!(mirror.poll_event(), Some(Event::Granted(0, Direction::Out)));
}

#[test]
fn waiting_readers_are_notified_and_errors_are_retried() {
    let device = device(100);
    let mut mirror = mirror(64, &device);
    let page = PageIndex(9);
    let begun = device.map.begin_write(page).unwrap();
    let version = device.take_version();
    let put = mirror.begin_write(&write(page, version, true), &device);
    assert!(matches!(put, Put::Buffer(_)));
    assert!(mirror.want(0, page, version, TOKEN));
    for attempt in 0..3_u64 {
        let now_ns = attempt * 100 * MS;
        mirror.handle_timeout(now_ns, &device);
        let io = mirror.poll(now_ns, &device).unwrap();
        assert_eq!(mirror.poll_event(), None);
        mirror.ended(now_ns, io.id, false, &device);
    }
    assert_eq!(mirror.poll_event(), Some(Event::Written(TOKEN, false)));
    assert!(mirror.is_idle());
    assert!(!device.map.abandon_write(page));
    assert_eq!(begun, Default::default());
}

/// Time passes, without a stop, until the disk has timed out. Returns when.
fn pass_until_timed_out(mirror: &mut Mirror<Heap>, device: &SwapDevice<Heap>) -> u64 {
    loop {
        let now_ns = mirror.next_timeout_ns();
        mirror.handle_timeout(now_ns, device);
        if mirror.has_timed_out() {
            return now_ns;
        }
    }
}

#[test]
fn an_io_that_does_not_end_times_out() {
    let device = device(100);
    let mut mirror = mirror(64, &device);
    let version = page_out(&mut mirror, 0, 9, &device);
    let io = mirror.poll(5 * MS, &device).unwrap();
    page_out(&mut mirror, 5 * MS, 30, &device);
    assert!(device.disk.load().is_usable());
    let end_ns = 5 * MS + mirror.config().disk_timeout_ns;
    assert_eq!(pass_until_timed_out(&mut mirror, &device), end_ns);
    assert!(!mirror.is_usable());
    assert!(!device.disk.load().is_usable());
    assert_eq!(mirror.poll_event(), Some(Event::StateChanged));
    assert_eq!(mirror.buffered(), 1, "what had not gone, does not go");
    assert_eq!(mirror.finish_detach(&device), Err(InUse));
    let generation = version.generation();
    let get = mirror.begin_read(PageIndex(9), generation, TOKEN, true, &device);
    let Get::Buffered(id) = get else {
        panic!("still there");
    };
    mirror.release(id);
    mirror.ended(1 << 40, io.id, true, &device);
    assert!(mirror.is_usable() && device.disk.load().is_usable());
    assert_eq!(mirror.poll_event(), Some(Event::StateChanged));
    assert!(device.map.load(PageIndex(9)).is_on_disk());
    assert!(mirror.is_idle());
}

#[test]
fn reads_do_not_wait_for_stale_writes() {
    let device = device(100);
    let mut mirror = mirror(64, &device);
    let version = page_out(&mut mirror, 0, 9, &device);
    let io = mirror.poll(5 * MS, &device).unwrap();
    mirror.ended(5 * MS, io.id, true, &device);
    let generation = version.generation();
    let read = |mirror: &mut Mirror<Heap>, generation| {
        mirror.begin_read(PageIndex(9), generation, TOKEN, false, &device)
    };
    assert_eq!(
        read(&mut mirror, Generation(generation.0.wrapping_add(1))),
        Get::Changed
    );
    assert_eq!(read(&mut mirror, generation), Get::Queued);
    let io = mirror.poll(6 * MS, &device).unwrap();
    assert_eq!(pages(&io), (false, 9, 1));
    // A second read waits for the first, and is cancelled by a page-out.
    assert_eq!(read(&mut mirror, generation), Get::Queued);
    assert_eq!(mirror.poll(6 * MS, &device), None);
    page_out(&mut mirror, 6 * MS, 9, &device);
    assert_eq!(
        mirror.poll_event(),
        Some(Event::Read(TOKEN, Err(ReadError::Changed)))
    );
    assert_eq!(mirror.poll(100 * MS, &device), None, "a read is under way");
    mirror.ended(100 * MS, io.id, true, &device);
    let Some(Event::Read(TOKEN, Ok(id))) = mirror.poll_event() else {
        panic!("read");
    };
    mirror.release(id);
    let io = mirror.poll(100 * MS, &device).unwrap();
    assert_eq!(pages(&io), (true, 9, 1));
}

#[test]
fn a_read_that_fails_is_not_tried_again_once_a_newer_version_is_on_its_way() {
    let device = device(100);
    let mut mirror = mirror(64, &device);
    let version = page_out(&mut mirror, 0, 9, &device);
    let io = mirror.poll(5 * MS, &device).unwrap();
    mirror.ended(5 * MS, io.id, true, &device);
    let generation = version.generation();
    let get = mirror.begin_read(PageIndex(9), generation, TOKEN, false, &device);
    assert_eq!(get, Get::Queued);
    let read = mirror.poll(5 * MS, &device).unwrap();
    page_out(&mut mirror, 5 * MS, 9, &device);
    mirror.ended(6 * MS, read.id, false, &device);
    let event = Some(Event::Read(TOKEN, Err(ReadError::Changed)));
    assert_eq!(mirror.poll_event(), event);
    let write = mirror.poll(100 * MS, &device).unwrap();
    assert!(write.is_write);
    mirror.ended(100 * MS, write.id, true, &device);
    assert!(mirror.is_idle());
}

#[test]
fn io_that_a_disk_has_refused_does_not_count_as_errors_when_it_is_detached() {
    let device = device(1000);
    let mut mirror = mirror(64, &device);
    for page in 0..20 {
        page_out(&mut mirror, 0, 3 * page, &device);
    }
    let ios: Vec<_> = core::iter::from_fn(|| mirror.poll(5 * MS, &device)).collect();
    assert!(!ios.is_empty());
    mirror.begin_detach(0, &device);
    for io in &ios {
        mirror.ended(6 * MS, io.id, false, &device);
    }
    // Some page needs the disk, so it stays.
    mirror.cancel_detach(&device);
    assert_eq!(mirror.counters().errors, 0);
    assert_eq!(mirror.errors_in_a_row, 0);
}

#[test]
fn errors_in_a_row_make_the_disk_faulty_until_it_is_re_added() {
    let device = device(1000);
    let mut mirror = mirror(64, &device);
    for round in 0..16 {
        let now_ns = 5 * MS * round;
        page_out(&mut mirror, now_ns, 3 * round as u32, &device);
        let io = mirror.poll(now_ns + 4 * MS, &device).unwrap();
        assert!(mirror.is_usable());
        mirror.ended(now_ns + 4 * MS, io.id, false, &device);
    }
    assert!(mirror.is_faulty && !device.disk.load().is_usable());
    assert!(device.disk.load().is_attached());
    assert!(mirror.is_idle(), "nothing is tried again");
    mirror.re_add(&device).unwrap();
    assert!(device.disk.load().is_usable());
}

#[test]
fn a_large_pool_is_dropped_in_steps_that_a_disk_that_is_used_again_ends() {
    let count = 3 * DROP_STEP;
    let device = device(count);
    let mut mirror = mirror(4 * DROP_STEP, &device);
    let fill = |mirror: &mut Mirror<Heap>| {
        for page in 0..count as u32 {
            page_out(mirror, 0, page, &device);
        }
        assert_eq!(mirror.buffered(), count);
    };
    fill(&mut mirror);
    mirror.begin_detach(0, &device);
    assert_eq!(mirror.buffered(), 2 * DROP_STEP);
    assert_eq!(mirror.next_timeout_ns(), 0, "it goes on at once");
    assert!(
        mirror.poll(MS, &device).is_none(),
        "nothing more goes there"
    );
    mirror.handle_timeout(MS, &device);
    assert_eq!(mirror.buffered(), DROP_STEP);
    mirror.handle_timeout(MS, &device);
    assert!(mirror.is_idle());
    mirror.handle_timeout(MS, &device);
    assert_ne!(mirror.next_timeout_ns(), 0);
    mirror.finish_detach(&device).unwrap();
    mirror.attach(&device).unwrap();

    // The disk is faulty and re-added in the middle: what is left is written after all.
    fill(&mut mirror);
    mirror.mark_faulty(&device);
    let left = mirror.buffered();
    assert!(left >= 2 * DROP_STEP);
    mirror.re_add(&device).unwrap();
    for _ in 0..4 {
        mirror.handle_timeout(MS, &device);
    }
    assert_eq!(mirror.buffered(), left);
    assert!(mirror.poll(10 * MS, &device).is_some());
}

#[test]
fn a_stop_is_not_taken_for_the_disks_silence() {
    let device = device(200);
    let (mut mirror, _, ios) = read_full(&device, 8);
    let disk_timeout_ns = mirror.config().disk_timeout_ns;
    let mut now_ns = 0;
    while now_ns < 4_000 * MS {
        now_ns = mirror.next_timeout_ns();
        mirror.handle_timeout(now_ns, &device);
    }
    // It has looked again and again, and then does not for an hour.
    assert!(now_ns <= 4_250 * MS);
    now_ns += 3_600_000 * MS;
    mirror.handle_timeout(now_ns, &device);
    assert!(!mirror.has_timed_out());
    mirror.ended(now_ns, ios[0].id, true, &device);
    // What is not answered in the rest of its time, is given up.
    let rest_ns = pass_until_timed_out(&mut mirror, &device) - now_ns;
    assert!(rest_ns > disk_timeout_ns - 4_500 * MS && rest_ns < disk_timeout_ns - 3_500 * MS);
}

#[test]
fn freed_pages_are_dropped_in_steps() {
    let count = 3 * DROP_STEP;
    let device = device(count);
    let mut mirror = mirror(4 * DROP_STEP, &device);
    for page in 0..count as u32 {
        page_out(&mut mirror, 0, page, &device);
        device.map.set_free_pending(PageIndex(page));
        device
            .map
            .take_free(PageIndex(page), || device.take_version());
    }
    for left in [2 * DROP_STEP, DROP_STEP, 0] {
        let is_none = mirror.poll(10 * MS, &device).is_none();
        assert!(is_none, "nothing is written");
        assert_eq!(mirror.buffered(), left);
        assert_eq!(mirror.next_timeout_ns(), 0, "it goes on at once");
        mirror.handle_timeout(10 * MS, &device);
    }
    assert!(mirror.poll(10 * MS, &device).is_none());
    assert_ne!(mirror.next_timeout_ns(), 0);
}
