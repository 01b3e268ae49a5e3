// SPDX-License-Identifier: GPL-2.0

//! What an unload waits for, and in which order: the local disk, the timers and the worker. They are started
//! here as well. The rest of unloading is the order of the fields of `module.rs`.
//! The disk has no I/O then: the pool keeps the module as long as it has some. An unload by force may find
//! some. How long that is waited for: `engine/client/maintenance/detach.rs`, then a second in
//! `local_disk/disk_pool.rs`.

use kernel::{
    prelude::*,
    sync::Arc, //
};

use super::{
    client::Client,
    local_disk::carry_out_detach, //
};
use crate::{
    engine::client::maintenance::detach::Detach,
    linux::net::device::Rtnl, //
};

/// A client whose timers fire and whose work items run. Dropping it ends that, and the sessions.
pub(crate) struct Running(Arc<Client>);

impl Running {
    /// Starts the client.
    pub(crate) fn new(client: Arc<Client>) -> Self {
        let shared = &client.shared;
        for queue in &client.queues {
            queue.timer.connect(client.clone());
        }
        for timer in [&shared.timer, &shared.local.timer] {
            timer.connect(client.clone());
        }
        for item in [&shared.worker, &shared.local.submitter] {
            item.callback.connect(client.clone());
        }
        Self(client)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let client = &self.0;
        let shared = &client.shared;
        shut_down_disk(client);
        client.cluster.say_bye(shared);
        shared.link.unbind(&Rtnl::lock());
        // Frames are no longer received, and the timers and the worker find nothing to do. Each of them
        // must end before the client is freed, because they hold references to it.
        shared.timer.disconnect();
        for queue in &client.queues {
            queue.timer.disconnect();
        }
        shared.timer.cancel();
        for queue in &client.queues {
            queue.timer.cancel();
        }
        shared.worker.drain();
        shared.worker.callback.disconnect();
    }
}

/// The module is being unloaded: no request is under way, but the timer still works. Dropping the pool later
/// waits once more, for at most a second, for bios that are under way even then. Sleeps.
fn shut_down_disk(client: &Client) {
    let local = &client.shared.local;
    // The worker, which may be attaching a disk that was opened late, attaches none after this.
    let attached = local.attached.lock();
    local.opener.abandon();
    drop(attached);
    if let Some(pool) = local.pool() {
        if carry_out_detach(client, pool, Detach::for_unload()).is_err() {
            pr_err!("local disk: does not answer; its last I/O is abandoned\n");
        }
    }
    local.timer.disconnect();
    local.timer.cancel();
    local.submitter.drain();
    local.submitter.callback.disconnect();
}
