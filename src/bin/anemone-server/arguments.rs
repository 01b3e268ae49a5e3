// SPDX-License-Identifier: GPL-2.0

//! The command line.

use std::path::PathBuf;

use anemone::wire::{ClientId, ClusterName, MacAddress};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::Parser;
use tracing::level_filters::LevelFilter;

use crate::exit_status::EXIT_STATUS;
use crate::size::{parse_quota, parse_size};

/// Serves this machine's idle memory to Anemone clients on the same Ethernet segment.
///
/// Clients are Linux machines with the anemone module, which swap to it. All memory is taken and
/// locked at the start, and never more than --capacity. Needs CAP_NET_RAW, and CAP_IPC_LOCK or a
/// large enough limit of locked memory.
#[derive(Debug, Parser)]
#[command(name = "anemone-server", version, after_help = EXIT_STATUS)]
pub struct Arguments {
    /// Network interface to serve on
    #[arg(long, value_name = "NAME")]
    pub interface: String,

    /// Total memory to take: bytes, or a number with K, M, G or T [default: half of the available
    /// memory]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub capacity: Option<u64>,

    /// Least severe messages that are logged to stderr
    #[arg(long, value_name = "LEVEL", default_value = "info",
          value_parser = PossibleValuesParser::new(LOG_LEVELS).try_map(|level| level.parse::<LevelFilter>()))]
    pub log_level: LevelFilter,

    /// Cluster whose clients are served, up to 32 bytes
    #[arg(long, value_name = "NAME", default_value = "", value_parser = parse_cluster)]
    pub cluster: ClusterName,

    /// Client to admit: its identity (32 hexadecimal digits) or its hardware address; may be
    /// repeated [default: any]
    #[arg(long, value_name = "CLIENT", value_parser = parse_allowed)]
    pub allow: Vec<Allowed>,

    /// File with the keys and quotas of all clients, as 'anemonectl keygen server' prints it; only
    /// frames that they have signed are taken. It is read again on SIGHUP [default: no keys, and
    /// frames are not authenticated]
    #[arg(long, value_name = "FILE", conflicts_with = "allow")]
    pub keys: Option<PathBuf>,

    /// Memory that one client may use, unless --keys has another quota for it [default: all]
    #[arg(long, value_name = "SIZE", value_parser = parse_quota)]
    pub quota: Option<u64>,

    /// Seconds of silence after which a client's pages may be dropped, if others need the room and the
    /// client does not answer when it is asked
    #[arg(long, value_name = "SECONDS", default_value_t = 60,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub lease: u32,

    /// EtherType of the frames
    #[arg(long, value_name = "NUMBER", default_value = "0x88b5", value_parser = parse_ethertype)]
    pub ethertype: u16,

    /// Maximum number of clients; some memory is reserved for each
    #[arg(long, value_name = "COUNT", default_value_t = 32,
          value_parser = clap::value_parser!(u16).range(1..=60_000))]
    pub max_clients: u16,

    /// Microseconds to poll for the next frame before sleeping: shortens page-ins, keeps a processor
    /// busy
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub spin_us: u32,
}

/// The names of the levels, from none to all messages.
const LOG_LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// An admitted client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// This client, from any address.
    Client(ClientId),
    /// Any client from this address.
    Mac(MacAddress),
}

fn parse_cluster(text: &str) -> Result<ClusterName, String> {
    ClusterName::new(text.as_bytes()).ok_or_else(|| "longer than 32 bytes".to_owned())
}

fn parse_ethertype(text: &str) -> Result<u16, String> {
    let number = match text.strip_prefix("0x") {
        Some(hex) => u16::from_str_radix(hex, 16),
        None => text.parse(),
    };
    match number {
        Ok(number) if number >= 0x600 => Ok(number),
        Ok(_) => Err("an EtherType is 0x600 or more".to_owned()),
        Err(_) => Err("not a number of 16 bits".to_owned()),
    }
}

fn parse_allowed(text: &str) -> Result<Allowed, String> {
    if let Ok(mac) = text.parse() {
        return Ok(Allowed::Mac(mac));
    }
    text.parse()
        .map(Allowed::Client)
        .map_err(|_| "neither 32 hexadecimal digits nor a hardware address".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_valid() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn ethertypes() {
        let default = Arguments::parse_from(["anemone-server", "--interface", "x"]).ethertype;
        assert_eq!(default, 0x88b5);
        assert_eq!(parse_ethertype("0x88b5"), Ok(0x88b5));
        assert_eq!(parse_ethertype("34997"), Ok(0x88b5));
        for text in ["", "0x5ff", "46", "0x10000", "x"] {
            assert!(parse_ethertype(text).is_err(), "{text}");
        }
    }

    #[test]
    fn allowed_clients() {
        let id = "00112233445566778899aabbccddeeff";
        let bytes = 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff_u128.to_be_bytes();
        assert_eq!(parse_allowed(id), Ok(Allowed::Client(ClientId(bytes))));
        let uuid = "00112233-4455-6677-8899-aabbccddeeff";
        assert_eq!(parse_allowed(uuid), Ok(Allowed::Client(ClientId(bytes))));
        let mac = MacAddress([2, 0, 0, 0, 0, 1]);
        assert_eq!(parse_allowed("02:00:00:00:00:01"), Ok(Allowed::Mac(mac)));
        for text in [
            "",
            "02:00:00:00:00",
            "0011",
            "+0112233445566778899aabbccddeeff",
        ] {
            assert!(parse_allowed(text).is_err(), "{text}");
        }
    }

    #[test]
    fn cluster_names() {
        assert_eq!(parse_cluster(""), Ok(ClusterName::default()));
        assert!(parse_cluster(&"x".repeat(32)).is_ok());
        assert!(parse_cluster(&"x".repeat(33)).is_err());
    }
}
