// SPDX-License-Identifier: GPL-2.0

//! How fast repair copies: the rate, how many copies are under way, and how both yield to requests.

use super::super::config::NS_PER_S;
use super::super::pages_in_repair::COPIES;
use super::super::shard::Shard;
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::copy::Job;
use super::{Goal, Repair};

/// Pages of the map checked in one call, so that other work gets its turn.
const SCAN_PAGES: u32 = 4096;
/// The pause after that, if some of them could be copied.
const SCAN_PAUSE_NS: u64 = 100_000;
/// The pause otherwise.
const IDLE_PAUSE_NS: u64 = 1_000_000;
/// The longest lag behind the rate that is made up for.
const BURST_NS: u64 = 5_000_000;
/// While requests are under way, the rate and the number of copies under way are divided by this.
/// Where a page takes long, the rate alone would limit nothing.
const YIELD: u64 = 4;
/// The share of the copies under way that may go to the disk: a slow disk leaves room for copies to
/// servers.
pub(super) const DISK_SHARE: [u64; 2] = [3, 4];

impl<S: Storage> Repair<S> {
    /// Begins as many copies as the rate allows; none while the machine hibernates. `is_busy` says whether
    /// requests are under way, to which repair yields; `None` if the caller has not checked.
    pub fn begin_copies(
        &mut self,
        now_ns: u64,
        is_busy: Option<bool>,
        shard: &mut Shard<S>,
        device: &SwapDevice<S>,
    ) {
        self.is_busy = is_busy.unwrap_or(self.is_busy);
        self.wake_ns = u64::MAX;
        self.look_at_disk(now_ns, device);
        let rate = match device.is_hibernating() {
            true => 0,
            false => u64::from(device.repair_pages_per_s()),
        };
        let Some(cost_ns) = NS_PER_S.checked_div(rate) else {
            return;
        };
        let cost_ns = match self.is_busy {
            true => cost_ns.saturating_mul(YIELD),
            false => cost_ns,
        };
        self.next_copy_ns = self.next_copy_ns.max(now_ns.saturating_sub(BURST_NS));
        let mut budget = SCAN_PAGES;
        let mut pause_ns = IDLE_PAUSE_NS;
        while let Some(index) = self.idle_job() {
            if self.next_copy_ns > now_ns {
                self.wake_ns = self.next_copy_ns;
                return;
            }
            let Some((page, goal)) = self.next_page(now_ns, &mut budget, shard, device) else {
                if budget == 0 {
                    self.wake_ns = now_ns.saturating_add(pause_ns);
                }
                return;
            };
            if self.begin(now_ns, index, page, goal, shard, device) {
                self.next_copy_ns = self.next_copy_ns.saturating_add(cost_ns);
                pause_ns = SCAN_PAUSE_NS;
            }
        }
    }

    /// The most copies that may be under way.
    pub(super) fn most(&self) -> u64 {
        // CAST: a small constant.
        match self.is_busy {
            true => COPIES as u64 / YIELD,
            false => COPIES as u64,
        }
    }

    /// A job for another copy, if one more may be under way.
    fn idle_job(&self) -> Option<usize> {
        let under_way = self
            .under_way(Goal::Server)
            .saturating_add(self.under_way(Goal::Disk));
        if under_way >= self.most() {
            return None;
        }
        self.jobs.iter().position(|job| matches!(job, Job::Idle))
    }
}
