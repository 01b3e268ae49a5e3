// SPDX-License-Identifier: GPL-2.0

//! The cluster under its lock, and the control frames that it sends.
//!
//! Context: process only. Frames are collected under the lock and sent without it.

mod control_frames;

use kernel::{
    new_condvar,
    new_mutex,
    prelude::*,
    sync::{
        CondVar,
        CondVarTimeoutResult,
        Mutex, //
    },
    time::msecs_to_jiffies, //
};

use self::control_frames::{
    Sender,
    StagedFrames, //
};
use super::{
    shared::Shared,
    storage::KernelStorage, //
};
use crate::{
    engine::client::{
        cluster::{
            AddError,
            Cluster,
            Outbox,
            Peer,
            Peers,
            Random,
            Report, //
        },
        ids::{
            SlotSet,
            SERVER_SLOTS, //
        },
        maintenance::removal::Removals,
        startup_wait::{
            Answers,
            Wait, //
        }, //
    },
    linux::{
        random,
        time::hrtimer::now_ns, //
    },
    wire::{
        ClientId,
        ClusterName,
        Fragmentation,
        MacAddress, //
    },
};

/// The kernel's random numbers.
pub(crate) struct KernelRandom;

impl Random for KernelRandom {
    fn number(&mut self) -> u64 {
        random::random_u64()
    }
}

/// The cluster, as the driver keeps it.
pub(crate) type Servers = Cluster<KernelStorage, KernelRandom>;

/// The cluster, and the frames that it wants sent.
pub(crate) struct ClusterState {
    pub(crate) cluster: Servers,
    outbox: StagedFrames,
}

impl ClusterState {
    /// The cluster and its outbox.
    pub(crate) fn parts(&mut self) -> (&mut Servers, &mut impl Outbox) {
        (&mut self.cluster, &mut self.outbox)
    }
}

/// The cluster.
#[pin_data]
pub(crate) struct ClusterLock {
    #[pin]
    state: Mutex<ClusterState>,
    /// Notified whenever the lock is released after a change.
    #[pin]
    changed: CondVar,
    #[pin]
    sender: Mutex<Sender>,
    /// Held while a server is removed.
    #[pin]
    pub(super) removal: Mutex<Removals>,
}

impl ClusterLock {
    /// A cluster without servers, for this client.
    pub(crate) fn new(client: ClientId, cluster: ClusterName) -> Result<impl PinInit<Self, Error>> {
        let state = ClusterState {
            cluster: Cluster::new(client, cluster, KernelRandom, 1500, Self::peers()?),
            outbox: StagedFrames::new()?,
        };
        let sender = Sender::new()?;
        Ok(try_pin_init!(Self {
            state <- new_mutex!(state, "anemone_cluster"),
            changed <- new_condvar!("anemone_changed"),
            sender <- new_mutex!(sender, "anemone_sender"),
            removal <- new_mutex!(Removals::default(), "anemone_removal"),
        }))
    }

    // Never inlined: a peer is large for a kernel stack.
    #[inline(never)]
    fn peers() -> Result<Peers<KVVec<Peer>>> {
        let peers = KVVec::from_elem(Peer::default(), SERVER_SLOTS, GFP_KERNEL)?;
        Peers::new(peers).ok_or(EINVAL)
    }

    /// Does something with the cluster, then sends its frames. Their receivers are published first,
    /// so that their answers are accepted.
    pub(crate) fn with<R>(&self, shared: &Shared, work: impl FnOnce(&mut ClusterState) -> R) -> R {
        let mut state = self.state.lock();
        let result = work(&mut state);
        shared.device.frame_filter.publish(state.cluster.stations());
        let mut frames = state.outbox.take();
        drop(state);
        self.sender.lock().send(&shared.link, &mut frames);
        self.state.lock().outbox.give_back(frames);
        self.changed.notify_all();
        result
    }

    /// Reads the cluster.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&Servers) -> R) -> R {
        look(&self.state.lock().cluster)
    }

    /// Adds a server.
    pub(crate) fn add(&self, shared: &Shared, mac: MacAddress) -> Result<(), AddError> {
        self.with(shared, |state| {
            let table = &shared.device.servers;
            state.cluster.add(now_ns(), mac, table).map(|_| ())
        })
    }

    /// Adds the servers of the list. Returns whether `own`, our address, is in it.
    pub(crate) fn add_listed(
        &self,
        shared: &Shared,
        servers: &[MacAddress],
        own: Option<MacAddress>,
    ) -> Result<bool, AddError> {
        self.with(shared, |state| {
            let table = &shared.device.servers;
            state.cluster.add_listed(now_ns(), servers, own, table)
        })
    }

    /// The interface's MTU has changed, or the interface has.
    pub(crate) fn mtu_changed(&self, shared: &Shared) {
        let Some(mtu) = shared.link.mtu() else {
            return;
        };
        let (was_narrow, is_narrow) = self.with(shared, |state| {
            let cluster = &mut state.cluster;
            let was_narrow = cluster.is_narrow();
            cluster.set_mtu(now_ns(), mtu, &shared.device.servers);
            (was_narrow, cluster.is_narrow())
        });
        let (interface, needed) = (shared.link.name(), Fragmentation::MIN_MTU);
        match (was_narrow, is_narrow) {
            (false, true) => pr_warn!(
                "interface {interface}: no server is used: pages need an MTU of {needed} bytes and it has {mtu}; raise it\n"
            ),
            (true, false) => pr_info!(
                "interface {interface}: servers are used again, with an MTU of {mtu} bytes\n"
            ),
            _ => {}
        }
    }

    /// The interface's address has changed, or the interface has.
    pub(crate) fn address_changed(&self, shared: &Shared) {
        if let Some(address) = shared.link.address() {
            self.with(shared, |state| state.cluster.set_address(now_ns(), address));
        }
    }

    /// Every server, for status output.
    pub(crate) fn reports(&self, mut each: impl FnMut(usize, &Report)) {
        self.look(|cluster| {
            for slot in SlotSet::ALL.iter() {
                if let Some(report) = cluster.report(slot) {
                    each(slot.index(), &report);
                }
            }
        });
    }

    /// Waits for servers until the wait is over, or a signal arrives. Returns their answers.
    pub(crate) fn wait_for_servers(&self, wait: Wait) -> Result<Answers> {
        let mut left = msecs_to_jiffies(wait.timeout_ms);
        let mut state = self.state.lock();
        loop {
            let answers = Answers::of(&state.cluster);
            if wait.is_over(answers) {
                return Ok(answers);
            }
            match self.changed.wait_interruptible_timeout(&mut state, left) {
                CondVarTimeoutResult::Timeout => return Ok(answers),
                CondVarTimeoutResult::Woken { jiffies } => left = jiffies,
                CondVarTimeoutResult::Signal { .. } => return Err(EINTR),
            }
        }
    }

    /// Sends a BYE to the servers, so that they drop our pages.
    pub(crate) fn say_bye(&self, shared: &Shared) {
        self.with(shared, |state| {
            let (cluster, outbox) = state.parts();
            cluster.say_bye(outbox);
        });
    }
}
