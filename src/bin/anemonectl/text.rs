// SPDX-License-Identifier: GPL-2.0

//! A report as text.

use std::fmt::{self, Display, Formatter};

use anemone::wire::{Fragmentation, MacAddress, PAGE_SIZE};

use crate::report::{disk_word, health_word, mode_word, policy_word, refusal, Report};

/// Prints a report.
pub struct Text<'a>(pub &'a Report);

/// A number of pages as bytes, in the largest unit that leaves a number of at least 10.
struct Size(u64);

impl Display for Size {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut number = self.0.saturating_mul(PAGE_SIZE as u64) >> 10;
        let mut unit = "KiB";
        for larger in ["MiB", "GiB", "TiB"] {
            if number < 10 << 10 {
                break;
            }
            number >>= 10;
            unit = larger;
        }
        f.pad(&format!("{number} {unit}"))
    }
}

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(report) = self;
        let status = &report.status;
        writeln!(
            f,
            "/dev/anemone  {}, {}, {} replicas of each page, at least {}",
            Size(status.size_pages),
            mode_word(status),
            status.replicas,
            status.min_copies
        )?;
        let needed = Fragmentation::min_mtu(status.is_signed != 0);
        match status.mtu {
            0 => writeln!(
                f,
                "interface     {}, which does not exist",
                report.interface()
            )?,
            mtu if (mtu as usize) < needed => writeln!(
                f,
                "interface     {}, MTU {mtu}: no server is used, pages need at least {needed}",
                report.interface(),
            )?,
            mtu => writeln!(f, "interface     {}, MTU {mtu}", report.interface())?,
        }
        match report.cipher() {
            Some(cipher) => writeln!(f, "encryption    {cipher}")?,
            None => writeln!(f, "encryption    none: servers can read the pages")?,
        }
        match status.is_signed {
            0 => writeln!(f, "signatures    none: any station on the segment can pose as a server or as this machine")?,
            _ => writeln!(f, "signatures    yes, with keys of the keyring")?,
        }
        if report.counted {
            writeln!(
                f,
                "pages         {} written, {} of them with too few copies, {} lost, {} on the disk",
                status.written, status.degraded, status.lost, status.on_disk
            )?;
        }
        writeln!(
            f,
            "since load    {} out ({} with too few copies, {} failed), {} in ({} failed, {} corrupt), {} freed",
            status.pages_out,
            status.pages_out_degraded,
            status.pages_out_failed,
            status.pages_in,
            status.pages_in_failed,
            status.pages_in_corrupt,
            status.pages_freed
        )?;
        writeln!(
            f,
            "under way     {}, each for at most {} s",
            status.in_flight, status.io_timeout_s
        )?;
        match disk_word(status) {
            "none" => writeln!(f, "disk          none")?,
            word => writeln!(
                f,
                "disk          {word}, policy {}: {} pages written, {} waiting, {} out of sync, {} errors",
                policy_word(status),
                status.disk_written,
                status.disk_buffered,
                status.disk_out_of_sync,
                status.disk_errors
            )?,
        }
        writeln!(
            f,
            "repair        {} pages copied, {} cancelled, {} to check, at most {} a second",
            status.repaired, status.repair_cancelled, status.repair_left, status.repair_pages_per_s
        )?;
        writeln!(
            f,
            "\n{:17}  {:10}  {:>9}  {:>9}  {:>9}  {:>10}  {:16}",
            "SERVER", "STATE", "HELD", "FREE", "OF", "ROUND TRIP", "INCARNATION"
        )?;
        for server in &report.servers {
            let dash = || "-".to_owned();
            let held = report.counted.then(|| Size(server.held_pages).to_string());
            let round_trip = match server.round_trip_ns / 1000 {
                0 => dash(),
                us => format!("{us} us"),
            };
            let incarnation = match server.incarnation {
                0 => dash(),
                number => format!("{number:016x}"),
            };
            write!(
                f,
                "{:17}  {:10}  {:>9}  {:>9}  {:>9}  {round_trip:>10}  {incarnation:16}",
                MacAddress(server.mac).to_string(),
                health_word(server),
                held.unwrap_or_else(dash),
                Size(server.free_pages),
                Size(server.capacity_pages),
            )?;
            match refusal(server) {
                Some(why) => writeln!(f, "  {why}")?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example;

    #[test]
    fn an_interface_too_narrow_for_pages_is_reported() {
        let mut report = example();
        report.status.mtu = 599;
        let text = Text(&report).to_string();
        assert!(
            text.contains("eth0, MTU 599: no server is used, pages need at least 600"),
            "{text}"
        );
    }

    #[test]
    fn a_device_that_does_not_encrypt_says_so() {
        let mut report = example();
        let text = Text(&report).to_string();
        assert!(
            text.contains("\nencryption    generic-gcm-aesni\n"),
            "{text}"
        );
        report.status.cipher[0] = 0;
        let text = Text(&report).to_string();
        assert!(
            text.contains("\nencryption    none: servers can read the pages\n"),
            "{text}"
        );
    }

    #[test]
    fn sizes() {
        for (pages, text) in [
            (0, "0 KiB"),
            (93, "372 KiB"),
            (2559, "10236 KiB"),
            (2560, "10 MiB"),
            (1 << 28, "1024 GiB"),
        ] {
            assert_eq!(Size(pages).to_string(), text);
        }
    }

    #[test]
    fn every_server_has_a_line() {
        let text = Text(&example()).to_string();
        assert!(text.contains("degraded, 2 replicas"), "{text}");
        assert!(text.contains("52:54:00:00:00:01  up "), "{text}");
        assert!(
            text.contains("connecting") && text.ends_with("not admitted\n"),
            "{text}"
        );
    }
}
