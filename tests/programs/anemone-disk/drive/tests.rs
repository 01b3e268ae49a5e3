// SPDX-License-Identifier: GPL-2.0

use super::*;
use crate::mechanics::TRACK;

const MS: u64 = 1_000_000;
const KIB: u64 = 1 << 10;
const CACHE: u64 = 8 << 20;

/// A disk, and a program that asks it for something.
struct World {
    drive: Drive,
    now_ns: u64,
    cookies: u64,
}

impl World {
    fn new() -> Self {
        Self {
            drive: Drive::new(CACHE),
            now_ns: 1000 * MS,
            cookies: 0,
        }
    }

    fn ask(&mut self, access: Access, start: u64, length: u64) -> u64 {
        self.cookies += 1;
        let request = Request {
            cookie: self.cookies,
            access,
            range: start..start + length,
        };
        self.drive.submit(request, self.now_ns);
        self.cookies
    }

    /// Time goes on until the next request is done, and no further; which it was.
    fn wait(&mut self) -> u64 {
        loop {
            if !self.drive.done.is_empty() {
                return self.drive.done.remove(0).cookie;
            }
            self.now_ns = self.drive.next_ns().expect("a request").max(self.now_ns);
            self.drive.run(self.now_ns);
        }
    }

    /// How long a request takes that is alone.
    fn time(&mut self, access: Access, start: u64, length: u64) -> u64 {
        let from_ns = self.now_ns;
        let cookie = self.ask(access, start, length);
        assert_eq!(self.wait(), cookie);
        self.now_ns - from_ns
    }

    fn random(&mut self, below: u64) -> u64 {
        self.cookies += 1;
        let mixed = self.cookies.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 32)) % below
    }
}

#[test]
fn a_page_anywhere_takes_half_a_turn_and_a_short_seek() {
    let mut world = World::new();
    let from_ns = world.now_ns;
    for _ in 0..2000 {
        let page = world.random(1 << 16);
        world.time(Access::Read, page * 4 * KIB, 4 * KIB);
    }
    let mean_us = (world.now_ns - from_ns) / 2000 / 1000;
    // Some are in the buffer by chance.
    assert!((3800..4600).contains(&mean_us), "{mean_us}");
    assert!(world.drive.counts.reads_from_buffer < 300);
}

#[test]
fn pages_in_order_are_read_at_the_rate_of_the_platter() {
    let mut world = World::new();
    let from_ns = world.now_ns;
    for index in 0..1600 {
        world.time(Access::Read, index * 32 * KIB, 32 * KIB);
        // The program does something with each: less than it takes to read one.
        world.now_ns += 20_000;
    }
    let rate = (1600 * 32 * KIB) * 1000 / ((world.now_ns - from_ns) / 1000) / 1000;
    assert!((240..256).contains(&rate), "{rate} MB/s");
}

#[test]
fn near_requests_are_served_first() {
    let mut world = World::new();
    let first = world.ask(Access::Read, 0, 4 * KIB);
    let behind = world.ask(Access::Read, TRACK - 64 * KIB, 4 * KIB);
    let next = world.ask(Access::Read, 8 * KIB, 4 * KIB);
    assert_eq!(
        [world.wait(), world.wait(), world.wait()],
        [first, next, behind]
    );
    assert!(world.now_ns < 1020 * MS);
}

#[test]
fn writes_end_at_once_while_the_cache_has_room() {
    let mut world = World::new();
    for index in 0..CACHE / (64 * KIB) / 2 {
        // Each on a track of its own.
        assert_eq!(world.time(Access::Write, index * TRACK, 64 * KIB), 0);
    }
    assert_eq!(world.drive.counts.write_backs, 0);
    // What has been written is in the cache, and comes from there.
    assert_eq!(world.time(Access::Read, 3 * TRACK, 64 * KIB), 0);
}

#[test]
fn the_cache_is_written_when_nothing_is_asked() {
    let mut world = World::new();
    world.time(Access::Write, 0, 64 * KIB);
    world.time(Access::Write, 5 * TRACK, 64 * KIB);
    world.now_ns += 100 * MS;
    world.drive.run(world.now_ns);
    assert_eq!(world.drive.counts.write_backs, 2);
    assert!(world.drive.dirty.is_empty() && world.drive.next_ns().is_none());
}

#[test]
fn long_writes_run_at_the_rate_of_the_platter() {
    let mut world = World::new();
    let from_ns = world.now_ns;
    for index in 0..800 {
        world.time(Access::Write, index * 128 * KIB, 128 * KIB);
    }
    let bytes = 800 * 128 * KIB - CACHE;
    let rate = bytes * 1000 / ((world.now_ns - from_ns) / 1000) / 1000;
    assert!((240..270).contains(&rate), "{rate} MB/s");
}

#[test]
fn writes_all_over_the_disk_wait_when_the_cache_is_full() {
    let mut world = World::new();
    for index in 0..4000 {
        world.time(Access::Write, (index * 7919 % 4000) * TRACK, 4 * KIB);
    }
    let counts = &world.drive.counts;
    assert!(counts.writes_that_waited > 1500, "{counts:?}");
    assert!(counts.write_backs >= 4000 - CACHE / (4 * KIB));
}

#[test]
fn a_read_goes_before_what_can_wait() {
    let mut world = World::new();
    for index in 0..CACHE / (64 * KIB) / 2 {
        world.time(Access::Write, index * TRACK, 64 * KIB);
    }
    // More than half is used now: the head goes to write. The read comes after that alone.
    world.time(Access::Write, 1000 * TRACK, 64 * KIB);
    assert!(world.drive.operation.is_some());
    assert!(world.time(Access::Read, 2000 * TRACK, 4 * KIB) < 20 * MS);
    assert_eq!(world.drive.counts.write_backs, 1);
}

#[test]
fn a_write_larger_than_the_cache_is_taken_when_the_cache_is_empty() {
    let mut world = World::new();
    world.time(Access::Write, 0, 4 * KIB);
    assert!(world.time(Access::Write, TRACK, CACHE * 2) > 0);
}

#[test]
fn a_read_of_what_is_being_read_waits_for_it_alone() {
    let mut world = World::new();
    let whole = world.ask(Access::Read, 0, 64 * KIB);
    let part = world.ask(Access::Read, 16 * KIB, 4 * KIB);
    let more = world.ask(Access::Read, 48 * KIB, 64 * KIB);
    assert_eq!(
        [world.wait(), world.wait(), world.wait()],
        [whole, part, more]
    );
    assert!(world.now_ns < 1010 * MS);
    assert_eq!(world.drive.counts.reads_from_buffer, 1);
}
