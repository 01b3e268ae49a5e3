// SPDX-License-Identifier: GPL-2.0

//! I/O that the disk refuses, or keeps.

use super::*;

/// A mirror of 64 buffers with `count` pages, no two of them neighbours, that are to be written.
fn with_pages(count: u32, device: &SwapDevice<Heap>) -> Mirror<Heap> {
    let mut mirror = mirror(64, device);
    for number in 0..count {
        page_out(&mut mirror, 0, 2 * number, device);
    }
    mirror.handle_timeout(2 * MS, device);
    mirror
}

#[test]
fn a_refused_io_is_submitted_again_before_any_other() {
    let device = device(100);
    let mut mirror = with_pages(2, &device);
    let mut now_ns = 2 * MS;
    let io = mirror.poll(now_ns, &device).unwrap();
    assert!(!io.may_wait);
    for wait_ms in [5, 10, 20, 40, 80, 80] {
        mirror.submitted();
        mirror.refused(now_ns, io.id, &device);
        mirror.handle_timeout(now_ns, &device);
        assert_eq!(mirror.poll(now_ns, &device), None);
        let due_ns = mirror.next_timeout_ns();
        assert!(due_ns <= now_ns + wait_ms * MS);
        now_ns += wait_ms * MS - 1;
        mirror.handle_timeout(now_ns, &device);
        assert_eq!(mirror.poll(now_ns, &device), None, "not the other either");
        assert_eq!(mirror.next_timeout_ns(), now_ns + 1);
        now_ns += 1;
        let again = mirror.poll(now_ns, &device).unwrap();
        assert_eq!((again.id, again.first), (io.id, io.first));
        // The disk has nothing else of ours whose end may make room.
        assert_eq!(again.may_wait, wait_ms >= 20);
    }
    let other = mirror.poll(now_ns, &device).unwrap();
    assert_ne!(other.id, io.id);
    assert!(!other.may_wait);
}

#[test]
fn a_refused_io_does_not_wait_while_the_end_of_others_may_make_room() {
    let device = device(100);
    let mut mirror = with_pages(2, &device);
    let mut now_ns = 2 * MS;
    let other = mirror.poll(now_ns, &device).unwrap();
    let mut io = mirror.poll(now_ns, &device).unwrap();
    for _ in 0..10 {
        mirror.refused(now_ns, io.id, &device);
        now_ns += 80 * MS;
        io = mirror.poll(now_ns, &device).unwrap();
        assert!(!io.may_wait);
    }
    mirror.refused(now_ns, io.id, &device);
    assert!(!mirror.stage_io(now_ns, &device));
    mirror.ended(now_ns, other.id, true, &device);
    assert_eq!(mirror.poll(now_ns, &device).map(|io| io.id), Some(io.id));
}

#[test]
fn a_refused_io_is_not_overtaken_by_one_that_began_before_the_refusal_was_known() {
    let device = device(100);
    let mut mirror = with_pages(4, &device);
    let [first, second, third] = [(); 3].map(|()| mirror.poll(2 * MS, &device).unwrap().id);
    mirror.refused(2 * MS, second, &device);
    mirror.refused(2 * MS, third, &device);
    mirror.ended(3 * MS, first, true, &device);
    let again = [(); 3].map(|()| mirror.poll(3 * MS, &device).unwrap().id);
    assert_eq!(again, [second, third, first], "the last one is another");
    mirror.refused(3 * MS, third, &device);
    mirror.refused(3 * MS, first, &device);
    mirror.ended(4 * MS, second, true, &device);
    assert_eq!(mirror.poll(4 * MS, &device).map(|io| io.id), Some(third));
}

#[test]
fn a_disk_that_is_detached_gets_no_refused_io() {
    let device = device(100);
    let mut mirror = with_pages(2, &device);
    let io = mirror.poll(2 * MS, &device).unwrap();
    let late = mirror.poll(2 * MS, &device).unwrap();
    mirror.refused(2 * MS, io.id, &device);
    mirror.begin_detach(2 * MS, &device);
    mirror.refused(2 * MS, late.id, &device);
    assert!(mirror.is_idle());
    assert_eq!(mirror.poll(100 * MS, &device), None);
}

#[test]
fn a_refused_io_that_has_timed_out_keeps_the_module_only_while_the_disk_has_it() {
    let device = device(100);
    let mut mirror = with_pages(2, &device);
    let mut now_ns = 2 * MS;
    let [refused, other] = [(); 2].map(|()| mirror.poll(now_ns, &device).unwrap().id);
    mirror.submitted();
    mirror.refused(now_ns, refused, &device);
    while !mirror.has_timed_out() {
        now_ns = mirror.next_timeout_ns();
        mirror.handle_timeout(now_ns, &device);
    }
    assert!(mirror.must_stay(), "the disk has the other");
    mirror.ended(now_ns, other, true, &device);
    assert!(mirror.has_timed_out() && !mirror.must_stay());
    let again = mirror.poll(now_ns, &device).map(|io| io.id);
    mirror.submitted();
    assert!(again == Some(refused) && mirror.must_stay());
    mirror.ended(now_ns, refused, true, &device);
    assert!(!mirror.has_timed_out() && !mirror.must_stay());
}

#[test]
fn a_disk_is_stuck_until_its_io_ends_and_the_submission_returns() {
    let device = device(100);
    let mut mirror = with_pages(2, &device);
    assert!(!mirror.must_stay());
    let begun_ns = 2 * MS;
    let stuck_ns = begun_ns + 500 * MS;
    assert!(mirror.stage_io(begun_ns, &device) && mirror.is_submitting());
    let io = mirror.poll(begun_ns, &device).unwrap();
    while mirror.next_timeout_ns() < stuck_ns {
        let due_ns = mirror.next_timeout_ns();
        assert!(!mirror.is_stuck(due_ns) && mirror.must_stay());
        mirror.handle_timeout(due_ns, &device);
    }
    assert_eq!(mirror.next_timeout_ns(), stuck_ns);
    assert!(mirror.is_stuck(stuck_ns) && mirror.must_stay());
    // A driver may end I/O before it returns from its submission.
    mirror.ended(stuck_ns, io.id, true, &device);
    assert!(mirror.must_stay(), "it is still being submitted");
    mirror.submitted();
    assert!(!mirror.is_stuck(stuck_ns) && !mirror.must_stay());
    // Each I/O that ends shows that the disk is not stuck.
    let io = mirror.poll(stuck_ns, &device).unwrap();
    mirror.submitted();
    assert!(mirror.must_stay(), "the disk has it");
    assert!(!mirror.is_stuck(stuck_ns + 499 * MS));
    assert!(mirror.is_stuck(stuck_ns + 500 * MS));
    mirror.ended(stuck_ns + 600 * MS, io.id, true, &device);
    assert!(!mirror.is_stuck(stuck_ns + 2000 * MS));
}
