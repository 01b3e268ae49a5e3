// SPDX-License-Identifier: GPL-2.0

//! Gets the keys of sessions from the servers, and the keys that are shared with these from the keyring. The
//! engine decides what is requested when ([`crate::engine::channel::client`]).
//!
//! Context: process, under the cluster's lock.

use core::array;

use kernel::{
    prelude::*,
    str::CString, //
};

use super::{
    cluster_lock::KernelRandom,
    frame_keys::{
        FrameKeys,
        NumberedKey,
        ANSWERS, //
    },
};
use crate::{
    aead::Cipher,
    engine::{
        channel::{
            client::{
                Channel,
                ClientChannels,
                NewKeys,
                Outgoing,
                LIFETIME_NS, //
            },
            PairKey, //
        },
        client::{
            cluster::Outbox,
            ids::SERVER_SLOTS, //
        },
    },
    linux::{
        crypto::{
            aead::SpareAead,
            wipe, //
        },
        keyring::logon_key,
        mm::memalloc::noreclaim_scope,
        sync::rcu_cell::Retired,
        time::hrtimer::now_ns, //
    },
    secret::Secret,
    wire::{
        Frame,
        Header,
        MacAddress,
        Status, //
    },
};

/// Reads the key that is shared with a server from the keyring of the calling task. `prefix` comes before the
/// colon of its description. Sleeps, and waits for other tasks: no lock may be held.
pub(crate) fn read_key(prefix: &CStr, server: MacAddress) -> Result<PairKey> {
    let description = CString::try_from_fmt(fmt!("{prefix}:{server}"))?;
    let mut bytes = [0; Secret::LEN];
    logon_key(&description, &mut bytes)?;
    let secret = Secret::new(&bytes);
    wipe(&mut bytes);
    PairKey::new(secret).ok_or(EINVAL)
}

/// Places for keys: three of each session, and two more while they are changed.
const PLACES: usize = SERVER_SLOTS * 3 + 2;

/// The channels, and what new keys need.
pub(crate) struct KeyExchange {
    channels: ClientChannels<KVVec<Channel>>,
    places: KVec<SpareAead>,
}

impl KeyExchange {
    /// No keys. Sleeps.
    #[inline(never)]
    pub(crate) fn new(keys: &FrameKeys) -> Result<KBox<Self>> {
        let cipher = match keys.cipher().is_gcm() {
            true => Cipher::AesGcm,
            false => Cipher::ChaCha20Poly1305,
        };
        let channels = KVVec::from_elem(Channel::default(), SERVER_SLOTS, GFP_KERNEL)?;
        let channels = ClientChannels::new(channels, cipher, LIFETIME_NS).ok_or(EINVAL)?;
        let mut places = KVec::with_capacity(PLACES, GFP_KERNEL)?;
        for _ in 0..PLACES {
            places.push(keys.cipher().spare()?, GFP_KERNEL)?;
        }
        Ok(KBox::new(Self { channels, places }, GFP_KERNEL)?)
    }

    /// Sets the key that is shared with a server.
    pub(crate) fn set_key(&mut self, server: MacAddress, key: PairKey) -> Result {
        match self.channels.set_pair(server, key) {
            true => Ok(()),
            false => Err(ENOSPC),
        }
    }

    /// Sets the source address of our frames.
    pub(crate) fn set_address(&mut self, own: MacAddress) {
        self.channels.set_address(now_ns(), own, &mut KernelRandom);
    }

    /// The shared keys have been read again: requests other keys of all sessions.
    pub(crate) fn change_all(&mut self) {
        self.channels.change_all(now_ns(), &mut KernelRandom);
    }

    /// The machine was rolled back: discards all keys, and requests others. Sleeps.
    pub(super) fn discard_all(&mut self, keys: &FrameKeys) {
        self.give_back::<3, SERVER_SLOTS>(array::from_fn(|channel| keys.discard(channel)));
        self.channels.discard_all(now_ns(), &mut KernelRandom);
    }

    /// Why there are no keys of a session with this server, if there are none.
    pub(crate) fn refusal(&self, server: MacAddress) -> Option<Status> {
        self.channels.refusal(server)
    }

    /// When requests are due.
    pub(crate) fn next_timeout_ns(&self) -> u64 {
        self.channels.next_timeout_ns()
    }

    /// Handles the answers that have been received, and hints. Sleeps.
    pub(super) fn take_replies(&mut self, keys: &FrameKeys, outbox: &mut impl Outbox) {
        for channel in 0..SERVER_SLOTS {
            // Others may arrive meanwhile, without end.
            for _ in 0..ANSWERS {
                let Some((header, payload)) = keys.take_reply(channel) else {
                    break;
                };
                let payload = &payload;
                self.take_reply(keys, channel, &Frame { header, payload }, outbox);
                if self.channels.is_due(now_ns(), channel) {
                    keys.expect_more(channel);
                }
            }
        }
        for channel in 0..SERVER_SLOTS {
            if let (Some(server), Some(why)) =
                (self.channels.server(channel), keys.refusal(channel))
            {
                self.channels.note_refusal(server, why);
            }
        }
        let hints = keys.take_hints();
        for channel in (0..SERVER_SLOTS).filter(|channel| hints >> channel & 1 == 1) {
            if let Some(server) = self.channels.server(channel) {
                self.channels.hint(now_ns(), server, &mut KernelRandom);
            }
        }
    }

    fn take_reply(
        &mut self,
        keys: &FrameKeys,
        channel: usize,
        frame: &Frame<'_>,
        outbox: &mut impl Outbox,
    ) {
        let Some(source) = self.channels.server(channel) else {
            return;
        };
        let Some(new) = self.channels.handle_reply(now_ns(), source, frame) else {
            return;
        };
        match self.install(keys, &new, frame.header.incarnation) {
            Ok(()) => self.channels.release(new.channel, outbox),
            Err(error) => {
                let has_keys = keys.has_any(source, new.session);
                pr_warn!(
                    "server {source}: its new keys cannot be set ({error:?}); requested again\n"
                );
                self.channels.lose(now_ns(), channel, has_keys);
            }
        }
    }

    /// Sets new keys. May need memory, and does not wait for others to free some: they may wait for us.
    fn install(&mut self, keys: &FrameKeys, new: &NewKeys, incarnation: u64) -> Result {
        let (transmit, receive) = noreclaim_scope(|| -> Result<_> {
            // What may fail comes first: there are as many places as keys.
            let boxes = [
                KBox::<NumberedKey>::new_uninit(GFP_KERNEL)?,
                KBox::<NumberedKey>::new_uninit(GFP_KERNEL)?,
            ];
            let [one, other] = boxes;
            let transmit = self.set(new.number, &new.transmit)?;
            let receive = match self.set(new.number, &new.receive) {
                Ok(receive) => receive,
                Err(error) => {
                    let _ = self.places.push_within_capacity(transmit.key.into_spare());
                    return Err(error);
                }
            };
            Ok((KBox::write(one, transmit), KBox::write(other, receive)))
        })?;
        let session = (new.server, new.session, incarnation);
        self.give_back([keys.install(new.channel, session, transmit, receive)]);
        Ok(())
    }

    /// A key in one of the places.
    fn set(&mut self, number: u8, secret: &Secret) -> Result<NumberedKey> {
        let place = self.places.pop().ok_or(ENOSPC)?;
        match place.with_key(secret.bytes()) {
            Ok(key) => Ok(NumberedKey { number, key }),
            Err((place, error)) => {
                let _ = self.places.push_within_capacity(place);
                Err(error)
            }
        }
    }

    /// Keeps the places of keys that are not used any more, and wipes the keys. Sleeps.
    fn give_back<const N: usize, const M: usize>(&mut self, old: [[Retired<NumberedKey>; N]; M]) {
        Retired::reclaim(old, |numbered| {
            let place = KBox::into_inner(numbered).key.into_spare();
            // If another key cannot be set now, the old one stays until the place is used again.
            let place = match noreclaim_scope(|| place.with_key(&[0; Secret::LEN])) {
                Ok(wiped) => wiped.into_spare(),
                Err((place, _)) => place,
            };
            let _ = self.places.push_within_capacity(place);
        });
    }

    /// Follows the cluster's sessions, and sends the requests that are due. Sleeps.
    pub(super) fn request<I: Iterator<Item = (MacAddress, u64)>>(
        &mut self,
        keys: &FrameKeys,
        stations: impl Fn() -> I,
        outbox: &mut impl Outbox,
    ) {
        let mut closed = 0_u32;
        self.channels
            .follow(now_ns(), stations, &mut KernelRandom, |channel| {
                // CAST: below 32.
                closed |= 1_u32.wrapping_shl(channel as u32);
            });
        if closed != 0 {
            self.give_back::<3, SERVER_SLOTS>(array::from_fn(|channel| {
                match closed >> channel & 1 {
                    1 => keys.discard(channel),
                    _ => array::from_fn(|_| Retired::nothing()),
                }
            }));
        }
        self.channels
            .handle_timeout(now_ns(), &mut KernelRandom, outbox);
        for channel in 0..SERVER_SLOTS {
            let server = self.channels.server(channel).unwrap_or_default();
            keys.set_awaited(channel, server, self.channels.awaited(channel));
        }
    }

    /// What becomes of a control frame.
    pub(super) fn outgoing(
        &mut self,
        server: MacAddress,
        header: &Header,
        payload: &[u8],
    ) -> Outgoing {
        self.channels.outgoing(server, header, payload)
    }
}
