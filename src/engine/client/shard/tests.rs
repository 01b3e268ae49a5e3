// SPDX-License-Identifier: GPL-2.0

//! One shard, and servers that the test plays.

mod beginnings;
pub mod bench;
mod claim;
mod disk;
mod gaps;
mod in_vain;
pub mod mirroring;
mod progress;
mod removal;
mod rewound;
mod seal;
mod struck;

use super::super::ids::{PageIndex, SlotSet, Version};
use super::{Action, Outcome};
use crate::wire::{Opcode, Status};
use bench::{Bench, MS, US};

/// The page of all tests.
const PAGE: PageIndex = PageIndex(3);

/// Has `count` page-ins answered, each after `answer_ns`.
fn warm_up(bench: &mut Bench, count: u32, answer_ns: u64) {
    for _ in 0..count {
        bench.start_page_in(0, PAGE);
        let send = bench.next_send();
        bench.now_ns += answer_ns;
        bench.answer_page(&send, &[0]);
        assert_eq!(bench.next_completion().outcome, Outcome::Done);
    }
}

#[test]
fn a_slow_page_in_is_hedged_and_the_late_answer_dropped() {
    let mut bench = Bench::new(2);
    bench.write(PAGE, &[0, 1]);
    warm_up(&mut bench, 100, 100 * US);
    bench.start_page_in(0, PAGE);
    let first = bench.next_send();
    let began_ns = bench.now_ns;
    let second = bench.wait_for_send();
    let waited_ns = bench.now_ns - began_ns;
    assert!((MS / 2..4 * MS).contains(&waited_ns), "{waited_ns}");
    assert_eq!(second.header.opcode, Opcode::Read);
    assert_ne!(first.destination, second.destination);
    bench.now_ns += 100 * US;
    bench.answer_page(&second, &[0]);
    assert_eq!(bench.next_completion().outcome, Outcome::Done);
    let counters = *bench.shard.counters();
    assert_eq!(
        (counters.hedges, counters.hedges_won, counters.failovers),
        (1, 1, 0)
    );
    assert_eq!((counters.timeouts, counters.retransmissions), (0, 0));

    bench.answer_page(&first, &[0]);
    assert_eq!(bench.poll(), None);
    assert_eq!(bench.shard.counters().stale_frames, 1);
}

#[test]
fn the_first_answer_may_still_win() {
    let mut bench = Bench::new(2);
    bench.write(PAGE, &[0, 1]);
    warm_up(&mut bench, 100, 100 * US);
    bench.start_page_in(0, PAGE);
    let first = bench.next_send();
    let second = bench.wait_for_send();
    bench.answer_page(&first, &[0]);
    assert_eq!(bench.next_completion().outcome, Outcome::Done);
    bench.answer_page(&second, &[0]);
    assert_eq!(bench.poll(), None);
    let counters = bench.shard.counters();
    assert_eq!((counters.hedges, counters.hedges_won), (1, 0));
}

#[test]
fn hedges_have_a_budget() {
    let mut bench = Bench::new(2);
    bench.write(PAGE, &[0, 1]);
    warm_up(&mut bench, 100, 100 * US);
    for _ in 0..400 {
        bench.start_page_in(0, PAGE);
        let first = bench.next_send();
        // Always slow: at first longer than usual, until that is usual.
        bench.advance(5 * MS);
        bench.answer_page(&first, &[0]);
        while let Some(action) = bench.poll() {
            if let Action::Send(send) = action {
                bench.sent(send);
            }
        }
    }
    let counters = bench.shard.counters();
    assert_ne!(counters.hedges, 0);
    assert!(counters.hedges * 20 <= counters.pages_in, "{counters:?}");
}

#[test]
fn no_hedge_at_0_percent() {
    let mut bench = Bench::new(2);
    bench.device.set_hedge_percent(0);
    bench.write(PAGE, &[0, 1]);
    warm_up(&mut bench, 100, 100 * US);
    bench.start_page_in(0, PAGE);
    let first = bench.next_send();
    bench.advance(7 * MS);
    assert_eq!(bench.poll(), None);
    bench.answer_page(&first, &[0]);
    assert_eq!(bench.next_completion().outcome, Outcome::Done);
    assert_eq!(bench.shard.counters().hedges, 0);
}

#[test]
fn a_page_in_from_a_server_that_was_stopped_soon_asks_another_one() {
    let mut bench = Bench::new(2);
    bench.write(PAGE, &[0, 1]);
    // Both servers get long timeouts.
    warm_up(&mut bench, 8, 170 * MS);
    bench.start_page_in(0, PAGE);
    let first = bench.next_send();
    let (began_ns, hedges) = (bench.now_ns, bench.shard.counters().hedges);
    let second = bench.wait_for_send();
    let waited_ns = bench.now_ns - began_ns;
    assert!((MS..85 * MS).contains(&waited_ns), "{waited_ns}");
    assert_ne!(first.destination, second.destination);
    bench.answer_page(&second, &[0]);
    assert_eq!(bench.next_completion().outcome, Outcome::Done);
    let counters = bench.shard.counters();
    assert_eq!(
        (counters.hedges - hedges, counters.failovers),
        (0, 1),
        "there is no credit yet"
    );
}

#[test]
fn page_ins_under_way_to_a_dying_server_end_soon() {
    let mut bench = Bench::new(2);
    bench.write(PAGE, &[0, 1]);
    warm_up(&mut bench, 200, 300 * US);
    let ops = bench.ops();
    for op in 0..ops {
        bench.start_page_in(op, PAGE);
    }
    // Server 0 is dead from now on: server 1 answers after 300 us.
    let (began_ns, mut ended) = (bench.now_ns, 0);
    let mut answers = std::collections::VecDeque::new();
    while ended < ops {
        while let Some(action) = bench.poll() {
            match action {
                Action::Send(send) => {
                    let send = bench.sent(send);
                    if send.destination == bench.mac(1) {
                        answers.push_back((bench.now_ns + 300 * US, send));
                    }
                }
                Action::Complete(completion) => {
                    assert_eq!(completion.outcome, Outcome::Done);
                    ended += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        bench.advance(100 * US);
        while answers
            .front()
            .is_some_and(|(at_ns, _)| *at_ns <= bench.now_ns)
        {
            if let Some((_, send)) = answers.pop_front() {
                bench.answer_page(&send, &[0]);
            }
        }
        assert!(bench.now_ns - began_ns < 100 * MS);
    }
    // Later page-ins see no delay.
    for _ in 0..10 {
        bench.start_page_in(0, PAGE);
        let send = bench.next_send();
        assert_eq!(send.destination, bench.mac(1));
        bench.answer_page(&send, &[0]);
        assert_eq!(bench.next_completion().outcome, Outcome::Done);
    }
}

#[test]
fn a_retransmission_is_measured_by_the_attempt_that_is_answered() {
    let mut bench = Bench::new(1);
    bench.device.set_hedge_percent(0);
    bench.write(PAGE, &[0]);
    warm_up(&mut bench, 50, 100 * US);
    // The host has become slow: every answer to a first attempt comes after 20 ms.
    let mut timeouts = 0;
    for _ in 0..50 {
        let before = bench.shard.counters().timeouts;
        bench.start_page_in(0, PAGE);
        let first = bench.next_send();
        for _ in 0..20 {
            bench.advance(MS);
            bench.discard_sends();
        }
        bench.answer_page(&first, &[0]);
        assert_eq!(bench.next_completion().outcome, Outcome::Done);
        timeouts = bench.shard.counters().timeouts - before;
    }
    assert_eq!(timeouts, 0, "it is known by now");
    assert!(bench.shard.counters().timeouts < 20);
}

#[test]
fn late_answers_are_measured_too() {
    let mut bench = Bench::new(2);
    bench.write(PAGE, &[0, 1]);
    warm_up(&mut bench, 100, 100 * US);
    let known_ns = bench.shard.round_trip_ns(bench.slot(0));
    let mut late = 0;
    for _ in 0..2000 {
        bench.start_page_in(0, PAGE);
        let first = bench.next_send();
        if first.destination == bench.mac(1) {
            bench.now_ns += 100 * US;
            bench.answer_page(&first, &[0]);
            bench.next_completion();
            continue;
        }
        // Server 0 is slow: any other server that is asked answers first.
        let mut is_over = false;
        for _ in 0..100 {
            bench.advance(200 * US);
            while let Some(action) = bench.poll() {
                match action {
                    Action::Send(send) => {
                        let send = bench.sent(send);
                        if send.destination == bench.mac(1) {
                            bench.answer_page(&send, &[0]);
                        }
                    }
                    Action::Complete(_) => is_over = true,
                    other => panic!("{other:?}"),
                }
            }
            if is_over {
                break;
            }
        }
        assert!(is_over);
        late += 1;
        bench.answer_page(&first, &[0]);
    }
    assert_ne!(late, 0);
    let now_ns = bench.shard.round_trip_ns(bench.slot(0));
    assert!(now_ns > 2 * known_ns, "{now_ns} after {known_ns}");
}

#[test]
fn a_client_that_was_stopped_suspects_no_server() {
    let mut bench = Bench::new(2);
    bench.write(PAGE, &[0, 1]);
    warm_up(&mut bench, 100, 100 * US);
    for op in 0..bench.ops() {
        bench.start_page_in(op, PAGE);
    }
    bench.discard_sends();
    bench.now_ns += 30_000 * MS;
    bench.advance(0);
    assert_eq!(bench.device.servers.usable().len(), 2);
    // Servers that do not answer while the client runs are suspected.
    for _ in 0..3000 {
        bench.advance(MS);
        bench.discard_sends();
    }
    assert_eq!(bench.device.servers.usable().len(), 0);
}

#[test]
fn a_request_that_begins_on_waking_waits_no_longer_than_the_io_timeout() {
    let mut bench = Bench::new(1);
    bench.write(PAGE, &[0]);
    bench.start_page_in(0, PAGE);
    bench.discard_sends();
    // Before the timer's interrupt comes.
    bench.now_ns += 3_600_000 * MS;
    bench.start_page_in(1, PAGE);
    bench.discard_sends();
    for _ in 0..610 {
        bench.advance(100 * MS);
        while let Some(action) = bench.poll() {
            if let Action::Send(send) = action {
                bench.sent(send);
            }
        }
    }
    assert_eq!(bench.shard.in_flight(), 0);
    assert_eq!(bench.shard.counters().pages_in_failed, 2);
}

#[test]
fn a_clock_step_extends_the_io_timeout_of_a_request_under_way() {
    let mut bench = Bench::new(1);
    bench.write(PAGE, &[0]);
    bench.start_page_in(0, PAGE);
    bench.discard_sends();
    let wait = |bench: &mut Bench, seconds: u64| {
        for _ in 0..10 * seconds {
            bench.advance(100 * MS);
            while let Some(action) = bench.poll() {
                if let Action::Send(send) = action {
                    bench.sent(send);
                }
            }
        }
    };
    wait(&mut bench, 30);
    // As when a virtual machine that was stopped continues.
    bench.advance(3_600_000 * MS);
    wait(&mut bench, 29);
    assert_eq!(bench.shard.in_flight(), 1);
    wait(&mut bench, 2);
    assert_eq!(bench.shard.in_flight(), 0);
    assert_eq!(bench.shard.counters().pages_in_failed, 1);
}

#[test]
fn a_page_out_whose_server_dies_half_way_takes_another() {
    let mut bench = Bench::new(3);
    bench.start_page_out(0, PAGE);
    let first = bench.next_send();
    let second = bench.next_send();
    bench.acknowledge(&first, Status::Ok);
    let dead = second.destination;
    let mut moved = None;
    for _ in 0..1000 {
        bench.advance(MS);
        while let Some(action) = bench.poll() {
            if let Action::Send(send) = action {
                let send = bench.sent(send);
                if send.destination != dead {
                    moved = Some(send);
                }
            }
        }
        if moved.is_some() {
            break;
        }
    }
    let third = moved.expect("another server");
    assert_ne!(third.destination, first.destination);
    bench.acknowledge(&third, Status::Ok);
    assert_eq!(bench.next_completion().outcome, Outcome::Done);
    let holders = bench.device.map.load(PAGE).replicas();
    assert_eq!(holders.len(), 2);
    assert!(!holders.contains(bench.slot_of(dead)));
    // The dead server is to free its copy, should it come back.
    let stale = bench.shard.take_stale().expect("a stale copy");
    assert!(stale.slots.contains(bench.slot_of(dead)));
}

#[test]
fn servers_whose_frees_were_dropped_are_reported() {
    let mut bench = Bench::new(3);
    let (first, others) = (SlotSet::from_bits(1), SlotSet::from_bits(6));
    let mut pages = 0;
    while bench.shard.take_frees_lost().is_empty() {
        bench.shard.note_stale_copy(PAGE, first, Version(7));
        pages += 1;
        assert!(pages < 1000);
    }
    for slots in [others, SlotSet::EMPTY] {
        bench.shard.note_stale_copy(PAGE, slots, Version(7));
    }
    assert_eq!(bench.shard.take_frees_lost(), others);
    assert_eq!(bench.shard.take_frees_lost(), SlotSet::EMPTY);
    assert_eq!(bench.shard.counters().frees_dropped, 2);
    // The copies that found room are kept.
    let mut kept = 0;
    while let Some(stale) = bench.shard.take_stale() {
        assert_eq!(stale.slots, first);
        kept += 1;
    }
    assert_eq!(kept, pages - 1);
    bench.shard.note_stale_copy(PAGE, others, Version(7));
    assert_eq!(bench.shard.take_frees_lost(), SlotSet::EMPTY);
}

#[test]
fn a_damaged_page_is_sent_again_at_once_and_then_ever_later() {
    let mut bench = Bench::new(2);
    bench.start_page_out(0, PAGE);
    let mut send = bench.next_send();
    let other = bench.next_send();
    bench.now_ns += 100 * US;
    bench.acknowledge(&other, Status::Ok);
    bench.acknowledge(&send, Status::Corrupt);
    send = bench.next_send();
    let mut waited_ns = MS;
    for _ in 0..4 {
        let sent_ns = bench.now_ns;
        bench.now_ns += 100 * US;
        bench.acknowledge(&send, Status::Corrupt);
        assert_eq!(bench.poll(), None);
        send = bench.wait_for_send();
        assert!(bench.now_ns - sent_ns > waited_ns);
        waited_ns = bench.now_ns - sent_ns;
    }
    bench.acknowledge(&send, Status::Ok);
    assert_eq!(bench.next_completion().outcome, Outcome::Done);
}
