// SPDX-License-Identifier: GPL-2.0

//! One page of one request: what is wanted, and what has been done for it.

use super::super::ids::{Generation, PageIndex, SlotSet, Version, MAX_REPLICAS};
use super::super::page_map::Entry;
use super::assemble::Assembly;
use super::disk::DiskPart;
use super::transfer::{Transfer, TransferStage};

/// How a request for a page ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A page-out has its copies; a page-in has its bytes.
    Done,
    /// A page-in of a page that has no contents: it reads as zeros.
    Zeros,
    /// A page-in of a page that is one value over and over.
    Filled(u64),
    /// No copy could be written, or read, in time or ever.
    Failed,
    /// A page-out that every server that answers has refused for want of room, no disk taking it.
    NoSpace,
}

/// What is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    PageIn,
    PageOut,
    /// A page-out in the background, to one server.
    Copy,
    /// A page-out in the background, to the local disk.
    Mirror,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nobody's.
    #[default]
    Free,
    /// Waits until the page is not written by somebody else.
    Parked,
    /// Waits until some server can be used.
    Stalled,
    /// Has transfers.
    Active,
    /// Over, but its page is being sent or copied, or nobody has asked yet.
    Ended(Outcome),
}

/// An index into a shard's ops or transfers, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link(pub(super) u32);

impl Link {
    pub(super) const NONE: Self = Self(u32::MAX);
}

impl Default for Link {
    fn default() -> Self {
        Self::NONE
    }
}

/// One page of one request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Op {
    pub(super) kind: Kind,
    /// Whether no request waits for it.
    pub(super) is_background: bool,
    pub(super) stage: Stage,
    pub(super) page: PageIndex,
    /// Page-out: the version being written. Page-in: the one that was to be given out next when the map was
    /// looked at.
    pub(super) version: Version,
    /// Page-in: which generation is wanted.
    pub(super) generation: Generation,
    /// Page-out: the entry when the page was taken.
    pub(super) begun: Option<Entry>,
    pub(super) crc: u32,
    pub(super) fill: Option<u64>,
    pub(super) started_ns: u64,
    /// From when its I/O timeout counts: later than that, if we were stopped meanwhile.
    pub(super) waits_from_ns: u64,
    /// Never the same twice, over all uses of this op.
    pub(super) next_attempt: u32,
    /// Frames of it being sent or copied right now, without the shard's lock.
    pub(super) pins: u32,
    /// Page-out: it may be over as soon as nothing of it is being sent.
    pub(super) ends_when_sent: bool,
    /// Whether one of them is being copied into the page.
    pub(super) claimed: bool,
    /// How often the page was found changed, or damaged.
    pub(super) restarts: u32,
    /// Page-out: how often it has taken another version because a server had a later one.
    pub(super) renewals: u32,
    /// Servers not to be asked again, until the op is stalled or its page changes.
    pub(super) tried: SlotSet,
    /// Page-out: servers that may hold a copy of it, one that counts or not.
    pub(super) sent_to: SlotSet,
    /// Page-out: servers that have refused it for want of room.
    pub(super) refused: SlotSet,
    /// Page-out: since when it has waited for servers to free what they are told to.
    pub(super) waits_for_room_ns: Option<u64>,
    /// Whether it has been counted as stalled.
    pub(super) counted_stalled: bool,
    /// Page-in: when another replica is to be asked too, if there is one and it has not been.
    pub(super) hedge_ns: u64,
    /// Page-in: the transfer that asks another replica because the first takes long.
    pub(super) hedge: Option<usize>,
    pub(super) assembly: Option<Assembly>,
    pub(super) transfers: [Transfer; MAX_REPLICAS],
    pub(super) disk: DiskPart,
    /// Whether others wait for this page to be no longer written.
    pub(super) wake: bool,
    /// Whether it hangs in the list of the ended.
    pub(super) ended_linked: bool,
    pub(super) next_ended: Link,
    pub(super) next_active: Link,
    pub(super) previous_active: Link,
}

impl Op {
    /// A number for the next sending.
    pub(super) fn take_attempt(&mut self) -> u32 {
        let attempt = self.next_attempt;
        self.next_attempt = attempt.wrapping_add(1);
        attempt
    }

    /// Servers that some transfer is for.
    pub(super) fn targets(&self) -> SlotSet {
        let mut targets = SlotSet::EMPTY;
        for transfer in &self.transfers {
            if transfer.stage != TransferStage::Idle {
                if let Some(slot) = transfer.slot {
                    targets.insert(slot);
                }
            }
        }
        targets
    }

    /// Whether some transfer is neither idle nor acknowledged.
    pub(super) fn is_waiting(&self) -> bool {
        self.transfers
            .iter()
            .any(|transfer| matches!(transfer.stage, TransferStage::Queued | TransferStage::Sent))
    }
}
