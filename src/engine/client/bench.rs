// SPDX-License-Identifier: GPL-2.0

//! Servers and page maps for tests.

use super::ids::{PageIndex, ServerSlot, SlotSet, Version};
use super::page_map::PageMap;
use super::server_table::{Address, ServerTable};
use super::storage::heap::words;
use crate::sync::Atomic;
use crate::wire::{Fragmentation, MacAddress};

use std::vec::Vec;

pub fn slot(number: usize) -> ServerSlot {
    ServerSlot::new(number).unwrap()
}

/// So many servers, all usable.
pub fn table(servers: usize) -> ServerTable {
    let table = ServerTable::default();
    for number in 0..servers {
        let address = Address {
            mac: MacAddress([2, 0, 0, 0, 0, number as u8]),
            session: 1,
            incarnation: 1,
        };
        table.open(slot(number), address, Fragmentation::WHOLE);
    }
    table
}

/// A map of pages that have these replicas, and are on the disk or not.
pub fn map(pages: &[u32], on_disk: bool) -> PageMap<Vec<Atomic<u32>>> {
    let map = PageMap::new(words(pages.len()));
    for (page, &replicas) in pages.iter().enumerate() {
        let page = PageIndex(page as u32);
        let begun = map.begin_write(page).unwrap();
        let replicas = SlotSet::from_bits(replicas);
        map.finish_write(page, begun, Version(1), replicas, on_disk);
    }
    map
}
