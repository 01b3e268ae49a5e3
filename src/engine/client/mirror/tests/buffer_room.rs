// SPDX-License-Identifier: GPL-2.0

//! Room in the pool and on the disk: which shard gets it, and in which order.

use super::*;

#[test]
fn a_reader_is_notified_of_room_in_the_reserve_for_reads() {
    let device = device(2000);
    let mut mirror = mirror(64, &device);
    let versions: Vec<Version> = (0..9)
        .map(|number| {
            let page = PageIndex(2 * number);
            let begun = device.map.begin_write(page).unwrap();
            let version = device.take_version();
            let servers = SlotSet::from_bits(3);
            device
                .map
                .finish_write(page, begun, version, servers, false);
            device.mark_on_disk(page, version.generation());
            version
        })
        .collect();
    // Writes for which no op waits take all that they may.
    for page in 0..56 {
        page_out(&mut mirror, 0, 100 + 2 * page, &device);
    }
    let get = |mirror: &mut Mirror<Heap>, number: usize| {
        let page = PageIndex(2 * number as u32);
        mirror.begin_read(page, versions[number].generation(), TOKEN, false, &device)
    };
    for number in 0..8 {
        assert_eq!(get(&mut mirror, number), Get::Queued);
    }
    assert_eq!(get(&mut mirror, 8), Get::Full);
    let io = mirror.poll(0, &device).unwrap();
    assert!(!io.is_write);
    mirror.ended(0, io.id, true, &device);
    let Some(Event::Read(_, Ok(id))) = mirror.poll_event() else {
        panic!("it has been read");
    };
    assert_eq!(mirror.poll_event(), None);
    mirror.release(id);
    assert_eq!(mirror.poll_event(), Some(Event::Granted(0, Direction::In)));
    let page = PageIndex(16);
    let generation = versions[8].generation();
    let get = mirror.begin_granted_read(page, generation, TOKEN, false, &device);
    assert_eq!(get, Get::Queued);
    assert_eq!(mirror.poll_event(), None);
}

/// The disk has read a page, and it has been copied from its buffer.
fn read_one(mirror: &mut Mirror<Heap>, io: &DiskIo, device: &SwapDevice<Heap>) {
    mirror.ended(0, io.id, true, device);
    let Some(Event::Read(_, Ok(id))) = mirror.poll_event() else {
        panic!("it has been read");
    };
    mirror.release(id);
}

#[test]
fn shards_that_wait_for_room_take_turns() {
    let device = device(200);
    let (mut mirror, generation, ios) = read_full(&device, 8);
    let page = |number: u32| PageIndex(2 * number);
    // Many of shard 0, one of shard 2.
    for (number, shard) in [(20, 0), (21, 2), (22, 0)] {
        let get = mirror.begin_read(page(number), generation, reader(shard), false, &device);
        assert_eq!(get, Get::Full);
    }
    read_one(&mut mirror, &ios[0], &device);
    assert_eq!(mirror.poll_event(), Some(Event::Granted(0, Direction::In)));
    // The buffer is free and reserved: later requests queue behind those that wait, even of this shard.
    for shard in [1, 0] {
        let get = mirror.begin_read(page(23), generation, reader(shard), false, &device);
        assert_eq!(get, Get::Full);
    }
    let get = mirror.begin_granted_read(page(20), generation, reader(0), true, &device);
    assert_eq!(get, Get::Queued);
    assert_eq!(mirror.poll_event(), None, "there is no other buffer");
    // The next ones go to the others, whatever shard 0 still has waiting.
    for (io, number) in [(1, 1), (2, 2), (3, 0)] {
        read_one(&mut mirror, &ios[io], &device);
        assert_eq!(
            mirror.poll_event(),
            Some(Event::Granted(number, Direction::In))
        );
        let get = mirror.begin_granted_read(
            page(30 + number as u32),
            generation,
            reader(number as u32),
            false,
            &device,
        );
        assert_eq!(get, Get::Queued);
    }
    // No shard waits any more.
    read_one(&mut mirror, &ios[4], &device);
    assert_eq!(mirror.poll_event(), None);
    let get = mirror.begin_read(page(40), generation, reader(1), false, &device);
    assert_eq!(get, Get::Queued);
}

#[test]
fn a_turn_that_is_passed_on_or_not_needed_goes_to_the_next() {
    let device = device(200);
    let (mut mirror, generation, ios) = read_full(&device, 8);
    let page = |number: u32| PageIndex(2 * number);
    for shard in 0..3 {
        let get = mirror.begin_read(page(20), generation, reader(shard), false, &device);
        assert_eq!(get, Get::Full);
    }
    read_one(&mut mirror, &ios[0], &device);
    assert_eq!(mirror.poll_event(), Some(Event::Granted(0, Direction::In)));
    assert_eq!(mirror.poll_event(), None);
    mirror.return_grant(0, Direction::In);
    assert_eq!(mirror.poll_event(), Some(Event::Granted(1, Direction::In)));
    // A shard without a grant can return it without effect.
    mirror.return_grant(0, Direction::In);
    assert_eq!(mirror.poll_event(), None);
    // Its page has changed: it needs no buffer.
    let other = Generation(6);
    let get = mirror.begin_granted_read(page(20), other, reader(1), false, &device);
    assert_eq!(get, Get::Changed);
    assert_eq!(mirror.poll_event(), Some(Event::Granted(2, Direction::In)));
    mirror.return_grant(2, Direction::In);
    assert_eq!(mirror.poll_event(), None);
    let get = mirror.begin_read(page(20), generation, reader(3), false, &device);
    assert_eq!(get, Get::Queued);
}

#[test]
fn page_outs_do_not_take_what_is_kept_for_a_turn() {
    let device = device(200);
    // So few that an eighth is none.
    let (mut mirror, generation, ios) = read_full(&device, 4);
    let get = mirror.begin_read(PageIndex(40), generation, reader(1), false, &device);
    assert_eq!(get, Get::Full);
    read_one(&mut mirror, &ios[0], &device);
    assert_eq!(mirror.poll_event(), Some(Event::Granted(1, Direction::In)));
    let page = PageIndex(1);
    let begun = device.map.begin_write(page).unwrap();
    let version = Version(1 << 20);
    let put = mirror.begin_write(&write(page, version, true), &device);
    assert_eq!(put, Put::Full);
    let get = mirror.begin_granted_read(PageIndex(40), generation, reader(1), false, &device);
    assert_eq!(get, Get::Queued);
    read_one(&mut mirror, &ios[1], &device);
    assert_eq!(mirror.poll_event(), Some(Event::Granted(0, Direction::Out)));
    let put = mirror.begin_granted_write(&write(page, version, true), false, &device);
    assert!(matches!(put, Put::Buffer(_)), "{put:?}");
    assert!(!device.map.abandon_write(page));
    assert_eq!(begun, Default::default());
}

/// What a page-out of this shard asks for, which needs the disk.
fn urgent(shard: usize, page: u32, device: &SwapDevice<Heap>) -> Write {
    let page = PageIndex(page);
    device.map.begin_write(page).unwrap();
    Write {
        shard,
        ..write(page, device.take_version(), true)
    }
}

#[test]
fn page_outs_of_shards_that_wait_for_room_take_turns() {
    let device = device(1000);
    let mut mirror = mirror(64, &device);
    for page in 0..56 {
        page_out(&mut mirror, 0, 100 + 2 * page, &device);
    }
    let mut waiting = [(0, 1), (2, 3), (1, 5), (0, 7)]
        .map(|(shard, page)| urgent(shard, page, &device))
        .to_vec();
    let last = waiting.pop().unwrap();
    for write in &waiting {
        assert_eq!(mirror.begin_write(write, &device), Put::Full);
    }
    for (shard, write) in [(0, 0), (1, 2), (2, 1)] {
        let io = mirror.poll(10 * MS, &device).unwrap();
        mirror.ended(10 * MS, io.id, true, &device);
        assert_eq!(
            mirror.poll_event(),
            Some(Event::Granted(shard, Direction::Out))
        );
        assert_eq!(mirror.poll_event(), None);
        // The buffer is free and reserved: later requests queue behind those that wait, even of this shard.
        assert_eq!(mirror.begin_write(&last, &device), Put::Full);
        let put = mirror.begin_granted_write(&waiting[write], false, &device);
        assert!(matches!(put, Put::Buffer(_)), "{put:?}");
        assert_eq!(mirror.poll_event(), None, "there is no other buffer");
    }
    let io = mirror.poll(10 * MS, &device).unwrap();
    mirror.ended(10 * MS, io.id, true, &device);
    assert_eq!(mirror.poll_event(), Some(Event::Granted(0, Direction::Out)));
    // It has ended meanwhile.
    mirror.return_grant(0, Direction::Out);
    let put = mirror.begin_write(&last, &device);
    assert!(matches!(put, Put::Buffer(_)), "{put:?}");
}

#[test]
fn page_ins_that_take_all_the_room_leave_some_to_page_outs_that_wait() {
    let device = device(200);
    let (mut mirror, generation, ios) = read_full(&device, 8);
    let page = |number: u32| PageIndex(2 * number);
    let write = urgent(1, 1, &device);
    assert_eq!(mirror.begin_write(&write, &device), Put::Full);
    let get = mirror.begin_read(page(20), generation, reader(0), false, &device);
    assert_eq!(get, Get::Full);
    // Of eight, six at the most are read then, and one is left to page-ins.
    read_one(&mut mirror, &ios[0], &device);
    assert_eq!(mirror.poll_event(), None);
    read_one(&mut mirror, &ios[1], &device);
    assert_eq!(mirror.poll_event(), Some(Event::Granted(1, Direction::Out)));
    assert_eq!(mirror.poll_event(), None);
    let put = mirror.begin_granted_write(&write, false, &device);
    assert!(matches!(put, Put::Buffer(_)), "{put:?}");
    assert_eq!(mirror.poll_event(), Some(Event::Granted(0, Direction::In)));
}

#[test]
fn page_ins_leave_some_of_the_disk_to_page_outs() {
    let device = device(200);
    let (mut mirror, generation, ios) = read_full(&device, 8);
    for io in &ios {
        read_one(&mut mirror, io, &device);
    }
    let write = urgent(0, 1, &device);
    assert!(matches!(
        mirror.begin_write(&write, &device),
        Put::Buffer(_)
    ));
    assert!(mirror.want(0, write.page, write.version, TOKEN));
    for number in 0..7 {
        let page = PageIndex(2 * number + 20);
        let get = mirror.begin_read(page, generation, reader(0), false, &device);
        assert_eq!(get, Get::Queued);
    }
    let directions: Vec<bool> = core::iter::from_fn(|| mirror.poll(0, &device))
        .map(|io| io.is_write)
        .collect();
    let expected = [false, false, false, false, false, false, true, false];
    assert_eq!(directions, expected);
}
