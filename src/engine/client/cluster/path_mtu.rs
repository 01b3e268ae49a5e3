// SPDX-License-Identifier: GPL-2.0

//! How long frames may be on the way to one server and back: found out by probes, as RFC 8899 does.
//!
//! A switch or a tunnel in between drops what is too long for it without a word, and lets pings pass. So
//! PINGs as long as fragments are sent, and what comes back has crossed. A path is taken to be as wide as
//! the interface says, up to an Ethernet's usual 1500 bytes, until it is shown otherwise: probes are lost
//! while a short ping, sent after them, is answered; or a shard suspects the server. Then pages are cut as
//! small as can be, which needs no probe, and longer fragments are tried. What is in use is tried again every
//! ten seconds, and with it the next longer: a path may become narrower or wider at any time.
//!
//! The rules: `docs/protocol.md`, "PING".

use super::peer::Query;
use super::{Outbox, Peer};
use crate::engine::client::config::NS_PER_S;
use crate::engine::client::ids::ServerSlot;
use crate::wire::{Fragmentation, Header, Opcode, PAGE_SIZE};

/// Probes of what is in use that may be lost: after one more, the answer to a ping is held against it.
const LOST_TRIES: u32 = 3;
/// Tries of a round that follows a doubt: enough for every cut.
const QUICK_TRIES: u32 = 8;
/// Tries of any other round.
const SLOW_TRIES: u32 = 2;
/// Between two rounds; and up to a tenth more, so that servers are not probed all at once.
const ROUND_NS: u64 = 10 * NS_PER_S;
/// What a random number is masked with for that.
const JITTER: u64 = (1 << 30) - 1;

/// What a probe is filled with.
static PADDING: [u8; PAGE_SIZE] = [0; PAGE_SIZE];

/// The cuts that an interface allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cuts {
    /// As the interface's MTU says.
    pub(super) widest: Fragmentation,
    /// The same, but fit to cross 1500 bytes.
    pub(super) usual: Fragmentation,
}

impl Cuts {
    /// Those of an interface with this MTU.
    pub(super) fn of_mtu(mtu: usize) -> Self {
        let cut = |mtu| Fragmentation::for_mtu(mtu).unwrap_or(Fragmentation::NARROWEST);
        Self {
            widest: cut(mtu),
            usual: cut(mtu.min(1500)),
        }
    }

    /// Whether there is anything to be found out.
    pub(super) fn need_probes(self) -> bool {
        self.widest != Fragmentation::NARROWEST
    }
}

/// What is known of the way to a server and back.
#[derive(Clone, Debug)]
pub(super) struct PathMtu {
    query: Query,
    /// How pages are cut.
    cut: Fragmentation,
    /// Whether a probe as long as its fragments has come back in this round.
    has_come: bool,
    /// Tries of this round, once one has.
    tries: u32,
    /// Whether they are over: the next one begins another round.
    is_over: bool,
    /// How many cuts between the widest and the one in use have been tried.
    tried: u8,
}

impl PathMtu {
    pub(super) fn new(query: Query) -> Self {
        Self {
            query,
            cut: Fragmentation::NARROWEST,
            has_come: false,
            tries: SLOW_TRIES,
            is_over: false,
            tried: 0,
        }
    }

    /// How pages are cut.
    pub(super) fn cut(&self) -> Fragmentation {
        self.cut
    }

    pub(super) fn due_ns(&self) -> u64 {
        self.query.due_ns()
    }

    pub(super) fn answers(&self, header: &Header) -> bool {
        self.query.answers(header)
    }

    /// Pages are cut so from now on; what crosses is found out.
    pub(super) fn begin(&mut self, now_ns: u64, cut: Fragmentation) {
        self.cut = cut;
        self.tried = 0;
        self.begin_round(now_ns, QUICK_TRIES);
    }

    /// The server has been silent, and no probe has been sent meanwhile.
    pub(super) fn restart(&mut self, now_ns: u64) {
        self.begin_round(now_ns, QUICK_TRIES);
    }

    fn begin_round(&mut self, due_ns: u64, tries: u32) {
        self.has_come = false;
        self.is_over = false;
        self.tries = tries;
        self.query.restart(due_ns);
    }

    /// Whether what is in use crosses: the narrowest is not asked for.
    fn is_proven(&self) -> bool {
        self.has_come || self.cut == Fragmentation::NARROWEST
    }

    /// Whether probes have been lost, so that a short frame that now crosses says that long ones do not.
    pub(super) fn is_doubtful(&self) -> bool {
        !self.is_proven() && self.query.tries() > LOST_TRIES
    }

    /// The header of the next probes, and how long they are: as the widest cut's fragments, and as those in
    /// use, or where these have come back, as some between.
    fn next(
        &mut self,
        now_ns: u64,
        slot: ServerSlot,
        nonce: u64,
        cuts: Cuts,
    ) -> (Header, [Option<Fragmentation>; 2]) {
        if self.is_over {
            self.begin_round(now_ns, SLOW_TRIES);
        }
        let other = match self.is_proven() {
            true => self.between(cuts),
            false => Some(self.cut).filter(|cut| *cut != cuts.widest),
        };
        let header = self.query.ask(now_ns, slot, nonce, Opcode::Ping);
        if self.is_proven() && self.query.tries() >= self.tries {
            self.is_over = true;
            self.query.put_off(next_round_ns(now_ns, nonce));
        }
        (header, [Some(cuts.widest), other])
    }

    /// One of the cuts between the widest and the one in use, each in its turn, the usual one first.
    fn between(&mut self, cuts: Cuts) -> Option<Fragmentation> {
        let widest = cuts.widest.count();
        let first = widest.checked_add(1)?;
        let cuts_between = self.cut.count().checked_sub(first)?;
        let skipped = cuts.usual.count().saturating_sub(first);
        let place = self.tried.wrapping_add(skipped).checked_rem(cuts_between)?;
        self.tried = self.tried.wrapping_add(1) % PLACES;
        Fragmentation::from_count(first.checked_add(place)?)
    }

    /// A probe with a payload so long has come back. Returns whether pages are cut otherwise now.
    pub(super) fn answered(&mut self, now_ns: u64, payload_len: usize, cuts: Cuts) -> bool {
        let widest = cuts.widest.count();
        let crossed = (widest..self.cut.count().saturating_add(1))
            .filter_map(Fragmentation::from_count)
            .find(|cut| cut.payload_len() <= payload_len);
        let Some(crossed) = crossed else {
            return false;
        };
        self.has_come = true;
        let is_wider = core::mem::replace(&mut self.cut, crossed) != crossed;
        if crossed == cuts.widest {
            self.begin_round(next_round_ns(now_ns, now_ns), SLOW_TRIES);
        }
        is_wider
    }
}

/// The turns of [`PathMtu::between`] repeat after this many: a multiple of each possible number of cuts.
const PLACES: u8 = 60;

fn next_round_ns(now_ns: u64, random: u64) -> u64 {
    now_ns
        .saturating_add(ROUND_NS)
        .saturating_add(random & JITTER)
}

impl Peer {
    /// Sends probes, if it is time.
    pub(super) fn send_probes(
        &mut self,
        now_ns: u64,
        slot: ServerSlot,
        nonce: u64,
        cuts: Cuts,
        outbox: &mut impl Outbox,
    ) {
        if self.silent || !cuts.need_probes() || now_ns < self.path_mtu.due_ns() {
            return;
        }
        let (header, lengths) = self.path_mtu.next(now_ns, slot, nonce, cuts);
        for cut in lengths.into_iter().flatten() {
            if let Some(padding) = PADDING.get(..cut.payload_len()) {
                self.send(header, padding, outbox);
            }
        }
        if self.path_mtu.is_doubtful() && !self.ping.is_asking() {
            // It is sent after the probes, and short.
            self.ping.restart(now_ns);
        }
    }
}
