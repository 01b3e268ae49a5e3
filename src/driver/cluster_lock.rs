// SPDX-License-Identifier: GPL-2.0

//! The cluster under its lock, and the control frames that it sends.
//!
//! Context: process only. Frames are collected under the lock and sent without it.

mod control_frames;

use kernel::{
    new_condvar,
    new_mutex,
    prelude::*,
    str::CString,
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
    key_exchange::{
        read_key,
        KeyExchange, //
    },
    membership::AddServerError,
    params::Params,
    shared::Shared,
    storage::KernelStorage, //
};
use crate::{
    engine::channel::PairKey,
    engine::client::{
        cluster::{
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
        signature_len,
        ClientId,
        Fragmentation,
        MacAddress,
        Status, //
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
    /// If frames are signed.
    exchange: Option<KBox<KeyExchange>>,
}

impl ClusterState {
    /// The cluster and its outbox.
    pub(crate) fn parts(&mut self) -> (&mut Servers, &mut impl Outbox) {
        (&mut self.cluster, &mut self.outbox)
    }

    /// Handles answers to requests for keys, after it has discarded all keys if the machine was rolled back.
    /// Sleeps.
    fn take_keys(&mut self, shared: &Shared) {
        if let (Some(exchange), Some(keys)) = (&mut self.exchange, &shared.keys) {
            if keys.take_stop() {
                exchange.discard_all(keys);
            }
            exchange.take_replies(keys, &mut self.outbox);
        }
    }

    /// Requests keys that are due. Sleeps.
    fn request_keys(&mut self, shared: &Shared) {
        if let (Some(exchange), Some(keys)) = (&mut self.exchange, &shared.keys) {
            let cluster = &self.cluster;
            exchange.request(keys, || cluster.stations(), &mut self.outbox);
        }
    }

    /// Decides which frames are sent: without keys few are.
    fn sort_frames(&mut self) {
        if let Some(exchange) = &mut self.exchange {
            self.outbox
                .sort(|server, header, payload| exchange.outgoing(server, header, payload));
        }
    }

    /// Sets the keys that are shared with these servers. `ENOSPC` if there is no place for one: the worker
    /// has not seen yet that other servers were removed.
    fn set_keys(&mut self, keys: &[(MacAddress, PairKey)]) -> Result {
        if let Some(exchange) = &mut self.exchange {
            for (server, key) in keys {
                exchange.set_key(*server, key.clone())?;
            }
        }
        Ok(())
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
    /// Before the colon of the descriptions of the keys that are shared with servers, if frames are signed.
    prefix: Option<CString>,
    /// Held while a server is removed.
    #[pin]
    pub(super) removal: Mutex<Removals>,
    /// Held while shared keys are read and set, so that those that were read last are set last.
    #[pin]
    pub(super) reading: Mutex<()>,
}

impl ClusterLock {
    /// A cluster without servers, for this client.
    pub(crate) fn new(
        client: ClientId,
        params: &Params,
        exchange: Option<KBox<KeyExchange>>,
    ) -> Result<impl PinInit<Self, Error>> {
        let state = ClusterState {
            exchange,
            cluster: Cluster::new(client, params.cluster, KernelRandom, 1500, Self::peers()?),
            outbox: StagedFrames::new()?,
        };
        let sender = Sender::new()?;
        let prefix = params.keys.as_deref().map(CString::try_from).transpose()?;
        Ok(try_pin_init!(Self {
            state <- new_mutex!(state, "anemone_cluster"),
            prefix,
            changed <- new_condvar!("anemone_changed"),
            sender <- new_mutex!(sender, "anemone_sender"),
            removal <- new_mutex!(Removals::default(), "anemone_removal"),
            reading <- new_mutex!((), "anemone_reading"),
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
        state.sort_frames();
        let mut frames = state.outbox.take();
        drop(state);
        self.sender.lock().send(shared, &mut frames);
        self.state.lock().outbox.give_back(frames);
        self.changed.notify_all();
        result
    }

    /// For the worker: the same, and before it handles answers to requests for keys, and after it requests
    /// the keys that are due. Both may wait for readers of old keys, so nobody does them who holds other
    /// locks. Sleeps.
    pub(crate) fn with_keys<R>(
        &self,
        shared: &Shared,
        work: impl FnOnce(&mut ClusterState) -> R,
    ) -> R {
        self.with(shared, |state| {
            state.take_keys(shared);
            let result = work(state);
            state.request_keys(shared);
            result
        })
    }

    /// Reads the cluster.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&Servers) -> R) -> R {
        look(&self.state.lock().cluster)
    }

    /// Adds a server, with the key that is shared with it if frames are signed.
    pub(crate) fn add(
        &self,
        shared: &Shared,
        mac: MacAddress,
        keys: &[(MacAddress, PairKey)],
    ) -> Result<(), AddServerError> {
        self.with(shared, |state| {
            let table = &shared.device.servers;
            // A key without a server is forgotten in the worker's next round.
            state.set_keys(keys).map_err(AddServerError::Key)?;
            let added = state.cluster.add(now_ns(), mac, table);
            added.map(|_| ()).map_err(AddServerError::Add)
        })
    }

    /// Adds the servers of the list. Returns whether `own`, our address, is in it.
    pub(crate) fn add_listed(
        &self,
        shared: &Shared,
        servers: &[MacAddress],
        keys: &[(MacAddress, PairKey)],
        own: Option<MacAddress>,
    ) -> Result<bool> {
        self.with(shared, |state| {
            let table = &shared.device.servers;
            state.set_keys(keys)?;
            let listed = state.cluster.add_listed(now_ns(), servers, own, table);
            listed.map_err(|_| EINVAL)
        })
    }

    /// The interface's MTU has changed, or the interface has.
    pub(crate) fn mtu_changed(&self, shared: &Shared) {
        let Some(mtu) = shared.mtu() else {
            return;
        };
        let (was_narrow, is_narrow) = self.with(shared, |state| {
            let cluster = &mut state.cluster;
            let was_narrow = cluster.is_narrow();
            cluster.set_mtu(now_ns(), mtu, &shared.device.servers);
            (was_narrow, cluster.is_narrow())
        });
        let interface = shared.link.name();
        let needed = Fragmentation::min_mtu(shared.is_signed());
        let mtu = mtu.saturating_add(signature_len(shared.is_signed()));
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
            self.with(shared, |state| {
                state.cluster.set_address(now_ns(), address);
                if let Some(exchange) = &mut state.exchange {
                    exchange.set_address(address);
                }
            });
        }
    }

    /// Reads the keys that are shared with these servers from the keyring of the calling task; none if frames
    /// are not signed. On failure it returns the server whose key cannot be read. No lock is held, because it
    /// may wait for other tasks. Sleeps.
    pub(crate) fn read_keys(
        &self,
        servers: impl Iterator<Item = MacAddress>,
    ) -> core::result::Result<KVec<(MacAddress, PairKey)>, (MacAddress, Error)> {
        let mut keys = KVec::new();
        if let Some(prefix) = &self.prefix {
            for server in servers {
                let key = read_key(prefix, server).map_err(|error| (server, error))?;
                // All at first: what a growing vector leaves behind is not wiped.
                let reserved = keys.reserve(SERVER_SLOTS.saturating_sub(keys.len()), GFP_KERNEL);
                reserved.map_err(|error| (server, error.into()))?;
                let pushed = keys.push((server, key), GFP_KERNEL);
                pushed.map_err(|error| (server, error.into()))?;
            }
        }
        Ok(keys)
    }

    /// These keys are shared with the servers from now on: requests others of all sessions.
    pub(crate) fn change_keys(&self, shared: &Shared, keys: &[(MacAddress, PairKey)]) -> Result {
        self.with(shared, |state| {
            state.set_keys(keys)?;
            if let Some(exchange) = &mut state.exchange {
                exchange.change_all();
            }
            Ok(())
        })
    }

    /// When requests for keys are due.
    pub(crate) fn keys_due_ns(&self) -> u64 {
        let state = self.state.lock();
        let exchange = state.exchange.as_ref();
        exchange.map_or(u64::MAX, |exchange| exchange.next_timeout_ns())
    }

    /// Why there are no keys of a session with this server, if frames are signed and there are none.
    pub(crate) fn key_refusal(&self, server: MacAddress) -> Option<Status> {
        self.state.lock().exchange.as_ref()?.refusal(server)
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
