// SPDX-License-Identifier: GPL-2.0

//! Sealing a page before it is sent: its servers cannot read it, nor change it unnoticed.
//!
//! A page is sealed once under each version of an op, and all copies and retransmissions send the same bytes.
//! The caller seals it without the shard's lock; until then the op's transfers wait. The mirror gets the page
//! as it is. If a program changes it meanwhile, the checksums of what was sealed and of what was copied
//! differ, and the page-out restarts.
//!
//! The rules: `docs/protocol.md`, "Sealed pages".

use super::super::ids::{PageIndex, Version};
use super::super::page_keys::KeyNumber;
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::disk_part::DiskStage;
use super::op::{Kind, Op, Outcome, Stage};
use super::ops::OpId;
use super::transfer::TransferStage;
use super::{Action, Shard};
use crate::wire::PageSum;

/// An op's page to be sealed. The op does not end before [`Shard::sealed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// Which op.
    pub op: OpId,
    /// The page.
    pub page: PageIndex,
    /// The version under which it is sealed.
    pub version: Version,
    /// The key with which it is.
    pub key: KeyNumber,
    /// The value that fills the page, if one does: only this is sealed.
    pub fill: Option<u64>,
    /// Whether the checksum of the page as it is sealed is needed: the mirror gets the page as well.
    pub wants_crc: bool,
}

/// A page that has been sealed. The sealed bytes are where the op's frames take them from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Checksum and tag of the sealed bytes.
    pub sum: PageSum,
    /// The sealed value, of a same-filled page.
    pub fill: u64,
    /// The checksum of the page before, if it was wanted.
    pub crc: Option<u32>,
}

/// The sealed form of an op's page.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SealPart {
    /// The page is being sealed, without the shard's lock.
    is_under_way: bool,
    /// The version under which it is sealed.
    version: Option<Version>,
    pub(super) sum: PageSum,
    pub(super) fill: u64,
}

impl Op {
    /// Whether the page is sealed under the op's version.
    pub(super) fn is_sealed(&self) -> bool {
        self.seal.version == Some(self.version)
    }
}

impl<S: Storage> Shard<S> {
    /// Begins to seal the op's page, for which a transfer waits. `None` if that is under way.
    #[inline]
    pub(super) fn begin_seal(
        &mut self,
        now_ns: u64,
        index: OpId,
        device: &SwapDevice<S>,
    ) -> Option<Action> {
        let op = &self.ops[index];
        if device.keys.is_outdated(op.version) && !op.seal.is_under_way {
            // If the machine was rolled back, another instance may seal with that key and this version.
            match op.kind {
                Kind::PageOut => self.renew(now_ns, index, device),
                _ => self.end(index, Outcome::Failed),
            }
            return None;
        }
        let op = &mut self.ops[index];
        if core::mem::replace(&mut op.seal.is_under_way, true) {
            return None;
        }
        op.pins = op.pins.saturating_add(1);
        // The page of a copy belongs to the module and does not change.
        let may_change = op.kind == Kind::PageOut && op.fill.is_none();
        Some(Action::Seal(Seal {
            op: index,
            page: op.page,
            version: op.version,
            key: device.page_key(op.version),
            fill: op.fill,
            wants_crc: may_change && device.disk.load().is_tracked(),
        }))
    }

    /// The page has been sealed; `None` if it could not be.
    pub fn sealed(
        &mut self,
        now_ns: u64,
        seal: &Seal,
        sealed: Option<Sealed>,
        device: &SwapDevice<S>,
    ) {
        let index = seal.op;
        let op = &mut self.ops[index];
        op.seal.is_under_way = false;
        if matches!(op.stage, Stage::Active | Stage::Stalled) && op.version == seal.version {
            match sealed {
                Some(sealed) => self.note_sealed(now_ns, index, &sealed, device),
                None if op.kind == Kind::PageOut => {
                    self.fail_page_out(index, Outcome::Failed, device);
                }
                None => self.end(index, Outcome::Failed),
            }
        }
        for id in index.transfers() {
            if self.ops[id].stage == TransferStage::Queued {
                self.push_ready(id);
            }
        }
        self.unpin(index);
        if self.ops[index].kind == Kind::PageOut {
            self.advance_page_out(now_ns, index, device);
        }
    }

    #[inline]
    fn note_sealed(&mut self, now_ns: u64, index: OpId, sealed: &Sealed, device: &SwapDevice<S>) {
        let op = &mut self.ops[index];
        if op.kind == Kind::PageOut && op.fill.is_none() {
            let is_put = op.disk.put == Some(op.version);
            let is_buffered = is_put || op.disk.stage == DiskStage::Written;
            if let Some(crc) = op.crc.filter(|_| is_buffered && op.crc != sealed.crc) {
                self.restart_changed(now_ns, index, crc, device);
                return;
            }
            op.crc = sealed.crc;
        }
        op.seal.version = Some(op.version);
        op.seal.sum = sealed.sum;
        op.seal.fill = sealed.fill;
    }
}
