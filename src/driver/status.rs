// SPDX-License-Identifier: GPL-2.0

//! What the control device reports of the device and its servers.
//!
//! Context: process. Nothing here changes anything.

use kernel::{
    current,
    prelude::*, //
};
use zerocopy::FromZeros;

use super::{
    client::Client,
    params, //
};
use crate::{
    engine::client::{
        dirty_chunks::CHUNK_PAGES,
        ids::ServerSlot,
        page_statistics::{
            PageStatistics,
            Standard, //
        }, //
    },
    linux::sched::cond_resched,
    uapi::{
        self,
        DiskHealth, //
    },
    wire::MacAddress,
};

/// Pages counted between two checks for a signal.
const STATISTICS_PAGES: u32 = 1 << 20;

/// Puts a name where zeros are. The last byte stays zero.
fn put_name(to: &mut [u8], name: &CStr) {
    let most = to.len().saturating_sub(1);
    for (to, from) in to.iter_mut().zip(name.to_bytes()).take(most) {
        *to = *from;
    }
}

impl Client {
    /// The device's state.
    pub(crate) fn status(&self, flags: u32) -> Result<uapi::Status> {
        let device = &self.shared.device;
        let counters = self.counters();
        let mut status = uapi::Status::new_zeroed();
        status.flags = flags;
        status.version = uapi::VERSION;
        status.mode = device.mode() as u32;
        // CAST: three at the most.
        status.replicas = device.replicas() as u32;
        status.min_copies = device.min_copies() as u32;
        status.io_timeout_s = params::narrow(params::io_timeout_s.value());
        let mtu = self.shared.link.mtu();
        status.mtu = params::narrow(mtu.unwrap_or(0) as u64);
        status.in_flight = params::narrow(self.in_flight() as u64);
        put_name(&mut status.interface, self.shared.link.name());
        let sealer = self.shared.sealer.as_ref();
        if let Some(name) = sealer.and_then(|sealer| sealer.driver_name()) {
            put_name(&mut status.cipher, name);
        }
        status.is_signed = self.shared.keys.is_some().into();
        status.size_pages = device.map.len() as u64;
        if flags & uapi::status::COUNT != 0 {
            let statistics = self.statistics()?;
            status.written = statistics.written;
            status.degraded = statistics.degraded;
            status.lost = statistics.lost;
            status.on_disk = statistics.on_disk;
        }
        status.pages_out = counters.pages_out;
        status.pages_in = counters.pages_in;
        status.pages_out_degraded = counters.pages_out_degraded;
        status.pages_out_failed = counters.pages_out_failed;
        status.pages_in_failed = counters.pages_in_failed;
        status.pages_freed = counters.pages_freed;
        status.pages_in_corrupt = counters.corrupt_in.saturating_add(counters.outdated_in);
        status.repair_pages_per_s = u64::from(device.repair_pages_per_s());
        let repair = self.repair_report();
        status.repaired = repair.counters.pages_repaired;
        status.repair_cancelled = repair
            .counters
            .repairs_cancelled
            .saturating_add(repair.counters.repairs_failed);
        status.repair_left = repair.left.saturating_mul(u64::from(CHUNK_PAGES));
        let disk = self.shared.local.report(&self.shared);
        let health = disk.health.with_left(repair.out_of_sync_left);
        status.disk_state = health as u32;
        if health == DiskHealth::OutOfSync {
            status.disk_out_of_sync = status.written.saturating_sub(status.on_disk);
        }
        status.disk_buffered = disk.buffered as u64;
        status.disk_written = disk.counters.pages_written;
        status.disk_errors = disk.counters.errors;
        status.disk_policy = disk.policy as u32;
        Ok(status)
    }

    /// Counts pages. Fails if a signal arrives, because a large device takes a while.
    fn statistics(&self) -> Result<PageStatistics> {
        let device = &self.shared.device;
        let standard = Standard {
            valid: device.servers.valid(),
            counting: device.servers.counting(),
            replicas: device.replicas(),
            disk: device.disk.load().is_attached(),
        };
        let mut statistics = PageStatistics::default();
        // CAST: a device has fewer than 2^32 pages.
        let len = device.map.len() as u32;
        let mut first = 0;
        while first < len {
            if current!().signal_pending() {
                return Err(EINTR);
            }
            let end = len.min(first.saturating_add(STATISTICS_PAGES));
            statistics.take(&device.map, first, end, &standard);
            first = end;
            cond_resched();
        }
        Ok(statistics)
    }

    /// The servers, and their number.
    pub(crate) fn servers(&self, flags: u32) -> Result<(u32, KVec<uapi::Server>)> {
        let statistics = match flags & uapi::status::COUNT {
            0 => PageStatistics::default(),
            _ => self.statistics()?,
        };
        let mut servers = KVec::from_elem(uapi::Server::default(), uapi::MAX_SERVERS, GFP_KERNEL)?;
        let mut count = 0_u32;
        self.cluster.reports(|slot, report| {
            if let Some(server) = servers.get_mut(count as usize) {
                // CAST: below 20.
                server.slot = slot as u32;
                server.health = report.health as u32;
                server.mac = report.mac.0;
                server.refusal = report.refusal.map_or(0, |status| status as u32);
                server.incarnation = report.incarnation;
                server.capacity_pages = report.capacity_pages;
                server.free_pages = report.free_pages;
                server.held_pages = statistics.held.get(slot).copied().unwrap_or(0);
                count = count.saturating_add(1);
            }
        });
        for server in servers.iter_mut().take(count as usize) {
            if let Some(why) = self.cluster.key_refusal(MacAddress(server.mac)) {
                server.refusal = why as u32;
            }
            server.round_trip_ns =
                ServerSlot::new(server.slot as usize).map_or(0, |slot| self.round_trip_ns(slot));
        }
        Ok((count, servers))
    }

    /// The longest round trip to a server measured by any queue.
    pub(crate) fn round_trip_ns(&self, slot: ServerSlot) -> u64 {
        let queues = self.queues.iter();
        let of = queues.map(|queue| queue.lock_shard(|shard| shard.round_trip_ns(slot)));
        of.max().unwrap_or(0)
    }

    /// Requests for pages that are under way.
    pub(crate) fn in_flight(&self) -> usize {
        let queues = self.queues.iter().filter(|queue| !queue.is_repairs());
        queues
            .map(|queue| queue.lock_shard(|shard| shard.in_flight()))
            .sum()
    }
}
