// SPDX-License-Identifier: GPL-2.0

//! What somebody noted who saw all frames that came to one start of a server.

use std::collections::{BTreeMap, BTreeSet};

use anemone::wire::{Frame, MacAddress, Opcode, PageVersion};
use zerocopy::FromBytes;

use crate::event::Wire;

/// Notes of frames.
#[derive(Default)]
pub struct Watch {
    /// When each client last sent something for its session.
    heard_ns: BTreeMap<MacAddress, u64>,
    /// Below which version a client has freed a page.
    freed: BTreeMap<(MacAddress, u64), u64>,
    /// Pages of clients of which a version came that was freed already.
    pub late: BTreeSet<(MacAddress, u64)>,
}

impl Watch {
    /// Whether some client has sent nothing for longer than a lease.
    pub fn anybody_silent(&self, now_ns: u64, lease_ns: u64) -> bool {
        let mut heard = self.heard_ns.values();
        heard.any(|heard_ns| now_ns.saturating_sub(*heard_ns) > lease_ns)
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
        self.heard_ns.insert(wire.source, now_ns);
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
