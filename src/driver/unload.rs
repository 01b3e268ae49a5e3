// SPDX-License-Identifier: GPL-2.0

//! What an unload waits for, and in which order: the local disk, the timers and the worker. They are started
//! here as well. The rest of unloading is the order of the fields of `module.rs`.
//! The disk has no I/O then: the pool keeps the module as long as it has some.

use kernel::{
    prelude::*,
    sync::Arc, //
};

use super::client::Client;
use crate::linux::net::device::Rtnl;

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

/// The module is being unloaded: no request is under way. After this no bio is submitted. If the unload was
/// forced, the disk may have some: dropping the pool waits for them. Sleeps.
fn shut_down_disk(client: &Client) {
    let local = &client.shared.local;
    // The worker, which may be attaching a disk that was opened late, attaches none after this.
    let attached = local.attached.lock();
    local.opener.abandon();
    drop(attached);
    local.timer.disconnect();
    local.timer.cancel();
    local.submitter.drain();
    local.submitter.callback.disconnect();
    if local.pool().is_some_and(|pool| pool.has_io()) {
        pr_warn!(
            "local disk: unloading was forced while it has I/O, and waits until that has ended\n"
        );
    }
}
