// SPDX-License-Identifier: GPL-2.0

//! Page-outs that full servers refuse.

use super::*;

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
    assert!(!disked.mirror.is_usable() && disked.bench.device.disk.load().may_return());
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
    disked
        .mirror
        .begin_detach(disked.bench.now_ns, &disked.bench.device);
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
    disked.bench.device.servers.set_expected(0);
    disked.mirror.pause(&disked.bench.device);
    disked.run();
    page_out_without_room(&mut disked);
    disked.mirror.resume(&disked.bench.device);
    let io = disked.io().unwrap();
    disked.io_ended(&io, true);
    assert_eq!(disked.ended(), [(0, Outcome::Done)]);
}

#[test]
fn a_page_out_that_full_servers_refuse_does_not_wait_for_a_disk_that_is_faulty() {
    let mut disked = Disked::new(1, Policy::Lag);
    disked.mirror.mark_faulty(&disked.bench.device);
    disked.run();
    disked
        .bench
        .device
        .servers
        .set_full(disked.bench.slot(0), true);
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
    assert!(disked.mirror.has_timed_out());
    disked.ended();
    page_out_without_room(&mut disked);
    disked.io_ended(&silent, true);
    let io = disked.io().unwrap();
    disked.io_ended(&io, true);
    assert_eq!(disked.ended(), [(0, Outcome::Done)]);
}
