// SPDX-License-Identifier: GPL-2.0

//! What the comparison with a simple model (`chance.rs`) cannot show.

use super::*;
use crate::crc::crc32c;
use crate::wire::{FragmentMask, Fragmentation, PageSum, PageTag};
use std::vec::Vec;

#[cfg(not(MODULE))]
mod chance;

/// Arrays on the heap.
pub(crate) struct Heap;

impl Memory for Heap {
    type Array<T: 'static> = Vec<T>;
}

pub(crate) fn arrays(layout: &Layout) -> Arrays<Heap> {
    Arrays {
        pages: vec![Page::default(); layout.pages as usize],
        records: vec![Record::default(); layout.pages as usize],
        // Few, so that chains grow long.
        heads: vec![0; layout.pages as usize / 3 + 1],
        owners: vec![Owner::default(); layout.owners.into()],
        assemblies: vec![Assembly::default(); layout.assemblies()],
    }
}

/// Room for `capacity_pages`, two clients, and two incomplete pages each.
pub(crate) fn small(capacity_pages: u32) -> Layout {
    Layout {
        pages: capacity_pages + 5,
        capacity_pages,
        max_clients: 2,
        owners: 4,
        assemblies_per_owner: 2,
    }
}

fn store(capacity_pages: u32) -> Store<Heap> {
    let layout = small(capacity_pages);
    Store::new(arrays(&layout), &layout, 0x1234_5678_9abc_def0).unwrap()
}

/// A page whose bytes depend on `seed` and on their place.
pub(crate) fn content(seed: u64) -> Vec<u8> {
    (0..PAGE_SIZE as u64)
        .map(|at| (seed.wrapping_mul(0x9e37_79b9).wrapping_add(at * (seed | 1)) >> 5) as u8)
        .collect()
}

/// The sums of a page that is not sealed.
fn sum_of(bytes: &[u8]) -> PageSum {
    PageSum {
        crc: crc32c(bytes),
        tag: PageTag::default(),
    }
}

fn whole(page: u64, version: u64, bytes: &[u8]) -> Fragment<'_> {
    Fragment {
        page,
        version,
        sum: sum_of(bytes),
        attempt: 0,
        cut: Fragmentation::WHOLE,
        index: 0,
        filled: false,
        bytes,
    }
}

fn part(page: u64, version: u64, attempt: u32, index: u8, bytes: &[u8]) -> Fragment<'_> {
    let cut = Fragmentation::from_count(3).unwrap();
    let (offset, len) = cut.span(index).unwrap();
    Fragment {
        attempt,
        cut,
        index,
        bytes: &bytes[usize::from(offset)..usize::from(offset + len)],
        ..whole(page, version, bytes)
    }
}

const NO_QUOTA: u64 = u64::MAX;

/// Writes after making ready, as the server does.
fn write(store: &mut Store<Heap>, owner: OwnerId, fragment: &Fragment<'_>) -> Written {
    if !store.is_ready() {
        store.settle();
    }
    store.write(owner, fragment, NO_QUOTA)
}

fn bytes(store: &Store<Heap>, owner: OwnerId, page: u64) -> Option<(u64, Vec<u8>)> {
    let held = store.get(owner, page)?;
    let len = if held.filled { 8 } else { PAGE_SIZE as u16 };
    let slice = PageSlice {
        at: held.at,
        offset: 0,
        len,
    };
    let bytes = slice.bytes(store.arena()).to_vec();
    assert_eq!(sum_of(&bytes), held.sum);
    Some((held.version, bytes))
}

fn mask(bits: u8) -> FragmentMask {
    FragmentMask::from_bits(bits)
}

#[test]
fn fragments_become_a_page_when_all_are_there() {
    let mut store = store(4);
    let owner = store.open().unwrap();
    let (old, new) = (content(1), content(2));
    assert_eq!(
        write(&mut store, owner, &whole(7, 1, &old)),
        Written::Stored
    );
    assert_eq!(
        write(&mut store, owner, &part(7, 2, 0, 0, &new)),
        Written::Pending
    );
    // The gap is reported once, a repetition once an attempt.
    assert_eq!(
        write(&mut store, owner, &part(7, 2, 0, 2, &new)),
        Written::Incomplete(mask(0b101))
    );
    assert_eq!(
        write(&mut store, owner, &part(7, 2, 0, 2, &new)),
        Written::Incomplete(mask(0b101))
    );
    assert_eq!(
        write(&mut store, owner, &part(7, 2, 0, 0, &new)),
        Written::Pending
    );
    assert_eq!(
        write(&mut store, owner, &part(7, 2, 1, 0, &new)),
        Written::Incomplete(mask(0b101))
    );
    assert_eq!(bytes(&store, owner, 7), Some((1, old)));
    assert_eq!(
        write(&mut store, owner, &part(7, 2, 1, 1, &new)),
        Written::Stored
    );
    assert_eq!(bytes(&store, owner, 7), Some((2, new.clone())));
    assert_eq!(
        write(&mut store, owner, &part(7, 2, 0, 1, &new)),
        Written::Held
    );
    assert_eq!(store.held_pages(owner), 1);
}

#[test]
fn a_gap_is_reported_again_after_a_retransmission() {
    let mut store = store(4);
    let owner = store.open().unwrap();
    let page = content(3);
    let cut = Fragmentation::from_count(4).unwrap();
    let mut send = |attempt, index| {
        let (offset, len) = cut.span(index).unwrap();
        let bytes = &page[usize::from(offset)..usize::from(offset + len)];
        let fragment = Fragment {
            attempt,
            cut,
            index,
            bytes,
            ..whole(1, 9, &page)
        };
        write(&mut store, owner, &fragment)
    };
    assert_eq!(send(0, 0), Written::Pending);
    assert_eq!(send(0, 3), Written::Incomplete(mask(0b1001)));
    assert_eq!(send(1, 2), Written::Incomplete(mask(0b1101)));
    assert_eq!(send(2, 1), Written::Stored);
}

#[test]
fn a_page_that_changed_between_attempts_is_never_mixed() {
    let mut store = store(4);
    let owner = store.open().unwrap();
    let (first, second) = (content(1), content(2));
    assert_eq!(
        write(&mut store, owner, &part(7, 5, 0, 0, &first)),
        Written::Pending
    );
    assert_eq!(
        write(&mut store, owner, &part(7, 5, 1, 1, &second)),
        Written::Incomplete(mask(0b010))
    );
    // An overtaken fragment, of the attempt before.
    assert_eq!(
        write(&mut store, owner, &part(7, 5, 0, 2, &first)),
        Written::Pending
    );
    assert_eq!(
        write(&mut store, owner, &part(7, 5, 1, 0, &second)),
        Written::Pending
    );
    assert_eq!(
        write(&mut store, owner, &part(7, 5, 1, 2, &second)),
        Written::Stored
    );
    assert_eq!(bytes(&store, owner, 7), Some((5, second)));
    // One version never has two contents.
    assert_eq!(
        write(&mut store, owner, &whole(7, 5, &first)),
        Written::Stale
    );
}

#[test]
fn attempts_wrap_around() {
    let mut store = store(4);
    let owner = store.open().unwrap();
    let (first, second) = (content(1), content(2));
    let last = u32::MAX;
    assert_eq!(
        write(&mut store, owner, &part(7, 5, last, 0, &first)),
        Written::Pending
    );
    for index in 0..2 {
        assert_eq!(
            write(&mut store, owner, &part(7, 5, 0, index, &second)),
            Written::Pending
        );
    }
    assert_eq!(
        write(&mut store, owner, &part(7, 5, last, 2, &first)),
        Written::Pending
    );
    assert_eq!(
        write(&mut store, owner, &part(7, 5, 0, 2, &second)),
        Written::Stored
    );
}

#[test]
fn damaged_pages_are_not_kept() {
    let mut store = store(4);
    let owner = store.open().unwrap();
    let page = content(1);
    let mut bad = page.clone();
    bad[4095] ^= 1;
    let sum = sum_of(&page);
    let damaged = Fragment {
        sum,
        ..whole(7, 1, &bad)
    };
    assert_eq!(write(&mut store, owner, &damaged), Written::Corrupt);
    for index in 0..3 {
        let fragment = Fragment {
            sum,
            ..part(7, 1, 0, index, &bad)
        };
        let last = if index == 2 {
            Written::Corrupt
        } else {
            Written::Pending
        };
        assert_eq!(write(&mut store, owner, &fragment), last);
    }
    assert_eq!(store.get(owner, 7), None);
    // All must be sent again; then the page is held.
    assert_eq!(
        write(&mut store, owner, &part(7, 1, 1, 2, &page)),
        Written::Incomplete(mask(0b100))
    );
    assert_eq!(
        write(&mut store, owner, &part(7, 1, 1, 0, &page)),
        Written::Pending
    );
    assert_eq!(
        write(&mut store, owner, &part(7, 1, 1, 1, &page)),
        Written::Stored
    );
}

#[test]
fn a_full_store_always_takes_overwrites_in_fragments() {
    let mut store = store(8);
    let (a, b) = (store.open().unwrap(), store.open().unwrap());
    let page = content(1);
    for index in 0..8 {
        let owner = if index % 2 == 0 { a } else { b };
        assert_eq!(
            write(&mut store, owner, &whole(index, 1, &page)),
            Written::Stored
        );
    }
    assert_eq!(store.free_pages(), 0);
    assert_eq!(store.utilisation(), u16::MAX);
    assert_eq!(
        write(&mut store, a, &whole(100, 2, &page)),
        Written::NoSpace
    );
    assert_eq!(
        write(&mut store, a, &part(100, 2, 0, 0, &page)),
        Written::NoSpace
    );
    for version in 2..100 {
        let page = content(version);
        for index in 0..8 {
            let owner = if index % 2 == 0 { a } else { b };
            // As many incomplete pages as allowed, and more.
            for other in 0..4 {
                let other = (index + 2 * other) % 8;
                write(&mut store, owner, &part(other, version + 1000, 0, 0, &page));
            }
            assert_eq!(
                write(&mut store, owner, &whole(index, version, &page)),
                Written::Stored
            );
            assert_eq!(bytes(&store, owner, index), Some((version, page.clone())));
        }
    }
    assert!(store.free(a, 0, 1000));
    assert_eq!(
        write(&mut store, b, &whole(100, 2000, &page)),
        Written::Stored
    );
}

#[test]
fn quota_is_for_new_pages_only() {
    let mut store = store(8);
    let owner = store.open().unwrap();
    let page = content(1);
    assert_eq!(store.write(owner, &whole(1, 1, &page), 1), Written::Stored);
    assert_eq!(store.write(owner, &whole(2, 2, &page), 1), Written::Quota);
    assert_eq!(store.write(owner, &whole(1, 3, &page), 1), Written::Stored);
}

#[test]
fn an_ended_owners_pages_make_room_at_once() {
    let mut store = store(64);
    let page = content(1);
    for round in 0..20_u64 {
        let owner = store.open().unwrap();
        for index in 0..64 {
            let fragment = whole(index, round + 1, &page);
            assert_eq!(
                write(&mut store, owner, &fragment),
                Written::Stored,
                "{round} {index}"
            );
        }
        assert_eq!(store.free_pages(), 0);
        store.close(owner);
        assert_eq!(store.free_pages(), 64);
        assert_eq!(store.owner(owner.index()), None);
        // While pages of an ended owner are being dropped, the next one's arrive.
        if round % 2 == 1 {
            while store.is_sweeping() {
                store.sweep(7);
            }
        }
    }
    while store.is_sweeping() {
        store.sweep(7);
    }
    for _ in 0..4 {
        assert!(store.open().is_some());
    }
    assert!(store.open().is_none());
}

#[test]
fn the_search_for_an_ended_owners_page_is_bounded() {
    const PAGES: u64 = 4 * SEARCH_STEPS as u64;
    const GONE: u64 = 20;
    let mut store = store(PAGES as u32);
    let (goes, stays) = (store.open().unwrap(), store.open().unwrap());
    let page = content(1);
    for index in 0..PAGES {
        let owner = if index < GONE { goes } else { stays };
        let fragment = whole(index, 1, &page);
        assert_eq!(write(&mut store, owner, &fragment), Written::Stored);
    }
    // The ended owner's pages are just behind where the search begins.
    store.sweep = GONE as u32;
    store.close(goes);
    let mut in_vain = 0;
    for index in 0..GONE {
        loop {
            let before = store.sweep;
            let written = write(&mut store, stays, &whole(index, 1, &page));
            let used = store.table.used();
            assert!((store.sweep + used - before) % used <= SEARCH_STEPS);
            if written == Written::Stored {
                break;
            }
            assert_eq!(written, Written::NoSpace);
            assert!(
                store.is_sweeping() && !store.is_ready(),
                "it says that this is not all"
            );
            in_vain += 1;
        }
    }
    assert!(in_vain > 0, "nothing was searched for");
    assert_eq!(store.free_pages(), 0);
    for index in 0..PAGES {
        assert!(store.get(stays, index).is_some());
    }
}

#[test]
fn an_owner_sees_its_own_pages_only() {
    let mut store = store(8);
    let (a, b) = (store.open().unwrap(), store.open().unwrap());
    let (page, other) = (content(1), content(2));
    write(&mut store, a, &whole(1, 5, &page));
    assert_eq!(store.get(b, 1), None);
    assert!(!store.free(b, 1, 100));
    write(&mut store, b, &whole(1, 3, &other));
    assert_eq!(bytes(&store, a, 1), Some((5, page)));
    assert_eq!(bytes(&store, b, 1), Some((3, other)));
}

#[test]
fn page_numbers_out_of_range_are_refused() {
    let mut store = store(8);
    let owner = store.open().unwrap();
    let page = content(1);
    let last = (1 << 48) - 1;
    assert_eq!(
        write(&mut store, owner, &whole(last, 1, &page)),
        Written::Stored
    );
    assert_eq!(
        write(&mut store, owner, &whole(last + 1, 1, &page)),
        Written::Quota
    );
    assert_eq!(store.get(owner, u64::MAX), None);
    assert!(!store.free(owner, last + 1, 9));
    assert!(store.free(owner, last, 9));
}
