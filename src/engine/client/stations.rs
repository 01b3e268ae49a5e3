// SPDX-License-Identifier: GPL-2.0

//! Whose frames concern us: the servers that we speak to, and our session with each.
//!
//! A machine may keep pages for others on the interface on which its own are kept by others, and
//! anybody may send frames of our EtherType. So each frame is asked for its sender before it costs
//! anything: whether it is from a server of ours, in a session of ours. The cluster writes the list
//! before a frame is sent to a server that has come new; frames that come in read it on any CPU
//! without a lock.

use super::ids::SERVER_SLOTS;
use super::server_table::mac_to_u64;
use crate::sync::{Acquire, Atomic, Relaxed, Release};
use crate::wire::{Header, MacAddress, Opcode};

/// A server that we speak to.
struct Entry {
    mac: Atomic<u64>,
    session: Atomic<u64>,
}

/// All of them, one after the other.
///
/// Who reads while the list changes may find the address of one beside the session of another, or
/// miss one. A frame taken so is looked at again by whoever it is for; a frame missed so is lost, as
/// by the wire.
pub struct Stations {
    entries: [Entry; SERVER_SLOTS],
    count: Atomic<u32>,
}

impl Default for Stations {
    fn default() -> Self {
        Self::new()
    }
}

impl Stations {
    /// Nobody.
    pub const fn new() -> Self {
        Self {
            entries: [const {
                Entry {
                    mac: Atomic::<u64>::new(0),
                    session: Atomic::<u64>::new(0),
                }
            }; SERVER_SLOTS],
            count: Atomic::<u32>::new(0),
        }
    }

    /// These from now on, and nobody else. One writer at a time.
    pub fn publish(&self, stations: impl Iterator<Item = (MacAddress, u64)>) {
        let mut count = 0_u32;
        for (entry, (mac, session)) in self.entries.iter().zip(stations) {
            let mac = mac_to_u64(mac);
            // Mostly nothing has changed, and the readers' cache lines stay shared.
            if entry.mac.load(Relaxed) != mac {
                entry.mac.store(mac, Relaxed);
            }
            if entry.session.load(Relaxed) != session {
                entry.session.store(session, Relaxed);
            }
            count = count.saturating_add(1);
        }
        if self.count.load(Relaxed) != count {
            self.count.store(count, Release);
        }
    }

    /// Whether a frame from `source` is for us: from a server of ours, and, unless it is said to
    /// everybody, in our session there. Whatever a server answers, it repeats the session.
    #[inline]
    pub fn concerns_us(&self, source: MacAddress, header: &Header) -> bool {
        if !header.opcode.is_from_server() {
            return false;
        }
        let source = mac_to_u64(source);
        let to_everybody = header.opcode == Opcode::Announce;
        self.entries
            .iter()
            .take(self.count.load(Acquire) as usize)
            .any(|entry| {
                entry.mac.load(Relaxed) == source
                    && (to_everybody
                        || entry.session.load(Relaxed) == header.session
                        || mutated!(RejectBelieved))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(last: u8) -> MacAddress {
        MacAddress([0x52, 0x54, 0, 0, 0, last])
    }

    fn header(opcode: Opcode, session: u64) -> Header {
        let mut header = Header::new(opcode);
        header.session = session;
        header
    }

    #[test]
    fn only_our_servers_in_our_sessions() {
        let stations = Stations::new();
        let pong = header(Opcode::Pong, 7);
        assert!(!stations.concerns_us(mac(1), &pong));
        stations.publish([(mac(1), 7), (mac(2), 8)].into_iter());
        assert!(stations.concerns_us(mac(1), &pong));
        // Another's session, another's server, a stranger.
        assert!(!stations.concerns_us(mac(1), &header(Opcode::Pong, 8)));
        assert!(!stations.concerns_us(mac(2), &pong));
        assert!(!stations.concerns_us(mac(3), &pong));
        assert!(!stations.concerns_us(mac(1), &header(Opcode::Reject, 0)));
    }

    #[test]
    fn an_announcement_has_no_session_but_a_sender() {
        let stations = Stations::new();
        stations.publish([(mac(1), 7)].into_iter());
        assert!(stations.concerns_us(mac(1), &header(Opcode::Announce, 0)));
        assert!(!stations.concerns_us(mac(2), &header(Opcode::Announce, 0)));
    }

    #[test]
    fn a_request_is_never_for_us() {
        let stations = Stations::new();
        stations.publish([(mac(1), 7)].into_iter());
        // A server of ours may be a client, too: of a server on this machine.
        for opcode in [Opcode::Hello, Opcode::Write, Opcode::Read, Opcode::Ping] {
            assert!(!stations.concerns_us(mac(1), &header(opcode, 7)));
        }
    }

    #[test]
    fn who_is_gone_is_a_stranger() {
        let stations = Stations::new();
        stations.publish([(mac(1), 7), (mac(2), 8)].into_iter());
        stations.publish([(mac(2), 9)].into_iter());
        assert!(!stations.concerns_us(mac(1), &header(Opcode::Pong, 7)));
        assert!(!stations.concerns_us(mac(2), &header(Opcode::Pong, 8)));
        assert!(stations.concerns_us(mac(2), &header(Opcode::Pong, 9)));
    }
}
