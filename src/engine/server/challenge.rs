// SPDX-License-Identifier: GPL-2.0

//! Checks whether the client of a session is alive, with several challenges over two seconds that
//! carry a fresh nonce, before its session ends to make room for another.
//!
//! The rules: `docs/protocol.md`, "CHALLENGE".

use super::{Admission, Outbox, Server};
use crate::engine::server::store::Memory;
use crate::wire::{Header, MacAddress, Nonce, Opcode};
use zerocopy::{FromBytes, IntoBytes};

/// Time between two challenges.
const INTERVAL_NS: u64 = 400_000_000;
/// Challenges before silence counts.
const TIMES: u8 = 5;
/// The last part of the wait for the last answer. Frames that arrived while the server was stopped
/// are read during it, because timers run before frames are read.
const LAST_LOOK_NS: u64 = 100_000_000;
/// How long a result is valid.
const GOOD_NS: u64 = 5_000_000_000;
/// Challenges sent in one step: an outbox has room for them beside an announcement.
const STEP: usize = 4;
/// Time between two steps.
const STEP_NS: u64 = 1_000_000;

/// What is known about whether a session's client is alive.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Challenge {
    /// It was not challenged.
    #[default]
    None,
    /// `sent` challenges have been sent; `sent` is one more than [`TIMES`] during the last part of
    /// the wait. The next step is at `due_ns`.
    Asking { nonce: u64, sent: u8, due_ns: u64 },
    /// It answered.
    Alive { since_ns: u64 },
    /// It did not answer.
    Silent { since_ns: u64 },
}

/// The state of a session's client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Liveness {
    /// It answered recently.
    Alive,
    /// It is being challenged.
    Unknown,
    /// It was challenged often enough recently, and was silent.
    Silent,
}

impl Challenge {
    /// A frame of the session has arrived that is not an answer and may be old: restarts the challenge.
    pub(super) fn note_frame(&mut self) {
        match self {
            // All challenges are sent once more, beginning when the next one is due: a lost
            // challenge is repeated, however many frames arrive.
            Self::Asking { sent, .. } => *sent = 0,
            Self::Silent { .. } => *self = Self::None,
            _ => {}
        }
    }

    /// What is known now.
    fn liveness(&self, now_ns: u64) -> Option<Liveness> {
        let is_good = |since_ns: u64| now_ns.saturating_sub(since_ns) <= GOOD_NS;
        match *self {
            Self::Asking { .. } => Some(Liveness::Unknown),
            Self::Alive { since_ns } => is_good(since_ns).then_some(Liveness::Alive),
            Self::Silent { since_ns } => is_good(since_ns).then_some(Liveness::Silent),
            Self::None => None,
        }
    }
}

impl<M: Memory, A: Admission> Server<M, A> {
    /// Whether the client of the session at `index` is alive. If that is unknown, challenges it.
    pub(super) fn liveness(&mut self, now_ns: u64, index: usize) -> Liveness {
        let Some(session) = self.sessions.get_mut(index) else {
            return Liveness::Silent;
        };
        if mutated!(ClientUnasked) {
            return Liveness::Silent;
        }
        if let Some(liveness) = session.challenge.liveness(now_ns) {
            return liveness;
        }
        // The nonce may be 0: one frame in 2^64 would then match by chance, as for any other.
        session.challenge = Challenge::Asking {
            nonce: self.admission.nonce(),
            sent: 0,
            due_ns: now_ns,
        };
        self.challenge_at_ns = Some(now_ns);
        Liveness::Unknown
    }

    /// An ALIVE frame has arrived, in answer to any challenge.
    pub(super) fn note_alive(&mut self, now_ns: u64, index: usize, payload: &[u8]) {
        let Ok(answer) = Nonce::read_from_bytes(payload) else {
            self.count_bad();
            return;
        };
        if let Some(session) = self.sessions.get_mut(index) {
            if let Challenge::Asking { nonce, .. } = session.challenge {
                if nonce == answer.nonce.get() {
                    session.challenge = Challenge::Alive { since_ns: now_ns };
                }
            }
        }
    }

    /// Sends the challenges that are due, and notes the clients that did not answer.
    pub(super) fn send_challenges(&mut self, now_ns: u64, out: &mut impl Outbox) {
        let mut next_ns = None::<u64>;
        let mut sent_now = 0_usize;
        for index in 0..self.sessions.places() {
            let Some(session) = self.sessions.get_mut(index) else {
                continue;
            };
            let Challenge::Asking {
                nonce,
                sent,
                due_ns,
            } = &mut session.challenge
            else {
                continue;
            };
            if *due_ns <= now_ns && *sent >= TIMES {
                if now_ns.saturating_sub(*due_ns) >= INTERVAL_NS {
                    // The server was stopped, and the challenge or its answer may be lost: sends it
                    // once more.
                    *sent = TIMES.saturating_sub(1);
                } else if *sent == TIMES {
                    *sent = sent.saturating_add(1);
                    *due_ns = now_ns.saturating_add(LAST_LOOK_NS);
                } else {
                    session.challenge = Challenge::Silent { since_ns: now_ns };
                    continue;
                }
            }
            let mut again_ns = *due_ns;
            let mut question = None;
            if *due_ns <= now_ns {
                if sent_now < STEP {
                    sent_now = sent_now.saturating_add(1);
                    *sent = sent.saturating_add(1);
                    let wait_ns = if *sent >= TIMES {
                        INTERVAL_NS.saturating_sub(LAST_LOOK_NS)
                    } else {
                        INTERVAL_NS
                    };
                    *due_ns = now_ns.saturating_add(wait_ns);
                    again_ns = *due_ns;
                    question = Some(*nonce);
                } else {
                    again_ns = now_ns.saturating_add(STEP_NS);
                }
            }
            next_ns = Some(next_ns.map_or(again_ns, |next_ns| next_ns.min(again_ns)));
            let (number, mac) = (session.number, session.mac);
            if let Some(nonce) = question {
                self.challenge(number, mac, nonce, out);
            }
        }
        self.challenge_at_ns = next_ns;
    }

    fn challenge(&self, number: u64, mac: MacAddress, nonce: u64, out: &mut impl Outbox) {
        let header = Header {
            session: number,
            ..Header::new(Opcode::Challenge)
        };
        let nonce = Nonce {
            nonce: nonce.into(),
        };
        self.send_message(mac, header, nonce.as_bytes(), out);
    }
}
