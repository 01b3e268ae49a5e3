// SPDX-License-Identifier: GPL-2.0

//! What somebody noted who saw all frames that came to one start of a server, and went from it.

use std::collections::{BTreeMap, BTreeSet};

use anemone::wire::{Frame, MacAddress, Opcode, PageVersion, Status};
use zerocopy::FromBytes;

use crate::event::Wire;
use crate::scenario::S;

/// A client's session, from its opening until its BYE.
struct Session {
    number: u64,
    /// When something last came of it.
    heard_ns: u64,
    /// The highest low-water version that came with it.
    low_water: u64,
    /// Its client's power is gone: it may be ended, or taken over.
    is_over: bool,
}

/// How late a frame of a life that is over may come.
const LATE_NS: u64 = 25 * S;

/// Notes of frames.
#[derive(Default)]
pub struct Watch {
    sessions: BTreeMap<MacAddress, Session>,
    /// When a client last asked for the session of this number.
    greeted_ns: BTreeMap<(MacAddress, u64), u64>,
    /// When a client's power was last gone, or it gave its session up. A HELLO of before may still be on its
    /// way.
    died_ns: BTreeMap<MacAddress, u64>,
    /// Whether the server has ended a lease: sessions may be gone.
    pub lease_ended: bool,
    /// Below which version a client has freed a page.
    freed: BTreeMap<(MacAddress, u64), u64>,
    /// Pages of clients of which a version came that was freed already, and that the server could
    /// not know to be old.
    pub late: BTreeSet<(MacAddress, u64)>,
    /// When a client was last told that nothing more of it fits, and whether that was the last word.
    full: BTreeMap<MacAddress, (Option<u64>, bool)>,
}

impl Watch {
    /// Whether some client has sent nothing for longer than a lease.
    pub fn anybody_silent(&self, now_ns: u64, lease_ns: u64) -> bool {
        let mut sessions = self.sessions.values();
        sessions
            .any(|session| session.is_over || now_ns.saturating_sub(session.heard_ns) > lease_ns)
    }

    /// The client at this address is gone.
    pub fn note_death(&mut self, now_ns: u64, mac: MacAddress) {
        self.died_ns.insert(mac, now_ns);
        if let Some(session) = self.sessions.get_mut(&mac) {
            session.is_over = true;
        }
    }

    /// The client at this address does not use its session any more; its BYE may be lost, and a HELLO be
    /// on its way.
    pub fn note_close(&mut self, now_ns: u64, mac: MacAddress) {
        self.died_ns.insert(mac, now_ns);
        if let Some(session) = self.sessions.get_mut(&mac) {
            session.is_over = true;
        }
    }

    /// Whether a client has been told since then that nothing more of it fits.
    pub fn was_full(&self, client: MacAddress, since_ns: u64) -> bool {
        let full = self.full.get(&client);
        full.is_some_and(|&(told_ns, is_last)| is_last || told_ns >= Some(since_ns))
    }

    /// A frame goes out. Returns what is wrong with it, if something is.
    pub fn note_sent(&mut self, now_ns: u64, wire: &Wire) -> Result<(), String> {
        let Ok(frame) = Frame::parse(&wire.bytes) else {
            return Ok(());
        };
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
                // Not when the answer goes out: the server had heard of it before that.
                let key = (wire.destination, header.session);
                let greeted_ns = self.greeted_ns.get(&key).copied();
                let session = Session {
                    number: header.session,
                    heard_ns: greeted_ns.unwrap_or(now_ns),
                    low_water: header.low_water,
                    is_over: false,
                };
                if current == Some(header.session) {
                    return Ok(());
                }
                self.sessions.insert(wire.destination, session);
                if is_over {
                    // The new life's versions begin anew.
                    let mac = wire.destination;
                    self.freed.retain(|(of, _), _| *of != mac);
                    self.late.retain(|(of, _)| *of != mac);
                }
                match current {
                    Some(_) if !self.lease_ended && !is_over => Err("gives a live session up"),
                    _ => Ok(()),
                }
            }
            (Opcode::Reject, Status::NoSession)
                if current == Some(header.session) && !self.lease_ended && !is_over =>
            {
                Err("is told that its session is unknown, which is open")
            }
            _ => Ok(()),
        }
        .map_err(|what: &str| format!("the client at {} {what}", wire.destination))
    }

    /// A frame has come.
    pub fn note(&mut self, now_ns: u64, wire: &Wire) {
        let Ok(frame) = Frame::parse(&wire.bytes) else {
            return;
        };
        let header = frame.header;
        if header.opcode.is_from_server() {
            return;
        }
        if header.opcode == Opcode::Hello {
            let key = (wire.source, header.session);
            self.greeted_ns.insert(key, now_ns);
        }
        let session = self.sessions.get_mut(&wire.source);
        let Some(session) = session.filter(|session| session.number == header.session) else {
            return;
        };
        session.heard_ns = now_ns;
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
