// SPDX-License-Identifier: GPL-2.0

//! The frames that clients and memory servers exchange. `docs/protocol.md` is the specification.
//!
//! This module knows only the format: what a byte means, and whether a frame is well formed. The engine
//! knows which station may send which frame, and when. A [`Frame`] is proof that its header's checksum,
//! version and lengths are right.

mod fragment;
mod frame;
mod header;
mod message;
mod signature;

pub use fragment::{FragmentMask, Fragmentation};
#[cfg(MODULE)]
pub(crate) use frame::parse_header;
pub use frame::{is_request, payload_offset, Frame, FrameError};
pub use header::{Flags, Header, Opcode, PageSum, PageTag, Status, HEADER_LEN, PROTOCOL_VERSION};
pub use message::{
    Ack, Announce, ClientId, ClusterName, Hello, HelloAck, Inventory, InventoryReply, KeyReply,
    KeyRequest, Nonce, NotAClientId, PageVersion, Stats, MAX_ACKS, MAX_PAGE_VERSIONS,
};
pub use signature::{signature_len, Signature, SIGNATURE_LEN, SIGNED_HEAD_LEN};

/// A hardware address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// All stations on the segment.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether it can be the address of one station: neither a group address nor all zeros.
    pub fn is_unicast(self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }
}

impl core::fmt::Display for MacAddress {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl core::str::FromStr for MacAddress {
    type Err = MacAddressError;

    /// Parses six two-digit hexadecimal numbers with colons between them.
    fn from_str(text: &str) -> Result<Self, MacAddressError> {
        if text.split(':').any(|octet| octet.len() != 2) {
            return Err(MacAddressError);
        }
        let digits = text.bytes().filter(|&byte| byte != b':');
        from_hex(digits).map(Self).ok_or(MacAddressError)
    }
}

/// The bytes that the digits are, two for each; `None` if there are more or fewer, or others than digits.
fn from_hex<const N: usize>(mut digits: impl Iterator<Item = u8>) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let mut digit = || char::from(digits.next()?).to_digit(16);
    for byte in &mut bytes {
        *byte = u8::try_from(digit()? << 4 | digit()?).ok()?;
    }
    digits.next().is_none().then_some(bytes)
}

/// The text is not a hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacAddressError;

/// Bytes of a page, which is the device's logical block.
pub const PAGE_SIZE: usize = 4096;

/// Bytes of the value that represents a same-filled page.
pub const FILL_LEN: u16 = 8;

/// The payload of a probe.
pub static PADDING: [u8; PAGE_SIZE] = [0; PAGE_SIZE];

/// Bytes of an Ethernet header without a VLAN tag.
pub const ETHERNET_LEN: usize = 14;
