// SPDX-License-Identifier: GPL-2.0

//! What the queues, the local disk's pool and the cluster share: the engine's device, the interface,
//! the local disk, and the means to wake the worker.

use kernel::{
    prelude::*,
    sync::Arc, //
};

use super::{
    frame_keys::FrameKeys,
    link::Link,
    local_disk::LocalDisk,
    page_seal::Sealer,
    params::Params,
    storage::KernelStorage, //
    timers_and_work::{
        new_timer,
        Target,
        Timer,
        WorkItem, //
    },
};
use crate::{
    engine::client::{
        dirty_chunks::{
            words_for,
            DirtyChunks, //
        },
        ids::PageIndex,
        storage::Storage,
        swap_device::SwapDevice,
    },
    linux::{
        mm::alloc::zeroed_table,
        time::hrtimer::now_ns, //
    },
    wire::signature_len,
};

/// The shared part of the driver's state. It knows neither the queues nor the cluster.
#[pin_data]
pub(crate) struct Shared {
    /// The engine's shared state.
    pub(crate) device: SwapDevice<KernelStorage>,
    /// Which parts of the map have freed pages.
    pub(crate) chunks: DirtyChunks<<KernelStorage as Storage>::Words>,
    /// The network interface, if it is bound.
    #[pin]
    pub(crate) link: Link,
    /// The local disk, if there is one.
    #[pin]
    pub(crate) local: LocalDisk,
    /// The keys with which pages are sealed, if they are.
    pub(crate) sealer: Option<Pin<KBox<Sealer>>>,
    /// The keys with which frames are signed, if they are.
    pub(crate) keys: Option<Pin<KBox<FrameKeys>>>,
    /// Whether servers are not to learn which pages are same-filled.
    pub(crate) hides_filled: bool,
    /// The worker.
    pub(crate) worker: Arc<WorkItem>,
    /// Wakes the worker when the cluster has something due.
    pub(crate) timer: Arc<Timer>,
}

impl Shared {
    /// The shared part of a client with these parameters.
    pub(super) fn new(
        params: &Params,
        sealer: Option<Pin<KBox<Sealer>>>,
        keys: Option<Pin<KBox<FrameKeys>>>,
    ) -> Result<impl PinInit<Self, Error> + use<'_>> {
        let map = zeroed_table(params.pages).inspect_err(|_| {
            let map_mib = (params.pages >> 18).max(1);
            let size_mib = params.size_mib();
            pr_err!(
                "no memory for the page map: {map_mib} MiB for a device of {size_mib} MiB; reduce size_mib=\n"
            );
        })?;
        let newest = match params.detect_rollback {
            true => Some(zeroed_table(params.pages).inspect_err(|_| {
                pr_err!("no memory for detect_rollback=1, which takes as much as the page map\n");
            })?),
            false => None,
        };
        let words = words_for(params.pages);
        let (degraded, out_of_sync) = (zeroed_table(words)?, zeroed_table(words)?);
        let chunks = DirtyChunks::new(zeroed_table(words)?);
        let worker = WorkItem::new(c"anemone", Target::Worker)?;
        let timer = new_timer(Target::WakeWorker)?;
        let link = Link::new((*params.interface).try_into()?, params.ethertype);
        let local = LocalDisk::new(params.mirror_pool_pages)?;
        Ok(try_pin_init!(Self {
            // Made in place: it is large, and each move takes stack.
            device: SwapDevice::new(map, params.config, u32::from(params.hw_queues)),
            _: {
                device.set_dirty_bitmaps(degraded, out_of_sync);
                if sealer.is_some() {
                    device.set_sealed();
                }
                if keys.is_some() {
                    device.set_signed();
                }
                if let Some(words) = newest {
                    device.set_newest_versions(words);
                }
            },
            chunks,
            link <- link,
            local <- local,
            sealer,
            keys,
            hides_filled: params.hide_filled,
            worker,
            timer,
        }))
    }

    /// Whether frames are signed.
    pub(crate) fn is_signed(&self) -> bool {
        self.keys.is_some()
    }

    /// Takes another key, if pages are sealed. Sleeps.
    pub(super) fn take_key(&self) {
        if let Some(sealer) = &self.sealer {
            sealer.take_key(&self.device);
        }
    }

    /// The longest frame that the engine may send, without its signature; `None` if there is no interface.
    pub(crate) fn mtu(&self) -> Option<usize> {
        let mtu = self.link.mtu()?;
        Some(mtu.saturating_sub(signature_len(self.is_signed())))
    }

    /// Wakes the worker. Any context.
    pub(crate) fn kick(&self) {
        self.worker.kick();
    }

    /// Frees the page. Any context, also under a spinlock.
    pub(crate) fn note_free(&self, page: PageIndex) {
        if let Some(delay_ns) = self.device.note_free(page, &self.chunks) {
            self.timer.arm(now_ns().saturating_add(delay_ns));
        }
    }
}
