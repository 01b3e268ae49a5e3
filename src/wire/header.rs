// SPDX-License-Identifier: GPL-2.0

//! The header that begins every frame: 88 bytes, big-endian, with its own checksum at the end.
//!
//! The fields: `docs/protocol.md`, "Frames". The numbers: "Opcodes".

use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{try_transmute, FromBytes, IntoBytes};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, TryFromBytes, Unaligned};

use super::fragment::FragmentMask;
use super::frame::FrameError;

/// The version of the protocol.
pub const PROTOCOL_VERSION: u8 = 3;

/// Bytes of a header on the wire.
pub const HEADER_LEN: usize = core::mem::size_of::<RawHeader>();

const _: () = assert!(HEADER_LEN == 88);

/// Bytes of a header that its checksum covers: all before it.
const CHECKED_LEN: usize = HEADER_LEN - 4;

/// The tag of a sealed page, which proves its contents to the client that sealed it. Zeros for a page
/// that is not sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
pub struct PageTag(pub [u8; 16]);

/// What the bytes of a page are checked against: by whom says `docs/protocol.md`, "Pages".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageSum {
    /// CRC32C of the page's bytes as they are sent; of a same-filled page, of the 8 bytes sent for it.
    pub crc: u32,
    /// The tag, if they are sealed.
    pub tag: PageTag,
}

/// A header as it is in a frame.
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
    page_tag: PageTag,
    reserved1: U32,
    header_crc: U32,
}

impl RawHeader {
    /// The bytes that the header's checksum covers.
    fn checked(&self) -> &[u8] {
        self.as_bytes().get(..CHECKED_LEN).unwrap_or(&[])
    }
}

/// The kind of a frame. Opcodes of clients are even, those of servers odd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, TryFromBytes)]
#[repr(u8)]
pub enum Opcode {
    /// Client: opens a session, first without and then with the server's cookie.
    Hello = 2,
    /// Server: a cookie, an open session, or a refusal.
    HelloAck = 3,
    /// Server, broadcast: its incarnation and how full it is.
    Announce = 5,
    /// Client: one fragment of a page-out.
    Write = 6,
    /// Server: the fragments that it holds, or why it refuses the page-out.
    WriteAck = 7,
    /// Client: requests fragments of a page.
    Read = 8,
    /// Server: one fragment of a page, or why there is none.
    ReadReply = 9,
    /// Client: pages that it no longer needs.
    Free = 10,
    /// Server: the batch is freed.
    FreeAck = 11,
    /// Client: probes the server, and by its length the path's MTU.
    Ping = 12,
    /// Server: the answer to a PING, with its payload.
    Pong = 13,
    /// Client: requests statistics.
    Stats = 14,
    /// Server: a [`super::Stats`].
    StatsReply = 15,
    /// Client: ends its session. The server drops its pages.
    Bye = 16,
    /// Server: the session has ended.
    ByeAck = 17,
    /// Client: requests a list of its pages.
    Inventory = 18,
    /// Server: the request has another protocol version, or no open session; see the status.
    Reject = 19,
    /// Client: the answer to a [`Opcode::Challenge`].
    Alive = 20,
    /// Server: several WRITE_ACKs of one session: [`super::Ack`]s.
    WriteAcks = 21,
    /// Client: requests keys for signing frames.
    KeyRequest = 22,
    /// Server: pages of the client and their versions.
    InventoryReply = 23,
    /// Server: checks whether the session's client is alive.
    Challenge = 25,
    /// Server: a cookie for the KEY_REQUEST, or the number of the new key.
    KeyReply = 27,
}

impl Opcode {
    /// The opcode with this number, if there is one.
    #[inline]
    pub fn from_u8(number: u8) -> Option<Self> {
        try_transmute!(number).ok()
    }

    /// Whether a server sends it.
    pub fn is_from_server(self) -> bool {
        (self as u8) & 1 == 1
    }
}

/// The result of a request. Zero in requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, TryFromBytes)]
#[repr(u8)]
pub enum Status {
    /// Done. In a WRITE_ACK: the whole page is held.
    #[default]
    Ok = 0,
    /// WRITE_ACK: fragments are missing; the mask has those that are held.
    Incomplete = 1,
    /// WRITE_ACK: there is no space for a page that the server does not hold yet.
    NoSpace = 2,
    /// WRITE_ACK: the client holds as many pages as it may.
    Quota = 3,
    /// WRITE_ACK: a newer version is held, or this version with other bytes, or the version is below low
    /// water.
    Stale = 4,
    /// WRITE_ACK: the fragments do not have the page's checksum; the client must send all of them again.
    Corrupt = 5,
    /// READ_REPLY: the page is not held in this generation.
    Missing = 6,
    /// REJECT: the session is not open here.
    NoSession = 7,
    /// HELLO_ACK: the client must repeat HELLO with this cookie.
    Cookie = 8,
    /// HELLO_ACK: this client is not admitted.
    NotAdmitted = 9,
    /// HELLO_ACK: there is no room for another client, or for another from this address.
    TooManyClients = 10,
    /// REJECT: the protocol version is unknown; the header has the one that is known.
    UnknownVersion = 11,
    /// HELLO_ACK: an older session of this client is open, and its client is alive.
    InUse = 12,
    /// HELLO_ACK: the server is checking whether a client is alive; the client should repeat HELLO soon.
    Wait = 13,
    /// REJECT: the server takes only signed frames, and this one is not signed.
    KeyWanted = 14,
    /// REJECT: the server has no keys, and the frame is signed.
    NoKeys = 15,
}

impl Status {
    /// The status with this number, if there is one.
    #[inline]
    pub fn from_u8(number: u8) -> Option<Self> {
        try_transmute!(number).ok()
    }
}

/// Flags of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(u8);

impl Flags {
    /// The page is same-filled: one repeated 64-bit value. The payload is that value, 8 bytes.
    pub const SAME_FILLED: Self = Self(1);

    /// A signature follows the header.
    pub const SIGNED: Self = Self(2);

    /// READ: the answer's signature need not cover its payload. READ_REPLY with status OK: it does not.
    pub const HEADER_ONLY: Self = Self(4);

    const KNOWN: u8 = 7;

    /// Both.
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These without `other`.
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of `other`'s flags are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A decoded header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The kind of the frame.
    pub opcode: Opcode,
    /// Flags.
    pub flags: Flags,
    /// The result of the request; zero in requests.
    pub status: Status,
    /// The client's number for the request; an answer repeats it.
    pub tag: u32,
    /// Which sending of the request; an answer repeats it.
    pub attempt: u32,
    /// Which fragment of the page this frame carries.
    pub fragment_index: u8,
    /// The number of fragments of the page; in a READ, into how many the answer is to be cut.
    pub fragment_count: u8,
    /// READ: the fragments wanted. WRITE_ACK: the fragments held.
    pub fragment_mask: FragmentMask,
    /// How full the server is for this client, 0 to 65535; 0 in a client's frames.
    pub utilisation: u16,
    /// WRITE, READ_REPLY: CRC32C of the whole page. Other opcodes: CRC32C of the payload.
    pub payload_crc: u32,
    /// The session that the client chose.
    pub session: u64,
    /// The server's incarnation; 0 from a client that does not know it.
    pub incarnation: u64,
    /// The page's index.
    pub page: u64,
    /// The page's version; in a READ, its low 8 bits are the generation wanted.
    pub version: u64,
    /// WRITE, READ_REPLY: the tag of the sealed page. Zeros in others.
    pub page_tag: PageTag,
    /// From a client: low water. All versions below it are settled, and the server refuses WRITEs of them.
    /// From a server: high water. All versions that it knows of in this session are below it.
    pub low_water: u64,
}

impl Header {
    /// A header with an opcode and zeros.
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
            page_tag: PageTag([0; 16]),
            low_water: 0,
        }
    }

    /// The header of the answer `opcode` to this request, with the fields that an answer repeats.
    pub fn answer(&self, opcode: Opcode, status: Status) -> Self {
        Self {
            opcode,
            status,
            flags: Flags::default(),
            fragment_mask: FragmentMask::EMPTY,
            payload_crc: 0,
            page_tag: PageTag::default(),
            low_water: 0,
            ..*self
        }
    }

    /// The checksum and the tag of the page that the frame belongs to.
    #[inline]
    pub fn page_sum(&self) -> PageSum {
        PageSum {
            crc: self.payload_crc,
            tag: self.page_tag,
        }
    }

    /// The header's bytes, with its checksum, for a payload of `payload_len` bytes.
    pub fn emit(&self, payload_len: u16) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        self.emit_to(&mut bytes, payload_len, crate::crc::crc32c);
        bytes
    }

    /// [`Header::emit`] into `bytes`, with the caller's `crc32c`: for fast paths.
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
        raw.page_tag = self.page_tag;
        raw.reserved1 = 0.into();
        raw.header_crc = crc32c(raw.checked()).into();
    }

    /// The session of a frame with these bytes.
    pub fn session_of(bytes: &[u8; HEADER_LEN]) -> Option<u64> {
        let (raw, _) = RawHeader::ref_from_prefix(bytes).ok()?;
        Some(raw.session.get())
    }

    /// Makes a header's bytes those of a signed frame of a session. Returns its flags.
    pub fn mark_signed(bytes: &mut [u8; HEADER_LEN], session: u64) -> Flags {
        let raw: &mut RawHeader = zerocopy::transmute_mut!(bytes);
        raw.flags |= Flags::SIGNED.0;
        raw.session = session.into();
        raw.header_crc = crate::crc::crc32c(raw.checked()).into();
        Flags(raw.flags)
    }

    /// Decodes a header. Returns it with its payload's length.
    pub(super) fn parse(
        bytes: &[u8],
        crc32c: impl Fn(&[u8]) -> u32,
    ) -> Result<(Self, u16), FrameError> {
        let (raw, _) = RawHeader::ref_from_prefix(bytes).map_err(|_| FrameError::Short)?;
        if crc32c(raw.checked()) != raw.header_crc.get() {
            return Err(FrameError::Checksum);
        }
        if raw.protocol != PROTOCOL_VERSION {
            return Err(FrameError::Version(raw.protocol));
        }
        let opcode = Opcode::from_u8(raw.opcode).ok_or(FrameError::Malformed)?;
        let status = Status::from_u8(raw.status).ok_or(FrameError::Malformed)?;
        if raw.flags & !Flags::KNOWN != 0 {
            return Err(FrameError::Malformed);
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
            page_tag: raw.page_tag,
            low_water: raw.low_water.get(),
        };
        Ok((header, raw.payload_len.get()))
    }
}
