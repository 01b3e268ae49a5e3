// SPDX-License-Identifier: GPL-2.0

//! What somebody noted who saw all frames that came to one start of a server.

use std::collections::{BTreeMap, BTreeSet};

use anemone::wire::{Frame, MacAddress, Opcode, PageVersion, Status};
use zerocopy::FromBytes;

use crate::event::Wire;

/// Notes of frames.
#[derive(Default)]
pub struct Watch {
    /// Each client's session, and when something was last sent for it.
    sessions: BTreeMap<MacAddress, (u64, u64)>,
    /// Below which version a client has freed a page.
    freed: BTreeMap<(MacAddress, u64), u64>,
    /// Pages of clients of which a version came that was freed already.
    pub late: BTreeSet<(MacAddress, u64)>,
}

impl Watch {
    /// Whether some client has sent nothing for longer than a lease.
    pub fn anybody_silent(&self, now_ns: u64, lease_ns: u64) -> bool {
        let mut sessions = self.sessions.values();
        sessions.any(|(_, heard_ns)| now_ns.saturating_sub(*heard_ns) > lease_ns)
    }

    /// A frame goes out.
    pub fn note_sent(&mut self, now_ns: u64, wire: &Wire) {
        let Ok(frame) = Frame::parse(&wire.bytes) else {
            return;
        };
        let header = frame.header;
        if header.opcode == Opcode::HelloAck && header.status == Status::Ok {
            self.sessions
                .insert(wire.destination, (header.session, now_ns));
        }
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
        if let Some((session, heard_ns)) = self.sessions.get_mut(&wire.source) {
            if *session == header.session {
                *heard_ns = now_ns;
            }
        }
        match header.opcode {
            Opcode::Free => {
                let freed = <[PageVersion]>::ref_from_bytes(frame.payload).unwrap_or_default();
                for one in freed {
                    let below = self.freed.entry((wire.source, one.page.get())).or_default();
                    *below = one.version.get().max(*below);
                }
            }
            Opcode::Write => {
                let key = (wire.source, header.page);
                if self
                    .freed
                    .get(&key)
                    .is_some_and(|below| header.version < *below)
                {
                    self.late.insert(key);
                }
            }
            _ => {}
        }
    }
}
