// SPDX-License-Identifier: GPL-2.0

//! The cluster under its lock, and the control frames that it sends.
//!
//! Context: process only. Frames are collected under the lock and sent without it.

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

use super::{
    shared::Shared,
    tx_frames::TxFrame, //
};
use crate::{
    engine::client::{
        cluster::{
            AddError,
            Cluster,
            Health,
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
    },
    linux::{
        random,
        time::hrtimer::now_ns, //
    },
    wire::{
        ClientId,
        ClusterName,
        Fragmentation,
        Header,
        MacAddress,
        Status,
        PAGE_SIZE, //
    },
};

/// The most payload of a control frame, except for probes above the usual MTU of 1500 bytes: a
/// fragment that fits it, or a full FREE.
const PAYLOAD: usize = 1368;

/// Control frames that may be sent at a time. Others are lost, and sent again later.
const STAGED_FRAMES: usize = 48;

/// The same for probes of jumbo frames.
const LONG_FRAMES: usize = 4;

/// The kernel's random numbers.
pub(crate) struct Kernels;

impl Random for Kernels {
    fn number(&mut self) -> u64 {
        random::random_u64()
    }
}

/// The cluster, as the driver keeps it.
pub(crate) type Servers = Cluster<KVVec<Peer>, Kernels>;

/// A frame to be sent.
struct Staged {
    destination: MacAddress,
    header: Header,
    payload: [u8; PAYLOAD],
    /// A length above the room stands for zeros: a probe.
    len: usize,
}

/// Frames that the cluster wants sent.
struct StagedFrames(KVVec<Staged>);

impl Outbox for StagedFrames {
    fn send(&mut self, destination: MacAddress, header: &Header, payload: &[u8]) {
        let mut staged = Staged {
            destination,
            header: *header,
            payload: [0; PAYLOAD],
            len: payload.len(),
        };
        if let Some(bytes) = staged.payload.get_mut(..payload.len()) {
            bytes.copy_from_slice(payload);
        }
        // A frame without room is lost.
        let _ = self.0.push_within_capacity(staged);
    }
}

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

/// Frames that are allocated for sending.
struct Sender {
    short: KVec<TxFrame>,
    long: KVec<TxFrame>,
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
            cluster: Cluster::new(client, cluster, Kernels, 1500, Self::peers()?),
            outbox: StagedFrames(KVVec::with_capacity(STAGED_FRAMES, GFP_KERNEL)?),
        };
        let mut sender = Sender {
            short: KVec::with_capacity(STAGED_FRAMES, GFP_KERNEL)?,
            long: KVec::with_capacity(LONG_FRAMES, GFP_KERNEL)?,
        };
        for _ in 0..STAGED_FRAMES {
            // CAST: both fit 16 bits.
            sender
                .short
                .push(TxFrame::new(PAYLOAD as u16)?, GFP_KERNEL)?;
        }
        for _ in 0..LONG_FRAMES {
            sender
                .long
                .push(TxFrame::new(PAGE_SIZE as u16)?, GFP_KERNEL)?;
        }
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
        shared.device.stations.publish(state.cluster.stations());
        let frames = core::mem::replace(&mut state.outbox.0, KVVec::new());
        drop(state);

        let mut frames = self.send(shared, frames);

        frames.clear();
        let mut state = self.state.lock();
        if state.outbox.0.capacity() < frames.capacity() {
            for staged in state.outbox.0.drain_all() {
                let _ = frames.push_within_capacity(staged);
            }
            state.outbox.0 = frames;
        }
        drop(state);
        self.changed.notify_all();
        result
    }

    fn send(&self, shared: &Shared, frames: KVVec<Staged>) -> KVVec<Staged> {
        let mut sender = self.sender.lock();
        for staged in &frames {
            let (pool, payload) = match staged.payload.get(..staged.len) {
                Some(payload) => (&mut sender.short, payload),
                None => (
                    &mut sender.long,
                    PADDING.get(..staged.len).unwrap_or(&PADDING),
                ),
            };
            // None is free only if the interface holds very many back: the frame is lost, as on the
            // wire.
            if let Some(frame) = pool.iter_mut().find(|frame| !frame.is_busy()) {
                shared
                    .link
                    .send_control(frame, staged.destination, &staged.header, payload);
            }
        }
        drop(sender);
        frames
    }

    /// Reads the cluster.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&Servers) -> R) -> R {
        look(&self.state.lock().cluster)
    }

    /// Adds servers.
    pub(crate) fn add(&self, shared: &Shared, servers: &[MacAddress]) -> Result<(), AddError> {
        self.with(shared, |state| {
            servers.iter().try_for_each(|&mac| {
                let servers = &shared.device.servers;
                state.cluster.add(now_ns(), mac, servers).map(|_| ())
            })
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
        let state = self.state.lock();
        for slot in SlotSet::ALL.iter() {
            if let Some(report) = state.cluster.report(slot) {
                each(slot.index(), &report);
            }
        }
    }

    /// Whether a server has refused the session for this reason.
    pub(crate) fn is_refused(&self, why: Status) -> bool {
        let mut is_refused = false;
        self.reports(|_, report| {
            is_refused |= report.health == Health::Connecting && report.refusal == Some(why);
        });
        is_refused
    }

    /// Waits until all `wanted` servers are up, the time is over, or a signal arrives. Returns how
    /// many are up.
    pub(crate) fn wait_for_servers(&self, wanted: usize, timeout_ms: u32) -> Result<usize> {
        let mut left = msecs_to_jiffies(timeout_ms);
        let mut state = self.state.lock();
        loop {
            let up = SlotSet::ALL
                .iter()
                .filter_map(|slot| state.cluster.report(slot))
                .filter(|report| report.health == Health::Up)
                .count();
            if up >= wanted {
                return Ok(up);
            }
            match self.changed.wait_interruptible_timeout(&mut state, left) {
                CondVarTimeoutResult::Timeout => return Ok(up),
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

static PADDING: [u8; PAGE_SIZE] = [0; PAGE_SIZE];
