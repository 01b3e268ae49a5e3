// SPDX-License-Identifier: GPL-2.0

//! The client: it keeps a device's pages on servers and on a local disk.

#[cfg(test)]
mod bench;
pub mod cluster;
pub mod config;
pub mod counters;
pub mod dirty_chunks;
pub mod disk_port;
pub mod disk_state;
pub mod frame_filter;
pub mod histogram;
pub mod ids;
pub mod inbox;
pub mod log_once;
pub mod maintenance;
pub mod mirror;
pub mod newest_versions;
mod out_of_sync;
pub mod page_keys;
pub mod page_map;
pub mod page_statistics;
pub mod pages_in_repair;
pub mod quantile;
pub mod repair;
pub mod retransmission_timeout;
pub mod ring;
pub mod server_room;
pub mod server_table;
pub mod shard;
pub mod stale_copy;
pub mod startup_wait;
mod stopped_client;
pub mod storage;
pub mod swap_device;
pub mod utilisation;
pub mod versions;
pub mod window;
