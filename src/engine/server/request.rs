// SPDX-License-Identifier: GPL-2.0

//! Handles requests of an open session: pages in and out, freeing, queries, and its end.
//!
//! The rules: `docs/protocol.md`, "Other requests", "READ", "FREE" and "INVENTORY".

use super::session_eviction::Eviction;
use super::{Admission, Outbox, Payload, Server};
use crate::engine::server::store::{Fragment, Memory, OwnerId, PageSlice, Written, PAGE_BITS};
use crate::wire::{
    ClientId, Flags, FragmentMask, Fragmentation, Frame, Header, Inventory, InventoryReply,
    MacAddress, Opcode, PageVersion, Stats, Status, FILL_LEN, MAX_PAGE_VERSIONS,
};
use zerocopy::{FromBytes, IntoBytes};

/// Pages of the arena that are checked for one INVENTORY.
const LIST_STEPS: u32 = 4096;
/// Bytes before the pages in an INVENTORY_REPLY.
const LISTING_HEAD: usize = size_of::<InventoryReply>();
/// The longest INVENTORY_REPLY.
const LISTING: usize = LISTING_HEAD + MAX_PAGE_VERSIONS * size_of::<PageVersion>();

impl<M: Memory, A: Admission> Server<M, A> {
    pub(super) fn handle_request(
        &mut self,
        now_ns: u64,
        source: MacAddress,
        client: Option<ClientId>,
        frame: &Frame<'_>,
        out: &mut impl Outbox,
    ) {
        let header = &frame.header;
        let ours = header.incarnation == 0 || header.incarnation == self.config.incarnation;
        let found = self.sessions.find(header.session).filter(|_| ours);
        let open = found.and_then(|index| {
            let owner = self.store.owner(index)?;
            let session = self.sessions.get_mut(index)?;
            let is_theirs = client.is_none_or(|client| client == session.client);
            is_theirs.then_some((index, owner, session))
        });
        let Some((index, owner, session)) = open else {
            self.counters.unknown_session = self.counters.unknown_session.wrapping_add(1);
            // A session that is not open has ended, as the client wants.
            let answer = if header.opcode == Opcode::Bye {
                header.answer(Opcode::ByeAck, Status::Ok)
            } else {
                header.answer(Opcode::Reject, Status::NoSession)
            };
            self.send(source, answer, Payload::EMPTY, out);
            return;
        };
        if session.mac != source {
            self.counters.forged = self.counters.forged.wrapping_add(1);
            return;
        }
        session.heard_ns = now_ns;
        session.challenge.note_frame();
        session.low_water = session.low_water.max(header.low_water);
        let used = match header.opcode {
            Opcode::Write => header.version.saturating_add(1),
            _ => 0,
        };
        session.high_water = session.high_water.max(header.low_water).max(used);
        let low_water = session.low_water;
        match header.opcode {
            Opcode::Read => self.read(index, owner, source, header, out),
            Opcode::Write => {
                let answer = self.write(now_ns, index, owner, low_water, frame, out);
                if let Some((status, held)) = answer {
                    let answer = Header {
                        fragment_mask: held,
                        ..header.answer(Opcode::WriteAck, status)
                    };
                    self.acknowledge(source, &answer, out);
                }
            }
            Opcode::Free => {
                if self.free(index, owner, frame.payload) {
                    let answer = header.answer(Opcode::FreeAck, Status::Ok);
                    self.send(source, answer, Payload::EMPTY, out);
                } else {
                    self.count_bad();
                }
            }
            Opcode::Inventory => match Inventory::read_from_bytes(frame.payload) {
                Ok(question) => self.list_pages(owner, source, header, &question, out),
                Err(_) => self.count_bad(),
            },
            Opcode::Ping => {
                let answer = header.answer(Opcode::Pong, Status::Ok);
                self.send_message(source, answer, frame.payload, out);
            }
            Opcode::Alive => self.note_alive(now_ns, index, frame.payload),
            Opcode::Stats => {
                let stats = self.stats(index, owner);
                let answer = header.answer(Opcode::StatsReply, Status::Ok);
                self.send_message(source, answer, stats.as_bytes(), out);
            }
            Opcode::Bye => {
                self.end_session(now_ns, index);
                let answer = header.answer(Opcode::ByeAck, Status::Ok);
                self.send(source, answer, Payload::EMPTY, out);
            }
            // Opcodes of servers and HELLO are handled elsewhere.
            _ => {}
        }
    }

    fn read(
        &mut self,
        index: usize,
        owner: OwnerId,
        source: MacAddress,
        header: &Header,
        out: &mut impl Outbox,
    ) {
        let held = self.store.get(owner, header.page);
        // CAST: a generation is the low 8 bits of a version.
        let Some(page) = held.filter(|page| page.version as u8 == header.version as u8) else {
            self.counters.pages_missing = self.counters.pages_missing.wrapping_add(1);
            let version = held.map_or(0, |page| page.version);
            let answer = Header {
                version,
                ..header.answer(Opcode::ReadReply, Status::Missing)
            };
            self.send(source, answer, Payload::EMPTY, out);
            return;
        };
        self.counters.pages_read = self.counters.pages_read.wrapping_add(1);
        if let Some(session) = self.sessions.get_mut(index) {
            session.pages_read = session.pages_read.wrapping_add(1);
        }
        let (cut, wanted, flags) = if page.filled && !mutated!(FilledFlagLost) {
            let whole = Fragmentation::WHOLE;
            (Some(whole), whole.all(), Flags::SAME_FILLED)
        } else {
            let cut = Fragmentation::from_count(header.fragment_count);
            (cut, header.fragment_mask, Flags::default())
        };
        let Some(cut) = cut else { return };
        let flags = match header.flags.contains(Flags::HEADER_ONLY) {
            true => flags.union(Flags::HEADER_ONLY),
            false => flags,
        };
        let mut reply = self.stamped(Header {
            flags,
            fragment_count: cut.count(),
            payload_crc: page.sum.crc,
            page_tag: page.sum.tag,
            version: page.version,
            ..header.answer(Opcode::ReadReply, Status::Ok)
        });
        for fragment_index in wanted.iter() {
            let Some((offset, len)) = cut.span(fragment_index) else {
                continue;
            };
            let slice = PageSlice {
                at: page.at,
                offset,
                len: if page.filled { FILL_LEN } else { len },
            };
            reply.fragment_index = fragment_index;
            let payload = Payload::Page(slice, slice.bytes(self.store.arena()));
            Self::send_stamped(source, &reply, payload, out);
        }
    }

    /// Returns the answer: the status, and the fragments held.
    fn write(
        &mut self,
        now_ns: u64,
        index: usize,
        owner: OwnerId,
        low_water: u64,
        frame: &Frame<'_>,
        out: &mut impl Outbox,
    ) -> Option<(Status, FragmentMask)> {
        let header = &frame.header;
        if header.version < low_water && !mutated!(LowWaterIgnored) {
            // Rejects old writes, and drops older fragments of the page.
            self.store.abandon(owner, header.page, low_water);
            self.counters.pages_stale = self.counters.pages_stale.wrapping_add(1);
            return Some((Status::Stale, FragmentMask::EMPTY));
        }
        if header.page >> PAGE_BITS != 0 {
            // No such page can be stored, so no session ends to make room for it.
            self.counters.pages_refused = self.counters.pages_refused.wrapping_add(1);
            return Some((Status::NoSpace, FragmentMask::EMPTY));
        }
        let cut = Fragmentation::from_count(header.fragment_count)?;
        let fragment = Fragment {
            page: header.page,
            version: header.version,
            sum: header.page_sum(),
            attempt: header.attempt,
            cut,
            index: header.fragment_index,
            filled: header.flags.contains(Flags::SAME_FILLED),
            bytes: frame.payload,
        };
        if !self.store.is_ready() {
            // Answers not yet sent may still refer to pages dropped recently.
            self.flush(out);
        }
        let quota = self.quota_pages_of(Some(index));
        let mut written = self.store.write(owner, &fragment, quota);
        if written == Written::NoSpace && !self.is_dropping() {
            match self.evict(now_ns, header.session, None) {
                Eviction::Done => {
                    if !self.store.is_ready() {
                        self.flush(out);
                    }
                    written = self.store.write(owner, &fragment, quota);
                }
                Eviction::Challenging => {
                    return Some((Status::Wait, FragmentMask::EMPTY));
                }
                Eviction::NoneSilent => {}
            }
        }
        if written == Written::NoSpace && self.is_dropping() {
            // There is room, but no dropped page has been found yet. The client will ask again.
            return None;
        }
        let (counters, none) = (&mut self.counters, FragmentMask::EMPTY);
        let (count, status, held) = match written {
            Written::Pending => return None,
            Written::Incomplete(held) => return Some((Status::Incomplete, held)),
            Written::Held => return Some((Status::Ok, cut.all())),
            Written::Stored => {
                if let Some(session) = self.sessions.get_mut(index) {
                    session.pages_written = session.pages_written.wrapping_add(1);
                }
                (&mut counters.pages_written, Status::Ok, cut.all())
            }
            Written::NoSpace => (&mut counters.pages_refused, Status::NoSpace, none),
            Written::Quota => (&mut counters.pages_refused, Status::Quota, none),
            Written::Stale => (&mut counters.pages_stale, Status::Stale, none),
            Written::Corrupt => (&mut counters.pages_corrupt, Status::Corrupt, none),
        };
        *count = count.wrapping_add(1);
        Some((status, held))
    }

    /// Whether no page is free yet, but those of ended sessions are being dropped.
    fn is_dropping(&self) -> bool {
        !self.store.is_ready() && self.store.is_sweeping()
    }

    /// Returns whether `payload` was well formed.
    fn free(&mut self, index: usize, owner: OwnerId, payload: &[u8]) -> bool {
        let Ok(batch) = <[PageVersion]>::ref_from_bytes(payload) else {
            return false;
        };
        if batch.len() > MAX_PAGE_VERSIONS {
            return false;
        }
        let mut freed = 0_u64;
        for one in batch {
            if self.store.free(owner, one.page.get(), one.version.get()) {
                freed = freed.wrapping_add(1);
            }
        }
        self.counters.pages_freed = self.counters.pages_freed.wrapping_add(freed);
        if let Some(session) = self.sessions.get_mut(index) {
            session.pages_freed = session.pages_freed.wrapping_add(freed);
        }
        true
    }

    /// Answers an INVENTORY with some of the pages that the session holds.
    fn list_pages(
        &self,
        owner: OwnerId,
        source: MacAddress,
        header: &Header,
        question: &Inventory,
        out: &mut impl Outbox,
    ) {
        let most = (question.max_pages.get() as usize).min(MAX_PAGE_VERSIONS);
        let mut bytes = [0; LISTING];
        let mut len = LISTING_HEAD;
        let mut count = 0_usize;
        let cursor = self
            .store
            .list(owner, question.cursor.get(), LIST_STEPS, |page, version| {
                let one = PageVersion {
                    page: page.into(),
                    version: version.into(),
                };
                let end = len.saturating_add(size_of::<PageVersion>());
                match bytes.get_mut(len..end) {
                    Some(place) if count < most => place.copy_from_slice(one.as_bytes()),
                    _ => return false,
                }
                count = count.saturating_add(1);
                len = end;
                true
            });
        let reply = InventoryReply {
            cursor: cursor.into(),
        };
        if let Some(head) = bytes.get_mut(..LISTING_HEAD) {
            head.copy_from_slice(reply.as_bytes());
        }
        if let Some(message) = bytes.get(..len) {
            let answer = header.answer(Opcode::InventoryReply, Status::Ok);
            self.send_message(source, answer, message, out);
        }
    }

    fn stats(&self, index: usize, owner: OwnerId) -> Stats {
        let session = self.sessions.get(index).copied().unwrap_or_default();
        Stats {
            capacity_pages: self.store.capacity_pages().into(),
            free_pages: self.store.free_pages().into(),
            held_pages: self.store.held_pages(owner).into(),
            pages_written: session.pages_written.into(),
            pages_read: session.pages_read.into(),
            pages_freed: session.pages_freed.into(),
            frames_bad: self.counters.bad.into(),
            frames_dropped: self.frames_dropped.into(),
        }
    }
}
