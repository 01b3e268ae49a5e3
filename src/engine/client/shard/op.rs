// SPDX-License-Identifier: GPL-2.0

//! One page of one request: the request, and its progress.

use super::super::ids::{Generation, PageIndex, SlotSet, Version};
use super::super::page_map::Entry;
use super::active_ops::ActivePlace;
use super::assembly::Assembly;
use super::disk_part::DiskPart;
use super::list::Place;
use super::ops::{OpId, TransferId, Transfers};
use super::seal::SealPart;
use super::transfer::{Transfer, TransferStage};

/// How a request for a page ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A page-out has its copies; a page-in has its bytes.
    Done,
    /// A page-in of a page that has no contents: it reads as zeros.
    Zeros,
    /// A page-in of a same-filled page.
    Filled(u64),
    /// Too few copies could be written, or none read, in time or ever.
    Failed,
    /// A page-out that every server that answers has refused for lack of room, and that no disk
    /// accepts.
    NoSpace,
}

impl Outcome {
    /// How a request ends that has no other outcome than success or failure.
    pub(super) fn of(ok: bool) -> Self {
        match ok {
            true => Self::Done,
            false => Self::Failed,
        }
    }
}

/// What the op does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    PageIn,
    PageOut,
    /// A background page-out to one server.
    RepairToServer,
    /// A background page-out to the local disk. It has no transfers.
    RepairToDisk,
}

/// How far the op has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not in use.
    #[default]
    Free,
    /// Waits until another page-out of the page has ended.
    Parked,
    /// Waits until a server is usable.
    Stalled,
    /// Has transfers.
    Active,
    /// Ended, but its page is being sent or copied, or it has not been polled yet.
    Ended(Outcome),
}

/// One page of one request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Op {
    pub(super) kind: Kind,
    /// Whether no request waits for it.
    pub(super) is_background: bool,
    pub(super) stage: Stage,
    pub(super) page: PageIndex,
    /// Page-out: the version being written. Page-in: the next version to be given out when the map
    /// was read.
    pub(super) version: Version,
    /// Page-in: the generation that is wanted.
    pub(super) generation: Generation,
    /// Page-out: the entry when the page was claimed.
    pub(super) begun: Option<Entry>,
    /// The page's checksum, or that of the value that fills it, if it is known. If pages are not sealed, a
    /// page-out always knows it.
    pub(super) crc: Option<u32>,
    pub(super) seal: SealPart,
    pub(super) fill: Option<u64>,
    pub(super) started_ns: u64,
    /// When its I/O timeout began: later than its start if the client was stopped meanwhile.
    pub(super) waits_from_ns: u64,
    /// Unique over all uses of this op.
    pub(super) next_attempt: u32,
    /// How many times its page is being sent or copied right now, without the shard's lock.
    pub(super) pins: u32,
    /// Page-out: it may end as soon as nothing of it is being sent.
    pub(super) ends_when_sent: bool,
    /// Whether a fragment is being copied into the page.
    pub(super) claimed: bool,
    /// How often the page was found changed or damaged.
    pub(super) restarts: u32,
    /// Page-out: how often it took another version because a server had a later one.
    pub(super) renewals: u32,
    /// Servers not to be asked again, until the op stalls or its page changes.
    pub(super) tried: SlotSet,
    /// Page-in: servers that did not hold the page, which may have been written since the map was read, until
    /// its generation was the same.
    pub(super) doubted: SlotSet,
    /// Page-out: servers that may hold a copy of this version, whether it counts or not.
    pub(super) sent_to: SlotSet,
    /// Page-out: servers that refused it for lack of room.
    pub(super) refused: SlotSet,
    /// Page-out: since when it has waited for servers to free pages.
    pub(super) waits_for_room_ns: Option<u64>,
    /// Whether it has been counted as stalled.
    pub(super) counted_stalled: bool,
    /// Page-in: when to ask another replica as well, if there is one that has not been asked.
    pub(super) hedge_ns: u64,
    /// Page-in: the transfer that is the hedge.
    pub(super) hedge: Option<TransferId>,
    pub(super) assembly: Option<Assembly>,
    pub(super) transfers: Transfers,
    pub(super) disk: DiskPart,
    /// Whether other ops wait for this page-out to end.
    pub(super) wake: bool,
    /// In the list of ended ops.
    pub(super) ended_place: Place<OpId>,
    /// In the list of ops in use.
    pub(super) active_place: ActivePlace,
}

impl Op {
    /// Takes an attempt number.
    pub(super) fn take_attempt(&mut self) -> u32 {
        let attempt = self.next_attempt;
        self.next_attempt = attempt.wrapping_add(1);
        attempt
    }

    /// Page-out: servers that held an older version of the page when it began.
    pub(super) fn holders(&self) -> SlotSet {
        self.begun.map_or(SlotSet::EMPTY, |entry| entry.replicas())
    }

    /// Servers that have a transfer.
    pub(super) fn targets(&self) -> SlotSet {
        let mut targets = SlotSet::EMPTY;
        for transfer in self.transfers.iter() {
            if transfer.stage != TransferStage::Idle {
                targets.insert(transfer.slot);
            }
        }
        targets
    }

    /// Whether some transfer is neither idle nor acknowledged.
    pub(super) fn is_waiting(&self) -> bool {
        self.transfers.iter().any(Transfer::is_asked)
    }
}
