// SPDX-License-Identifier: GPL-2.0

//! Servers that lack what they should hold, and answers to that effect that must change nothing.

use super::super::Send;
use super::bench::Bench;
use super::*;

const BOTH: SlotSet = SlotSet::from_bits(0b11);

/// A page that two servers hold, and the READ to one of them.
fn asked(bench: &mut Bench) -> (Version, Send) {
    let version = bench.write(PAGE, &[0, 1]);
    bench.start_page_in(0, PAGE);
    (version, bench.next_send())
}

fn holders(bench: &Bench) -> SlotSet {
    bench.device.map.load(PAGE).replicas()
}

#[test]
fn a_server_without_the_page_loses_its_bit_and_another_is_asked() {
    let mut bench = Bench::new(3);
    let (version, first) = asked(&mut bench);
    bench.answer_missing(&first, version.0 - 1);
    let missing = bench.slot_of(first.destination);
    assert_eq!(holders(&bench), BOTH.without(SlotSet::one(missing)));
    assert_eq!(bench.device.servers.lacking(), SlotSet::one(missing));
    let second = bench.next_send();
    assert_ne!(second.destination, first.destination);
    // The same answer once more, late.
    bench.answer_missing(&first, 0);
    bench.answer_page(&second, &[0]);
    assert_eq!(bench.next_completion().outcome, Outcome::Done);
    bench.answer_missing(&second, 0);
    assert_eq!(holders(&bench).len(), 1);
    assert_eq!(bench.shard.counters().copies_missing, 1);
}

#[test]
fn a_server_without_any_version_lacks_the_page_in_each_generation() {
    let mut bench = Bench::new(3);
    for page in 0..300 {
        let page = PageIndex(page);
        bench.write(page, &[0, 1]);
        bench.start_page_in(0, page);
        let send = bench.next_send();
        bench.answer_missing(&send, 0);
        assert_eq!(bench.device.map.load(page).replicas().len(), 1);
        let send = bench.next_send();
        bench.answer_page(&send, &[0]);
        assert_eq!(bench.next_completion().outcome, Outcome::Done);
    }
}

#[test]
fn a_page_that_was_written_until_its_generation_was_the_same_is_asked_for_again() {
    for version in [3, 0] {
        let mut bench = Bench::new(1);
        let first = bench.write(PAGE, &[0]);
        bench.start_page_in(0, PAGE);
        let send = bench.next_send();
        for _ in 0..0x1ff {
            bench.device.versions().take();
        }
        let again = bench.write(PAGE, &[0]);
        assert_eq!(again.generation(), first.generation());
        // The only holder answers with a version in between, or with none.
        bench.answer_missing(&send, version * again.0 / 4);
        let send = bench.next_send();
        bench.answer_page(&send, &[0]);
        assert_eq!(bench.next_completion().outcome, Outcome::Done);
        // If it lacks the page, the page-in still ends.
        bench.start_page_in(0, PAGE);
        let send = bench.next_send();
        bench.answer_missing(&send, 0);
        assert_eq!(bench.next_completion().outcome, Outcome::Failed);
    }
}

#[test]
fn an_answer_for_a_page_that_has_changed_clears_no_bit() {
    // Written since.
    let mut bench = Bench::new(3);
    let (_, send) = asked(&mut bench);
    bench.write(PAGE, &[0, 1]);
    bench.answer_missing(&send, 0);
    assert_eq!(holders(&bench), BOTH);
    // Being written.
    let mut bench = Bench::new(3);
    let (_, send) = asked(&mut bench);
    bench.device.map.begin_write(PAGE).unwrap();
    bench.answer_missing(&send, 0);
    assert_eq!(holders(&bench), BOTH);
    // It reports a version that is the wanted one.
    let mut bench = Bench::new(3);
    let (version, send) = asked(&mut bench);
    bench.answer_missing(&send, version.0);
    assert_eq!(holders(&bench), BOTH);
    // Written until its generation is the same again: the server answers a version in between, and
    // none.
    for version in [3, 0] {
        let mut bench = Bench::new(3);
        let (first, send) = asked(&mut bench);
        for _ in 0..0x1ff {
            bench.device.versions().take();
        }
        let again = bench.write(PAGE, &[0, 1]);
        assert_eq!(again.generation(), first.generation());
        bench.answer_missing(&send, version * again.0 / 4);
        assert_eq!(holders(&bench), BOTH);
    }
    // From a station that is not the server, and of a session that is not ours.
    let mut bench = Bench::new(3);
    let (_, send) = asked(&mut bench);
    let mut forged = send;
    forged.destination = bench.mac(2);
    bench.answer_missing(&forged, 0);
    let mut foreign = send;
    foreign.header.session += 1;
    bench.answer_missing(&foreign, 0);
    assert_eq!(holders(&bench), BOTH);
    assert_eq!(bench.shard.counters().misses, 0);
}

#[test]
fn the_bit_of_the_last_reachable_copy_is_never_cleared() {
    // No other server answers just now, and it is unknown whether it still holds the page.
    let mut bench = Bench::new(3);
    let (_, send) = asked(&mut bench);
    let other = BOTH.without(SlotSet::one(bench.slot_of(send.destination)));
    for slot in other.iter() {
        bench.device.servers.suspect(slot);
    }
    bench.answer_missing(&send, 0);
    assert_eq!(holders(&bench), BOTH);
    // All report it, each to another page-in at the same time.
    let mut bench = Bench::new(3);
    bench.write(PAGE, &[0, 1]);
    bench.start_page_in(0, PAGE);
    bench.start_page_in(1, PAGE);
    let sends = [bench.next_send(), bench.next_send()];
    assert_ne!(sends[0].destination, sends[1].destination);
    for send in &sends {
        bench.answer_missing(send, 0);
    }
    assert_eq!(holders(&bench).len(), 1);
    // Both ask the server that is left, or know its answer; both fail.
    let mut failed = 0;
    while failed < 2 {
        match bench.poll() {
            Some(Action::Send(send)) => {
                let send = bench.sent(send);
                bench.answer_missing(&send, 0);
            }
            Some(Action::Complete(completion)) => {
                assert_eq!(completion.outcome, Outcome::Failed);
                failed += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(holders(&bench).len(), 1);
    assert_eq!(bench.shard.counters().copies_missing, 1);
}

#[test]
fn a_removal_walks_the_map_again_after_a_server_lacked_a_page() {
    use super::super::super::disk_state::DiskState;
    use super::super::super::maintenance::removal_need::ServerNeed;
    let mut bench = Bench::new(3);
    let (_, send) = asked(&mut bench);
    let missing = bench.slot_of(send.destination);
    let draining = BOTH.without(SlotSet::one(missing)).iter().next().unwrap();
    let servers = &bench.device.servers;
    let need = ServerNeed::at_once(draining, servers, DiskState::NONE, SlotSet::ALL);
    assert_eq!(need.find(&bench.device.map, 0..16), None);
    assert!(need.is_valid(servers, DiskState::NONE));
    bench.answer_missing(&send, 0);
    let servers = &bench.device.servers;
    assert!(!need.is_valid(servers, DiskState::NONE));
    let need = ServerNeed::at_once(draining, servers, DiskState::NONE, SlotSet::ALL);
    assert_eq!(need.find(&bench.device.map, 0..16), Some(PAGE));
}
