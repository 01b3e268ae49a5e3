// SPDX-License-Identifier: GPL-2.0

//! A client's local disk. It answers late and out of order, fails, leaves failed writes torn, and stops
//! answering.

use std::collections::{BTreeMap, BTreeSet};

use anemone::engine::client::mirror::DiskIo;
use rand::Rng;

use crate::content::{zeros, Bytes};
use crate::context::Context;
use crate::faults::Fault;
use crate::scenario::{DiskScenario, MS, S};

/// An I/O that was submitted to it.
#[derive(Debug)]
struct SubmittedIo {
    is_write: bool,
    first: u32,
    /// The pages to write, or the number of pages to read.
    pages: Vec<Bytes>,
}

/// The result of an I/O.
pub struct Ended {
    pub ok: bool,
    /// The pages that were read.
    pub pages: Vec<Bytes>,
}

/// A disk.
pub struct SimDisk {
    scenario: DiskScenario,
    blocks: BTreeMap<u32, Bytes>,
    submitted: BTreeMap<usize, SubmittedIo>,
    /// I/Os that will end when it answers again.
    held: BTreeSet<usize>,
    is_hung: bool,
    is_slow: bool,
    /// Whether it has been taken out of its machine.
    is_gone: bool,
    /// How many of a hundred I/Os fail.
    failing: u32,
    /// Since when it has been healthy; `None` while it is not.
    well_since_ns: Option<u64>,
    /// When it last failed, or did not answer.
    faulty_ns: Option<u64>,
}

impl SimDisk {
    /// A disk full of zeros.
    pub fn new(scenario: DiskScenario) -> Self {
        Self {
            scenario,
            blocks: BTreeMap::new(),
            submitted: BTreeMap::new(),
            held: BTreeSet::new(),
            is_hung: false,
            is_slow: false,
            is_gone: false,
            failing: 0,
            well_since_ns: Some(0),
            faulty_ns: None,
        }
    }

    /// The contents of a block.
    pub fn block(&self, page: u32) -> Bytes {
        self.blocks.get(&page).cloned().unwrap_or_else(zeros)
    }

    /// Since when it has been healthy; `None` if it is not.
    pub fn well_since_ns(&self) -> Option<u64> {
        self.well_since_ns
    }

    /// Whether it has failed, or not answered, since then.
    pub fn was_faulty_since(&self, since_ns: u64) -> bool {
        self.well_since_ns.is_none()
            || self
                .faulty_ns
                .is_some_and(|faulty_ns| faulty_ns >= since_ns)
    }

    /// Whether it refuses an I/O now, unless that may wait.
    pub fn refuses(&self, ctx: &mut Context, io: &DiskIo) -> bool {
        let is_full = |depth| self.submitted.len() >= depth;
        let refuses = !io.may_wait && self.scenario.depth.is_some_and(is_full);
        if refuses {
            ctx.counts.fault(Fault::DiskRefused);
        }
        refuses
    }

    /// Submits an I/O. Returns when it will end, unless the disk does not answer.
    pub fn submit(
        &mut self,
        ctx: &mut Context,
        id: usize,
        is_write: bool,
        first: u32,
        pages: Vec<Bytes>,
    ) -> Option<u64> {
        let end = first + pages.len() as u32;
        for (other_id, other) in &self.submitted {
            let other_end = other.first + other.pages.len() as u32;
            let overlap = first < other_end && other.first < end;
            if overlap && (is_write || other.is_write) || *other_id == id {
                ctx.oracle.fail(|| {
                    format!(
                        "I/O {id} of pages {first}..{end} overlaps with I/O {other_id}: {other:?}"
                    )
                });
            }
        }
        let submitted = SubmittedIo {
            is_write,
            first,
            pages,
        };
        self.submitted.insert(id, submitted);
        if self.is_hung {
            ctx.counts.fault(Fault::DiskHung);
            self.held.insert(id);
            return None;
        }
        Some(self.delay(ctx))
    }

    fn delay(&mut self, ctx: &mut Context) -> u64 {
        let most_ns = match (self.is_slow, ctx.rng.random_range(0..20)) {
            (true, _) => 500 * MS,
            (false, 0) => 20 * self.scenario.latency_ns,
            _ => 2 * self.scenario.latency_ns,
        };
        if self.is_slow {
            ctx.counts.fault(Fault::DiskSlow);
        }
        ctx.rng.random_range(0..=most_ns)
    }

    /// Ends an I/O that is due. Returns `None` if the disk does not answer, or has no such I/O.
    pub fn end(&mut self, ctx: &mut Context, id: usize) -> Option<Ended> {
        if self.is_hung {
            ctx.counts.fault(Fault::DiskHung);
            self.held.insert(id);
            return None;
        }
        let submitted = self.submitted.remove(&id)?;
        let ok = ctx.rng.random_range(0..100) >= self.failing;
        if !ok {
            self.faulty_ns = Some(ctx.now_ns);
            ctx.counts.fault(Fault::DiskFailed);
        }
        let mut pages = Vec::new();
        for (page, bytes) in (submitted.first..).zip(submitted.pages) {
            if !submitted.is_write {
                pages.push(self.block(page));
            } else if ok {
                self.blocks.insert(page, bytes);
            } else {
                // A part of it may have been written.
                let len = match ctx.rng.random_range(0..3) {
                    0 => 0,
                    1 => bytes.len(),
                    _ => 512 * ctx.rng.random_range(1..8),
                };
                let mut torn = self.block(page);
                torn[..len].copy_from_slice(&bytes[..len]);
                self.blocks.insert(page, torn);
                ctx.counts.fault(Fault::DiskTorn);
            }
        }
        Some(Ended { ok, pages })
    }

    /// From now on it fails `failing` of a hundred I/Os.
    pub fn fail(&mut self, failing: u32) {
        self.failing = failing;
        self.well_since_ns = None;
    }

    /// From now on it is slow.
    pub fn slow(&mut self) {
        self.is_slow = true;
        self.well_since_ns = None;
    }

    /// From now on it does not answer.
    pub fn hang(&mut self) {
        self.is_hung = true;
        self.well_since_ns = None;
    }

    /// It is taken out of its machine: everything fails from now on. Returns the I/Os that it had not
    /// answered, and when they fail.
    pub fn take(&mut self, ctx: &mut Context) -> Vec<(usize, u64)> {
        let held = self.heal(ctx);
        self.is_gone = true;
        self.fail(100);
        held
    }

    /// Whether it has been taken out of its machine.
    pub fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// From now on it is healthy, unless it is gone. Returns the I/Os that it had not answered, and when it
    /// will.
    pub fn heal(&mut self, ctx: &mut Context) -> Vec<(usize, u64)> {
        if self.is_gone {
            return Vec::new();
        }
        if self.is_hung || self.failing > 0 {
            self.faulty_ns = Some(ctx.now_ns);
        }
        self.is_hung = false;
        self.is_slow = false;
        self.failing = 0;
        // Not before the I/Os submitted while it was slow have ended.
        self.well_since_ns.get_or_insert(ctx.now_ns + S);
        let held = std::mem::take(&mut self.held);
        held.into_iter().map(|id| (id, self.delay(ctx))).collect()
    }

    /// Another user overwrites the whole disk, once it is detached. One that is gone is replaced by another.
    pub fn overwrite(&mut self, ctx: &mut Context) {
        if std::mem::take(&mut self.is_gone) {
            self.heal(ctx);
        }
        for bytes in self.blocks.values_mut() {
            let byte: u8 = ctx.rng.random();
            bytes.fill(byte);
        }
    }
}
