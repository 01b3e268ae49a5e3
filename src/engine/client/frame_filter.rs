// SPDX-License-Identifier: GPL-2.0

//! Which received frames are the client's, and where each of them goes.
//!
//! A machine may serve other clients on the interface that its own client uses, and any station may
//! send frames of the EtherType. So the sender of each frame is checked first: is it one of the
//! client's servers, in the client's session? The list is updated before a frame is sent to a new
//! server. Received frames read it on any CPU without a lock.
//!
//! Then `cluster/control_answers.rs` checks control frames, and a shard checks answers: whether one belongs
//! to a transfer (`shard/answer_match.rs`), what a page that was read is (`shard/read_reply.rs`), and whether
//! a version can be one of ours (`shard/implausible_answer.rs`).

use super::cluster::is_control_tag;
use super::ids::SERVER_SLOTS;
use super::server_table::mac_to_u64;
use crate::sync::{Acquire, Atomic, Relaxed, Release};
use crate::wire::{Header, MacAddress, Opcode};

/// Where a frame that is ours goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To the shard that its tag names ([`shard_of_tag`](super::ids::shard_of_tag)).
    Shard,
    /// Each of its acknowledgements to the shard that its own tag names.
    Shards,
    /// To the inbox of the cluster.
    Cluster,
    /// To the inbox of the cluster, and to other receivers on this machine.
    Everyone,
}

impl Destination {
    /// The destination of a frame with this header that [concerns us](FrameFilter::concerns_us).
    #[inline]
    pub fn of(header: &Header) -> Self {
        match header.opcode {
            Opcode::Announce => Self::Everyone,
            Opcode::WriteAck | Opcode::ReadReply if !is_control_tag(header.tag) => Self::Shard,
            Opcode::WriteAcks => Self::Shards,
            _ => Self::Cluster,
        }
    }
}

/// A server of the client.
struct Entry {
    mac: Atomic<u64>,
    session: Atomic<u64>,
}

/// The servers whose frames are ours, and the session with each: all entries, without gaps.
///
/// A reader may see the address of one entry beside the session of another, or miss an entry, while
/// the list changes. A frame accepted this way is checked again by its receiver. A frame missed
/// this way is lost, as on the wire.
pub struct FrameFilter {
    entries: [Entry; SERVER_SLOTS],
    count: Atomic<u32>,
}

impl Default for FrameFilter {
    /// No servers: no frame is ours.
    fn default() -> Self {
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
}

impl FrameFilter {
    /// Replaces the list. One writer at a time.
    pub fn publish(&self, servers: impl Iterator<Item = (MacAddress, u64)>) {
        let mut count = 0_u32;
        for (entry, (mac, session)) in self.entries.iter().zip(servers) {
            let mac = mac_to_u64(mac);
            // Usually nothing has changed, and the readers' cache lines stay shared.
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

    /// Whether a frame from `source` is ours: it is from one of the client's servers and, except
    /// for announcements, in the session there. Servers repeat the session in every answer.
    #[inline]
    pub fn concerns_us(&self, source: MacAddress, header: &Header) -> bool {
        if !header.opcode.is_from_server() {
            return false;
        }
        let source = mac_to_u64(source);
        let is_broadcast = header.opcode == Opcode::Announce;
        self.entries
            .iter()
            .take(self.count.load(Acquire) as usize)
            .any(|entry| {
                entry.mac.load(Relaxed) == source
                    && (is_broadcast
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
        let filter = FrameFilter::default();
        let pong = header(Opcode::Pong, 7);
        assert!(!filter.concerns_us(mac(1), &pong));
        filter.publish([(mac(1), 7), (mac(2), 8)].into_iter());
        assert!(filter.concerns_us(mac(1), &pong));
        // Another session, another server, a stranger.
        assert!(!filter.concerns_us(mac(1), &header(Opcode::Pong, 8)));
        assert!(!filter.concerns_us(mac(2), &pong));
        assert!(!filter.concerns_us(mac(3), &pong));
        assert!(!filter.concerns_us(mac(1), &header(Opcode::Reject, 0)));
    }

    #[test]
    fn an_announcement_has_no_session_but_a_sender() {
        let filter = FrameFilter::default();
        filter.publish([(mac(1), 7)].into_iter());
        assert!(filter.concerns_us(mac(1), &header(Opcode::Announce, 0)));
        assert!(!filter.concerns_us(mac(2), &header(Opcode::Announce, 0)));
    }

    #[test]
    fn a_request_is_never_for_us() {
        let filter = FrameFilter::default();
        filter.publish([(mac(1), 7)].into_iter());
        // One of the client's servers may itself be a client of a server on this machine.
        for opcode in [Opcode::Hello, Opcode::Write, Opcode::Read, Opcode::Ping] {
            assert!(!filter.concerns_us(mac(1), &header(opcode, 7)));
        }
    }

    #[test]
    fn a_removed_server_is_a_stranger() {
        let filter = FrameFilter::default();
        filter.publish([(mac(1), 7), (mac(2), 8)].into_iter());
        filter.publish([(mac(2), 9)].into_iter());
        assert!(!filter.concerns_us(mac(1), &header(Opcode::Pong, 7)));
        assert!(!filter.concerns_us(mac(2), &header(Opcode::Pong, 8)));
        assert!(filter.concerns_us(mac(2), &header(Opcode::Pong, 9)));
    }

    #[test]
    fn answers_go_to_their_shards_and_the_rest_to_the_cluster() {
        let of = |opcode, tag| {
            let mut header = header(opcode, 7);
            header.tag = tag;
            Destination::of(&header)
        };
        let (shards, control) = (3 << 16 | 5, 0xffff_0001);
        for opcode in [Opcode::WriteAck, Opcode::ReadReply] {
            assert_eq!(of(opcode, shards), Destination::Shard);
            assert_eq!(of(opcode, control), Destination::Cluster);
        }
        assert_eq!(of(Opcode::WriteAcks, shards), Destination::Shards);
        assert_eq!(of(Opcode::Announce, 0), Destination::Everyone);
        for opcode in [Opcode::Pong, Opcode::Reject, Opcode::FreeAck] {
            assert_eq!(of(opcode, shards), Destination::Cluster);
        }
    }
}
