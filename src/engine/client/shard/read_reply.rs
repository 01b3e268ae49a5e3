// SPDX-License-Identifier: GPL-2.0

//! Handles the answers to page-ins: what is used of them, and what is ignored.
//!
//! The rules: `docs/protocol.md`, "READ".

use super::super::ids::Version;
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::assembly::Assembly;
use super::ops::{OpId, TransferId};
use super::transfer::MOST_IN_VAIN;
use super::{Receive, Shard, Verify};
use crate::wire::{Flags, FragmentMask, Fragmentation, Header, Status, FILL_LEN};

impl<S: Storage> Shard<S> {
    pub(super) fn handle_read_reply(
        &mut self,
        now_ns: u64,
        id: TransferId,
        header: &Header,
        device: &SwapDevice<S>,
    ) -> Option<Receive> {
        let others_until_ns = self.others_until_ns(id);
        let op = &mut self.ops[id.op];
        if op.restarts > 0 && header.flags.contains(Flags::HEADER_ONLY) {
            // Asked before the page arrived damaged: it may have been changed on the path.
            return None;
        }
        let version = Version(header.version);
        let is_wanted = version.generation() == op.generation || mutated!(StaleReplyAccepted);
        if header.status != Status::Ok || !is_wanted {
            let since = op.version;
            // If the version is of the wanted generation, this answers another request.
            let lacks_it = match version.0 {
                // The page may have been freed since and written again in the same generation, but
                // not before the next version of that generation was given out.
                0 => {
                    let passed = device.next_version().0.wrapping_sub(since.0);
                    let next = op.generation.0.wrapping_sub(since.generation().0);
                    passed <= u64::from(next)
                }
                _ if device.versions().is_ours(version) == Some(false) => true,
                // A version given out after the map was read may be in the map by now.
                _ => !is_wanted && version < since,
            };
            self.handle_miss(now_ns, id, lacks_it, device);
            return None;
        }
        match device.versions().is_ours(version) {
            Some(true) if device.is_rolled_back(op.page, version, op.version) => {
                self.counters.outdated_in = self.counters.outdated_in.wrapping_add(1);
                self.handle_miss(now_ns, id, true, device);
                return None;
            }
            Some(true) => {}
            _ if mutated!(StaleReplyAccepted) => {}
            // Of the wanted generation, but of a rolled-back interval: other bytes.
            Some(false) => {
                self.handle_miss(now_ns, id, true, device);
                return None;
            }
            // Counts as lost on the way.
            None => return None,
        }
        if op.claimed && !mutated!(ReceiveClaimIgnored) {
            // Another CPU is copying a fragment of this op, and requests this one again after that.
            op.transfers[id].missed.insert(header.fragment_index);
            self.counters.claim_conflicts = self.counters.claim_conflicts.wrapping_add(1);
            return None;
        }
        let sum = header.page_sum();
        let (page, wants_crc) = (op.page, op.is_background);
        let verify = || Verify {
            page,
            version,
            key: device.page_key(version),
            sum,
            wants_crc,
        };
        if header.flags.contains(Flags::SAME_FILLED) {
            self.claim_page(id.op);
            return Some(Receive {
                id,
                index: 0,
                attempt: header.attempt,
                offset: 0,
                len: FILL_LEN,
                filled: true,
                verify: Some(verify()),
            });
        }
        let cut = Fragmentation::from_count(header.fragment_count)?;
        let (offset, len) = cut.span(header.fragment_index)?;
        let asked = &mut op.transfers[id];
        if asked.cut != cut {
            self.note_useless(now_ns, id, MOST_IN_VAIN, device);
            return None;
        }
        match &asked.content {
            Some((known, _)) if version < *known => {
                // A late answer: the server has a newer version by now.
                self.note_useless(now_ns, id, MOST_IN_VAIN, device);
                return None;
            }
            Some((known, known_sum)) if version == *known => {
                if sum != *known_sum {
                    // A server holds one page of that version, not two.
                    self.damaged_in(now_ns, id, device);
                    return None;
                }
            }
            _ => asked.content = Some((version, sum)),
        }
        // Copies of one generation on two servers are equal, even if repair wrote one of them under
        // another version; the checksum verifies this. So fragments of both are used, but not after
        // a damaged page. Sealed copies of two versions are not equal.
        let is_mixed = op.restarts == 0;
        let mut have = match &mut op.assembly {
            Some(assembly)
                if assembly.sum == sum
                    && assembly.cut == cut
                    && (assembly.version == version || !device.seals())
                    && (assembly.transfer == id || is_mixed) =>
            {
                if assembly.have.contains(header.fragment_index) {
                    self.note_useless(now_ns, id, MOST_IN_VAIN, device);
                    return None;
                }
                assembly.transfer = id;
                assembly.have
            }
            // One content at a time, until its server falls silent.
            Some(_) if now_ns < others_until_ns => return None,
            assembly => {
                // A server that begins another page again and again keeps others away no longer than one that
                // sends nothing.
                let last_fragment_ns = match assembly {
                    Some(old) if old.transfer == id => old.last_fragment_ns,
                    _ => now_ns,
                };
                *assembly = Some(Assembly {
                    transfer: id,
                    version,
                    sum,
                    cut,
                    have: FragmentMask::EMPTY,
                    last_fragment_ns,
                });
                FragmentMask::EMPTY
            }
        };
        self.claim_page(id.op);
        have.insert(header.fragment_index);
        Some(Receive {
            id,
            index: header.fragment_index,
            attempt: header.attempt,
            offset,
            len,
            filled: false,
            verify: (have == cut.all()).then(verify),
        })
    }

    /// Claims the op's page, for a frame's payload.
    #[inline]
    fn claim_page(&mut self, index: OpId) {
        let op = &mut self.ops[index];
        op.claimed = true;
        if !mutated!(ReceiveClaimIgnored) {
            op.pins = op.pins.saturating_add(1);
        }
    }
}
