// SPDX-License-Identifier: GPL-2.0

//! The keys with which frames are signed and verified, if they are. `key_exchange.rs` gets them.
//!
//! Context: keys are replaced by whoever holds the cluster's lock. Frames are signed in process context or
//! softirq, and verified in softirq, on any CPU, without a queue's lock.

use kernel::{
    cpu::{
        nr_cpu_ids,
        CpuId, //
    },
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        rcu,
        SpinLockIrq, //
    }, //
};

use super::storage::make_vec;
use crate::{
    engine::{
        channel::{
            budget::Tokens,
            LANES, //
        },
        client::{
            config::NS_PER_S,
            ids::SERVER_SLOTS,
            server_table::mac_to_u64, //
        }, //
    },
    linux::{
        crypto::{
            aead::Aead,
            mac::MacRequest, //
        },
        net::skb::{
            Payload,
            RxFrame, //
        },
        sync::{
            rcu_cell::Retired,
            try_cell::TryCell, //
        },
        time::hrtimer::now_ns, //
    },
    wire::{
        Flags,
        Header,
        MacAddress,
        Signature,
        HEADER_LEN,
        SIGNATURE_LEN,
        SIGNED_HEAD_LEN, //
    },
};

mod channel_keys;
mod lane;
mod mail;

pub(super) use channel_keys::NumberedKey;
pub(super) use mail::ANSWERS;

use channel_keys::ChannelKeys;
use lane::Lane;

/// How long the keys before the current ones are accepted.
const OVERLAP_NS: u64 = NS_PER_S * 30;

/// No frame is verified in vain for so long when as many were as may be.
const FLOODED_NS: u64 = 1_000_000;

/// A frame that is not what one of our servers has sent just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unverified {
    /// Its session has no such key.
    Unknown,
    /// It was changed, or forged, or received before.
    Wrong,
    /// It cannot be verified now.
    Busy,
}

/// The keys of all sessions.
#[pin_data]
pub(crate) struct FrameKeys {
    channels: KVec<Pin<KBox<ChannelKeys>>>,
    requests: KVec<TryCell<MacRequest>>,
    lanes: KVec<Lane>,
    /// Channels whose server may not know our keys, as bits.
    hints: Atomic<u32>,
    /// The machine was rolled back, and the keys have not been discarded yet.
    stopped: Atomic<u32>,
    /// For frames that are verified in vain, in all sessions.
    #[pin]
    vain: SpinLockIrq<Tokens>,
    /// Before that only the reserves of the sessions are left.
    flooded_until_ns: Atomic<u64>,
    /// For the log.
    cipher: Aead,
}

impl FrameKeys {
    /// No keys yet; those that come are of the algorithm of `cipher`. Sleeps.
    pub(super) fn new(cipher: Aead) -> Result<Pin<KBox<Self>>> {
        // On each processor a frame may be signed while another is verified, in whose course a third is
        // signed; and tasks that sign are preempted.
        let count = (nr_cpu_ids() as usize).saturating_mul(3).saturating_add(8);
        let requests = make_vec(count, || Ok(TryCell::new(MacRequest::new(&cipher)?)))?;
        let channels = make_vec(SERVER_SLOTS, || {
            KBox::pin_init(ChannelKeys::new(), GFP_KERNEL)
        })?;
        let lanes = make_vec(LANES, || Ok(Lane::new()))?;
        let keys = pin_init!(Self {
            channels,
            requests,
            lanes,
            hints: Atomic::<u32>::new(0),
            stopped: Atomic::<u32>::new(0),
            vain <- kernel::new_spinlock_irq!(Tokens::for_all_frames(), "anemone_vain"),
            flooded_until_ns: Atomic::<u64>::new(0),
            cipher,
        });
        KBox::pin_init(keys, GFP_KERNEL)
    }

    /// An unused key of the algorithm.
    pub(super) fn cipher(&self) -> &Aead {
        &self.cipher
    }

    #[inline]
    fn find(&self, server: MacAddress, session: u64) -> Option<&ChannelKeys> {
        let (_, channel) = self.find_index(server, session)?;
        Some(channel)
    }

    #[inline]
    fn find_index(&self, server: MacAddress, session: u64) -> Option<(usize, &ChannelKeys)> {
        let mac = mac_to_u64(server);
        let mut all = self.channels.iter().enumerate();
        let (index, channel) = all.find(|(_, channel)| {
            channel.session.load(Acquire) == session && channel.mac.load(Relaxed) == mac
        })?;
        (session != 0).then_some((index, channel))
    }

    /// Does something with a request. `None` if all are in use.
    #[inline]
    fn with_request<R>(&self, work: impl FnOnce(&mut MacRequest) -> R) -> Option<R> {
        let first = CpuId::current().as_u32() as usize;
        let (before, from_first) = self.requests.split_at_checked(first)?;
        let mut request = from_first
            .iter()
            .find_map(TryCell::try_lock)
            .or_else(|| before.iter().find_map(TryCell::try_lock))?;
        Some(work(&mut request))
    }

    /// Signs a frame to a server, with the counter of a lane. `None` if there are no keys, or the frame
    /// cannot be signed now: it counts as lost.
    #[inline]
    pub(crate) fn sign(
        &self,
        server: MacAddress,
        lane: usize,
        header: &Header,
        payload_len: u16,
        payload: &Payload<'_>,
    ) -> Option<([u8; HEADER_LEN], Signature)> {
        let channel = self.find(server, header.session)?;
        let guard = rcu::read_lock();
        let numbered = channel.transmit.read(&guard)?;
        let lane = lane.checked_rem(LANES)?;
        // CAST: below `LANES`.
        let mut signature = self.lanes.get(lane)?.next(lane as u8, numbered.number);
        let nonce = signature.nonce();
        let (bytes, block) = match payload {
            Payload::None => (&[][..], None),
            Payload::Bytes(bytes) => (*bytes, None),
            Payload::Block { block, offset, len } => (&[][..], Some((*block, *offset, *len))),
        };
        let mut head = [0; HEADER_LEN];
        header.emit_to(&mut head, payload_len, crate::crc::crc32c);
        signature.tag = self.with_request(|request| {
            let len = SIGNED_HEAD_LEN.checked_add(bytes.len())?;
            let text = request.text_mut(len)?;
            let (place, rest) = text.split_first_chunk_mut::<SIGNED_HEAD_LEN>()?;
            *place = Signature::head(&head);
            if !bytes.is_empty() {
                rest.copy_from_slice(bytes);
            }
            request.tag(&numbered.key, &nonce, len, block).ok()
        })??;
        Some((head, signature))
    }

    /// Verifies a frame of one of our servers. What its signature covers of its payload is passed to `then`,
    /// whose result is returned.
    #[inline]
    pub(super) fn verify<R>(
        &self,
        frame: &RxFrame<'_>,
        head: &[u8; HEADER_LEN],
        header: &Header,
        payload_len: usize,
        then: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, Unverified> {
        let source = MacAddress(frame.source());
        let channel = self
            .find(source, header.session)
            .ok_or(Unverified::Unknown)?;
        let mut bytes = [0; SIGNATURE_LEN];
        frame
            .copy_bytes(HEADER_LEN, &mut bytes)
            .ok_or(Unverified::Wrong)?;
        let signature: Signature = zerocopy::transmute!(bytes);
        let half = usize::from(signature.key & 1);
        let covered = match header.flags.contains(Flags::HEADER_ONLY) {
            true => 0,
            false => payload_len,
        };
        let guard = rcu::read_lock();
        let cell = channel.receive.get(half).ok_or(Unverified::Unknown)?;
        let numbered = cell.read(&guard).ok_or(Unverified::Unknown)?;
        let until_ns = channel
            .until_ns
            .get(half)
            .map_or(0, |at_ns| at_ns.load(Relaxed));
        let now_ns = now_ns();
        if numbered.number != signature.key || now_ns >= until_ns {
            return Err(Unverified::Unknown);
        }
        if !channel.may_accept(half, &signature) {
            return Err(Unverified::Wrong);
        }
        let is_ample = now_ns >= self.flooded_until_ns.load(Relaxed);
        if !is_ample && !channel.has_reserve(now_ns) {
            return Err(Unverified::Busy);
        }
        let checked = self.with_request(|request| {
            let len = SIGNED_HEAD_LEN.wrapping_add(covered);
            let text = request.text_mut(len).ok_or(Unverified::Wrong)?;
            let (place, rest) = text
                .split_first_chunk_mut::<SIGNED_HEAD_LEN>()
                .ok_or(Unverified::Wrong)?;
            *place = Signature::head(head);
            let payload_at = HEADER_LEN.wrapping_add(SIGNATURE_LEN);
            if !rest.is_empty() {
                frame
                    .copy_bytes(payload_at, rest)
                    .ok_or(Unverified::Wrong)?;
            }
            let nonce = signature.nonce();
            let verified = request.verify(&numbered.key, &nonce, &signature.tag, len);
            if verified.is_err() {
                match is_ample {
                    true => self.note_vain(now_ns, len),
                    false => channel.note_vain(len),
                }
                return Err(Unverified::Wrong);
            }
            if !channel.accept(half, &signature) {
                return Err(Unverified::Wrong);
            }
            let text = request
                .text(len)
                .and_then(|text| text.get(SIGNED_HEAD_LEN..));
            Ok(then(text.unwrap_or_default()))
        });
        checked.unwrap_or(Err(Unverified::Busy))
    }

    /// A frame of this length was verified in vain.
    #[cold]
    fn note_vain(&self, now_ns: u64, len: usize) {
        let mut vain = self.vain.lock();
        if vain.has_any(now_ns) {
            vain.take_frame(len);
        }
        if !vain.has_any(now_ns) {
            let until_ns = now_ns.saturating_add(FLOODED_NS);
            self.flooded_until_ns.store(until_ns, Relaxed);
        }
    }

    /// Whether there are keys of this session.
    pub(super) fn has_any(&self, server: MacAddress, session: u64) -> bool {
        self.find(server, session).is_some()
    }

    /// Uses new keys on a channel. Returns those that are not used any more.
    pub(super) fn install(
        &self,
        channel: usize,
        (server, session, incarnation): (MacAddress, u64, u64),
        transmit: KBox<NumberedKey>,
        receive: KBox<NumberedKey>,
    ) -> [Retired<NumberedKey>; 2] {
        let number = receive.number;
        let half = usize::from(number & 1);
        let channel = self.channels.get(channel);
        let places = channel.and_then(|channel| {
            let cell = channel.receive.get(half)?;
            let until_ns = channel.until_ns.get(half)?;
            Some((channel, cell, until_ns, channel.until_ns.get(half ^ 1)?))
        });
        let Some((channel, cell, until_ns, other_until_ns)) = places else {
            return [Retired::nothing(), Retired::nothing()];
        };
        // A frame that is verified under the old key, whose number is another one, is not accepted from now
        // on.
        channel.begin(half, number);
        // The one before may have ended already.
        let end_ns = now_ns().saturating_add(OVERLAP_NS);
        let end_ns = end_ns.min(other_until_ns.load(Relaxed));
        other_until_ns.store(end_ns, Relaxed);
        until_ns.store(u64::MAX, Relaxed);
        let old = cell.swap(Some(receive));
        let old_transmit = channel.transmit.swap(Some(transmit));
        channel.mac.store(mac_to_u64(server), Relaxed);
        channel.incarnation.store(incarnation, Relaxed);
        channel.session.xchg(session, Full);
        // ORDERING: `stop` writes `stopped` first and then the session: one of both sees the other.
        if self.stopped.load(Relaxed) != 0 {
            channel.session.store(0, Release);
        }
        [old, old_transmit]
    }

    /// From now on no frame is signed: the machine was rolled back. The worker discards the keys. Any
    /// context.
    pub(crate) fn stop(&self) {
        self.stopped.xchg(1, Full);
        for channel in &self.channels {
            channel.session.store(0, Release);
        }
    }

    /// Whether the keys must be discarded. From now on new ones may be used.
    pub(super) fn take_stop(&self) -> bool {
        self.stopped.load(Relaxed) != 0 && self.stopped.xchg(0, Full) != 0
    }

    /// Discards the keys of a channel. Returns them.
    pub(super) fn discard(&self, channel: usize) -> [Retired<NumberedKey>; 3] {
        let Some(channel) = self.channels.get(channel) else {
            return core::array::from_fn(|_| Retired::nothing());
        };
        channel.session.store(0, Release);
        channel.forget_refusal();
        let [even, odd] = &channel.receive;
        [channel.transmit.swap(None), even.swap(None), odd.swap(None)]
    }
}
