// SPDX-License-Identifier: GPL-2.0

//! Page-ins that read the disk.

use super::*;

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
fn a_page_in_waits_while_it_is_open_whether_the_disk_that_has_its_page_is_detached() {
    for is_cancelled in [true, false] {
        let mut disked = Disked::new(0, Policy::Off);
        disked.page_out(0, PAGE);
        let io = disked.io().unwrap();
        disked.io_ended(&io, true);
        assert_eq!(disked.ended(), [(0, Outcome::Done)]);
        disked
            .mirror
            .begin_detach(disked.bench.now_ns, &disked.bench.device);
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
fn a_page_in_reads_the_disk_when_its_io_timeout_is_over() {
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
