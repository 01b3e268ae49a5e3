// SPDX-License-Identifier: GPL-2.0

//! Checks the frames that one start of a server receives and sends.

use std::collections::{BTreeMap, BTreeSet};

use anemone::wire::{Frame, MacAddress, Opcode, PageVersion, Status};
use zerocopy::FromBytes;

use crate::event::Wire;
use crate::scenario::S;

/// A client's session, from its opening until its BYE.
struct Session {
    number: u64,
    /// When a frame of it was last received, by the server's clock.
    heard_ns: u64,
    /// The highest low water that its frames stated.
    low_water: u64,
    /// Its client's power has failed: the session may be ended, or taken over.
    is_over: bool,
}

/// How late a frame of an ended life may arrive.
const LATE_NS: u64 = 25 * S;

/// The state derived from the frames.
#[derive(Default)]
pub struct Watch {
    sessions: BTreeMap<MacAddress, Session>,
    /// When a client last asked for the session of this number, by the server's clock.
    hello_ns: BTreeMap<(MacAddress, u64), u64>,
    /// When a client's power last failed, or it gave up its session. An earlier HELLO may still be under way.
    died_ns: BTreeMap<MacAddress, u64>,
    /// Whether the server has ended a lease, so that sessions may be gone.
    pub lease_ended: bool,
    /// The version below which a client has freed a page.
    freed: BTreeMap<(MacAddress, u64), u64>,
    /// Pages of clients of which an already freed version arrived that the server could not know to be old.
    pub late: BTreeSet<(MacAddress, u64)>,
    /// When the server last reported to a client that it has no room for it, and whether no later report
    /// contradicts that.
    full: BTreeMap<MacAddress, (Option<u64>, bool)>,
}

impl Watch {
    /// Whether any client has sent nothing for longer than a lease, by the server's clock.
    pub fn any_silent(&self, clock_ns: u64, lease_ns: u64) -> bool {
        let mut sessions = self.sessions.values();
        sessions
            .any(|session| session.is_over || clock_ns.saturating_sub(session.heard_ns) > lease_ns)
    }

    /// The client at this address has crashed.
    pub fn note_death(&mut self, now_ns: u64, mac: MacAddress) {
        self.died_ns.insert(mac, now_ns);
        if let Some(session) = self.sessions.get_mut(&mac) {
            session.is_over = true;
        }
    }

    /// The client at this address no longer uses its session. Its BYE may be lost, and a HELLO may still be
    /// under way.
    pub fn note_close(&mut self, now_ns: u64, mac: MacAddress) {
        self.died_ns.insert(mac, now_ns);
        if let Some(session) = self.sessions.get_mut(&mac) {
            session.is_over = true;
        }
    }

    /// Whether the server has reported to a client since then that it has no room for it.
    pub fn was_full(&self, client: MacAddress, since_ns: u64) -> bool {
        let full = self.full.get(&client);
        full.is_some_and(|&(told_ns, is_last)| is_last || told_ns >= Some(since_ns))
    }

    /// The server sends a frame. Returns an error if the frame is wrong.
    pub fn note_sent(&mut self, now_ns: u64, wire: &Wire, is_signed: bool) -> Result<(), String> {
        let Ok(frame) = Frame::parse(&wire.bytes) else {
            return Ok(());
        };
        if is_signed && frame.signature(&wire.bytes).is_none() {
            // A hint, which changes nothing.
            return Ok(());
        }
        let header = frame.header;
        if header.session != 0 {
            let is_full = header.utilisation == u16::MAX;
            let full = self.full.entry(wire.destination).or_default();
            *full = (is_full.then_some(now_ns).or(full.0), is_full);
        }
        let current = self.sessions.get(&wire.destination);
        let died_ns = self.died_ns.get(&wire.destination);
        let is_recent = died_ns.is_some_and(|died_ns| now_ns <= died_ns + LATE_NS);
        let is_over = is_recent || current.is_some_and(|session| session.is_over);
        let current = current.map(|session| session.number);
        match (header.opcode, header.status) {
            (Opcode::HelloAck, Status::Ok) => {
                // Not the time of the answer: the server had received the HELLO before.
                let key = (wire.destination, header.session);
                let hello_ns = self.hello_ns.get(&key).copied();
                let session = Session {
                    number: header.session,
                    heard_ns: hello_ns.unwrap_or_default(),
                    low_water: header.low_water,
                    is_over: false,
                };
                if current == Some(header.session) {
                    return Ok(());
                }
                self.sessions.insert(wire.destination, session);
                if is_over {
                    // The new life's versions restart.
                    let mac = wire.destination;
                    self.freed.retain(|(of, _), _| *of != mac);
                    self.late.retain(|(of, _)| *of != mac);
                }
                match current {
                    Some(_) if !self.lease_ended && !is_over => Err("gives up a live session"),
                    _ => Ok(()),
                }
            }
            (Opcode::Reject, Status::NoSession)
                if current == Some(header.session) && !self.lease_ended && !is_over =>
            {
                Err("gets a REJECT for an unknown session, although its session is open")
            }
            _ => Ok(()),
        }
        .map_err(|what: &str| format!("the client at {} {what}", wire.destination))
    }

    /// The server receives a frame, at this time of its clock.
    pub fn note(&mut self, clock_ns: u64, wire: &Wire) {
        let Ok(frame) = Frame::parse(&wire.bytes) else {
            return;
        };
        let header = frame.header;
        if header.opcode.is_from_server() {
            return;
        }
        if header.opcode == Opcode::Hello {
            let key = (wire.source, header.session);
            self.hello_ns.insert(key, clock_ns);
        }
        let session = self.sessions.get_mut(&wire.source);
        let Some(session) = session.filter(|session| session.number == header.session) else {
            return;
        };
        session.heard_ns = clock_ns;
        session.low_water = session.low_water.max(header.low_water);
        let low_water = session.low_water;
        match header.opcode {
            Opcode::Free => {
                let freed = <[PageVersion]>::ref_from_bytes(frame.payload).unwrap_or_default();
                for one in freed {
                    let below = self.freed.entry((wire.source, one.page.get())).or_default();
                    *below = one.version.get().max(*below);
                }
            }
            Opcode::Write if header.version >= low_water => {
                let key = (wire.source, header.page);
                let below = self.freed.get(&key).copied().unwrap_or(0);
                if header.version < below {
                    self.late.insert(key);
                }
            }
            Opcode::Bye => {
                self.sessions.remove(&wire.source);
            }
            _ => {}
        }
    }
}
