// SPDX-License-Identifier: GPL-2.0

//! Handles the answers to page-ins: what is used of them, and what is ignored.
//!
//! The rules: `docs/protocol.md`, "READ".

use super::super::ids::Version;
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::assembly::Assembly;
use super::op::Outcome;
use super::ops::TransferId;
use super::transfer::MOST_IN_VAIN;
use super::{Receive, Shard};
use crate::wire::{Flags, FragmentMask, Fragmentation, Header, Status};

impl<S: Storage> Shard<S> {
    pub(super) fn handle_read_reply(
        &mut self,
        now_ns: u64,
        id: TransferId,
        header: &Header,
        fill: Option<u64>,
        device: &SwapDevice<S>,
    ) -> Option<Receive> {
        let others_until_ns = self.others_until_ns(id);
        let op = &mut self.ops[id.op];
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
        if header.flags.contains(Flags::SAME_FILLED) {
            if let Some(value) = fill {
                if !op.is_background {
                    self.counters.same_filled_in = self.counters.same_filled_in.wrapping_add(1);
                }
                op.crc = header.payload_crc;
                self.note_success(now_ns, id, header.attempt);
                self.note_whole(id);
                self.end(id.op, Outcome::Filled(value));
            }
            return None;
        }
        let cut = Fragmentation::from_count(header.fragment_count)?;
        let (offset, len) = cut.span(header.fragment_index)?;
        let asked = &mut op.transfers[id];
        if asked.cut != cut {
            self.note_useless(now_ns, id, MOST_IN_VAIN, device);
            return None;
        }
        let (known, crc) = *asked.content.get_or_insert((version, header.payload_crc));
        if version < known {
            // A late answer: the server has a newer version by now.
            self.note_useless(now_ns, id, MOST_IN_VAIN, device);
            return None;
        }
        if version == known && header.payload_crc != crc {
            // A server holds one page of that version, not two.
            self.damaged_in(now_ns, id, device);
            return None;
        }
        asked.content = Some((version, header.payload_crc));
        // Copies of one generation on two servers are equal, even if repair wrote one of them under
        // another version; the checksum verifies this. So fragments of both are used, but not after
        // a damaged page.
        let is_mixed = op.restarts == 0;
        let fits = |assembly: &Assembly| {
            assembly.crc == header.payload_crc
                && assembly.cut == cut
                && (assembly.transfer == id || is_mixed)
        };
        let mut assembly = match op.assembly {
            Some(assembly) if fits(&assembly) => Assembly {
                transfer: id,
                ..assembly
            },
            // One content at a time, until its server falls silent.
            Some(_) if now_ns < others_until_ns => return None,
            _ => Assembly {
                transfer: id,
                crc: header.payload_crc,
                cut,
                have: FragmentMask::EMPTY,
                last_fragment_ns: now_ns,
            },
        };
        if assembly.have.contains(header.fragment_index) {
            self.note_useless(now_ns, id, MOST_IN_VAIN, device);
            return None;
        }
        op.assembly = Some(assembly);
        op.claimed = true;
        if !mutated!(ReceiveClaimIgnored) {
            op.pins = op.pins.saturating_add(1);
        }
        assembly.have.insert(header.fragment_index);
        Some(Receive {
            id,
            index: header.fragment_index,
            attempt: header.attempt,
            offset,
            len,
            completes: assembly.have == cut.all(),
        })
    }
}
