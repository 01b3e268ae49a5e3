// SPDX-License-Identifier: GPL-2.0

//! A model of the driver's part in sealing pages, with the real cipher. It checks that no key and nonce ever
//! meet two contents, and that no page leaves the client as it is.

use std::collections::BTreeMap;

use anemone::aead::Key;
use anemone::crc::crc32c;
use anemone::engine::client::ids::{PageIndex, Version};
use anemone::engine::client::page_keys::{page_nonce, KeyNumber};
use anemone::engine::client::shard::{Receive, Received, Seal, Sealed, Verify};
use anemone::wire::{Header, Opcode, PageSum, PageTag};
use rand::Rng;

use super::{Client, ClientEvent};
use crate::content::Bytes;
use crate::context::Context;
use crate::oracle::RequestId;
use crate::seals::Plain;

/// What has been sealed, by key and nonce.
type Used = BTreeMap<(KeyNumber, Version, PageIndex), u32>;

/// A client's keys.
pub struct Sealing {
    keys: Vec<Key>,
    /// The checksums of what has been sealed.
    used: Used,
}

impl Sealing {
    /// The first key.
    pub fn new(ctx: &mut Context) -> Self {
        let mut sealing = Self {
            keys: Vec::new(),
            used: Used::new(),
        };
        sealing.add_key(ctx);
        sealing
    }

    /// Another key.
    pub fn add_key(&mut self, ctx: &mut Context) {
        let bytes: [u64; 4] = std::array::from_fn(|_| ctx.draw_key());
        self.keys.push(Key::new(zerocopy::transmute_ref!(&bytes)));
    }

    fn seal(&mut self, ctx: &mut Context, seal: &Seal, bytes: &mut [u8]) -> PageSum {
        let plain = Plain::new(bytes);
        let nonce = (seal.key, seal.version, seal.page);
        let before = self.used.insert(nonce, plain.crc);
        if before.is_some_and(|before| before != plain.crc) {
            ctx.oracle
                .fail(|| format!("two contents are sealed with one nonce: {seal:?}"));
        }
        let nonce = page_nonce(seal.page, seal.version);
        let tag = PageTag(self.keys[seal.key.index()].seal(&nonce, bytes));
        ctx.seals.add(tag, plain);
        PageSum {
            crc: crc32c(bytes),
            tag,
        }
    }

    fn open(&self, verify: &Verify, bytes: &mut [u8]) -> bool {
        let nonce = page_nonce(verify.page, verify.version);
        self.keys[verify.key.index()].open(&nonce, &verify.sum.tag.0, bytes)
    }
}

impl Client {
    /// Takes another key.
    pub fn add_key(&mut self, ctx: &mut Context) {
        if self.device.seals() && self.device.keys.next().is_some() {
            let jumps = self.device.versions().jumps();
            self.sealing.add_key(ctx);
            self.device.begin_key(jumps);
        }
    }

    /// Seals an op's page now or later.
    pub(super) fn seal_later(&mut self, ctx: &mut Context, shard: usize, seal: Seal) {
        let Some(request) = &self.requests[shard][seal.op.index()] else {
            ctx.oracle.fail(|| format!("{seal:?} has no request"));
            return;
        };
        let event = ClientEvent::Seal(shard, seal, request.id);
        let delay_ns = ctx.host_delay();
        self.after(ctx, delay_ns, event);
    }

    /// Seals an op's page.
    pub(super) fn seal(&mut self, ctx: &mut Context, shard: usize, seal: &Seal, id: RequestId) {
        let request = self.requests[shard][seal.op.index()].as_mut();
        let Some(request) = request.filter(|request| request.id == id) else {
            ctx.oracle
                .fail(|| format!("request {id} ended while its page was sealed"));
            return;
        };
        let crc = seal.wants_crc.then(|| crc32c(&request.bytes[..]));
        let mut value = seal.fill.unwrap_or(0).to_be_bytes();
        let sum = match seal.fill {
            Some(_) => self.sealing.seal(ctx, seal, &mut value),
            None => {
                request.sealed.clone_from(&request.bytes);
                self.sealing.seal(ctx, seal, &mut request.sealed[..])
            }
        };
        let sealed = Sealed {
            sum,
            fill: u64::from_be_bytes(value),
            crc,
        };
        let event = ClientEvent::Sealed(shard, *seal, sealed);
        match ctx.rng.random_bool(0.5) {
            true => self.handle(ctx, event),
            false => {
                let delay_ns = ctx.host_delay();
                self.after(ctx, delay_ns, event);
            }
        }
    }

    /// The shard is notified that the page has been sealed.
    pub(super) fn end_seal(
        &mut self,
        ctx: &mut Context,
        shard: usize,
        seal: &Seal,
        sealed: Sealed,
    ) {
        let clock_ns = self.clock_ns(ctx);
        self.shards[shard].sealed(clock_ns, seal, Some(sealed), &self.device);
        self.pump(ctx, shard);
    }

    /// What a page, or the value that fills it, turns out to be when it is complete.
    pub(super) fn verify(&self, receive: &Receive, bytes: &mut [u8]) -> Received {
        let Some(verify) = receive.verify else {
            return Received::Copied;
        };
        let value = |bytes: &[u8]| {
            let value = bytes.try_into().ok().map(u64::from_be_bytes);
            value.filter(|_| receive.filled)
        };
        if !self.device.seals() {
            return verify.compare(crc32c(bytes), value(bytes));
        }
        match self.sealing.open(&verify, bytes) {
            true => Received::Whole {
                crc: verify.wants_crc.then(|| crc32c(bytes)),
                fill: value(bytes),
            },
            false => Received::Wrong,
        }
    }

    /// Checks that a frame has nothing of a page as programs see it.
    pub(super) fn check_secrecy(
        &self,
        ctx: &mut Context,
        header: &Header,
        payload: &[u8],
        page: &Bytes,
    ) {
        let is_plain = |part: &[u8]| payload == part;
        let is_write = header.opcode == Opcode::Write && payload.len() > 8;
        let size = payload.len();
        let shows = is_write && page.windows(size).step_by(8).any(is_plain);
        if self.device.seals() && shows {
            ctx.oracle
                .fail(|| format!("page {} leaves as it is", header.page));
        }
    }
}
