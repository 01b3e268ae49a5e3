// SPDX-License-Identifier: GPL-2.0

//! What the kernel's log says when requests begin to fail, and when they no longer do.

use kernel::prelude::*;

use super::core::Core;
use crate::engine::config::NS_PER_S;

/// What it has said already.
#[derive(Default)]
pub(crate) struct Plight {
    is_alone: bool,
    is_refusing: bool,
    /// Page-outs refused for want of room, when last looked at.
    refused: u64,
}

impl Plight {
    /// Looks how it is now. Context: process, the worker's.
    pub(crate) fn look(&mut self, core: &Core) {
        let servers = &core.device.servers;
        let is_alone = servers.hoped() == 0 && !servers.valid().is_empty();
        if is_alone && !self.is_alone {
            pr_warn!(
                "no server has answered for {} s (patience_s): what only they have is an error at once, until one answers\n",
                core.device.patience_ns() / NS_PER_S
            );
        } else if self.is_alone && !servers.usable().is_empty() {
            pr_info!("a server answers again\n");
        }
        self.is_alone = is_alone;
        if servers.full().is_empty() {
            self.is_refusing = false;
            return;
        }
        let refused = core.counters().pages_out_no_space;
        if refused != self.refused && !self.is_refusing {
            self.is_refusing = true;
            pr_warn!(
                "the servers are full, and page-outs are refused: add a server with anemonectl add, or a disk with anemonectl attach\n"
            );
        }
        self.refused = refused;
    }
}
