// SPDX-License-Identifier: GPL-2.0

//! The header that begins every frame: 88 bytes, big-endian, its own checksum last.

use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::fragment::FragmentMask;

/// The only version there is.
pub const PROTOCOL_VERSION: u8 = 1;

/// Bytes of a header on the wire.
pub const HEADER_LEN: usize = core::mem::size_of::<RawHeader>();

const _: () = assert!(HEADER_LEN == 88);

/// Bytes of a header that its checksum covers: all that come before it.
const CHECKED_LEN: usize = HEADER_LEN - 4;

/// A header as it lies in a frame.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
struct RawHeader {
    protocol: u8,
    opcode: u8,
    flags: u8,
    status: u8,
    tag: U32,
    attempt: U32,
    fragment_index: u8,
    fragment_count: u8,
    fragment_mask: u8,
    reserved0: u8,
    payload_len: U16,
    utilisation: U16,
    payload_crc: U32,
    session: U64,
    incarnation: U64,
    page: U64,
    version: U64,
    low_water: U64,
    authentication: [u8; 16],
    reserved1: U32,
    header_crc: U32,
}

impl RawHeader {
    /// The bytes that the header's checksum is of.
    fn checked(&self) -> &[u8] {
        use zerocopy::IntoBytes;
        self.as_bytes().get(..CHECKED_LEN).unwrap_or(&[])
    }
}

/// What a frame is about. A client's requests are even, a server's answers odd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// Client: wants a session; without, then with the server's cookie.
    Hello = 2,
    /// Server: a cookie, an open session, or a refusal.
    HelloAck = 3,
    /// Server, to everybody: who it is, and how full.
    Announce = 5,
    /// Client: one fragment of a page-out.
    Write = 6,
    /// Server: which fragments it holds, or why the page-out cannot be.
    WriteAck = 7,
    /// Client: wants fragments of a page.
    Read = 8,
    /// Server: one fragment of a page, or why there is none.
    ReadReply = 9,
    /// Client: pages that it needs no longer.
    Free = 10,
    /// Server: that batch is freed.
    FreeAck = 11,
    /// Client: are you there? Its payload's length probes the path's MTU.
    Ping = 12,
    /// Server: yes.
    Pong = 13,
    /// Client: how are you?
    Stats = 14,
    /// Server: a [`super::Stats`].
    StatsReply = 15,
    /// Client: ends its session; its pages are dropped.
    Bye = 16,
    /// Server: the session has ended.
    ByeAck = 17,
    /// Client: which pages have you of mine?
    Inventory = 18,
    /// Server: the request was not understood or not for this session; see the status.
    Reject = 19,
    /// Server: several WRITE_ACKs of one session: [`super::Ack`]s.
    WriteAcks = 21,
    /// Client: it lives, to a [`Opcode::Challenge`].
    Alive = 20,
    /// Server: some of them, in which versions.
    InventoryReply = 23,
    /// Server: does this session's client live?
    Challenge = 25,
}

impl Opcode {
    /// The opcode of a number, if it is one's.
    pub fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            2 => Self::Hello,
            3 => Self::HelloAck,
            5 => Self::Announce,
            6 => Self::Write,
            7 => Self::WriteAck,
            8 => Self::Read,
            9 => Self::ReadReply,
            10 => Self::Free,
            11 => Self::FreeAck,
            12 => Self::Ping,
            13 => Self::Pong,
            14 => Self::Stats,
            15 => Self::StatsReply,
            16 => Self::Bye,
            17 => Self::ByeAck,
            18 => Self::Inventory,
            19 => Self::Reject,
            20 => Self::Alive,
            21 => Self::WriteAcks,
            23 => Self::InventoryReply,
            25 => Self::Challenge,
            _ => return None,
        })
    }

    /// Whether a server sends it.
    pub fn is_from_server(self) -> bool {
        (self as u8) & 1 == 1
    }
}

/// How a request went. Zero in requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Status {
    /// Done; in a WRITE_ACK, the whole page is held.
    #[default]
    Ok = 0,
    /// WRITE_ACK: some fragments are still missing; the mask says which are held.
    Incomplete = 1,
    /// WRITE_ACK: no memory left for a page that the server does not hold yet.
    NoSpace = 2,
    /// WRITE_ACK: no memory left of what this client may use.
    Quota = 3,
    /// WRITE_ACK: a newer version is held, or this one is below the low-water version.
    Stale = 4,
    /// WRITE_ACK: the fragments do not add up to the checksum; send them all again.
    Corrupt = 5,
    /// READ_REPLY: no such page, or another generation of it.
    Missing = 6,
    /// REJECT: the server knows no such session.
    NoSession = 7,
    /// HELLO_ACK: here is a cookie, say it again with that.
    Cookie = 8,
    /// HELLO_ACK: this client is not admitted.
    NotAdmitted = 9,
    /// HELLO_ACK: as many clients are open as the server has room for.
    TooManyClients = 10,
    /// REJECT: the protocol version is unknown; the header's says which is known.
    UnknownVersion = 11,
    /// HELLO_ACK: an older session of this client is open, and its client lives.
    InUse = 12,
    /// HELLO_ACK: it is being found out whether an older session's client lives; say it again soon.
    Wait = 13,
}

impl Status {
    /// The status of a number, if it is one's.
    pub fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Ok,
            1 => Self::Incomplete,
            2 => Self::NoSpace,
            3 => Self::Quota,
            4 => Self::Stale,
            5 => Self::Corrupt,
            6 => Self::Missing,
            7 => Self::NoSession,
            8 => Self::Cookie,
            9 => Self::NotAdmitted,
            10 => Self::TooManyClients,
            11 => Self::UnknownVersion,
            12 => Self::InUse,
            13 => Self::Wait,
            _ => return None,
        })
    }
}

/// One-bit facts about a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(u8);

impl Flags {
    /// The page is one 64-bit value over and over; the payload is that value, 8 bytes.
    pub const SAME_FILLED: Self = Self(1);

    const KNOWN: u8 = 1;

    /// Whether all of `other`'s flags are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A header's meaning: what the fields are for is in `docs/protocol.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the frame is about.
    pub opcode: Opcode,
    /// Facts about it.
    pub flags: Flags,
    /// How the request went; zero in requests.
    pub status: Status,
    /// Which of the client's requests; an answer carries its request's.
    pub tag: u32,
    /// Which sending of that request; an answer carries its request's.
    pub attempt: u32,
    /// Which fragment of the page this frame carries.
    pub fragment_index: u8,
    /// In how many fragments the page is sent; for READ, is to be sent.
    pub fragment_count: u8,
    /// READ: fragments wanted; WRITE_ACK: fragments held.
    pub fragment_mask: FragmentMask,
    /// How full the server's memory is, 0 to 65535; 0 in a client's frames.
    pub utilisation: u16,
    /// WRITE, READ_REPLY: CRC32C of the whole page; otherwise of the payload.
    pub payload_crc: u32,
    /// The session that the client chose.
    pub session: u64,
    /// The server's incarnation; 0 from a client that does not know it.
    pub incarnation: u64,
    /// The page's index.
    pub page: u64,
    /// The page's version; in a READ, its low 8 bits are the generation wanted.
    pub version: u64,
    /// Every version below it is settled: the server refuses a WRITE of one. From a server: all
    /// versions that it has heard of in this session are below.
    pub low_water: u64,
}

impl Header {
    /// A header with nothing but an opcode.
    pub const fn new(opcode: Opcode) -> Self {
        Self {
            opcode,
            flags: Flags(0),
            status: Status::Ok,
            tag: 0,
            attempt: 0,
            fragment_index: 0,
            fragment_count: 0,
            fragment_mask: FragmentMask::EMPTY,
            utilisation: 0,
            payload_crc: 0,
            session: 0,
            incarnation: 0,
            page: 0,
            version: 0,
            low_water: 0,
        }
    }

    /// The header of the answer `opcode` to this request: what an answer repeats is repeated.
    pub fn answer(&self, opcode: Opcode, status: Status) -> Self {
        Self {
            opcode,
            status,
            flags: Flags::default(),
            fragment_mask: FragmentMask::EMPTY,
            payload_crc: 0,
            low_water: 0,
            ..*self
        }
    }

    /// The header's bytes, for a payload of `payload_len` bytes, checksum included.
    pub fn emit(&self, payload_len: u16) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        self.emit_to(&mut bytes, payload_len, crate::crc::crc32c);
        bytes
    }

    /// [`Header::emit`] to where the bytes are wanted, for a caller who counts instructions, or
    /// has a faster `crc32c`.
    #[inline]
    pub fn emit_to(
        &self,
        bytes: &mut [u8; HEADER_LEN],
        payload_len: u16,
        crc32c: impl Fn(&[u8]) -> u32,
    ) {
        let raw: &mut RawHeader = zerocopy::transmute_mut!(bytes);
        raw.protocol = PROTOCOL_VERSION;
        raw.opcode = self.opcode as u8;
        raw.flags = self.flags.0;
        raw.status = self.status as u8;
        raw.tag = self.tag.into();
        raw.attempt = self.attempt.into();
        raw.fragment_index = self.fragment_index;
        raw.fragment_count = self.fragment_count;
        raw.fragment_mask = self.fragment_mask.bits();
        raw.reserved0 = 0;
        raw.payload_len = payload_len.into();
        raw.utilisation = self.utilisation.into();
        raw.payload_crc = self.payload_crc.into();
        raw.session = self.session.into();
        raw.incarnation = self.incarnation.into();
        raw.page = self.page.into();
        raw.version = self.version.into();
        raw.low_water = self.low_water.into();
        raw.authentication = [0; 16];
        raw.reserved1 = 0.into();
        raw.header_crc = crc32c(raw.checked()).into();
    }

    /// Reads a header; returns it with its payload's length.
    pub(super) fn parse(
        bytes: &[u8],
        crc32c: impl Fn(&[u8]) -> u32,
    ) -> Result<(Self, u16), HeaderError> {
        use zerocopy::FromBytes;
        let (raw, _) = RawHeader::ref_from_prefix(bytes).map_err(|_| HeaderError::Short)?;
        if crc32c(raw.checked()) != raw.header_crc.get() {
            return Err(HeaderError::Checksum);
        }
        if raw.protocol != PROTOCOL_VERSION {
            return Err(HeaderError::Version(raw.protocol));
        }
        let opcode = Opcode::from_u8(raw.opcode).ok_or(HeaderError::Field)?;
        let status = Status::from_u8(raw.status).ok_or(HeaderError::Field)?;
        if raw.flags & !Flags::KNOWN != 0 {
            return Err(HeaderError::Field);
        }
        let header = Self {
            opcode,
            flags: Flags(raw.flags),
            status,
            tag: raw.tag.get(),
            attempt: raw.attempt.get(),
            fragment_index: raw.fragment_index,
            fragment_count: raw.fragment_count,
            fragment_mask: FragmentMask::from_bits(raw.fragment_mask),
            utilisation: raw.utilisation.get(),
            payload_crc: raw.payload_crc.get(),
            session: raw.session.get(),
            incarnation: raw.incarnation.get(),
            page: raw.page.get(),
            version: raw.version.get(),
            low_water: raw.low_water.get(),
        };
        Ok((header, raw.payload_len.get()))
    }
}

/// Why bytes are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    Short,
    Checksum,
    Version(u8),
    Field,
}
