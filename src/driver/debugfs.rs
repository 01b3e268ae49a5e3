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
    client::Client,
    queue::Lingered, //
};
use crate::{
    engine::client::ids::ServerSlot,
    linux::debugfs::Dir,
    LocalModule, //
};

/// Creates the files of `client`.
pub(crate) fn files(client: &Arc<Client>) -> Result<Dir<Client>> {
    Dir::new::<LocalModule>(
        c"anemone",
        client,
        &[
            (c"counters", counters),
            (c"servers", servers),
            (c"latency", latency),
            (c"disk", disk),
        ],
    )
}

fn counters(client: &Client, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut result = Ok(());
    client.counters().for_each(|name, value| {
        result = result.and_then(|()| writeln!(f, "{name} {value}"));
    });
    let repair = client.repair_report();
    repair.counters.for_each(|name, value| {
        result = result.and_then(|()| writeln!(f, "{name} {value}"));
    });
    result?;
    writeln!(f, "repair_left {}", repair.left)?;
    writeln!(f, "out_of_sync_left {}", repair.out_of_sync_left)?;
    writeln!(f, "in_flight {}", client.in_flight())?;
    writeln!(f, "frames_bad {}", client.frames_bad.load(Relaxed))?;
    writeln!(f, "frames_foreign {}", client.frames_foreign.load(Relaxed))?;
    let unverified = client.frames_unverified.load(Relaxed);
    writeln!(f, "frames_unverified {unverified}")?;
    let from_reserve = client.frames_from_reserve.load(Relaxed);
    writeln!(f, "frames_from_reserve {from_reserve}")?;
    let from_below = client.frames_from_below.load(Relaxed);
    writeln!(f, "frames_from_below {from_below}")?;
    let mut lingered = Lingered::default();
    for queue in &client.queues {
        queue.add_lingered(&mut lingered);
    }
    writeln!(f, "pages_lingered {}", lingered.count)?;
    writeln!(f, "pages_lingering {}", lingered.now)?;
    writeln!(f, "linger_sum_ns {}", lingered.sum_ns)?;
    writeln!(f, "linger_max_ns {}", lingered.longest_ns)?;
    writeln!(f, "frames_dropped {}", client.frames_dropped.load(Relaxed))
}

fn servers(client: &Client, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut result = Ok(());
    client.cluster.reports(|slot, report| {
        let health = report.health.name();
        let round_trip_ns = ServerSlot::new(slot).map_or(0, |slot| client.round_trip_ns(slot));
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

fn latency(client: &Client, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Ok(latencies) = client.latencies() else {
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

fn disk(client: &Client, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let report = client.shared.local.report(&client.shared);
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
