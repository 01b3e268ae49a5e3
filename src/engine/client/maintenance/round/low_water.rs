// SPDX-License-Identifier: GPL-2.0

//! When the low water is raised: in each round, after the cluster has taken the copies to be freed and every
//! shard has been asked. It is raised to the lowest version that may still be under way.

use super::super::super::ids::Version;
use super::super::super::shard::Shard;
use super::super::super::storage::Storage;
use super::super::super::swap_device::SwapDevice;

/// The next low water, while the shards are asked.
#[derive(Default)]
pub(super) struct LowWater {
    /// The lowest version that may be under way.
    lowest: Version,
}

impl LowWater {
    /// The cluster has taken the copies to be freed, and these have versions. Versions that are taken from
    /// now on are not below the low water.
    pub(super) fn begin<S: Storage>(&mut self, device: &SwapDevice<S>) {
        self.lowest = device.next_version();
    }

    /// Takes the shard's versions under way into account.
    pub(super) fn look_at<S: Storage>(&mut self, shard: &Shard<S>) {
        let oldest = shard.oldest_version().unwrap_or(self.lowest);
        self.lowest = self.lowest.min(oldest);
    }

    /// Raises the low water: every shard has been asked.
    pub(super) fn raise<S: Storage>(&self, device: &SwapDevice<S>) {
        device.raise_low_water(self.lowest);
    }
}
