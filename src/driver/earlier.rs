// SPDX-License-Identifier: GPL-2.0

//! A machine that is put back to an earlier state: by its own hibernation, or as a virtual machine.
//!
//! What that means for versions is the engine's ([`crate::engine::client::versions`]).

use kernel::{
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    }, //
};

use super::core::Core;
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

/// What is known of it.
pub(crate) struct Earlier {
    /// Whether the machine hibernates: from before its tasks are stopped until they run again.
    hibernating: Atomic<u32>,
    /// How many of the versions' jumps the shards know of.
    followed: Atomic<u32>,
    /// And how many the log tells of that nobody had announced.
    told: Atomic<u32>,
    /// Slots of servers of which the log says that they are not believed.
    doubted: Atomic<u32>,
    /// And of servers of which it says that they lack what they should have.
    forgetful: Atomic<u32>,
}

impl Earlier {
    /// Nothing has happened yet.
    pub(crate) fn new() -> Self {
        Self {
            hibernating: Atomic::new(0),
            followed: Atomic::new(0),
            told: Atomic::new(0),
            doubted: Atomic::new(0),
            forgetful: Atomic::new(0),
        }
    }

    /// Whether the machine hibernates. What servers have must stay as the image says: until it is over,
    /// no page is copied, drained, freed or found to be an orphan: the image may still name what this
    /// machine needs no longer. Any context.
    pub(crate) fn is_hibernating(&self) -> bool {
        self.hibernating.load(Acquire) != 0
    }
}

impl Core {
    /// Says in the log which servers are newly not believed, and which have newly lost pages.
    fn say_doubts(&self) {
        let insane = self.device.servers.insane();
        let told = SlotSet::from_bits(self.earlier.doubted.xchg(insane.bits(), Relaxed));
        for slot in insane.without(told).iter() {
            pr_err!(
                "server {}: it keeps reporting page-outs that this machine never made, and is no longer used; restart or remove it\n",
                self.device.servers.address(slot).mac
            );
        }
        let forgetful = self.device.servers.forgetful();
        let told = SlotSet::from_bits(self.earlier.forgetful.xchg(forgetful.bits(), Relaxed));
        for slot in forgetful.without(told).iter() {
            pr_warn!(
                "server {}: it lacks a page that it should have: it, or this machine, was put back to an earlier state; lost copies are replaced when they are read; to replace all of them now, remove the server and add it again\n",
                self.device.servers.address(slot).mac
            );
        }
    }

    /// For the worker: if the versions have jumped, whoever has one from before begins anew.
    pub(super) fn follow_jumps(self: ArcBorrow<'_, Self>) {
        self.say_doubts();
        let versions = self.device.versions();
        if let Some(words) = versions.wanted_words() {
            // As much as there was is left. Without memory it is tried again, the latest in a second.
            if let Ok(room) = zeroed_table_now(words) {
                versions.give_room(room);
            }
        }
        let jumps = versions.jumps();
        if self.earlier.followed.xchg(jumps, Relaxed) == jumps {
            return;
        }
        let unannounced = versions.unannounced_jumps();
        if self.earlier.told.xchg(unannounced, Relaxed) != unannounced {
            pr_warn!(
                "servers know of page-outs that this machine has forgotten: it was put back to an earlier state, and pages that were paged out since then are lost\n"
            );
        }
        pr_info!("versions continue from {}\n", versions.next().0);
        for queue in &self.queues {
            queue.drive(self, |shard, now_ns| {
                shard.versions_jumped(now_ns, &self.device);
            });
        }
        self.control
            .with(&self, |state| state.cluster.look_for_orphans(now_ns()));
    }
}

/// Told by the power management.
pub(crate) struct Sleep(pub(crate) Arc<Core>);

impl PmCallback for Sleep {
    fn event(&self, event: PmEvent) {
        let core = &self.0;
        match event {
            PmEvent::HibernationPrepare => {
                // Its opening says nothing: it is open already.
                if core.local.is_own_below_another() {
                    pr_warn!(
                        "the machine hibernates, and another disk is made of /dev/anemone; an image on that disk cannot be read back: use another device (resume=)\n"
                    );
                }
                core.earlier.hibernating.store(1, Release);
                core.device.set_repair_pages_per_s(0);
                // A worker that has not seen it is past finding what to free when this returns.
                core.control.with(core, |_| ());
            }
            PmEvent::PostHibernation => {
                // What this machine did after its image was made, if it did something, nobody knows.
                core.device.versions().jump(random_u64());
                core.earlier.hibernating.store(0, Release);
                core.as_arc_borrow().kick();
            }
        }
    }
}

/// Told by the random generator.
pub(crate) struct Fork(pub(crate) Arc<Core>);

impl VmforkCallback for Fork {
    fn forked(&self) {
        let core = &self.0;
        core.device.versions().jump(random_u64());
        pr_warn!(
            "this virtual machine was put back to an earlier state, or copied; pages that were paged out since then are lost\n"
        );
        core.as_arc_borrow().kick();
    }
}
