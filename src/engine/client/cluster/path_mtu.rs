// SPDX-License-Identifier: GPL-2.0

//! How long frames may be on the path to one server and back, found with probes as in RFC 8899.
//!
//! A switch or a tunnel may drop long frames silently and let pings pass. So the cluster sends PINGs as
//! long as fragments; those that return have crossed. A path is assumed to have the interface's MTU,
//! but at most the usual 1500 bytes, until there is doubt: probes are lost while a ping sent after them is
//! answered, which is only as long as the shortest fragments, or a shard suspects the server. Then pages are
//! cut into the most fragments, which needs no probe, and longer fragments are probed. Every ten seconds the
//! length in use and the next longer ones are probed again, because a path's MTU may change at any time.
//!
//! The rules: `docs/protocol.md`, "PING".

use super::query::Query;
use super::{Cluster, Outbox, Peer, Random, State};
use crate::engine::client::config::NS_PER_S;
use crate::engine::client::ids::{ServerSlot, SlotSet};
use crate::engine::client::server_table::ServerTable;
use crate::engine::client::storage::Storage;
use crate::wire::{Fragmentation, Header, Opcode, HEADER_LEN, PADDING};

/// Bytes of a ping's payload: as many as the shortest fragments have. A server whose answer does not cross
/// the path cannot be used, though shorter frames may cross.
pub const PING_LEN: usize = Fragmentation::MIN_MTU - HEADER_LEN;

/// The MTU that a path is assumed to have until probes show more.
const USUAL_MTU: usize = 1500;
/// Lost probes of the length in use that are tolerated. After one more, an answer to a ping lowers
/// the length.
const LOST_TRIES: u32 = 3;
/// Attempts of a round after a doubt: enough for every cut.
const QUICK_TRIES: u32 = 8;
/// Attempts of any other round.
const SLOW_TRIES: u32 = 2;
/// Time between two rounds, plus up to a tenth, so that servers are not all probed at once.
const ROUND_NS: u64 = 10 * NS_PER_S;
/// Mask of the random number for that tenth.
const JITTER: u64 = (1 << 30) - 1;

/// How pages are cut until probes show otherwise, on an interface with this MTU; `None` if no page can cross
/// it.
pub fn usual_cut(mtu: usize) -> Option<Fragmentation> {
    Fragmentation::for_mtu(mtu.min(USUAL_MTU))
}

/// The cuts that an interface allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cuts {
    /// According to the interface's MTU.
    pub(super) widest: Fragmentation,
    /// The same, but at most for [`USUAL_MTU`].
    pub(super) usual: Fragmentation,
}

impl Cuts {
    /// The cuts for an interface with this MTU.
    pub(super) fn of_mtu(mtu: usize) -> Self {
        Self {
            widest: Fragmentation::for_mtu(mtu).unwrap_or(Fragmentation::NARROWEST),
            usual: usual_cut(mtu).unwrap_or(Fragmentation::NARROWEST),
        }
    }

    /// Whether there is more than one cut to choose from.
    pub(super) fn need_probes(self) -> bool {
        self.widest != Fragmentation::NARROWEST
    }
}

/// What is known of the path to a server and back.
#[derive(Clone, Debug)]
pub(super) struct PathMtu {
    pub(super) query: Query,
    /// How pages are cut now.
    cut: Fragmentation,
    /// Whether a probe of the length in use has returned in this round.
    has_come: bool,
    /// Attempts of this round after one has returned.
    tries: u32,
    /// Whether the round has ended: the next attempt begins another.
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

    /// How pages are cut now.
    pub(super) fn cut(&self) -> Fragmentation {
        self.cut
    }

    /// Sets how pages are cut from now on, and begins to probe.
    pub(super) fn begin(&mut self, now_ns: u64, cut: Fragmentation) {
        self.cut = cut;
        self.tried = 0;
        self.begin_round(now_ns, QUICK_TRIES);
    }

    /// The server was suspected, and no probe was sent meanwhile: begins to probe again.
    pub(super) fn restart(&mut self, now_ns: u64) {
        self.begin_round(now_ns, QUICK_TRIES);
    }

    fn begin_round(&mut self, due_ns: u64, tries: u32) {
        self.has_come = false;
        self.is_over = false;
        self.tries = tries;
        self.query.restart(due_ns);
    }

    /// Whether the length in use is known to cross. The narrowest needs no probe.
    fn is_proven(&self) -> bool {
        self.has_come || self.cut == Fragmentation::NARROWEST
    }

    /// Whether probes were lost, so that a short frame that crosses now shows that long ones do not.
    fn is_doubtful(&self) -> bool {
        !self.is_proven() && self.query.tries() > LOST_TRIES
    }

    /// The header of the next probes, and their lengths: that of the widest cut, and that of the
    /// cut in use or, once that one has returned, of a cut in between.
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

    /// One of the cuts between the widest and the one in use, in turn, the usual one first.
    fn between(&mut self, cuts: Cuts) -> Option<Fragmentation> {
        let widest = cuts.widest.count();
        let first = widest.checked_add(1)?;
        let cuts_between = self.cut.count().checked_sub(first)?;
        let skipped = cuts.usual.count().saturating_sub(first);
        let place = self.tried.wrapping_add(skipped).checked_rem(cuts_between)?;
        self.tried = self.tried.wrapping_add(1) % PLACES;
        Fragmentation::from_count(first.checked_add(place)?)
    }

    /// A probe with a payload of this length has returned. Returns whether the cut has changed.
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

/// The turns of [`PathMtu::between`] repeat after this many: a multiple of every possible number of
/// cuts.
const PLACES: u8 = 60;

fn next_round_ns(now_ns: u64, random: u64) -> u64 {
    now_ns
        .saturating_add(ROUND_NS)
        .saturating_add(random & JITTER)
}

impl Peer {
    /// Sends probes, if they are due.
    pub(super) fn send_probes(
        &mut self,
        now_ns: u64,
        slot: ServerSlot,
        nonce: u64,
        cuts: Cuts,
        outbox: &mut impl Outbox,
    ) {
        if self.suspected || !cuts.need_probes() || !self.path_mtu.query.is_due(now_ns) {
            return;
        }
        let (header, lengths) = self.path_mtu.next(now_ns, slot, nonce, cuts);
        for cut in lengths.into_iter().flatten() {
            if let Some(padding) = PADDING.get(..cut.payload_len()) {
                self.send(header, padding, outbox);
            }
        }
        if self.path_mtu.is_doubtful() && !self.ping.is_asking() {
            // The ping is shorter, and sent after the probes.
            self.ping.restart(now_ns);
        }
    }
}

impl<S: Storage, R: Random> Cluster<S, R> {
    /// The interface's MTU has changed. Until probes show otherwise, pages are cut by
    /// [`usual_cut`]. If no page can cross, no ping does either, so that no server is usable, then suspected.
    pub fn set_mtu(&mut self, now_ns: u64, mtu: usize, table: &ServerTable) {
        let was_narrow = self.is_narrow();
        self.mtu = mtu;
        let (cut, is_narrow) = (Cuts::of_mtu(mtu).usual, self.is_narrow());
        for slot in SlotSet::ALL.iter() {
            let peer = &mut self.peers[slot];
            peer.path_mtu.begin(now_ns, cut);
            if peer.state == State::Open {
                table.set_fragmentation(slot, cut);
                if is_narrow {
                    table.set_usable(slot, false);
                } else if was_narrow && peer.suspected {
                    peer.ping.restart(now_ns);
                } else if was_narrow {
                    table.set_usable(slot, true);
                }
                self.changes.servers_changed = true;
            }
        }
    }

    /// Whether no page can cross the interface: its MTU is below [`Fragmentation::MIN_MTU`].
    pub fn is_narrow(&self) -> bool {
        Fragmentation::for_mtu(self.mtu).is_none()
    }

    /// A shard suspects the server: perhaps only long frames are lost.
    pub(super) fn narrow_suspected(&mut self, now_ns: u64, slot: ServerSlot, table: &ServerTable) {
        if self.peers[slot].path_mtu.cut() != Fragmentation::NARROWEST {
            self.narrow(now_ns, slot, table);
        }
    }

    /// The server has answered a ping: if probes before it were lost, only long frames are.
    pub(super) fn narrow_doubtful(&mut self, now_ns: u64, slot: ServerSlot, table: &ServerTable) {
        let peer = &self.peers[slot];
        if peer.path_mtu.is_doubtful() && !peer.suspected {
            self.narrow(now_ns, slot, table);
        }
    }

    /// Long frames seem not to cross the path to this server: pages are cut into the most fragments
    /// until probes show otherwise.
    fn narrow(&mut self, now_ns: u64, slot: ServerSlot, table: &ServerTable) {
        if mutated!(PathMtuNeverLowered) {
            return;
        }
        let path_mtu = &mut self.peers[slot].path_mtu;
        path_mtu.begin(now_ns, Fragmentation::NARROWEST);
        table.set_fragmentation(slot, path_mtu.cut());
        self.changes.servers_changed = true;
    }
}
