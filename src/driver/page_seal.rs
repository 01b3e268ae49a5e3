// SPDX-License-Identifier: GPL-2.0

//! Seals pages before servers get them, and opens those that come back. Which page, and with which key, the
//! engine decides ([`crate::engine::client::page_keys`]).
//!
//! Context: keys are taken in process context. Pages are sealed and opened where queues send and receive:
//! in process context or softirq, on any CPU, without a queue's lock.

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Mutex,
        SetOnce, //
    }, //
};

use super::storage::{
    make_vec,
    KernelStorage, //
};
use crate::{
    crc::crc32c,
    engine::client::{
        page_keys::{
            page_nonce,
            KeyNumber,
            MOST_KEYS, //
        },
        shard::{
            Received,
            Seal,
            Sealed,
            Verify, //
        },
        swap_device::SwapDevice,
    },
    linux::{
        block::{
            Block,
            BlockWriter,
            Page, //
        },
        crypto::{
            aead::{
                Aead,
                AeadRequest,
                SpareAead,
                KEY_LEN, //
            },
            wipe, //
        },
        mm::memalloc::noreclaim_scope,
        random::{
            fresh_bytes,
            wait_for_random_bytes,
            FRESH_LEN, //
        },
        sync::try_cell::TryCell, //
    },
    wire::{
        PageSum,
        PageTag, //
    },
};

/// The keys of a device. They are made here and never leave it.
#[pin_data]
pub(crate) struct Sealer {
    /// By number.
    keys: KVec<SetOnce<Aead>>,
    /// Locked while a key is taken.
    #[pin]
    spares: Mutex<Spares>,
}

/// Places for more keys.
struct Spares {
    places: KVec<SpareAead>,
    /// How often the versions had jumped when the last key was made.
    jumps: u32,
}

impl Sealer {
    /// The first key, and places for others. Sleeps.
    pub(super) fn new() -> Result<Pin<KBox<Self>>> {
        wait_for_random_bytes()?;
        let first = with_secret(Aead::new).map_err(|error| {
            if error != ENOENT {
                pr_err!("encrypt=1: no cipher can be set up ({error:?})\n");
                return error;
            }
            pr_err!(
                "encrypt=1: the kernel has no AES-GCM and no ChaCha20-Poly1305 that this module can use; enable CONFIG_CRYPTO_GCM or CONFIG_CRYPTO_CHACHA20POLY1305, or load with encrypt=0\n"
            );
            EOPNOTSUPP
        })?;
        let mut places = KVec::with_capacity(MOST_KEYS, GFP_KERNEL)?;
        for _ in 1..MOST_KEYS {
            places.push(first.spare()?, GFP_KERNEL)?;
        }
        let spares = Spares { places, jumps: 0 };
        let keys = make_vec(MOST_KEYS, || Ok(SetOnce::new()))?;
        if let Some(place) = keys.first() {
            let _: bool = place.populate(first);
        }
        KBox::pin_init(
            pin_init!(Self {
                keys,
                spares <- new_mutex!(spares, "anemone_keys"),
            }),
            GFP_KERNEL,
        )
    }

    /// Another key of the same algorithm. Sleeps.
    pub(super) fn another(&self) -> Result<Aead> {
        let key = self.key(KeyNumber::default()).ok_or(EINVAL)?;
        let spare = key.spare()?;
        with_secret(|secret| spare.with_key(secret).map_err(|(_, error)| error))
    }

    /// The implementation's name, for the log.
    pub(super) fn driver_name(&self) -> Option<&CStr> {
        let key = self.keys.first()?.as_ref()?;
        Some(key.driver_name())
    }

    fn key(&self, number: KeyNumber) -> Option<&Aead> {
        self.keys.get(number.index())?.as_ref()
    }

    /// Takes another key: versions that are given out from now on are sealed with it. If that is not possible
    /// now, the last one stays, and the worker tries again. Sleeps, but does not wait for memory: it may be
    /// needed to free memory.
    pub(super) fn take_key(&self, device: &SwapDevice<KernelStorage>) {
        let mut spares = self.spares.lock();
        let number = device.keys.next();
        let Some(place) = number.and_then(|number| self.keys.get(number.index())) else {
            pr_warn!("all {MOST_KEYS} keys have been used; the last one stays until the module is loaded again\n");
            return;
        };
        // It may have been made before, when it could not be used.
        if place.as_ref().is_none() {
            // Read first: a rollback that is noticed after this leads to another key.
            let jumps = device.versions().jumps();
            let Some(spare) = spares.places.pop() else {
                return;
            };
            spares.jumps = jumps;
            match noreclaim_scope(|| {
                with_secret(|secret| spare.with_key(secret).map_err(|(_, error)| error))
            }) {
                Ok(key) => {
                    let _: bool = place.populate(key);
                }
                Err(error) => {
                    pr_warn!("no other key could be set ({error:?}); the last one stays for now\n");
                    return;
                }
            }
        }
        device.begin_key(spares.jumps);
    }
}

/// Makes a key of secret bytes, which are then wiped.
fn with_secret(make: impl FnOnce(&[u8; KEY_LEN]) -> Result<Aead>) -> Result<Aead> {
    let mut secret = [0; FRESH_LEN];
    fresh_bytes(&mut secret);
    let key = make(&secret);
    wipe(&mut secret);
    key
}

/// What an op needs to seal its page, or to open it.
pub(crate) struct OpSeal {
    request: TryCell<AeadRequest>,
    /// The sealed page, to which the op's frames refer. Nothing else is ever in it: frames of an earlier page
    /// may still be queued in this host.
    page: Page,
}

impl OpSeal {
    /// Approximate size in bytes, with what it refers to.
    pub(crate) const BYTES: usize = crate::wire::PAGE_SIZE + 1024;

    /// Sleeps.
    pub(super) fn new(sealer: &Sealer) -> Result<Self> {
        let key = sealer.key(KeyNumber::default()).ok_or(EINVAL)?;
        Ok(Self {
            request: TryCell::new(AeadRequest::new(key)?),
            page: Page::new()?,
        })
    }

    /// The sealed page.
    #[inline]
    pub(crate) fn block(&self) -> Block<'_> {
        self.page.block()
    }

    /// Seals a block, or the value that fills it. `None` if that is not possible.
    #[inline]
    pub(crate) fn seal(&self, sealer: &Sealer, seal: &Seal, block: Block<'_>) -> Option<Sealed> {
        let key = sealer.key(seal.key)?;
        let mut request = self.request.try_lock()?;
        let nonce = page_nonce(seal.page, seal.version);
        if let Some(value) = seal.fill {
            let mut bytes = value.to_ne_bytes();
            let tag = request.seal_bytes(key, &nonce, &mut bytes).ok()?;
            return Some(Sealed {
                sum: PageSum {
                    crc: crc32c(&bytes),
                    tag: PageTag(tag),
                },
                fill: u64::from_ne_bytes(bytes),
                crc: None,
            });
        }
        let before = seal.wants_crc.then(|| block.crc32c());
        let tag = request.seal_page(key, &nonce, &block, &self.page).ok()?;
        Some(Sealed {
            sum: PageSum {
                crc: self.page.block().crc32c(),
                tag: PageTag(tag),
            },
            fill: 0,
            // If the page has changed meanwhile, it is not known which bytes were sealed. (A program that
            // writes to its buffer while it is paged out, and then writes what was there before, may get a
            // mixture.)
            crc: before.filter(|&crc| block.crc32c() == crc),
        })
    }

    /// Opens a block where it is.
    #[inline]
    pub(crate) fn open(
        &self,
        sealer: &Sealer,
        verify: &Verify,
        block: &BlockWriter<'_>,
    ) -> Received {
        let (Some(key), Some(mut request)) = (sealer.key(verify.key), self.request.try_lock())
        else {
            return Received::Lost;
        };
        let nonce = page_nonce(verify.page, verify.version);
        match request.open_page(key, &nonce, &verify.sum.tag.0, block) {
            Ok(()) => Received::Whole {
                crc: verify.wants_crc.then(|| block.crc32c()),
                fill: None,
            },
            Err(error) => received_if(error),
        }
    }

    /// Opens the value that fills a page.
    #[cold]
    pub(crate) fn open_value(
        &self,
        sealer: &Sealer,
        verify: &Verify,
        mut bytes: [u8; 8],
    ) -> Received {
        let (Some(key), Some(mut request)) = (sealer.key(verify.key), self.request.try_lock())
        else {
            return Received::Lost;
        };
        let nonce = page_nonce(verify.page, verify.version);
        match request.open_bytes(key, &nonce, &verify.sum.tag.0, &mut bytes) {
            Ok(()) => Received::Whole {
                crc: verify.wants_crc.then(|| crc32c(&bytes)),
                fill: Some(u64::from_ne_bytes(bytes)),
            },
            Err(error) => received_if(error),
        }
    }
}

/// What is received, if opening it fails so: only `EBADMSG` says that it is not what was sealed.
#[cold]
fn received_if(error: Error) -> Received {
    match error == EBADMSG {
        true => Received::Wrong,
        false => Received::Lost,
    }
}
