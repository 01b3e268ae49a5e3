// SPDX-License-Identifier: GPL-2.0

//! Random page-outs of a client, and of the same client after it was rolled back.

use super::*;

/// Pseudo-random numbers from a fixed seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

#[test]
fn by_chance_no_client_reads_what_the_other_wrote() {
    let (mut lost, mut read) = (0, 0);
    for round in 0..60 {
        let mut chance = Chance(round);
        let (mut servers, mut first, mut second) = clients();
        let mut expected: Vec<_> = (0..KNOWN).map(u64::from).collect();
        let mut is_lost = [false; KNOWN as usize];
        // Often enough that each generation comes again.
        for number in 0..2 + chance.below(900) {
            let page = chance.below(KNOWN.into());
            is_lost[page as usize] = true;
            let outcome = servers.page_out(&mut first, page as u32, 5000 + number);
            assert_eq!(outcome, Outcome::Done);
        }
        // For some pages it is the generation that the map has.
        let page = chance.below(KNOWN.into());
        is_lost[page as usize] = true;
        let generation = second.device.map.load(PageIndex(page as u32)).generation();
        let before = Generation(generation.0.wrapping_sub(1));
        first.device.take_version_of(before);
        let outcome = servers.page_out(&mut first, page as u32, 5000);
        assert_eq!(outcome, Outcome::Done);
        if chance.below(2) == 0 {
            second.device.versions().jump(chance.below(u64::MAX));
            second.shard.versions_jumped(second.now_ns, &second.device);
        }
        for number in 0..40 {
            let page = chance.below(KNOWN.into()) as u32;
            let at = page as usize;
            if chance.below(3) == 0 {
                expected[at] = 9000 + number;
                is_lost[at] = false;
                let outcome = servers.page_out(&mut second, page, expected[at]);
                assert_eq!(outcome, Outcome::Done, "round {round}");
                continue;
            }
            match servers.page_in(&mut second, page) {
                Ok(bytes) => {
                    assert!(bytes == content(expected[at]), "round {round} page {page}");
                    assert!(!is_lost[at]);
                    read += 1;
                }
                Err(_) => {
                    assert!(is_lost[at], "round {round} page {page}");
                    lost += 1;
                }
            }
        }
        assert!(second.device.versions().jumps() > 0, "round {round}");
    }
    assert!(lost > 100 && read > 100, "{lost} lost, {read} read");
}
