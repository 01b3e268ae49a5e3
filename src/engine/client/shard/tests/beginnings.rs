// SPDX-License-Identifier: GPL-2.0

//! Servers that keep answering a page-in, but never with a whole page.

use super::bench::{Bench, MS, US};
use super::*;
use crate::engine::client::config::NS_PER_S;
use crate::engine::client::shard::Send;
use crate::wire::Fragmentation;

/// What the server sends in round `round`.
type Mad = fn(&mut Bench, &Send, u32);

/// The beginning of another page each time, of one page, or the same page cut otherwise.
const MAD: [Mad; 3] = [
    |bench, send, round| bench.answer_part_of(send, round, 0, 3),
    |bench, send, _| bench.answer_page(send, &[0]),
    |bench, send, round| bench.answer_part_of(send, bench::page_crc(), (round % 2) as u8, 2),
];

fn cut(bench: &Bench, servers: usize) {
    let cut = Fragmentation::from_count(3).unwrap();
    for server in 0..servers {
        let slot = bench.slot(server);
        bench.device.servers.set_fragmentation(slot, cut);
    }
}

/// A page-in of a page that server 0 holds, and perhaps others. Server 0 sends something every
/// millisecond, until the page-in ends or the time is over. Returns how often each server was asked.
fn page_in(bench: &mut Bench, servers: usize, mad: Mad, at_most_ns: u64) -> [u32; 2] {
    let holders: std::vec::Vec<usize> = (0..servers).collect();
    bench.write(PAGE, &holders);
    warm_up(bench, 100, 100 * US);
    cut(bench, servers);
    bench.start_page_in(0, PAGE);
    let until_ns = bench.now_ns + at_most_ns;
    let (mut asked, mut of_mad) = ([0; 2], None);
    for round in 0.. {
        while let Some(action) = bench.poll() {
            match action {
                Action::Send(send) => {
                    let send = bench.sent(send);
                    if send.destination == bench.mac(0) {
                        asked[0] += 1;
                        of_mad = Some(send);
                    } else {
                        asked[1] += 1;
                        let wanted: std::vec::Vec<u8> = send.header.fragment_mask.iter().collect();
                        bench.answer_page(&send, &wanted);
                    }
                }
                Action::Complete(completion) => {
                    assert_eq!(completion.outcome, Outcome::Done);
                    return asked;
                }
                other => panic!("{other:?}"),
            }
        }
        if bench.now_ns >= until_ns {
            assert_eq!(servers, 1, "the other is well");
            break;
        }
        if let Some(send) = &of_mad {
            mad(bench, send, round);
        }
        bench.advance(MS);
    }
    asked
}

#[test]
fn a_page_in_does_not_wait_for_a_server_that_never_sends_the_whole_page() {
    for mad in MAD {
        // Equal servers take turns, so either may be asked first.
        let mut asked_first = 0;
        for (hedge_percent, before) in [(0, 0), (0, 1), (5, 0), (5, 1)] {
            let mut bench = Bench::new(2);
            bench.device.set_hedge_percent(hedge_percent);
            bench.write(PAGE, &[0, 1]);
            warm_up(&mut bench, before, 100 * US);
            let [asked, _] = page_in(&mut bench, 2, mad, NS_PER_S / 2);
            asked_first += u32::from(asked != 0);
        }
        assert!(asked_first >= 2);
    }
}

#[test]
fn the_only_holder_that_never_sends_the_whole_page_is_asked_ever_more_slowly_and_suspected() {
    for mad in MAD {
        let mut bench = Bench::new(1);
        let [asked, _] = page_in(&mut bench, 1, mad, 20 * NS_PER_S);
        assert!(asked < 40, "{asked} times within 20 s");
        assert!(!bench.device.servers.usable().contains(bench.slot(0)));
    }
}

#[test]
fn a_server_that_sent_the_page_damaged_once_is_asked_again() {
    let mut bench = Bench::new(1);
    bench.write(PAGE, &[0]);
    warm_up(&mut bench, 100, 100 * US);
    cut(&bench, 1);
    bench.start_page_in(0, PAGE);
    let send = bench.next_send();
    bench.answer_part_of(&send, 7, 0, 3);
    bench.answer_page(&send, &[1, 2]);
    let again = bench.next_send();
    assert_eq!(again.header.fragment_mask.iter().count(), 3);
    bench.answer_page(&again, &[0, 1, 2]);
    assert_eq!(bench.next_completion().outcome, Outcome::Done);
    assert!(bench.device.servers.usable().contains(bench.slot(0)));
}

/// The page is written while it is read, and the next version of the same generation is 256 later.
#[test]
fn a_newer_page_of_the_server_is_read_and_late_answers_are_no_damage() {
    let mut bench = Bench::new(1);
    bench.write(PAGE, &[0]);
    warm_up(&mut bench, 100, 100 * US);
    cut(&bench, 1);
    for _ in 0..600 {
        bench.device.versions().take();
    }
    bench.start_page_in(0, PAGE);
    let send = bench.next_send();
    let newest = bench.device.next_version().0 - 1;
    let before = newest - (newest.wrapping_sub(send.header.version) & 0xff) - 0x100;
    bench.answer_part_of_version(&send, before, 7, 0, 3);
    bench.answer_page(&send, &[0]);
    bench.answer_part_of_version(&send, before, 7, 1, 3);
    bench.answer_page(&send, &[1, 2]);
    assert_eq!(bench.next_completion().outcome, Outcome::Done);
    assert_eq!(bench.shard.counters().corrupt_in, 0);
}
