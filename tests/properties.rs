// SPDX-License-Identifier: GPL-2.0

//! Properties that hold for all values: of the wire format, the page map, the estimators,
//! utilisation.

use anemone::engine::client::dirty_chunks::{words_for, DirtyChunks};
use anemone::engine::client::ids::{PageIndex, ServerSlot, SlotSet, Version, SERVER_SLOTS};
use anemone::engine::client::maintenance::round::copies_to_free::next_free;
use anemone::engine::client::page_map::{Entry, PageMap};
use anemone::engine::client::retransmission_timeout::{RttEstimator, MAX_RTO_NS, MIN_RTO_NS};
use anemone::engine::client::server_table::Load;
use anemone::engine::client::utilisation::{least_utilised, Placed};
use anemone::engine::client::window::Window;
use anemone::sync::Atomic;
use anemone::wire::{
    Flags, FragmentMask, Fragmentation, Frame, FrameError, Header, Opcode, PageTag, Status,
    HEADER_LEN, PAGE_SIZE,
};
use proptest::prelude::*;

const OPCODES: [Opcode; 19] = [
    Opcode::Hello,
    Opcode::HelloAck,
    Opcode::Announce,
    Opcode::Write,
    Opcode::WriteAck,
    Opcode::WriteAcks,
    Opcode::Read,
    Opcode::ReadReply,
    Opcode::Free,
    Opcode::FreeAck,
    Opcode::Ping,
    Opcode::Pong,
    Opcode::Stats,
    Opcode::StatsReply,
    Opcode::Bye,
    Opcode::ByeAck,
    Opcode::Reject,
    Opcode::Alive,
    Opcode::Challenge,
];

prop_compose! {
    /// Any header with valid fields. It need not fit a payload.
    fn headers()(
        opcode in proptest::sample::select(&OPCODES[..]),
        status in (0_u8..14).prop_filter_map("a status", Status::from_u8),
        filled in any::<bool>(),
        (tag, attempt, payload_crc) in any::<(u32, u32, u32)>(),
        (fragment_index, fragment_count, mask) in any::<(u8, u8, u8)>(),
        utilisation in any::<u16>(),
        page_tag in any::<[u8; 16]>(),
        (session, incarnation, page, version, low_water) in any::<(u64, u64, u64, u64, u64)>(),
    ) -> Header {
        Header {
            opcode,
            flags: if filled { Flags::SAME_FILLED } else { Flags::default() },
            status,
            tag,
            attempt,
            fragment_index,
            fragment_count,
            fragment_mask: FragmentMask::from_bits(mask),
            utilisation,
            payload_crc,
            session,
            incarnation,
            page,
            version,
            page_tag: PageTag(page_tag),
            low_water,
        }
    }
}

/// A frame of these. The payload's checksum is right unless the payload is a page.
fn frame(header: &Header, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header.emit(payload.len() as u16).to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

proptest! {
    #[test]
    fn an_emitted_frame_is_parsed_or_refused_for_its_shape(
        header in headers(),
        payload in proptest::collection::vec(any::<u8>(), 0..200),
        padding in 0_usize..64,
    ) {
        let mut header = header;
        header.payload_crc = anemone::crc::crc32c(&payload);
        let mut bytes = frame(&header, &payload);
        bytes.resize(bytes.len() + padding, 0);
        match Frame::parse(&bytes) {
            Ok(parsed) => {
                prop_assert_eq!(parsed.header, header);
                prop_assert_eq!(parsed.payload, &payload[..]);
            }
            Err(error) => prop_assert_eq!(error, FrameError::Malformed),
        }
    }

    #[test]
    fn page_frames_of_every_cut_are_parsed(
        header in headers(),
        count in 1_u8..=8,
        index in 0_u8..8,
        is_reply in any::<bool>(),
        seed in any::<u8>(),
    ) {
        let cut = Fragmentation::from_count(count).unwrap();
        let Some((_, len)) = cut.span(index % count) else {
            return Err(TestCaseError::fail("no such fragment"));
        };
        let mut header = header;
        header.flags = Flags::default();
        header.status = Status::Ok;
        header.opcode = if is_reply { Opcode::ReadReply } else { Opcode::Write };
        header.fragment_count = count;
        header.fragment_index = index % count;
        let payload = vec![seed; usize::from(len)];
        let bytes = frame(&header, &payload);
        prop_assert_eq!(Frame::parse(&bytes), Ok(Frame { header, payload: &payload }));
    }

    #[test]
    fn arbitrary_bytes_are_refused_without_a_message(
        bytes in proptest::collection::vec(any::<u8>(), 0..5000),
    ) {
        prop_assert!(Frame::parse(&bytes).is_err());
    }

    #[test]
    fn arbitrary_bytes_with_the_right_checksum_do_not_panic(
        bytes in proptest::collection::vec(any::<u8>(), HEADER_LEN..2000),
        protocol in prop_oneof![Just(1_u8), any::<u8>()],
        opcode in 0_u8..24,
    ) {
        let mut bytes = bytes;
        bytes[0] = protocol;
        bytes[1] = opcode;
        let crc = anemone::crc::crc32c(&bytes[..HEADER_LEN - 4]).to_be_bytes();
        bytes[HEADER_LEN - 4..HEADER_LEN].copy_from_slice(&crc);
        if let Ok(parsed) = Frame::parse(&bytes) {
            prop_assert_eq!(protocol, 1);
            prop_assert!(parsed.payload.len() <= bytes.len() - HEADER_LEN);
        }
    }

    #[test]
    fn a_flipped_bit_is_noticed_in_every_header(header in headers(), bit in 0..HEADER_LEN * 8) {
        let mut bytes = frame(&header, &[]);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(Frame::parse(&bytes).is_err());
    }

    #[test]
    fn a_cut_covers_the_page_once_and_fits(mtu in 0_usize..20_000) {
        let Some(cut) = Fragmentation::for_mtu(mtu) else {
            prop_assert!(mtu < Fragmentation::MIN_MTU);
            return Ok(());
        };
        let mut end = 0;
        for index in 0..cut.count() {
            let (offset, len) = cut.span(index).unwrap();
            prop_assert_eq!(usize::from(offset), end);
            prop_assert!(len > 0 && HEADER_LEN + usize::from(len) <= mtu);
            end += usize::from(len);
        }
        prop_assert_eq!(end, PAGE_SIZE);
        prop_assert_eq!(cut.span(cut.count()), None);
        prop_assert_eq!(cut.all().len(), usize::from(cut.count()));
    }

    #[test]
    fn masks_are_sets(a in any::<u8>(), b in any::<u8>(), index in any::<u8>()) {
        let (one, other) = (FragmentMask::from_bits(a), FragmentMask::from_bits(b));
        prop_assert_eq!(one.union(other).without(other), one.without(other));
        prop_assert_eq!(one.intersection(other).bits(), a & b);
        prop_assert_eq!(one.iter().count(), one.len());
        let mut with = one;
        with.insert(index);
        prop_assert_eq!(with.contains(index), index < 8);
        prop_assert!(one.without(with).is_empty());
    }

    #[test]
    fn timeouts_stay_within_their_bounds(
        samples in proptest::collection::vec(any::<u64>(), 0..50),
        tries in any::<u32>(),
    ) {
        let mut rtt = RttEstimator::default();
        for sample in samples {
            rtt.sample(sample);
            prop_assert!((MIN_RTO_NS..=MAX_RTO_NS).contains(&rtt.timeout_ns(tries)));
            prop_assert!(rtt.timeout_ns(0) <= rtt.timeout_ns(tries));
            prop_assert!(rtt.smoothed_ns() <= MAX_RTO_NS);
        }
    }

    #[test]
    fn a_window_never_closes(steps in proptest::collection::vec((0_u8..3, any::<u32>()), 0..500)) {
        let mut window = Window::default();
        let mut now_ns = 0_u64;
        let mut entered = 0_u32;
        for (step, by) in steps {
            now_ns += u64::from(by);
            match step {
                0 if window.has_room() => {
                    window.enter();
                    entered += 1;
                }
                0 => prop_assert!(entered >= 2, "full with {} under way", entered),
                1 if entered > 0 => {
                    window.leave();
                    window.on_answer();
                    entered -= 1;
                }
                _ => window.on_loss(now_ns, u64::from(by)),
            }
            prop_assert_eq!(window.in_flight(), entered);
            prop_assert!(entered <= 512);
        }
    }

    #[test]
    fn only_candidates_are_chosen_and_none_is_less_utilised(
        candidates in any::<u32>(),
        holders in any::<u32>(),
        loads in proptest::collection::vec(any::<(u32, u32, u32)>(), SERVER_SLOTS),
        placed in proptest::collection::vec(0_u32..5, SERVER_SLOTS),
        shards in 1_u32..64,
    ) {
        let (candidates, holders) = (SlotSet::from_bits(candidates), SlotSet::from_bits(holders));
        let level = |slot: ServerSlot| {
            let (capacity_pages, used_pages, announcement) = loads[slot.index()];
            let load = Load { capacity_pages, used_pages, announcement };
            let mut mine = Placed::default();
            for _ in 0..placed[slot.index()] {
                mine.add(load);
            }
            mine.utilisation(load, shards)
        };
        let chosen = least_utilised(candidates, holders, level);
        prop_assert_eq!(chosen.is_none(), candidates.is_empty());
        if let Some(chosen) = chosen {
            prop_assert!(candidates.contains(chosen));
            for other in candidates.iter() {
                // Holders have a bonus. No server has a malus.
                prop_assert!(holders.contains(chosen) || level(chosen) <= level(other));
            }
        }
    }
}

/// The expected state of a page's entry.
#[derive(Clone, Copy, Debug, Default)]
struct Model {
    written: bool,
    busy: Option<Entry>,
    pending: bool,
    generation: u8,
    replicas: u32,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Begin,
    Finish(u64, u32),
    Abandon,
    Forget(u32),
    Free,
    TakeFree,
}

fn steps() -> impl Strategy<Value = Vec<(u32, Step)>> {
    let step = prop_oneof![
        Just(Step::Begin),
        any::<(u64, u32)>().prop_map(|(version, replicas)| Step::Finish(version, replicas)),
        Just(Step::Abandon),
        any::<u32>().prop_map(Step::Forget),
        Just(Step::Free),
        Just(Step::TakeFree),
    ];
    proptest::collection::vec((0_u32..3, step), 0..200)
}

fn words(count: usize) -> Vec<Atomic<u32>> {
    (0..count).map(|_| Atomic::<u32>::new(0)).collect()
}

impl Model {
    fn take(&mut self, map: &PageMap<Vec<Atomic<u32>>>, page: PageIndex, step: Step) {
        let slots = SlotSet::ALL.bits();
        match step {
            Step::Begin => {
                let begun = map.begin_write(page);
                assert_eq!(begun.is_none(), self.busy.is_some());
                if let Some(entry) = begun {
                    self.busy = Some(entry);
                }
            }
            Step::Finish(version, replicas) => {
                let Some(begun) = self.busy.take() else {
                    return;
                };
                let pending = self.pending && !begun.is_free_pending();
                let freed = map.finish_write(
                    page,
                    begun,
                    Version(version),
                    SlotSet::from_bits(replicas),
                    false,
                );
                assert_eq!(freed, pending);
                *self = Self {
                    written: true,
                    busy: None,
                    pending,
                    generation: version as u8,
                    replicas: replicas & slots,
                };
            }
            Step::Abandon => {
                if self.busy.take().is_some() {
                    assert_eq!(map.abandon_write(page), self.pending);
                }
            }
            Step::Forget(bits) => {
                map.forget(page, SlotSet::from_bits(bits));
                self.replicas &= !bits;
            }
            Step::Free => {
                let wanted = (self.written || self.busy.is_some()) && !self.pending;
                assert_eq!(map.set_free_pending(page), wanted);
                self.pending |= wanted;
            }
            Step::TakeFree => {
                let freed = map.take_free(page, || Version(1)).map(|(slots, _)| slots);
                let expected = (self.pending && self.busy.is_none())
                    .then(|| SlotSet::from_bits(self.replicas));
                assert_eq!(freed, expected);
                if freed.is_some() {
                    *self = Self::default();
                }
            }
        }
    }

    fn check(&self, entry: Entry) {
        assert_eq!(entry.is_written(), self.written && !self.pending);
        assert_eq!(entry.is_busy(), self.busy.is_some());
        assert_eq!(entry.is_free_pending(), self.pending);
        assert_eq!(entry.generation().0, self.generation);
        assert_eq!(entry.replicas().bits(), self.replicas);
    }
}

proptest! {
    #[test]
    fn the_map_is_what_was_done_to_it(steps in steps()) {
        let map = PageMap::new(words(3));
        let mut models = [Model::default(); 3];
        for (page, step) in steps {
            models[page as usize].take(&map, PageIndex(page), step);
            for (page, model) in (0..).zip(&models) {
                model.check(map.load(PageIndex(page)));
            }
        }
    }

    #[test]
    fn every_freed_page_is_found_once(
        freed in proptest::collection::btree_set(0_u32..40_000, 0..60),
    ) {
        let map = PageMap::new(words(40_000));
        let chunks = DirtyChunks::new(words(words_for(40_000)));
        for page in 0..40_000 {
            let begun = map.begin_write(PageIndex(page)).unwrap();
            map.finish_write(PageIndex(page), begun, Version(1), SlotSet::from_bits(1), false);
        }
        for &page in &freed {
            prop_assert!(map.set_free_pending(PageIndex(page)));
            chunks.mark(PageIndex(page));
        }
        let mut found = Vec::new();
        while let Some((mut next, end)) = chunks.take() {
            while let Some(copy) = next_free(&map, &mut next, end, || Version(2)) {
                found.push(copy.page.0);
            }
        }
        prop_assert_eq!(found, freed.into_iter().collect::<Vec<_>>());
    }
}
