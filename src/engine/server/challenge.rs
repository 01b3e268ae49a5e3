// SPDX-License-Identifier: GPL-2.0

//! Whether the client of a session lives: it is asked with a fresh nonce, several times over two
//! seconds, before its session ends for another's sake.
//!
//! The rules: `docs/protocol.md`, "CHALLENGE".

use super::{Admission, Outbox, Server};
use crate::engine::server::store::Memory;
use crate::wire::{Header, MacAddress, Nonce, Opcode};
use zerocopy::{FromBytes, IntoBytes};

/// Between two times that a client is asked.
const INTERVAL_NS: u64 = 400_000_000;
/// How often it is asked before its silence counts.
const TIMES: u8 = 5;
/// The last part of the wait for an answer to the last question: what came while we stood still is looked
/// at in it, for what is due is done before frames are taken in.
const LAST_LOOK_NS: u64 = 100_000_000;
/// For how long what was found out is good.
const GOOD_NS: u64 = 5_000_000_000;
/// Challenges sent in one step: what an outbox has room for, beside an announcement.
const STEP: usize = 4;
/// Between two steps.
const STEP_NS: u64 = 1_000_000;

/// What is known of whether a session's client lives.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Challenge {
    /// Nobody has asked.
    #[default]
    None,
    /// It has been asked `sent` times, or one less if that is above [`TIMES`] and this is the last look;
    /// what is next is at `due_ns`.
    Asking { nonce: u64, sent: u8, due_ns: u64 },
    /// It has answered.
    Alive { since_ns: u64 },
    /// It has not answered.
    Silent { since_ns: u64 },
}

/// What a look at a session's client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It has answered lately.
    Lives,
    /// It is being asked.
    Unknown,
    /// It has lately been asked often enough, and has been silent meanwhile.
    Silent,
}

impl Challenge {
    /// Something has come of the session that is no answer, and may be old: its silence begins anew.
    pub(super) fn heard(&mut self) {
        match self {
            // All questions are asked once more, when the next one is due: one that is lost is repeated,
            // however often something comes.
            Self::Asking { sent, .. } => *sent = 0,
            Self::Silent { .. } => *self = Self::None,
            _ => {}
        }
    }

    /// What is known now.
    fn life(&self, now_ns: u64) -> Option<Life> {
        let is_good = |since_ns: u64| now_ns.saturating_sub(since_ns) <= GOOD_NS;
        match *self {
            Self::Asking { .. } => Some(Life::Unknown),
            Self::Alive { since_ns } => is_good(since_ns).then_some(Life::Lives),
            Self::Silent { since_ns } => is_good(since_ns).then_some(Life::Silent),
            Self::None => None,
        }
    }
}

impl<M: Memory, A: Admission> Server<M, A> {
    /// Whether the client of the session at `index` lives. If that is not known, it is asked.
    pub(super) fn life(&mut self, now_ns: u64, index: usize) -> Life {
        let Some(session) = self.sessions.get_mut(index) else {
            return Life::Silent;
        };
        if mutated!(LifeUnasked) {
            return Life::Silent;
        }
        if let Some(life) = session.challenge.life(now_ns) {
            return life;
        }
        // 0 is no nonce: one frame in 2^64 would be answered in vain.
        session.challenge = Challenge::Asking {
            nonce: self.admission.nonce(),
            sent: 0,
            due_ns: now_ns,
        };
        self.challenge_at_ns = Some(now_ns);
        Life::Unknown
    }

    /// An answer has come, to whatever challenge.
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

    /// Asks who is to be asked now; says of whom has been silent that it has.
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
                    // We stood still, and the question or its answer may have been lost meanwhile: once more.
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
