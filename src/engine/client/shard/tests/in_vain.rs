// SPDX-License-Identifier: GPL-2.0

//! Requests that no server can serve: servers are full, or have been silent for long.

use super::super::super::ids::{PageIndex, SlotSet};
use super::super::{Action, Outcome};
use super::bench::{Bench, MS};
use super::PAGE;
use crate::wire::Status;

/// A page-out whose servers all answer with `status`.
fn page_out(bench: &mut Bench, op: usize, status: Status) {
    bench.start_page_out(op, PAGE);
    for _ in 0..2 {
        let send = bench.next_send();
        bench.acknowledge(&send, status);
    }
}

fn notify(bench: &mut Bench) {
    bench.shard.servers_changed(bench.now_ns, &bench.device);
}

fn set_given_up(bench: &Bench, number: usize, given_up: bool) {
    let servers = &bench.device.servers;
    servers.set_usable(bench.slot(number), !given_up);
    servers.set_given_up(bench.slot(number), given_up);
}

#[test]
fn a_page_out_that_every_server_refuses_ends_at_once() {
    for status in [Status::NoSpace, Status::Quota] {
        let mut bench = Bench::new(2);
        let began_ns = bench.now_ns;
        page_out(&mut bench, 0, status);
        assert_eq!(bench.next_completion().outcome, Outcome::NoSpace);
        assert!(!bench.device.map.load(PAGE).is_busy());
        // The servers are known to be full: nothing is sent.
        bench.start_page_out(1, PAGE);
        assert_eq!(bench.next_completion().outcome, Outcome::NoSpace);
        assert_eq!(bench.now_ns, began_ns);
        let counters = *bench.shard.counters();
        assert_eq!(
            (counters.pages_out_failed, counters.pages_out_no_space),
            (2, 2)
        );
        // One server reports room again, which is enough.
        bench.device.servers.announce(bench.slot(1), 1000, 999);
        bench.start_page_out(2, PAGE);
        let send = bench.next_send();
        assert_eq!(bench.slot_of(send.destination), bench.slot(1));
        bench.acknowledge(&send, Status::Ok);
        assert_eq!(bench.next_completion().outcome, Outcome::Done);
    }
}

#[test]
fn a_refusal_holds_for_five_seconds() {
    let mut bench = Bench::new(2);
    page_out(&mut bench, 0, Status::NoSpace);
    assert_eq!(bench.next_completion().outcome, Outcome::NoSpace);
    for seconds in 0..12 {
        bench.start_page_out(0, PAGE);
        if seconds % 5 == 0 && seconds > 0 {
            for _ in 0..2 {
                let send = bench.next_send();
                bench.acknowledge(&send, Status::NoSpace);
            }
        }
        assert_eq!(bench.next_completion().outcome, Outcome::NoSpace);
        bench.advance(1000 * MS);
    }
}

/// Two page-outs wait for full servers that check whether clients are alive. In each second four questions go
/// to each server, whatever waits.
fn wait_for_checks(bench: &mut Bench) {
    for op in 0..2 {
        bench.start_page_out(op, PageIndex(op as u32));
    }
    for _ in 0..4 {
        let send = bench.next_send();
        bench.acknowledge(&send, Status::Wait);
    }
    for round in 0..6 {
        assert_eq!(bench.poll(), None, "{round}");
        for _ in 0..2 {
            let send = bench.wait_for_send();
            bench.acknowledge(&send, Status::Wait);
        }
        assert!(bench.now_ns <= 1_000_000_000 + (round + 1) * 350 * MS);
        assert!(
            bench.device.servers.full().is_empty(),
            "another shard's page-outs wait as well"
        );
    }
    assert!(bench.now_ns >= 1_000_000_000 + 6 * 250 * MS);
}

#[test]
fn page_outs_wait_while_servers_check_whether_clients_are_alive() {
    let mut bench = Bench::new(2);
    wait_for_checks(&mut bench);
    // One client is alive; the other server has ended a session.
    let sends = [bench.wait_for_send(), bench.next_send()];
    bench.acknowledge(&sends[0], Status::NoSpace);
    assert_eq!(bench.poll(), None);
    bench.acknowledge(&sends[1], Status::Ok);
    assert_eq!(bench.next_completion().outcome, Outcome::Done);
    // There is room for the other page-out as well.
    let send = bench.wait_for_send();
    assert_eq!(send.destination, sends[1].destination);
    bench.acknowledge(&send, Status::Ok);
    assert_eq!(bench.next_completion().outcome, Outcome::Done);
}

#[test]
fn page_outs_end_when_all_clients_have_been_found_alive() {
    let mut bench = Bench::new(2);
    wait_for_checks(&mut bench);
    for send in [bench.wait_for_send(), bench.next_send()] {
        bench.acknowledge(&send, Status::NoSpace);
    }
    assert_eq!(bench.next_completion().outcome, Outcome::NoSpace);
    bench.advance(100 * MS);
    assert_eq!(bench.next_completion().outcome, Outcome::NoSpace);
}

#[test]
fn a_server_that_checks_without_end_counts_as_full() {
    let mut bench = Bench::new(1);
    let began_ns = bench.now_ns;
    bench.start_page_out(0, PAGE);
    let completion = loop {
        match bench.poll() {
            Some(Action::Send(send)) => {
                let send = bench.sent(send);
                bench.acknowledge(&send, Status::Wait);
            }
            Some(Action::Complete(completion)) => break completion,
            Some(other) => panic!("{other:?}"),
            None => bench.advance(50 * MS),
        }
    };
    assert_eq!(completion.outcome, Outcome::NoSpace);
    let took_ns = bench.now_ns - began_ns;
    assert!((10_000 * MS..11_000 * MS).contains(&took_ns), "{took_ns}");
    // Later ones end at once, until it takes a page.
    bench.advance(6000 * MS);
    for status in [Status::Wait, Status::Ok] {
        bench.start_page_out(0, PAGE);
        let send = bench.next_send();
        bench.acknowledge(&send, status);
        let outcome = match status {
            Status::Ok => Outcome::Done,
            _ => Outcome::NoSpace,
        };
        assert_eq!(bench.next_completion().outcome, outcome);
        bench.advance(6000 * MS);
    }
    for op in 0..2 {
        bench.start_page_out(op, PageIndex(PAGE.0 + 1 + op as u32));
        let send = bench.wait_for_send();
        bench.acknowledge(&send, Status::Wait);
        assert_eq!(bench.poll(), None, "it checks again");
        // Nobody asks for an hour.
        bench.device.servers.set_usable(bench.slot(0), false);
        bench.advance(3_600_000 * MS);
        bench.device.servers.set_usable(bench.slot(0), true);
    }
}

#[test]
fn a_page_out_asks_a_draining_server_again_if_no_other_may_have_room() {
    let mut bench = Bench::new(1);
    bench.device.servers.set_draining(bench.slot(0), true);
    bench.start_page_out(0, PAGE);
    let send = bench.next_send();
    bench.acknowledge(&send, Status::Wait);
    assert_eq!(bench.poll(), None);
    let send = bench.wait_for_send();
    bench.acknowledge(&send, Status::Ok);
    assert_eq!(bench.next_completion().outcome, Outcome::Done);
}

#[test]
fn a_draining_server_does_not_take_the_place_of_one_that_checks() {
    let mut bench = Bench::with_min_copies(3, 2);
    bench.device.servers.set_draining(bench.slot(0), true);
    for op in 0..3 {
        bench.start_page_out(op, PAGE);
        let sends = [bench.next_send(), bench.next_send()];
        for send in sends {
            let status = match bench.slot_of(send.destination) == bench.slot(1) {
                true => Status::Wait,
                false => Status::Ok,
            };
            bench.acknowledge(&send, status);
        }
        let send = bench.next_send();
        assert_eq!(bench.slot_of(send.destination), bench.slot(0));
        bench.acknowledge(&send, Status::Ok);
        assert_eq!(bench.next_completion().outcome, Outcome::Done);
        bench.advance(300 * MS);
    }
}

#[test]
fn a_server_that_was_asked_while_it_checks_and_did_not_answer_is_asked_again() {
    let mut bench = Bench::new(1);
    bench.start_page_out(0, PAGE);
    let send = bench.next_send();
    bench.acknowledge(&send, Status::Wait);
    bench.wait_for_send();
    bench.device.servers.set_usable(bench.slot(0), false);
    for _ in 0..20 {
        bench.advance(100 * MS);
        bench.discard_sends();
    }
    bench.device.servers.set_usable(bench.slot(0), true);
    notify(&mut bench);
    bench.next_send();
}

#[test]
fn another_server_in_the_slot_of_one_that_checks_is_asked_at_once() {
    let mut bench = Bench::new(1);
    bench.start_page_out(0, PAGE);
    let send = bench.next_send();
    bench.acknowledge(&send, Status::Wait);
    bench.shard.reset_path(bench.slot(0));
    notify(&mut bench);
    bench.next_send();
}

#[test]
fn full_servers_take_pages_that_they_hold() {
    let mut bench = Bench::new(2);
    page_out(&mut bench, 0, Status::NoSpace);
    assert_eq!(bench.next_completion().outcome, Outcome::NoSpace);
    bench.write(PAGE, &[0, 1]);
    page_out(&mut bench, 0, Status::Ok);
    assert_eq!(bench.next_completion().outcome, Outcome::Done);
    // A server that has lost its older version refuses the page all the same.
    page_out(&mut bench, 0, Status::NoSpace);
    assert_eq!(bench.next_completion().outcome, Outcome::NoSpace);
}

#[test]
fn a_refused_page_out_waits_for_what_is_being_freed_but_not_for_long() {
    let mut bench = Bench::new(2);
    // Pages are to be freed, but no server has been notified yet; then a server is being notified.
    let noted = bench.device.frees_noted();
    bench.device.set_frees_notified(noted.wrapping_sub(1));
    page_out(&mut bench, 0, Status::NoSpace);
    assert_eq!(bench.poll(), None);
    bench.device.servers.set_freeing(bench.slot(0), true);
    bench.device.set_frees_notified(bench.device.frees_noted());
    bench.advance(100 * MS);
    assert_eq!(bench.poll(), None);
    // It has room then, and reports that.
    bench.device.servers.set_freeing(bench.slot(0), false);
    bench.device.servers.announce(bench.slot(0), 1000, 999);
    notify(&mut bench);
    let send = bench.next_send();
    // Other page-outs were quicker; more pages are being freed, and so on.
    bench.device.servers.set_freeing(bench.slot(0), true);
    bench.acknowledge(&send, Status::NoSpace);
    for _ in 0..8 {
        bench.advance(100 * MS);
        assert_eq!(bench.poll(), None);
    }
    bench.advance(100 * MS);
    assert_eq!(bench.next_completion().outcome, Outcome::NoSpace);
    // A server that does not answer frees nothing.
    bench.device.servers.set_usable(bench.slot(0), false);
    bench.start_page_out(1, PAGE);
    assert_eq!(bench.next_completion().outcome, Outcome::NoSpace);
}

#[test]
fn silent_servers_do_not_count_as_full() {
    let mut bench = Bench::new(2);
    for number in 0..2 {
        bench.device.servers.set_full(bench.slot(number), true);
        bench.device.servers.set_usable(bench.slot(number), false);
    }
    bench.start_page_out(0, PAGE);
    for _ in 0..100 {
        bench.advance(100 * MS);
        assert_eq!(bench.poll(), None, "they may come back, and have room");
    }
}

/// One server is full, the other is out of reach for now: a page-out waits. It ends when `give_up`
/// gives up the other server, or makes it usable.
fn waits_for_the_other(bench: &mut Bench, give_up: impl Fn(&mut Bench)) {
    bench.device.servers.set_full(bench.slot(0), true);
    for op in 0..2 {
        bench.start_page_out(op, PageIndex(op as u32));
        for _ in 0..20 {
            bench.advance(100 * MS);
            assert_eq!(bench.poll(), None);
        }
    }
    give_up(bench);
    notify(bench);
    for _ in 0..2 {
        assert_eq!(bench.next_completion().outcome, Outcome::NoSpace);
    }
    // A later one ends at once.
    bench.start_page_out(0, PAGE);
    assert_eq!(bench.next_completion().outcome, Outcome::NoSpace);
}

#[test]
fn a_silent_server_does_not_count_as_full() {
    let mut bench = Bench::new(2);
    bench.device.servers.set_usable(bench.slot(1), false);
    waits_for_the_other(&mut bench, |bench| set_given_up(bench, 1, true));
    set_given_up(&bench, 1, false);
    bench.start_page_out(0, PAGE);
    let send = bench.next_send();
    assert_eq!(bench.slot_of(send.destination), bench.slot(1));
    bench.acknowledge(&send, Status::Ok);
    assert_eq!(bench.next_completion().outcome, Outcome::Done);
}

#[test]
fn a_restarting_server_does_not_count_as_full() {
    let mut bench = Bench::new(2);
    let opening = SlotSet::one(bench.slot(2));
    bench.device.servers.set_opening(opening);
    bench.device.servers.close(bench.slot(1));
    waits_for_the_other(&mut bench, |bench| {
        bench.device.servers.set_opening(SlotSet::EMPTY);
    });
}

#[test]
fn a_silent_server_that_was_full_or_has_the_page_is_not_waited_for() {
    let mut bench = Bench::new(3);
    bench.device.servers.set_full(bench.slot(0), true);
    bench.device.servers.set_full(bench.slot(1), true);
    bench.device.servers.set_usable(bench.slot(1), false);
    bench.device.servers.close(bench.slot(2));
    bench.start_page_out(0, PAGE);
    assert_eq!(bench.next_completion().outcome, Outcome::NoSpace);

    // One of the two copies it needs is written already.
    let mut bench = Bench::with_min_copies(3, 2);
    bench.start_page_out(0, PAGE);
    let sends = [bench.next_send(), bench.next_send()];
    bench.acknowledge(&sends[0], Status::Ok);
    let has_it = bench.slot_of(sends[0].destination);
    let full = bench.slot_of(sends[1].destination);
    let third = (0..3).map(|number| bench.slot(number));
    let third = third
        .into_iter()
        .find(|slot| ![has_it, full].contains(slot));
    let third = third.unwrap();
    bench.device.servers.set_usable(has_it, false);
    bench.device.servers.set_usable(third, false);
    bench.acknowledge(&sends[1], Status::NoSpace);
    bench.advance(100 * MS);
    assert_eq!(bench.poll(), None, "the third may come back");
    bench.device.servers.set_given_up(third, true);
    notify(&mut bench);
    assert_eq!(bench.next_completion().outcome, Outcome::NoSpace);
}

#[test]
fn page_ins_end_when_all_holders_have_been_silent_for_the_io_timeout() {
    let mut bench = Bench::new(3);
    bench.write(PAGE, &[0, 1]);
    bench.start_page_in(0, PAGE);
    bench.discard_sends();
    set_given_up(&bench, 0, true);
    notify(&mut bench);
    bench.discard_sends();
    // It is silent, but for less than the I/O timeout.
    bench.device.servers.set_usable(bench.slot(1), false);
    notify(&mut bench);
    assert_eq!(bench.poll(), None);
    bench.start_page_in(1, PAGE);
    assert_eq!(bench.poll(), None);
    set_given_up(&bench, 1, true);
    notify(&mut bench);
    for _ in 0..2 {
        assert_eq!(bench.next_completion().outcome, Outcome::Failed);
    }
    // Later page-ins end at once, as long as no server answers.
    let began_ns = bench.now_ns;
    for op in 0..bench.ops() {
        bench.start_page_in(op, PAGE);
        assert_eq!(bench.next_completion().outcome, Outcome::Failed);
    }
    assert_eq!(bench.now_ns, began_ns);
    set_given_up(&bench, 1, false);
    bench.start_page_in(0, PAGE);
    let send = bench.next_send();
    bench.answer_page(&send, &[0]);
    assert_eq!(bench.next_completion().outcome, Outcome::Done);
    // A recent answer takes precedence over the cluster's mask.
    set_given_up(&bench, 1, true);
    bench.start_page_in(0, PAGE);
    assert_eq!(bench.poll(), None);
}

#[test]
fn page_outs_end_when_too_few_servers_may_be_expected() {
    let mut bench = Bench::new(2);
    bench.write(PAGE, &[0, 1]);
    for number in 0..2 {
        bench.device.servers.set_usable(bench.slot(number), false);
    }
    bench.start_page_out(0, PAGE);
    assert_eq!(bench.poll(), None);
    bench.device.servers.set_expected(0);
    notify(&mut bench);
    assert_eq!(bench.next_completion().outcome, Outcome::Failed);
    bench.start_page_out(0, PAGE);
    assert_eq!(bench.next_completion().outcome, Outcome::Failed);
    // Nothing was sent: the older version stays in place.
    let entry = bench.device.map.load(PAGE);
    assert_eq!(entry.replicas(), SlotSet::from_bits(3));
    assert!(!entry.is_busy() && entry.is_written());
}

#[test]
fn a_client_that_was_stopped_gives_up_nothing_on_waking() {
    let mut bench = Bench::new(2);
    bench.write(PAGE, &[0, 1]);
    bench.start_page_in(0, PAGE);
    let send = bench.next_send();
    for _ in 0..5 {
        bench.advance(1_000_000 * MS);
        bench.discard_sends();
    }
    bench.answer_page(&send, &[0]);
    assert_eq!(bench.next_completion().outcome, Outcome::Done);
}
