// SPDX-License-Identifier: GPL-2.0

//! What waits for the worker: answers to its requests for keys, refusals and hints.

use kernel::sync::atomic::{
    Acquire,
    Relaxed, //
};

use super::{
    channel_keys::ChannelKeys,
    FrameKeys, //
};
use crate::{
    engine::client::server_table::mac_to_u64,
    linux::{
        random::burst_noise,
        time::hrtimer::now_ns, //
    },
    wire::{
        Header,
        KeyReply,
        MacAddress,
        Status, //
    },
};

/// Time between two answers without a signature for which the worker is woken. It looks at others when it
/// runs.
const REPLY_NS: u64 = 1_000_000;

/// Time between two hints that are noted.
const HINT_NS: u64 = 100_000_000;

/// A KEY_REPLY.
pub(in crate::driver) type KeyAnswer = (Header, [u8; size_of::<KeyReply>()]);

/// Answers without a signature that are kept. Whoever sees a request can send any number of them.
const UNSIGNED: usize = 4;

/// Answers that are kept.
pub(in crate::driver) const ANSWERS: usize = UNSIGNED + 1;

/// The places for answers.
#[derive(Default)]
pub(super) struct Mail {
    /// What they must begin with, and who sends them.
    awaited: Option<[u8; 16]>,
    server: MacAddress,
    /// Why it takes none of our frames, as it says.
    refusal: Option<Status>,
    signed: Option<KeyAnswer>,
    unsigned: [Option<KeyAnswer>; UNSIGNED],
    /// The worker is not woken before that for one without a signature.
    next_ns: u64,
}

impl Mail {
    /// Keeps an answer. Returns whether the worker should be woken.
    fn keep(
        &mut self,
        source: MacAddress,
        answer: KeyAnswer,
        is_signed: bool,
        now_ns: u64,
    ) -> bool {
        let (_, payload) = &answer;
        let mut awaited = self.awaited.iter();
        if self.server != source || !awaited.any(|nonce| payload.starts_with(nonce)) {
            return false;
        }
        if is_signed {
            self.signed = Some(answer);
            return true;
        }
        let mut places = self.unsigned.iter_mut();
        match places.find(|place| place.is_none()) {
            Some(place) => *place = Some(answer),
            // Any of them may be the right one.
            None => {
                let place = burst_noise() as usize % UNSIGNED;
                if let Some(place) = self.unsigned.get_mut(place) {
                    *place = Some(answer);
                }
            }
        }
        self.is_due(now_ns)
    }

    /// Whether something without a proof may wake the worker.
    fn is_due(&mut self, now_ns: u64) -> bool {
        let is_due = now_ns >= self.next_ns;
        if is_due {
            self.next_ns = now_ns.saturating_add(REPLY_NS);
        }
        is_due
    }

    fn take(&mut self) -> Option<KeyAnswer> {
        let unsigned = &mut self.unsigned;
        let signed = self.signed.take();
        signed.or_else(|| unsigned.iter_mut().find_map(Option::take))
    }
}

impl FrameKeys {
    /// Notes that a server may not know our keys. Returns whether that is new.
    #[cold]
    pub(in crate::driver) fn note_hint(&self, server: MacAddress, session: u64) -> bool {
        let Some((index, channel)) = self.find_index(server, session) else {
            return false;
        };
        let now_ns = now_ns();
        if now_ns < channel.hint_ns.load(Relaxed) {
            return false;
        }
        channel
            .hint_ns
            .store(now_ns.saturating_add(HINT_NS), Relaxed);
        // CAST: below 32.
        let bit = 1_u32.wrapping_shl(index as u32);
        crate::sync::update(&self.hints, |hints| {
            (hints & bit == 0).then_some(hints | bit)
        })
        .is_some()
    }

    /// As [`Self::note_hint`], for a server that announces another incarnation than ours.
    #[cold]
    pub(in crate::driver) fn note_announcement(
        &self,
        server: MacAddress,
        incarnation: u64,
    ) -> bool {
        let mac = mac_to_u64(server);
        let mut is_new = false;
        for channel in &self.channels {
            let session = channel.session.load(Acquire);
            let is_of = session != 0 && channel.mac.load(Relaxed) == mac;
            if is_of && channel.incarnation.load(Relaxed) != incarnation {
                is_new |= self.note_hint(server, session);
            }
        }
        is_new
    }

    /// Takes the channels that have hints.
    pub(in crate::driver) fn take_hints(&self) -> u32 {
        match self.hints.load(Relaxed) {
            0 => 0,
            _ => self.hints.xchg(0, Relaxed),
        }
    }

    /// Keeps an answer to a request for keys, if it is awaited. Returns whether the worker should be woken.
    #[cold]
    pub(in crate::driver) fn keep_reply(
        &self,
        source: MacAddress,
        header: &Header,
        payload: &[u8],
        is_signed: bool,
    ) -> bool {
        let Ok(payload) = <&[u8; size_of::<KeyReply>()]>::try_from(payload) else {
            return false;
        };
        let now_ns = now_ns();
        let mut all = self.channels.iter();
        all.any(|channel| {
            let mut mail = channel.mail.lock();
            mail.keep(source, (*header, *payload), is_signed, now_ns)
        })
    }

    /// From now on an answer with this nonce is awaited on a channel.
    pub(in crate::driver) fn set_awaited(
        &self,
        channel: usize,
        server: MacAddress,
        awaited: Option<[u8; 16]>,
    ) {
        if let Some(channel) = self.channels.get(channel) {
            let mut mail = channel.mail.lock();
            if mail.awaited != awaited {
                *mail = Mail {
                    awaited,
                    server,
                    refusal: mail.refusal.filter(|_| mail.server == server),
                    ..Mail::default()
                };
            }
        }
    }

    /// Takes an answer of a channel.
    pub(in crate::driver) fn take_reply(&self, channel: usize) -> Option<KeyAnswer> {
        self.channels.get(channel)?.mail.lock().take()
    }

    /// An exchange goes on: its next answer wakes the worker whenever it comes.
    pub(in crate::driver) fn expect_more(&self, channel: usize) {
        if let Some(channel) = self.channels.get(channel) {
            channel.mail.lock().next_ns = 0;
        }
    }

    /// Notes why a server takes none of our frames, as it says without a proof. Returns whether the worker
    /// should be woken.
    #[cold]
    pub(in crate::driver) fn note_refusal(&self, server: MacAddress, why: Status) -> bool {
        if !matches!(
            why,
            Status::KeyWanted | Status::NoKeys | Status::NotAdmitted
        ) {
            return false;
        }
        let now_ns = now_ns();
        let mut all = self.channels.iter();
        all.any(|channel| {
            let mut mail = channel.mail.lock();
            let is_new =
                mail.server == server && mail.awaited.is_some() && mail.refusal != Some(why);
            if is_new {
                mail.refusal = Some(why);
            }
            is_new && mail.is_due(now_ns)
        })
    }

    /// Why the server of a channel takes none of our frames, as it says.
    pub(in crate::driver) fn refusal(&self, channel: usize) -> Option<Status> {
        self.channels.get(channel)?.mail.lock().refusal
    }
}

impl ChannelKeys {
    /// Its server has no keys any more.
    pub(super) fn forget_refusal(&self) {
        self.mail.lock().refusal = None;
    }
}
