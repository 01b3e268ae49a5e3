// SPDX-License-Identifier: GPL-2.0

//! The payloads of control frames.
//!
//! The fields: `docs/protocol.md`, "Opcodes".

use super::{from_hex, FragmentMask, Fragmentation, Header, Opcode, PageTag, Status, HEADER_LEN};
use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A client's lasting identity of 128 bits. It outlives its sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct ClientId(pub [u8; 16]);

impl core::fmt::Display for ClientId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The text is not a [`ClientId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAClientId;

impl core::str::FromStr for ClientId {
    type Err = NotAClientId;

    /// Parses 32 hexadecimal digits. Hyphens between them are ignored.
    fn from_str(text: &str) -> Result<Self, NotAClientId> {
        let digits = text.bytes().filter(|&byte| byte != b'-');
        from_hex(digits).map(Self).ok_or(NotAClientId)
    }
}

/// The name of a cluster: UTF-8, padded with zeros. Zeros only name the unnamed cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct ClusterName(pub [u8; 32]);

impl ClusterName {
    /// The name in `bytes`; `None` if they are more than 32.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut name = Self::default();
        name.0.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(name)
    }
}

/// Payload of HELLO: the client that opens the session that the header names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Hello {
    /// The client.
    pub client: ClientId,
    /// The cookie of the server's HELLO_ACK; 0 at first.
    pub cookie: U64,
    /// The cluster that the client belongs to.
    pub cluster: ClusterName,
}

/// Payload of HELLO_ACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct HelloAck {
    /// With status COOKIE: the cookie for the next HELLO. Otherwise 0.
    pub cookie: U64,
    /// Pages of 4 KiB that this client may keep here.
    pub quota_pages: U64,
    /// Pages that it keeps here now: 0 in a new session.
    pub held_pages: U64,
    /// Seconds that the session lasts without a frame from the client.
    pub lease_s: U32,
    /// Zero.
    pub reserved: U32,
}

/// Payload of CHALLENGE, and of ALIVE, which repeats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Nonce {
    /// An unpredictable number.
    pub nonce: U64,
}

/// Payload of KEY_REQUEST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct KeyRequest {
    /// Identifies the key that client and server share.
    pub pair: [u8; 16],
    /// Random, new for each change of keys.
    pub nonce: [u8; 16],
    /// The cookie of the server's KEY_REPLY; zeros at first.
    pub cookie: [u8; 16],
    /// The algorithm of the tags: a [`crate::aead::Cipher`].
    pub cipher: u8,
    /// The number of the new key: none of the session's that may still be in use has it.
    pub key: u8,
    /// Zeros.
    pub reserved: [u8; 14],
    /// Proves that the sender has the key.
    pub proof: [u8; 16],
}

/// Payload of KEY_REPLY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct KeyReply {
    /// The request's.
    pub nonce: [u8; 16],
    /// The cookie for the next KEY_REQUEST, or that of the request.
    pub cookie: [u8; 16],
    /// With status OK: the number of the new key.
    pub key: u8,
    /// 1 if the request's signature was right: both sides have the session's keys.
    pub is_known: u8,
    /// Zeros.
    pub reserved: [u8; 14],
    /// Proves that the sender has the key.
    pub proof: [u8; 16],
}

/// Payload of ANNOUNCE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Announce {
    /// The cluster that the server belongs to.
    pub cluster: ClusterName,
    /// Pages of 4 KiB that it has.
    pub capacity_pages: U64,
    /// Pages of them that are free.
    pub free_pages: U64,
    /// Frames that it received during the last second.
    pub frames_per_s: U64,
}

/// An element of FREE's payload: the page is to be dropped if its version is below `version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct PageVersion {
    /// The page's index.
    pub page: U64,
    /// A version above all that are to be dropped.
    pub version: U64,
}

/// The most elements of a FREE or an INVENTORY_REPLY: it crosses an MTU of 1500.
pub const MAX_PAGE_VERSIONS: usize = 80;

/// An element of WRITE_ACKS's payload: the fields of a WRITE_ACK's header that differ between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Ack {
    /// The WRITE's tag.
    pub tag: U32,
    /// The WRITE's attempt.
    pub attempt: U32,
    /// The page's index.
    pub page: U64,
    /// The page's version.
    pub version: U64,
    /// A [`Status`].
    pub status: u8,
    /// The WRITE's fragment.
    pub fragment_index: u8,
    /// The number of fragments of the page.
    pub fragment_count: u8,
    /// The fragments held.
    pub fragment_mask: u8,
    /// Zero.
    pub reserved: U32,
}

/// The most elements of a WRITE_ACKS: it crosses any path that a page can cross.
pub const MAX_ACKS: usize = 16;

const _: () = assert!(HEADER_LEN + MAX_ACKS * size_of::<Ack>() <= Fragmentation::MIN_MTU);

impl Ack {
    /// The element for a WRITE_ACK with this header.
    pub fn of(header: &Header) -> Self {
        Self {
            tag: header.tag.into(),
            attempt: header.attempt.into(),
            page: header.page.into(),
            version: header.version.into(),
            status: header.status as u8,
            fragment_index: header.fragment_index,
            fragment_count: header.fragment_count,
            fragment_mask: header.fragment_mask.bits(),
            reserved: U32::ZERO,
        }
    }

    /// The header of the WRITE_ACK that this element represents, in a frame with the header `of_all`.
    /// `None` if its status is unknown.
    #[inline]
    pub fn header(&self, of_all: &Header) -> Option<Header> {
        Some(Header {
            opcode: Opcode::WriteAck,
            status: Status::from_u8(self.status)?,
            tag: self.tag.get(),
            attempt: self.attempt.get(),
            fragment_index: self.fragment_index,
            fragment_count: self.fragment_count,
            fragment_mask: FragmentMask::from_bits(self.fragment_mask),
            payload_crc: 0,
            page_tag: PageTag::default(),
            page: self.page.get(),
            version: self.version.get(),
            ..*of_all
        })
    }
}

/// Payload of INVENTORY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Inventory {
    /// Where the server continues: the cursor of its last answer; 0 to start.
    pub cursor: U64,
    /// The most elements of the answer.
    pub max_pages: U32,
    /// Zero.
    pub reserved: U32,
}

/// Payload of INVENTORY_REPLY: this, followed by [`PageVersion`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct InventoryReply {
    /// The cursor of the next INVENTORY; 0 if the list is complete.
    pub cursor: U64,
}

/// Payload of STATS_REPLY: a server's counters. Those of the session count since it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct Stats {
    /// Pages of 4 KiB that it has.
    pub capacity_pages: U64,
    /// Pages of them that are free.
    pub free_pages: U64,
    /// Pages that this session keeps there.
    pub held_pages: U64,
    /// Pages stored by this session.
    pub pages_written: U64,
    /// Pages read by this session.
    pub pages_read: U64,
    /// Pages that this session freed.
    pub pages_freed: U64,
    /// Frames that were short, damaged, malformed or of another version.
    pub frames_bad: U64,
    /// Frames that the host dropped before the server saw them.
    pub frames_dropped: U64,
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::string::ToString;

    #[test]
    fn identities_are_read_and_shown() {
        let text = "00112233445566778899aabbccddeeff";
        let id: ClientId = text.parse().unwrap();
        assert_eq!(id.0[1], 0x11);
        assert_eq!(id.to_string(), text);
        assert_eq!("00112233-4455-6677-8899-AABBCCDDEEFF".parse(), Ok(id));
        for wrong in ["", "00", &text[1..], "g0112233445566778899aabbccddeeff"] {
            assert_eq!(wrong.parse::<ClientId>(), Err(NotAClientId), "{wrong}");
        }
        let long = std::format!("{text}0");
        assert_eq!(long.parse::<ClientId>(), Err(NotAClientId));
        let odd = std::format!("+{}", &text[1..]);
        assert_eq!(odd.parse::<ClientId>(), Err(NotAClientId));
    }
}
