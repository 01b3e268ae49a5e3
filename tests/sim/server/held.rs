// SPDX-License-Identifier: GPL-2.0

//! What a server holds, as far as the oracle needs to know it.

use anemone::crc::crc32c;
use anemone::engine::server::store::{Held, Store};

use super::*;

/// The bytes of a page, or those that fill it.
fn bytes_of<'a>(store: &'a Store<Heap>, held: &Held) -> Option<&'a [u8]> {
    let page = &store.arena().get(held.at.index())?.0;
    let len = if held.filled { 8 } else { page.len() };
    page.get(..len)
}

impl SimServer {
    /// Suddenly lacks these pages of a client, as if they had never been received.
    pub fn lose(&mut self, ctx: &Context, client: MacAddress, session: u64, pages: &[u32]) {
        let clock_ns = self.clock_ns(ctx);
        let Some(last) = self.incarnations.last_mut() else {
            return;
        };
        for some in pages.chunks(MAX_PAGE_VERSIONS) {
            let free = |page: &u32| PageVersion {
                page: u64::from(*page).into(),
                version: u64::MAX.into(),
            };
            let list: Vec<PageVersion> = some.iter().map(free).collect();
            let mut header = Header::new(Opcode::Free);
            header.session = session;
            header.payload_crc = anemone::crc::crc32c(list.as_bytes());
            // CAST: less than a page.
            let mut bytes = header.emit(list.as_bytes().len() as u16).to_vec();
            bytes.extend_from_slice(list.as_bytes());
            let before = last.engine.counters().pages_freed;
            let mut nowhere = Ring {
                mac: self.mac,
                kept: &mut Vec::new(),
                ready: Vec::new(),
            };
            last.engine
                .handle_frame(clock_ns, client, &bytes, &mut nowhere);
            let lost = last.engine.counters().pages_freed - before;
            assert_eq!(lost, some.len() as u64, "pages that it had");
        }
    }

    /// The client at this address has crashed.
    pub fn note_death(&mut self, now_ns: u64, mac: MacAddress) {
        self.watch.note_death(now_ns, mac);
    }

    /// Whether a page-out may have arrived after the page was freed, so that no client knows of it.
    pub fn came_late(&self, client: MacAddress, page: u32) -> bool {
        self.watch.late.contains(&(client, page.into()))
    }

    /// The client at this address does not use its session any more.
    pub fn note_close(&mut self, now_ns: u64, client: MacAddress) {
        self.watch.note_close(now_ns, client);
    }

    /// The copies of `page` of any client that it holds now, and their first words, unsealed.
    pub fn held(&self, seals: &Seals, page: u32) -> Vec<(Copy, u64)> {
        let (Some(last), Some(engine)) = (self.incarnations.last(), self.alive()) else {
            return Vec::new();
        };
        let store = engine.store();
        let held = (0..last.owners).filter_map(|index| {
            let held = store.get(store.owner(index)?, page.into())?;
            let bytes = bytes_of(store, &held)?;
            let copy = Copy {
                server: self.number,
                incarnation: last.number,
                version: held.version,
                died_ns: None,
            };
            Some((copy, seals.plain(&held.sum, bytes)?.word))
        });
        held.collect()
    }

    /// The copies of `client`'s page with this content, including those of earlier starts.
    pub fn copies(&self, seals: &Seals, page: u32, content: Content) -> Vec<Copy> {
        let mut copies = Vec::new();
        let whole = crc32c(&content.bytes()[..]);
        let value = content.fill().map(|fill| crc32c(&fill.to_be_bytes()));
        for incarnation in &self.incarnations {
            let store = incarnation.engine.store();
            for owner in (0..incarnation.owners).filter_map(|index| store.owner(index)) {
                let Some(held) = store.get(owner, page.into()) else {
                    continue;
                };
                let is_same = bytes_of(store, &held)
                    .and_then(|bytes| seals.plain(&held.sum, bytes))
                    .is_some_and(|plain| match held.filled {
                        true => value == Some(plain.crc),
                        false => whole == plain.crc,
                    });
                if is_same {
                    copies.push(Copy {
                        server: self.number,
                        incarnation: incarnation.number,
                        version: held.version,
                        died_ns: incarnation.died_ns,
                    });
                }
            }
        }
        copies
    }
}
