// SPDX-License-Identifier: GPL-2.0

//! What can be looked at, in `/sys/kernel/debug/anemone/`.
//!
//! `counters`: lines of name and value. `servers`: a line for each server. `latency`: nanoseconds.
//! `disk`: lines of name and value, of the local disk.

use kernel::{
    debugfs::{
        Dir,
        File, //
    },
    fmt,
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc, //
    }, //
};

use super::core::Core;
use crate::engine::{
    cluster::Health,
    ids::ServerSlot, //
};

/// The files. They go when this is dropped.
pub(crate) struct Files {
    _counters: Pin<KBox<File<Arc<Core>>>>,
    _servers: Pin<KBox<File<Arc<Core>>>>,
    _latency: Pin<KBox<File<Arc<Core>>>>,
    _disk: Pin<KBox<File<Arc<Core>>>>,
}

impl Files {
    /// Makes them.
    pub(crate) fn new(core: &Arc<Core>) -> Result<Self> {
        let dir = Dir::new(c"anemone");
        Ok(Self {
            _counters: KBox::pin_init(
                dir.read_callback_file(c"counters", Ok::<_, Error>(core.clone()), &counters),
                GFP_KERNEL,
            )?,
            _servers: KBox::pin_init(
                dir.read_callback_file(c"servers", Ok::<_, Error>(core.clone()), &servers),
                GFP_KERNEL,
            )?,
            _latency: KBox::pin_init(
                dir.read_callback_file(c"latency", Ok::<_, Error>(core.clone()), &latency),
                GFP_KERNEL,
            )?,
            _disk: KBox::pin_init(
                dir.read_callback_file(c"disk", Ok::<_, Error>(core.clone()), &disk),
                GFP_KERNEL,
            )?,
        })
    }
}

fn counters(core: &Arc<Core>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
    writeln!(f, "frames_dropped {}", core.frames_dropped.load(Relaxed))
}

fn servers(core: &Arc<Core>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut result = Ok(());
    core.control.reports(|slot, report| {
        let health = match report.health {
            Health::Connecting => "connecting",
            Health::Up => "up",
            Health::Suspected => "suspected",
            Health::Leaving => "leaving",
            Health::Dead => "dead",
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

fn latency(core: &Arc<Core>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

fn disk(core: &Arc<Core>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
