// SPDX-License-Identifier: GPL-2.0

//! Logs when requests begin to fail, and when they no longer do.

use kernel::prelude::*;

use super::client::Client;
use crate::engine::client::{
    config::NS_PER_S,
    log_once::LogOnce, //
};

/// What has been logged.
#[derive(Default)]
pub(crate) struct FailureLog {
    is_alone: bool,
    refusing: LogOnce,
    /// The last seen count of page-outs refused for lack of room.
    refused: u64,
}

impl FailureLog {
    /// Logs changes since the last call. Context: process, the worker's.
    pub(crate) fn update(&mut self, now_ns: u64, client: &Client) {
        let servers = &client.shared.device.servers;
        let is_alone = servers.expected() == 0 && !servers.valid().is_empty();
        if is_alone && !self.is_alone {
            pr_warn!(
                "no server has answered for {} s (io_timeout_s); requests that need one fail at once until one answers\n",
                client.shared.device.io_timeout_ns() / NS_PER_S
            );
        } else if self.is_alone && !servers.usable().is_empty() {
            pr_info!("a server answers again\n");
        }
        self.is_alone = is_alone;
        // While a machine swaps to full servers, they change between full and not full many times a
        // second.
        let is_full = !servers.full().is_empty();
        let refused = client.counters().pages_out_no_space;
        let is_refused = core::mem::replace(&mut self.refused, refused) != refused;
        if self.refusing.should_log(now_ns, is_full, is_refused) {
            pr_warn!(
                "the servers are full and refuse page-outs; add a server (anemonectl add) or attach a disk (anemonectl attach)\n"
            );
        }
    }
}
