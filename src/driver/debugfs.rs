// SPDX-License-Identifier: GPL-2.0

//! State for reading, in `/sys/kernel/debug/anemone/`.
//!
//! `counters`: lines of name and value. `servers`: a line for each server. `latency`: nanoseconds.
//! `disk`: lines of name and value, of the local disk.

use kernel::{
    fmt,
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc, //
    }, //
};

use super::{
    core::Core,
    queue::Lingered, //
};
use crate::{
    engine::client::{
        cluster::Health,
        ids::ServerSlot, //
    },
    linux::debugfs::Dir, //
};

/// Creates the files of `core`.
pub(crate) fn files(core: &Arc<Core>) -> Result<Dir<Core>> {
    Dir::new(
        c"anemone",
        core,
        &[
            (c"counters", counters),
            (c"servers", servers),
            (c"latency", latency),
            (c"disk", disk),
        ],
    )
}

fn counters(core: &Core, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut result = Ok(());
    core.counters().for_each(|name, value| {
        result = result.and_then(|()| writeln!(f, "{name} {value}"));
    });
    core.repair_counters(|name, value| {
        result = result.and_then(|()| writeln!(f, "{name} {value}"));
    });
    result?;
    writeln!(f, "in_flight {}", core.in_flight())?;
    writeln!(f, "frames_bad {}", core.frames_bad.load(Relaxed))?;
    writeln!(f, "frames_foreign {}", core.frames_foreign.load(Relaxed))?;
    let from_reserve = core.frames_from_reserve.load(Relaxed);
    writeln!(f, "frames_from_reserve {from_reserve}")?;
    let from_below = core.frames_from_below.load(Relaxed);
    writeln!(f, "frames_from_below {from_below}")?;
    let mut lingered = Lingered::default();
    for queue in &core.queues {
        queue.add_lingered(&mut lingered);
    }
    writeln!(f, "pages_lingered {}", lingered.count)?;
    writeln!(f, "pages_lingering {}", lingered.now)?;
    writeln!(f, "linger_sum_ns {}", lingered.sum_ns)?;
    writeln!(f, "linger_max_ns {}", lingered.longest_ns)?;
    writeln!(f, "frames_dropped {}", core.frames_dropped.load(Relaxed))
}

fn servers(core: &Core, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut result = Ok(());
    core.control.reports(|slot, report| {
        let health = match report.health {
            Health::Connecting => "connecting",
            Health::Up => "up",
            Health::Suspected => "suspected",
            Health::Draining => "draining",
            Health::Lost => "lost",
            Health::Sweeping => "sweeping",
        };
        let round_trip_ns = ServerSlot::new(slot).map_or(0, |slot| core.round_trip_ns(slot));
        result = result.and_then(|()| {
            writeln!(
                f,
                "slot {slot} mac {} health {health} capacity_pages {} free_pages {} \
                 round_trip_ns {round_trip_ns} incarnation {:016x}",
                report.mac, report.capacity_pages, report.free_pages, report.incarnation
            )
        });
    });
    result
}

fn latency(core: &Core, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Ok(latencies) = core.latencies() else {
        return Err(fmt::Error);
    };
    for (name, latency) in ["page_in", "page_out"].iter().zip(&latencies) {
        writeln!(
            f,
            "{name} count {} mean_ns {} p50_ns {} p90_ns {} p99_ns {} p999_ns {} max_ns {}",
            latency.count(),
            latency.mean_ns(),
            latency.quantile_ns(500),
            latency.quantile_ns(900),
            latency.quantile_ns(990),
            latency.quantile_ns(999),
            latency.max_ns()
        )?;
    }
    Ok(())
}

fn disk(core: &Core, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let report = core.local.report();
    let (major, minor) = report.number;
    writeln!(f, "state {}", report.health.name())?;
    writeln!(f, "policy {}", report.policy.name())?;
    writeln!(f, "device {major}:{minor}")?;
    writeln!(f, "bytes {}", report.bytes)?;
    writeln!(f, "buffered {}", report.buffered)?;
    let mut result = Ok(());
    report.counters.for_each(|name, value| {
        result = result.and_then(|()| writeln!(f, "{name} {value}"));
    });
    result
}
