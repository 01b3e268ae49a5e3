// SPDX-License-Identifier: GPL-2.0

//! Random frames: whatever arrives, answers are few and well formed.

use super::super::*;
use super::bench::*;
use crate::crc::crc32c;
use crate::engine::server::store::tests::content;
use crate::wire::{Flags, FragmentMask, PageTag, PAGE_SIZE};
use proptest::prelude::*;

/// A frame that is often well formed: fields are small, so that they match.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let numbers = (0..26_u8, 0..14_u8, 0..2_u8, 0..5_u8, 0..5_u8, any::<u8>());
    let words = (0..3_u64, 0..4_u64, 0..6_u64, 0..6_u64, 0..3_u32);
    let payload = prop_oneof![
        Just(0_usize),
        Just(8),
        Just(56),
        Just(16),
        Just(1368),
        Just(1360),
        Just(4096),
        0..2000_usize
    ];
    (numbers, words, payload, any::<bool>()).prop_map(|(numbers, words, len, right)| {
        let (opcode, status, flags, index, count, bits) = numbers;
        let (session, page, version, low_water, attempt) = words;
        let payload = content(page)[..len].to_vec();
        let header = Header {
            opcode: Opcode::from_u8(opcode).unwrap_or(Opcode::Write),
            status: Status::from_u8(status).unwrap(),
            flags: if flags == 1 {
                Flags::SAME_FILLED
            } else {
                Flags::default()
            },
            tag: 1,
            attempt,
            fragment_index: index,
            fragment_count: count,
            fragment_mask: FragmentMask::from_bits(bits),
            utilisation: 0,
            payload_crc: if right { crc32c(&payload) } else { 0 },
            session: if session == 0 { 0 } else { 1000 + session },
            incarnation: if right { INCARNATION } else { session },
            page,
            version,
            page_tag: PageTag([low_water as u8; 16]),
            low_water,
        };
        let mut bytes = header.emit(payload.len() as u16).to_vec();
        bytes.extend_from_slice(&payload);
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_frame_breaks_it(
        frames in prop::collection::vec((1..4_u8, any_frame(), any::<u16>()), 1..200),
    ) {
        let mut bench = bench(5, 4);
        bench.open(&client(1));
        bench.open(&client(2));
        for (from, mut bytes, damage) in frames {
            // One in a hundred is damaged or cut short.
            if damage % 100 == 0 {
                bytes.truncate(usize::from(damage / 100) % (bytes.len() + 1));
            } else if damage % 100 == 1 {
                let at = usize::from(damage / 100) % bytes.len();
                bytes[at] ^= 1 << (damage % 8);
            }
            bench.now_ns += u64::from(damage) * 1_000_000;
            let answers = bench.raw(client(from).mac, &bytes);
            prop_assert!(answers.len() <= Network::MOST);
            let payload: usize = answers.iter().map(|answer| answer.payload.len()).sum();
            prop_assert!(payload <= bytes.len().max(PAGE_SIZE));
            bench.server.handle_timeout(bench.now_ns, &mut bench.network);
            bench.answers();
            prop_assert!(bench.server.store().free_pages() <= 5);
            prop_assert!(bench.server.open_sessions() <= 2);
        }
    }
}
