// SPDX-License-Identifier: GPL-2.0

//! Requests that wait for room in the mirror.

use super::*;

#[test]
fn a_full_pool_lags_or_holds_back() {
    for policy in [Policy::Lag, Policy::Strict] {
        let mut disked = Disked::new(2, policy);
        let mut ended = 0;
        for page in 0..BUFFERS as u32 {
            disked.page_out(0, PageIndex(10 + 2 * page));
            disked.servers_answer();
            if disked.ended().is_empty() {
                break;
            }
            ended += 1;
        }
        if policy == Policy::Lag {
            assert_eq!(ended, BUFFERS);
            assert_eq!(disked.mirror.counters().pool_full, BUFFERS as u64 / 8);
            continue;
        }
        assert_eq!(ended, BUFFERS - BUFFERS / 8);
        let io = disked.io().unwrap();
        assert_eq!(disked.ended(), []);
        disked.io_ended(&io, true);
        assert_eq!(disked.ended(), [(0, Outcome::Done)]);
    }
}

#[test]
fn later_page_outs_do_not_overtake_a_waiting_one() {
    let mut disked = Disked::new(2, Policy::Strict);
    let mut page = PAGE.0;
    let mut begin = |disked: &mut Disked, op: usize| {
        page += 2;
        disked.bench.start_page_out(op, PageIndex(page));
    };
    loop {
        begin(&mut disked, 0);
        disked.run();
        disked.servers_answer();
        if disked.ended().is_empty() {
            break;
        }
    }
    // The first waits for room. From now on another arrives each time just when there is some.
    let mut order = Vec::new();
    for op in 1..20 {
        let io = disked.io().unwrap();
        begin(&mut disked, op);
        let now_ns = disked.bench.now_ns;
        disked
            .mirror
            .ended(now_ns, io.id, true, &disked.bench.device);
        disked.run();
        disked.servers_answer();
        order.extend(disked.ended().iter().map(|(op, _)| *op));
    }
    assert_eq!(order, (0..19).collect::<Vec<_>>());
}

#[test]
fn detaching_gives_buffers_back_that_page_outs_hold() {
    let mut disked = Disked::new(2, Policy::Lag);
    disked.page_out(0, PAGE);
    assert_eq!(disked.mirror.buffered(), 1);
    disked
        .mirror
        .begin_detach(disked.bench.now_ns, &disked.bench.device);
    disked.run();
    assert!(disked.mirror.is_idle());
    assert_eq!(disked.mirror.finish_detach(&disked.bench.device), Ok(()));
    disked.servers_answer();
    assert_eq!(disked.ended(), [(0, Outcome::Done)]);
    assert!(!disked.bench.device.disk.load().is_tracked());
}

#[test]
fn a_page_in_that_waits_for_a_server_is_notified_of_room_in_the_mirror() {
    let mut disked = Disked::new(1, Policy::Lag);
    disked.fill_pool();
    write_with_disk(&mut disked.bench, PAGE, &[0]);
    disked.page_in(0, PAGE);
    assert_eq!(disked.sends.len(), 1, "the server is asked first");
    for _ in 0..1000 {
        disked.advance(MS);
    }
    assert_eq!(disked.ended(), []);
    disked.finish_io();
    assert_eq!(disked.ended(), [(0, Outcome::Done)]);
    assert!(disked.mirror.is_idle());
}

#[test]
fn later_page_ins_do_not_overtake_a_waiting_one() {
    let mut disked = Disked::new(0, Policy::Lag);
    disked.fill_pool();
    // The first waits for room. From now on another comes each time just when there is some.
    let begin = |disked: &mut Disked, op: usize| {
        let page = PageIndex(op as u32);
        write_with_disk(&mut disked.bench, page, &[]);
        disked.bench.start_page_in(op, page);
    };
    begin(&mut disked, 0);
    for op in 1..20 {
        let io = disked.io().unwrap();
        begin(&mut disked, op);
        let now_ns = disked.bench.now_ns;
        disked
            .mirror
            .ended(now_ns, io.id, true, &disked.bench.device);
        // Those that wait are looked at again, too.
        disked.advance(100 * MS);
        assert_eq!(disked.mirror.buffered(), BUFFERS);
    }
    let mut order = disked.ended();
    while let Some(io) = disked.io() {
        disked.io_ended(&io, true);
        order.extend(disked.ended());
    }
    assert_eq!(
        order,
        (0..20).map(|op| (op, Outcome::Done)).collect::<Vec<_>>()
    );
    assert!(disked.mirror.is_idle());
}

#[test]
fn a_page_in_that_has_ended_keeps_no_turn() {
    let mut disked = Disked::new(0, Policy::Lag);
    disked.fill_pool();
    for op in 0..2 {
        write_with_disk(&mut disked.bench, PageIndex(op as u32), &[]);
        disked.page_in(op, PageIndex(op as u32));
    }
    let Bench { shard, device, .. } = &mut disked.bench;
    let mut walk = shard.walk();
    while let Some(index) = walk.next(&shard.ops) {
        shard.give_up(index, device);
    }
    disked.run();
    assert_eq!(disked.ended(), [(0, Outcome::Failed), (1, Outcome::Failed)]);
    let io = disked.io().unwrap();
    disked.io_ended(&io, true);
    assert_eq!(disked.mirror.buffered(), BUFFERS - 1);
    disked.page_in(1, PageIndex(1));
    assert_eq!(disked.mirror.buffered(), BUFFERS, "at once");
    disked.finish_io();
    assert_eq!(disked.ended(), [(1, Outcome::Done)]);
}
