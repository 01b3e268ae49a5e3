// SPDX-License-Identifier: GPL-2.0

//! The position of the head, and how long it takes to reach another.
//!
//! Turns and seeks are those of a disk of 7200 turns a minute for servers: Western Digital Ultrastar
//! DC HC310, OEM specification 1.4, sections 4.5.1.1 to 4.5.1.3, typical values. Capacity and rate are
//! chosen as of a disk of its class. The whole disk is as fast as its outermost track here, which no
//! disk is.

/// A turn of the platters: half of it is the average latency of 4.16 ms.
pub const TURN_NS: u64 = 8_333_333;
/// Bytes a second that pass under a head.
const RATE: u64 = 255_000_000;
/// Bytes of a track: what passes in a turn.
pub const TRACK: u64 = RATE * TURN_NS / 1_000_000_000;
const CAPACITY: u64 = 4_000_000_000_000;

/// The head's operation after a seek. A head that writes must be positioned more exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
}

impl Access {
    /// The time of a seek to the next track, settled.
    fn single_track_ns(self) -> u64 {
        match self {
            Access::Read => 230_000,
            Access::Write => 320_000,
        }
    }

    /// The average time of a seek between two places.
    fn average_ns(self) -> u64 {
        match self {
            Access::Read => 7_400_000,
            Access::Write => 8_200_000,
        }
    }
}

/// How long the arm moves between two bytes. It is sped up and slowed down evenly, so that the time
/// goes by the root of the distance; that of two places at random is 8/15 of the longest, on average.
fn seek_ns(from: u64, to: u64, access: Access) -> u64 {
    if from / TRACK == to / TRACK {
        return 0;
    }
    let single = access.single_track_ns();
    let longest = (access.average_ns() - single) * 15 / 8;
    let distance = from.abs_diff(to) as f64 / CAPACITY as f64;
    // CAST: at most `longest`.
    single + (longest as f64 * distance.sqrt()) as u64
}

/// The time from the disk's first byte to this one, if the head only reads. Its remainder by a turn is the
/// angle at which the byte passes: the tracks are one spiral, so that a long transfer loses no time between
/// them.
fn passing_ns(byte: u64) -> u64 {
    // CAST: at most 2^42 * 10^9 / RATE.
    (u128::from(byte) * 1_000_000_000 / u128::from(RATE)) as u64
}

/// How long these bytes pass under a head.
pub fn transfer_ns(start: u64, end: u64) -> u64 {
    passing_ns(end) - passing_ns(start)
}

/// The first byte that has not passed under a head `time_ns` after `from` was the next to pass.
pub fn reached(from: u64, time_ns: u64) -> u64 {
    let passed_ns = u128::from(passing_ns(from) + time_ns);
    // CAST: as above. Rounded up: a byte of which a part has passed would be a whole turn away.
    (passed_ns * u128::from(RATE)).div_ceil(1_000_000_000) as u64
}

/// How long after `now_ns` the byte `to` begins to pass under a head that is at `from`.
pub fn position_ns(from: u64, to: u64, now_ns: u64, access: Access) -> u64 {
    let seek = seek_ns(from, to, access);
    let angle = (now_ns + seek) % TURN_NS;
    let wanted = passing_ns(to) % TURN_NS;
    seek + (wanted + TURN_NS - angle) % TURN_NS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SplitMix64.
    fn random(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn mean_us(mut time_ns: impl FnMut(&mut u64) -> u64) -> u64 {
        let mut state = 1;
        let sum: u64 = (0..100_000).map(|_| time_ns(&mut state)).sum();
        sum / 100_000 / 1000
    }

    #[test]
    fn seeks_take_what_the_specification_says() {
        for (access, average, single) in [(Access::Read, 7400, 230), (Access::Write, 8200, 320)] {
            let seek = |state: &mut u64| {
                seek_ns(random(state) % CAPACITY, random(state) % CAPACITY, access)
            };
            assert!(mean_us(seek).abs_diff(average) < 40, "{}", mean_us(seek));
            let next = seek_ns(0, TRACK, access) / 1000;
            assert!((single..single + 15).contains(&next), "{next}");
            assert_eq!(seek_ns(TRACK, TRACK * 2 - 1, access), 0);
        }
    }

    #[test]
    fn a_place_on_the_track_is_half_a_turn_away_on_average() {
        let wait = |state: &mut u64| {
            position_ns(
                0,
                random(state) % TRACK,
                random(state) % TURN_NS,
                Access::Read,
            )
        };
        assert!(mean_us(wait).abs_diff(4166) < 20, "{}", mean_us(wait));
    }

    #[test]
    fn the_next_page_is_read_at_once() {
        let mut state = 3;
        let (mut now, mut at) = (12_345, 0);
        now += position_ns(0, at, now, Access::Read);
        for _ in 0..10_000 {
            let end = at + random(&mut state) % 100_000;
            now += transfer_ns(at, end);
            at = end;
            assert_eq!(passing_ns(at) % TURN_NS, now % TURN_NS);
            assert_eq!(position_ns(at, at, now, Access::Read), 0);
            // Reading ahead until some moment continues at that moment.
            let elapsed = random(&mut state) % TURN_NS;
            let next = reached(at, elapsed);
            assert!(position_ns(next, next, now + elapsed, Access::Read) < 10);
        }
    }

    #[test]
    fn a_track_takes_a_turn() {
        assert!(transfer_ns(0, TRACK).abs_diff(TURN_NS) < 10);
        assert!(reached(7, TURN_NS).abs_diff(TRACK + 7) < 2);
        assert_eq!(transfer_ns(7, 7 + RATE), 1_000_000_000);
    }
}
