// SPDX-License-Identifier: GPL-2.0

//! A model of the driver's part in signing frames and verifying them, with the real ciphers.

use std::collections::{BTreeMap, BTreeSet};

use anemone::aead::{Cipher, Key};
use anemone::engine::channel::client::{Channel, ClientChannels, NewKeys, Outgoing};
use anemone::engine::channel::replay_window::ReplayWindow;
use anemone::engine::channel::PairKey;
use anemone::engine::client::ids::SERVER_SLOTS;
use anemone::secret::Secret;
use anemone::wire::{Flags, Frame, Header, MacAddress, Opcode, Signature, HEADER_LEN};
use zerocopy::IntoBytes;

use super::{Client, Frames};
use crate::context::Context;
use crate::event::Wire;
use crate::faults::Fault;
use crate::network::show;
use crate::random::SplitMix;
use crate::scenario::{MS, S};

/// How long the keys before the current ones are accepted.
const OVERLAP_NS: u64 = 30 * S;

/// The key that a client and a server share.
pub fn pair(client: usize, server: MacAddress) -> PairKey {
    let mut bytes = [client as u8; 32];
    bytes[..6].copy_from_slice(&server.0);
    PairKey::new(Secret::new(&bytes)).expect("no inputs")
}

/// A session's keys.
struct Keys {
    number: u8,
    transmit: Key,
    receive: Key,
    window: ReplayWindow,
    until_ns: u64,
}

/// The client's channels.
pub struct Signing {
    channels: ClientChannels<Vec<Channel>>,
    /// Of the client.
    identity: usize,
    random: SplitMix,
    cipher: Cipher,
    /// By server and session; the newest are the last.
    keys: BTreeMap<(MacAddress, u64), Vec<Keys>>,
    /// The last counter of each lane.
    lanes: Vec<u64>,
    /// KEY_REPLYs that wait for the worker, one of each session.
    replies: BTreeMap<(MacAddress, u64), Wire>,
    /// Servers to be asked whether they know our keys.
    hints: BTreeSet<MacAddress>,
}

impl Signing {
    /// Channels of the client with this identity and address; `None` if frames are not signed.
    pub fn new(identity: usize, mac: MacAddress, ctx: &mut Context) -> Option<Self> {
        if !ctx.scenario.signed {
            return None;
        }
        let cipher = match ctx.draw_key() % 4 {
            0 => Cipher::ChaCha20Poly1305,
            _ => Cipher::AesGcm,
        };
        let lifetime_ns = [S, 5 * S, 900 * S][(ctx.draw_key() % 3) as usize];
        let mut random = SplitMix(ctx.draw_key());
        let channels = vec![Channel::default(); SERVER_SLOTS];
        let mut channels = ClientChannels::new(channels, cipher, lifetime_ns).expect("enough");
        channels.set_address(0, mac, &mut random);
        Some(Self {
            channels,
            identity,
            random,
            cipher,
            keys: BTreeMap::new(),
            lanes: vec![0; anemone::engine::channel::LANES],
            replies: BTreeMap::new(),
            hints: BTreeSet::new(),
        })
    }

    fn install(&mut self, clock_ns: u64, new: &NewKeys) {
        let all = self.keys.entry((new.server, new.session)).or_default();
        for keys in all.iter_mut() {
            keys.until_ns = keys.until_ns.min(clock_ns + OVERLAP_NS);
        }
        if all.len() > 1 {
            all.remove(0);
        }
        all.push(Keys {
            number: new.number,
            transmit: Key::with_cipher(self.cipher, new.transmit.bytes()),
            receive: Key::with_cipher(self.cipher, new.receive.bytes()),
            window: ReplayWindow::default(),
            until_ns: u64::MAX,
        });
    }

    /// Signs a frame. `None` if there are no keys.
    fn sign(&mut self, lane: usize, wire: &Wire) -> Option<Wire> {
        let frame = Frame::parse(&wire.bytes).ok()?;
        let keys = self
            .keys
            .get(&(wire.destination, frame.header.session))?
            .last()?;
        let lanes = self.lanes.len();
        let lane = lane % lanes;
        let counter = &mut self.lanes[lane];
        *counter += 1;
        let header = Header {
            flags: frame.header.flags.union(Flags::SIGNED),
            ..frame.header
        };
        // CAST: below 64 KiB.
        let head = header.emit(frame.payload.len() as u16);
        let mut signature = Signature::new(keys.number, lane as u8, *counter, [0; 4]);
        let text = [&Signature::head(&head)[..], frame.payload].concat();
        signature.tag = keys.transmit.mac(&signature.nonce(), &text);
        Some(Wire {
            bytes: [&head[..], signature.as_bytes(), frame.payload]
                .concat()
                .into(),
            ..wire.clone()
        })
    }
}

impl Client {
    /// Whether a received frame is what one of our servers has sent, and new. Others are dropped, or lead to
    /// a question.
    pub(super) fn verify_frame(
        &mut self,
        ctx: &mut Context,
        wire: &Wire,
        frame: &Frame<'_>,
    ) -> bool {
        let clock_ns = self.clock_ns(ctx);
        let header = &frame.header;
        let Some(signing) = &mut self.signing else {
            return !header.flags.contains(Flags::SIGNED);
        };
        let Some(signature) = frame.signature(&wire.bytes) else {
            let is_hint = match header.opcode {
                Opcode::KeyReply => {
                    self.note_key_reply(ctx, wire, frame);
                    false
                }
                Opcode::Reject => true,
                Opcode::Announce => signing.channels.is_news(wire.source, header.incarnation),
                _ => false,
            };
            if is_hint {
                signing_hint(&mut self.signing, wire.source);
                self.run_cluster(ctx);
            }
            return false;
        };
        let all = signing.keys.get_mut(&(wire.source, header.session));
        let found = all
            .into_iter()
            .flatten()
            .find(|keys| keys.number == signature.key);
        let Some(keys) = found.filter(|keys| clock_ns < keys.until_ns) else {
            ctx.counts.fault(Fault::FrameUnverified);
            return false;
        };
        let covered = match header.flags.contains(Flags::HEADER_ONLY) {
            true => &[],
            false => frame.payload,
        };
        let Some(head) = wire.bytes.first_chunk::<HEADER_LEN>() else {
            return false;
        };
        let text = [&Signature::head(head)[..], covered].concat();
        let is_right = signature.lane == 0
            && keys.window.may_accept(signature.counter())
            && keys
                .receive
                .verify_mac(&signature.nonce(), &signature.tag, &text)
            && keys.window.accept(signature.counter());
        if !is_right {
            ctx.counts.fault(Fault::FrameUnverified);
            return false;
        }
        // A client has another number in each life.
        if let Err(why) = ctx.authentic.accept(self.mac, self.number as u64, wire) {
            let number = self.number;
            ctx.oracle
                .fail(|| format!("client {number} {why}: {}", show(wire)));
        }
        if header.opcode == Opcode::KeyReply {
            self.note_key_reply(ctx, wire, frame);
            return false;
        }
        true
    }

    fn note_key_reply(&mut self, ctx: &mut Context, wire: &Wire, frame: &Frame<'_>) {
        let Some(signing) = &mut self.signing else {
            return;
        };
        let awaited = signing.channels.awaits(wire.source, frame.header.session);
        if awaited.is_some_and(|nonce| frame.payload.starts_with(&nonce)) {
            signing
                .replies
                .insert((wire.source, frame.header.session), wire.clone());
            self.run_cluster(ctx);
        }
    }

    /// What the worker does before the cluster: answers to requests for keys, and hints. Returns the frames
    /// that have waited for keys.
    pub(super) fn take_keys(&mut self, ctx: &mut Context, frames: &mut Frames) {
        let clock_ns = self.clock_ns(ctx);
        let Some(signing) = &mut self.signing else {
            return;
        };
        for ((source, _), wire) in std::mem::take(&mut signing.replies) {
            let Ok(frame) = Frame::parse(&wire.bytes) else {
                continue;
            };
            if let Some(new) = signing.channels.handle_reply(clock_ns, source, &frame) {
                ctx.counts.fault(Fault::KeysChanged);
                if !ctx.authentic.was_sent(self.mac, &wire) {
                    let number = self.number;
                    ctx.oracle
                        .fail(|| format!("client {number} takes keys of nobody: {}", show(&wire)));
                }
                signing.install(clock_ns, &new);
                signing.channels.release(new.channel, frames);
            }
        }
        for source in std::mem::take(&mut signing.hints) {
            signing.channels.hint(clock_ns, source, &mut signing.random);
        }
    }

    /// What the worker does after the cluster: requests for keys.
    pub(super) fn request_keys(&mut self, ctx: &mut Context, frames: &mut Frames) {
        let clock_ns = self.clock_ns(ctx);
        let Some(signing) = &mut self.signing else {
            return;
        };
        let cluster = &self.cluster;
        for (server, _) in cluster.stations() {
            let pair = pair(signing.identity, server);
            assert!(signing.channels.set_pair(server, pair));
        }
        signing
            .channels
            .follow(clock_ns, || cluster.stations(), &mut signing.random, |_| ());
        let stations: BTreeSet<_> = cluster.stations().collect();
        signing.keys.retain(|station, _| stations.contains(station));
        signing
            .channels
            .handle_timeout(clock_ns, &mut signing.random, frames);
    }

    /// When keys are to be requested.
    pub(super) fn keys_due_ns(&self) -> u64 {
        self.signing
            .as_ref()
            .map_or(u64::MAX, |signing| signing.channels.next_timeout_ns())
    }

    /// The frame as it is sent; `None` if it is not sent.
    pub(super) fn signed(&mut self, ctx: &mut Context, lane: usize, wire: Wire) -> Option<Wire> {
        let Some(signing) = &mut self.signing else {
            return Some(wire);
        };
        let frame = Frame::parse(&wire.bytes).ok()?;
        match signing
            .channels
            .outgoing(wire.destination, &frame.header, frame.payload)
        {
            Outgoing::Plain => Some(wire),
            Outgoing::Held => {
                ctx.counts.fault(Fault::FrameHeld);
                None
            }
            Outgoing::Signed(_) => signing.sign(lane, &wire),
        }
    }

    /// The host was rolled back: no key may be used any more.
    pub fn discard_keys(&mut self, ctx: &mut Context) {
        let clock_ns = self.clock_ns(ctx);
        if let Some(signing) = &mut self.signing {
            signing.keys.clear();
            signing.channels.discard_all(clock_ns, &mut signing.random);
        }
    }
}

fn signing_hint(signing: &mut Option<Signing>, source: MacAddress) {
    if let Some(signing) = signing {
        signing.hints.insert(source);
    }
}

/// How long it may take to get keys from a server that is well.
pub const KEYS_NS: u64 = 200 * MS;
