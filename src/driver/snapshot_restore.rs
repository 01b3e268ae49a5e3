// SPDX-License-Identifier: GPL-2.0

//! Detects that the machine was put back to an earlier state: hibernation, or a virtual machine's
//! snapshot.
//!
//! The engine handles what that means for versions ([`crate::engine::client::versions`]).

use kernel::{
    prelude::*,
    sync::Arc, //
};

use super::client::Client;
use crate::{
    engine::client::ids::SlotSet,
    linux::{
        mm::alloc::zeroed_table_now,
        random::{
            random_u64,
            vmfork::VmforkCallback, //
        },
        suspend::{
            PmCallback,
            PmEvent, //
        },
        time::hrtimer::now_ns, //
    },
    sync::{
        Acquire,
        Atomic,
        Relaxed,
        Release, //
    },
};

/// The state of this detection.
pub(crate) struct SnapshotRestore {
    /// Whether the machine is hibernating: from before its tasks are stopped until they run again.
    hibernating: Atomic<u32>,
    /// How many jumps of the versions the shards have been notified of.
    followed: Atomic<u32>,
    /// How many unannounced jumps have been logged.
    jumps_logged: Atomic<u32>,
    /// Slots of servers that were logged as not believed.
    doubted: Atomic<u32>,
    /// Slots of servers that were logged as lacking pages.
    forgetful: Atomic<u32>,
}

impl SnapshotRestore {
    /// Nothing has happened yet.
    pub(crate) fn new() -> Self {
        Self {
            hibernating: Atomic::new(0),
            followed: Atomic::new(0),
            jumps_logged: Atomic::new(0),
            doubted: Atomic::new(0),
            forgetful: Atomic::new(0),
        }
    }

    /// Whether the machine is hibernating. Servers' pages must then stay as the image names them:
    /// until it is over, no page is copied, drained, freed or treated as an orphan, because the
    /// image may still name pages that this machine no longer needs. Any context.
    pub(crate) fn is_hibernating(&self) -> bool {
        self.hibernating.load(Acquire) != 0
    }
}

impl Client {
    /// Logs which servers are newly not believed, and which have newly lost pages.
    fn log_doubts(&self) {
        let insane = self.shared.device.servers.insane();
        let logged = SlotSet::from_bits(self.restore.doubted.xchg(insane.bits(), Relaxed));
        for slot in insane.without(logged).iter() {
            pr_err!(
                "server {}: it keeps reporting page-outs that this machine never made, and is no longer used; restart or remove it\n",
                self.shared.device.servers.address(slot).mac
            );
        }
        let forgetful = self.shared.device.servers.forgetful();
        let logged = SlotSet::from_bits(self.restore.forgetful.xchg(forgetful.bits(), Relaxed));
        for slot in forgetful.without(logged).iter() {
            pr_warn!(
                "server {}: it lacks a page that it should have: it, or this machine, was put back to an earlier state; lost copies are replaced when they are read; to replace all of them now, remove the server and add it again\n",
                self.shared.device.servers.address(slot).mac
            );
        }
    }

    /// For the worker: after a jump of the versions, restarts the ops that have an earlier one.
    pub(super) fn follow_jumps(&self) {
        self.log_doubts();
        let versions = self.shared.device.versions();
        if let Some(words) = versions.wanted_words() {
            // There is still as much room as before. Without memory, tries again within a second.
            if let Ok(room) = zeroed_table_now(words) {
                versions.give_room(room);
            }
        }
        let jumps = versions.jumps();
        if self.restore.followed.xchg(jumps, Relaxed) == jumps {
            return;
        }
        let unannounced = versions.unannounced_jumps();
        if self.restore.jumps_logged.xchg(unannounced, Relaxed) != unannounced {
            pr_warn!(
                "servers know of page-outs that this machine has forgotten: it was put back to an earlier state, and pages that were paged out since then are lost\n"
            );
        }
        pr_info!("versions continue from {}\n", versions.next().0);
        self.drive_queues(|shard, now_ns| shard.versions_jumped(now_ns, &self.shared.device));
        self.cluster.with(&self.shared, |state| {
            state.cluster.look_for_orphans(now_ns())
        });
    }
}

/// Power management notifier.
pub(crate) struct Sleep(pub(crate) Arc<Client>);

impl PmCallback for Sleep {
    fn event(&self, event: PmEvent) {
        let client = &self.0;
        match event {
            PmEvent::HibernationPrepare => {
                // It is open already, so no check was made at its opening.
                if client.shared.local.is_own_below_another() {
                    pr_warn!(
                        "the machine hibernates, and another disk is made of /dev/anemone; an image on that disk cannot be read back: use another device (resume=)\n"
                    );
                }
                client.restore.hibernating.store(1, Release);
                client.shared.device.set_repair_pages_per_s(0);
                // Waits for the worker: one that has not seen the flag has finished its frees when
                // this returns.
                client.cluster.with(&client.shared, |_| ());
            }
            PmEvent::PostHibernation => {
                // What this machine did after its image was made is unknown.
                client.shared.device.versions().jump(random_u64());
                client.restore.hibernating.store(0, Release);
                client.shared.kick();
            }
        }
    }
}

/// The random generator's fork notifier.
pub(crate) struct Fork(pub(crate) Arc<Client>);

impl VmforkCallback for Fork {
    fn forked(&self) {
        let client = &self.0;
        client.shared.device.versions().jump(random_u64());
        pr_warn!(
            "this virtual machine was put back to an earlier state, or copied; pages that were paged out since then are lost\n"
        );
        client.shared.kick();
    }
}
