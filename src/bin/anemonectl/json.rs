// SPDX-License-Identifier: GPL-2.0

//! A report as JSON, as specified in `docs/administration.md`.

use anemone::uapi;
use anemone::wire::{Fragmentation, MacAddress, PAGE_SIZE};
use serde_json::{json, Value};

use crate::report::{disk_word, health_word, mode_word, policy_word, refusal, Report};

/// Rises when a member is removed or changes its meaning, not when one is added.
const SCHEMA: u32 = 1;

/// The whole report.
pub fn report(report: &Report) -> Value {
    let status = &report.status;
    let counted = |value: Value| if report.counted { value } else { Value::Null };
    let servers: Vec<Value> = report
        .servers
        .iter()
        .map(|one| server(one, report.counted))
        .collect();
    json!({
        "schema": SCHEMA,
        "device": {
            "path": "/dev/anemone",
            "size_bytes": status.size_pages.saturating_mul(PAGE_SIZE as u64),
            "mode": mode_word(status),
            "replicas": status.replicas,
            "min_copies": status.min_copies,
            "io_timeout_s": status.io_timeout_s,
            "in_flight": status.in_flight,
            "cipher": report.cipher(),
            "signed": status.is_signed != 0,
        },
        "interface": {
            "name": report.interface(),
            "mtu": (status.mtu != 0).then_some(status.mtu),
            "mtu_needed": Fragmentation::min_mtu(status.is_signed != 0),
        },
        "pages": {
            "size": status.size_pages,
            "written": counted(status.written.into()),
            "degraded": counted(status.degraded.into()),
            "lost": counted(status.lost.into()),
            "on_disk": counted(status.on_disk.into()),
        },
        "since_load": {
            "pages_out": status.pages_out,
            "pages_in": status.pages_in,
            "pages_out_degraded": status.pages_out_degraded,
            "pages_out_failed": status.pages_out_failed,
            "pages_in_failed": status.pages_in_failed,
            "pages_in_corrupt": status.pages_in_corrupt,
            "pages_freed": status.pages_freed,
        },
        "disk": {
            "state": disk_word(status),
            "policy": policy_word(status),
            "buffered": status.disk_buffered,
            "out_of_sync": counted(status.disk_out_of_sync.into()),
            "written": status.disk_written,
            "errors": status.disk_errors,
        },
        "repair": {
            "pages_per_s": status.repair_pages_per_s,
            "repaired": status.repaired,
            "cancelled": status.repair_cancelled,
            "left": status.repair_left,
        },
        "servers": servers,
    })
}

fn server(server: &uapi::Server, counted: bool) -> Value {
    json!({
        "slot": server.slot,
        "mac": MacAddress(server.mac).to_string(),
        "health": health_word(server),
        "refusal": refusal(server),
        "incarnation": (server.incarnation != 0).then(|| format!("{:016x}", server.incarnation)),
        "capacity_pages": server.capacity_pages,
        "free_pages": server.free_pages,
        "held_pages": counted.then_some(server.held_pages),
        "round_trip_ns": (server.round_trip_ns != 0).then_some(server.round_trip_ns),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example;

    #[test]
    fn the_tool_reports_what_the_module_reports() {
        let value = super::report(&example());
        assert_eq!(value["device"]["mode"], "degraded");
        assert_eq!(value["device"]["size_bytes"], 64 << 20);
        assert_eq!(value["device"]["cipher"], "generic-gcm-aesni");
        let interface = json!({"name": "eth0", "mtu": 1500, "mtu_needed": 600});
        assert_eq!(value["interface"], interface);
        assert_eq!(value["pages"]["degraded"], 7);
        let [up, refusing] = value["servers"].as_array().unwrap().as_slice() else {
            panic!("{value}");
        };
        assert_eq!(up["mac"], "52:54:00:00:00:01");
        assert_eq!(up["incarnation"], "0123456789abcdef");
        assert_eq!(
            (&up["held_pages"], &up["refusal"]),
            (&json!(93), &Value::Null)
        );
        assert_eq!(refusing["refusal"], "not admitted");
        assert_eq!(refusing["incarnation"], Value::Null);
    }

    #[test]
    fn uncounted_values_are_null() {
        let mut quick = example();
        quick.counted = false;
        let value = super::report(&quick);
        assert_eq!(value["pages"]["written"], Value::Null);
        assert_eq!(value["pages"]["size"], 16384);
        assert_eq!(value["servers"][0]["held_pages"], Value::Null);
    }

    /// Every member is described, and nothing that is not there.
    #[test]
    fn the_document_describes_it() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/administration.md");
        let document = std::fs::read_to_string(path).unwrap();
        let mut names = Vec::new();
        let value = super::report(&example());
        for (name, part) in value.as_object().unwrap() {
            let part = part.get(0).unwrap_or(part);
            match part.as_object() {
                None => names.push(name.clone()),
                Some(members) => {
                    names.extend(members.keys().map(|member| format!("{name}.{member}")));
                }
            }
        }
        let mut described: Vec<&str> = document
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
            .filter(|name| name.contains('.') || *name == "schema")
            .collect();
        names.sort_unstable();
        described.sort_unstable();
        assert_eq!(names, described);
    }
}
