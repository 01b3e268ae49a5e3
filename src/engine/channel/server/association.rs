// SPDX-License-Identifier: GPL-2.0

//! The keys of one session.

extern crate alloc;

use alloc::boxed::Box;

use crate::aead::Key;
use crate::engine::channel::budget::Tokens;
use crate::engine::channel::pair_key::{Direction, FrameKeySeed, PairKey};
use crate::engine::channel::replay_window::ReplayWindow;
use crate::engine::channel::LANES;
use crate::wire::{MacAddress, Signature};

/// How long the keys before the current ones are valid.
const OVERLAP_NS: u64 = 30_000_000_000;

/// The keys of both directions.
pub(super) struct SessionKey {
    number: u8,
    /// Of the shared key.
    pair: [u8; 16],
    receive: Key,
    transmit: Key,
    /// Frames signed.
    sent: u64,
    windows: Box<[ReplayWindow; LANES]>,
    until_ns: u64,
}

impl SessionKey {
    fn new(pair: &PairKey, seed: &FrameKeySeed) -> Option<Self> {
        let key = |way| {
            let secret = pair.frame_key(seed, way)?;
            Some(Key::with_cipher(seed.cipher, secret.bytes()))
        };
        Some(Self {
            number: seed.key,
            pair: pair.id(),
            receive: key(Direction::ToServer)?,
            transmit: key(Direction::ToClient)?,
            sent: 0,
            windows: Box::default(),
            until_ns: u64::MAX,
        })
    }

    fn window(&mut self, signature: &Signature) -> Option<&mut ReplayWindow> {
        self.windows.get_mut(usize::from(signature.lane))
    }

    /// Whether a frame with this counter may be accepted.
    pub(super) fn may_accept(&mut self, signature: &Signature) -> bool {
        let counter = signature.counter();
        self.window(signature)
            .is_some_and(|window| window.may_accept(counter))
    }

    /// Whether the tag is right.
    pub(super) fn verify(&self, signature: &Signature, text: &[u8]) -> bool {
        self.receive
            .verify_mac(&signature.nonce(), &signature.tag, text)
    }

    /// Accepts a frame whose tag is right. Returns false if it was accepted before.
    pub(super) fn accept(&mut self, signature: &Signature) -> bool {
        let counter = signature.counter();
        self.window(signature)
            .is_some_and(|window| window.accept(counter))
    }

    /// Signs a frame. `None` if all counters have been used.
    pub(super) fn sign(&mut self, random: [u8; 4], text: &[u8]) -> Option<Signature> {
        let counter = self.sent;
        if counter >= Signature::COUNTERS {
            return None;
        }
        if !mutated!(CounterRepeated) {
            self.sent = counter.wrapping_add(1);
        }
        let mut signature = Signature::new(self.number, 0, counter, random);
        signature.tag = self.transmit.mac(&signature.nonce(), text);
        Some(signature)
    }
}

/// A session's keys.
pub(super) struct Association {
    /// 0: none.
    session: u64,
    mac: MacAddress,
    /// The exchange that was accepted last: the client's nonce, the cookie, and the number of the key.
    accepted: ([u8; 16], [u8; 16], u8),
    /// Given out, but not used by the client yet.
    pending: Option<SessionKey>,
    current: Option<SessionKey>,
    previous: Option<SessionKey>,
    /// The server has the session.
    pub(super) is_open: bool,
    /// For frames that are verified in vain.
    pub(super) reserve: Tokens,
}

impl Default for Association {
    fn default() -> Self {
        Self {
            session: 0,
            mac: MacAddress::default(),
            accepted: Default::default(),
            pending: None,
            current: None,
            previous: None,
            is_open: false,
            reserve: Tokens::for_session(),
        }
    }
}

impl Association {
    /// The session.
    pub(super) fn session(&self) -> u64 {
        self.session
    }

    /// Becomes that of a session, without keys.
    pub(super) fn open(&mut self, session: u64) {
        *self = Self {
            session,
            ..Self::default()
        };
    }

    /// Whether the client has this address.
    pub(super) fn is_at(&self, mac: MacAddress) -> bool {
        self.mac == mac
    }

    /// The client's address, if it has an open session and has used its keys.
    pub(super) fn address(&self) -> Option<MacAddress> {
        let is_there = self.is_open && self.current.is_some();
        is_there.then_some(self.mac)
    }

    /// The number of the key, if this exchange was accepted last.
    pub(super) fn accepted(&self, nonce: &[u8; 16], cookie: &[u8; 16]) -> Option<u8> {
        let (known_nonce, known_cookie, key) = &self.accepted;
        (known_nonce == nonce && known_cookie == cookie).then_some(*key)
    }

    /// Gives out the keys of an exchange.
    pub(super) fn accept(&mut self, pair: &PairKey, seed: &FrameKeySeed, mac: MacAddress) -> bool {
        let Some(key) = SessionKey::new(pair, seed) else {
            return false;
        };
        self.accepted = (seed.nonce, seed.cookie, seed.key);
        self.mac = mac;
        // A client that was rolled back uses a number again.
        for old in [&mut self.current, &mut self.previous] {
            old.take_if(|old| old.number == seed.key);
        }
        self.pending = Some(key);
        true
    }

    /// The valid key with this number.
    pub(super) fn key_mut(&mut self, now_ns: u64, number: u8) -> Option<&mut SessionKey> {
        let all = [&mut self.current, &mut self.pending, &mut self.previous];
        all.into_iter()
            .flatten()
            .find(|key| key.number == number && now_ns < key.until_ns)
    }

    /// A frame under this key was verified. If it is the pending one, it is used from now on, and the result
    /// is true.
    pub(super) fn confirm(&mut self, now_ns: u64, number: u8) -> bool {
        let is_it = |key: &mut SessionKey| key.number == number;
        let Some(next) = self.pending.take_if(is_it) else {
            return false;
        };
        self.previous = self.current.replace(next);
        if let Some(previous) = &mut self.previous {
            previous.until_ns = now_ns.saturating_add(OVERLAP_NS);
        }
        true
    }

    /// From which shared key the current keys follow.
    pub(super) fn pair(&self) -> Option<[u8; 16]> {
        self.current.as_ref().map(|key| key.pair)
    }

    /// The key for what is sent.
    pub(super) fn sending_key(&mut self) -> Option<&mut SessionKey> {
        self.current.as_mut()
    }

    /// Forgets keys that follow from other shared keys than these.
    pub(super) fn keep_keys_of(&mut self, pairs: &[Option<PairKey>; 2]) {
        let is_of = |key: &SessionKey| pairs.iter().flatten().any(|pair| pair.id() == key.pair);
        for key in [&mut self.pending, &mut self.current, &mut self.previous] {
            key.take_if(|key| !is_of(key));
        }
    }
}
