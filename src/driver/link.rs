// SPDX-License-Identifier: GPL-2.0

//! The network interface: the bound device, through which frames are sent and received. `link/watch.rs`
//! binds and unbinds it.
//!
//! While it is unbound nothing is sent, which the engine sees as loss.

mod below;
mod watch;

use kernel::{
    fmt,
    new_mutex,
    prelude::*,
    str::CString,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        rcu,
        Arc,
        Mutex, //
    }, //
};

pub(crate) use watch::LinkWatch;

use zerocopy::IntoBytes;

use super::{
    client::Client,
    frame_keys::FrameKeys,
    ingress::Ingress,
    tx_frames::{
        OpFrames,
        Route,
        Sent,
        Signer,
        TxFrame, //
    },
};
use crate::{
    engine::client::shard::Send,
    linux::{
        block::Block,
        net::{
            device::{
                NetDevice,
                Rtnl,
                VlanTag, //
            },
            hook::HAS_INGRESS,
            skb::Payload,
        },
        sync::rcu_cell::RcuCell, //
    },
    wire::{
        Header,
        MacAddress,
        Opcode, //
    },
};

/// Follows a device's name in the log: the VLAN whose frames it receives.
struct OfVlan(Option<VlanTag>);

impl fmt::Display for OfVlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(tag) => write!(f, ", VLAN {}", tag.id),
            None => Ok(()),
        }
    }
}

/// The network interface.
#[pin_data]
pub(crate) struct Link {
    name: CString,
    ethertype: u16,
    /// The bound device, for sending. Read without a lock.
    binding: RcuCell<ARef<NetDevice>>,
    /// Whether events of the interface are followed; not while the module is unloaded.
    followed: Atomic<bool>,
    /// Whether it has been logged that frames cannot be received on a lower device.
    warned: Atomic<bool>,
    /// Whether copied frames have been logged.
    warned_of_copies: Atomic<bool>,
    /// For receiving. Also serialises binding and unbinding. Taken inside the RTNL lock.
    #[pin]
    ingress: Mutex<Option<Ingress>>,
}

impl Link {
    /// An interface that is not bound yet.
    pub(crate) fn new(name: CString, ethertype: u16) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            name,
            ethertype,
            binding: RcuCell::new(None),
            followed: Atomic::new(true),
            warned: Atomic::new(false),
            warned_of_copies: Atomic::new(false),
            ingress <- new_mutex!(None, "anemone_ingress"),
        })
    }

    #[inline]
    fn with<R>(&self, work: impl FnOnce(&NetDevice) -> R) -> Option<R> {
        let guard = rcu::read_lock();
        self.binding.read(&guard).map(|device| work(device))
    }

    /// Sends an op's frames.
    #[inline]
    pub(crate) fn send(
        &self,
        frames: &OpFrames,
        send: &Send,
        block: Option<Block<'_>>,
        signer: Option<Signer<'_>>,
    ) -> Sent {
        self.with(|device| {
            let route = Route {
                device,
                ethertype: self.ethertype,
                send,
                signer,
            };
            frames.send(&route, block)
        })
        .unwrap_or(Sent::Done)
    }

    /// Sends a control frame, signed if there are keys. `payload` must fit the room with which `frame` was
    /// made.
    pub(crate) fn send_control(
        &self,
        frame: &mut TxFrame,
        destination: MacAddress,
        header: &Header,
        payload: &[u8],
        keys: Option<&FrameKeys>,
    ) {
        let Ok(len) = u16::try_from(payload.len()) else {
            return;
        };
        // Lane 0 is the cluster's.
        let signer = keys.map(|keys| Signer { keys, lane: 0 });
        let signed = signer
            .and_then(|signer| signer.sign(destination, header, len, &Payload::Bytes(payload)));
        if signer.is_some() && signed.is_none() && header.opcode != Opcode::KeyRequest {
            // The keys have been discarded since.
            return;
        }
        self.with(|device| {
            let payload = Payload::Bytes(payload);
            // If it cannot be sent, the frame is lost as on the wire, and sent again.
            let _ = match &signed {
                Some((head, signature)) => frame.send(
                    device,
                    destination.0,
                    self.ethertype,
                    |bytes| *bytes = *head,
                    signature.as_bytes(),
                    payload,
                ),
                // A request for keys, or frames are not signed.
                None => frame.send(
                    device,
                    destination.0,
                    self.ethertype,
                    |bytes| header.emit_to(bytes, len, crate::crc::crc32c),
                    &[],
                    payload,
                ),
            };
        });
    }

    /// The MTU of the interface; `None` if there is none.
    pub(crate) fn mtu(&self) -> Option<usize> {
        // CAST: 32 bits.
        self.with(|device| device.mtu() as usize)
    }

    /// The source address of our frames; `None` if there is no interface.
    pub(crate) fn address(&self) -> Option<MacAddress> {
        self.with(|device| MacAddress(device.address()))
    }

    /// Its name, as given.
    pub(crate) fn name(&self) -> &CStr {
        &self.name
    }

    /// Whether `device` has the interface's name; alternative names do not count.
    fn is_called(&self, device: &NetDevice, rtnl: &Rtnl) -> bool {
        device.name(rtnl).to_bytes() == self.name.to_bytes()
    }

    /// Binds `device`: frames are sent and received through it from now on.
    pub(crate) fn bind(
        &self,
        client: &Arc<Client>,
        device: ARef<NetDevice>,
        rtnl: &Rtnl,
    ) -> Result {
        let mut ingress = self.ingress.lock();
        if ingress.is_some() {
            return Ok(());
        }
        let binding = KBox::new(device.clone(), GFP_KERNEL)?;
        let ingress = ingress.insert(Ingress::new(device, self.ethertype, client.clone(), rtnl)?);
        self.look_below(ingress, rtnl);
        drop(self.binding.replace(Some(binding)));
        Ok(())
    }

    /// Unbinds the device, if one is bound. Afterwards nothing is sent or received, and the device
    /// is no longer referenced. Returns whether one was bound.
    pub(crate) fn unbind(&self, rtnl: &Rtnl) -> bool {
        let mut ingress = self.ingress.lock();
        // Sending stops first: what has been sent may still be answered.
        drop(self.binding.replace(None));
        let Some(ingress) = ingress.take() else {
            return false;
        };
        ingress.remove(rtnl);
        true
    }

    /// Whether the bound device can stay bound: it was not removed, or moved to another network
    /// namespace, before its events were followed.
    pub(crate) fn is_there(&self, namespace: u64, rtnl: &Rtnl) -> bool {
        self.ingress.lock().as_ref().is_some_and(|ingress| {
            let device = ingress.device();
            device.is_registered(rtnl) && device.namespace(rtnl) == namespace
        })
    }

    /// Checks whether progress is possible when memory is short, and which devices are under the
    /// interface.
    fn look_below(&self, ingress: &mut Ingress, rtnl: &Rtnl) {
        if !HAS_INGRESS {
            // That only a disk guarantees progress has been logged already.
            return;
        }
        self.listen_below(ingress, rtnl);
        self.look_for_copies(ingress.device(), rtnl);
    }

    /// Logs if transmitted frames are copied in this machine, by the interface or by a device under it.
    fn look_for_copies(&self, device: &NetDevice, rtnl: &Rtnl) {
        // Without memory it cannot be determined; the next event tries again.
        let Ok(copying) = below::copying(device, rtnl) else {
            return;
        };
        let warned = self.warned_of_copies.xchg(copying.is_some(), Relaxed);
        if let (Some(copying), false) = (copying, warned) {
            let (interface, copying) = (self.name(), copying.name(rtnl));
            pr_warn!(
                "interface {interface}: {copying} has no scatter-gather, so each page-out is copied and may find no memory for that; only a local disk guarantees progress\n"
            );
        }
    }

    /// Receives frames on the devices under the interface, if there are any: when memory is short, answers
    /// are dropped there.
    fn listen_below(&self, ingress: &mut Ingress, rtnl: &Rtnl) {
        let result = below::lowest(ingress.device(), rtnl)
            .and_then(|lowest| ingress.set_lower(&lowest, rtnl));
        let warned = self.warned.xchg(result.is_err(), Relaxed);
        let interface = self.name();
        match result {
            Ok(true) => {
                for (lower, tag) in ingress.lower() {
                    let (lower, vlan) = (lower.name(rtnl), OfVlan(tag));
                    pr_info!(
                        "interface {interface} lies on {lower}{vlan}: answers are taken there when memory is short\n"
                    );
                }
            }
            Ok(false) => {}
            Err(_) if warned => {}
            Err(error) => pr_warn!(
                "interface {interface}: answers may be dropped below it when memory is short ({error:?}); only a local disk guarantees progress\n"
            ),
        }
    }

    /// The stacking or the features of a device have changed: there may be other devices under the
    /// interface, or one that copies frames.
    fn restacked(&self, rtnl: &Rtnl) {
        if let Some(ingress) = &mut *self.ingress.lock() {
            self.look_below(ingress, rtnl);
        }
    }

    /// A device is removed or moved to another network namespace.
    fn forget(&self, device: &NetDevice, rtnl: &Rtnl) {
        if let Some(ingress) = &mut *self.ingress.lock() {
            ingress.forget(device, rtnl);
        }
    }

    /// Stops following the interface: unregistering the notifier reports every device as removed.
    pub(crate) fn unfollow(&self) {
        self.followed.store(false, Relaxed);
    }

    fn is_bound(&self) -> bool {
        self.ingress.lock().is_some()
    }

    fn is_bound_to(&self, device: &NetDevice) -> bool {
        self.ingress
            .lock()
            .as_ref()
            .is_some_and(|ingress| ingress.device() == device)
    }
}
