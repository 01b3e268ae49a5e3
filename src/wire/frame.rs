// SPDX-License-Identifier: GPL-2.0

//! A received frame, checked.
//!
//! The checks, in this order: `docs/protocol.md`, "Frames".

use super::{Flags, Fragmentation, Header, Opcode, Signature, Status, HEADER_LEN, SIGNATURE_LEN};
use zerocopy::FromBytes;

/// A well-formed frame: header and payload agree with each other and with the opcode.
///
/// # Invariants
///
/// `payload` has exactly the length that the header states. A frame that carries page bytes has a
/// `fragment_count` of 1 to 8, a `fragment_index` below it, and a payload of just that fragment's
/// length, or of 8 bytes with [`Flags::SAME_FILLED`]. The payload of any other frame has the
/// header's `payload_crc`. The checksum of a page is verified only when the page is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The header.
    pub header: Header,
    /// The payload.
    pub payload: &'a [u8],
}

/// Why a frame is dropped. Nothing in it can be trusted, except with [`FrameError::Version`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// Shorter than a header, or than its payload.
    Short,
    /// The header's checksum, or a control payload's, is wrong.
    Checksum,
    /// The frame is intact and has another protocol version.
    Version(u8),
    /// An unknown opcode, status or flag, or lengths and fragments that do not fit the opcode.
    Malformed,
}

impl<'a> Frame<'a> {
    /// Checks `bytes`, which begin after the Ethernet header and may end in padding.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FrameError> {
        Self::parse_with(bytes, crate::crc::crc32c)
    }

    /// [`Frame::parse`], for a caller that has a faster `crc32c`.
    pub fn parse_with(bytes: &'a [u8], crc32c: impl Fn(&[u8]) -> u32) -> Result<Self, FrameError> {
        let (header, payload_len) = parse_header_with(bytes, &crc32c)?;
        let payload = bytes
            .get(payload_offset(&header)..)
            .and_then(|rest| rest.get(..usize::from(payload_len)))
            .ok_or(FrameError::Short)?;
        if !carries_page(&header) && crc32c(payload) != header.payload_crc {
            return Err(FrameError::Checksum);
        }
        Ok(Self { header, payload })
    }

    /// The signature of the frame whose bytes are these, which has not been verified. `None` if it has none.
    pub fn signature(&self, bytes: &'a [u8]) -> Option<&'a Signature> {
        let rest = bytes.get(HEADER_LEN..)?;
        let (signature, _) = Signature::ref_from_prefix(rest).ok()?;
        self.header
            .flags
            .contains(Flags::SIGNED)
            .then_some(signature)
    }
}

/// Checks the header at the beginning of `bytes`, for a receiver that copies a page's bytes from
/// elsewhere: the payload may be missing. Returns the header and the payload's length. It does not
/// check that the payload is there, nor a control payload's checksum.
#[cfg(MODULE)]
pub(crate) fn parse_header(bytes: &[u8]) -> Result<(Header, u16), FrameError> {
    parse_header_with(bytes, crate::crc::crc32c)
}

/// Whether a frame with this header, if it is intact, comes from a client. This holds in every version
/// of the protocol.
#[inline]
pub fn is_request(header: &[u8; HEADER_LEN]) -> bool {
    let [_, opcode, ..] = header;
    opcode & 1 == 0
}

fn parse_header_with(
    bytes: &[u8],
    crc32c: impl Fn(&[u8]) -> u32,
) -> Result<(Header, u16), FrameError> {
    let (header, payload_len) = Header::parse(bytes, crc32c)?;
    if !shape_is_right(&header, payload_len) {
        return Err(FrameError::Malformed);
    }
    Ok((header, payload_len))
}

/// Where the payload of a frame with this header begins: behind the header, and its signature if it has one.
#[inline]
pub fn payload_offset(header: &Header) -> usize {
    match header.flags.contains(Flags::SIGNED) {
        true => HEADER_LEN + SIGNATURE_LEN,
        false => HEADER_LEN,
    }
}

/// Whether the payload is a page's bytes.
fn carries_page(header: &Header) -> bool {
    match header.opcode {
        Opcode::Write => true,
        Opcode::ReadReply => header.status == Status::Ok,
        _ => false,
    }
}

fn shape_is_right(header: &Header, payload_len: u16) -> bool {
    if carries_page(header) {
        if header.flags.contains(Flags::HEADER_ONLY) && header.opcode != Opcode::ReadReply {
            return false;
        }
        if header.flags.contains(Flags::SAME_FILLED) {
            return payload_len == 8 && header.fragment_index == 0 && header.fragment_count == 1;
        }
        return Fragmentation::from_count(header.fragment_count)
            .and_then(|cut| cut.span(header.fragment_index))
            .is_some_and(|(_, len)| len == payload_len);
    }
    let allowed = match header.opcode {
        Opcode::Read => Flags::SIGNED.union(Flags::HEADER_ONLY),
        _ => Flags::SIGNED,
    };
    if header.flags.without(allowed) != Flags::default() {
        return false;
    }
    match header.opcode {
        Opcode::Read => {
            payload_len == 0
                && Fragmentation::from_count(header.fragment_count).is_some_and(|cut| {
                    !header.fragment_mask.is_empty()
                        && header.fragment_mask.without(cut.all()).is_empty()
                })
        }
        Opcode::WriteAck | Opcode::ReadReply | Opcode::FreeAck => payload_len == 0,
        Opcode::Bye | Opcode::ByeAck | Opcode::Reject | Opcode::Stats => payload_len == 0,
        // The payloads' own types check the rest.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::FragmentMask;
    use super::*;

    use std::vec::Vec;

    fn frame(header: &Header, payload: &[u8]) -> Vec<u8> {
        let mut bytes = header.emit(payload.len() as u16).to_vec();
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn padding_is_ignored_and_truncation_is_not() {
        let mut header = Header::new(Opcode::Pong);
        header.payload_crc = crate::crc::crc32c(b"abc");
        let mut bytes = frame(&header, b"abc");
        bytes.extend_from_slice(&[0; 20]);
        assert_eq!(Frame::parse(&bytes).unwrap().payload, b"abc");
        for len in 0..HEADER_LEN + 3 {
            assert_eq!(Frame::parse(&bytes[..len]), Err(FrameError::Short));
        }
    }

    #[test]
    fn every_flipped_bit_of_a_control_frame_is_noticed() {
        let mut header = Header::new(Opcode::Free);
        header.session = 0x1234_5678_9abc_def0;
        header.payload_crc = crate::crc::crc32c(&[7; 16]);
        let good = frame(&header, &[7; 16]);
        assert!(Frame::parse(&good).is_ok());
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Frame::parse(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn page_frames_have_their_fragments_length() {
        let mut header = Header::new(Opcode::Write);
        header.fragment_count = 3;
        header.fragment_index = 2;
        assert!(Frame::parse(&frame(&header, &[0; 1360])).is_ok());
        assert_eq!(
            Frame::parse(&frame(&header, &[0; 1368])),
            Err(FrameError::Malformed)
        );
        header.fragment_index = 3;
        assert_eq!(
            Frame::parse(&frame(&header, &[0; 1360])),
            Err(FrameError::Malformed)
        );
        header.fragment_index = 0;
        header.fragment_count = 1;
        header.flags = Flags::SAME_FILLED;
        assert!(Frame::parse(&frame(&header, &[0; 8])).is_ok());
        assert_eq!(
            Frame::parse(&frame(&header, &[])),
            Err(FrameError::Malformed)
        );
    }

    #[test]
    fn a_read_wants_fragments_that_exist() {
        let mut header = Header::new(Opcode::Read);
        header.fragment_count = 3;
        assert_eq!(
            Frame::parse(&frame(&header, &[])),
            Err(FrameError::Malformed)
        );
        header.fragment_mask = FragmentMask::from_bits(0b1000);
        assert_eq!(
            Frame::parse(&frame(&header, &[])),
            Err(FrameError::Malformed)
        );
        header.fragment_mask = FragmentMask::from_bits(0b101);
        assert!(Frame::parse(&frame(&header, &[])).is_ok());
    }

    #[test]
    fn requests_are_told_by_one_byte() {
        for number in 0..=u8::MAX {
            if let Some(opcode) = Opcode::from_u8(number) {
                let is_request = is_request(&Header::new(opcode).emit(0));
                assert_eq!(is_request, !opcode.is_from_server(), "{opcode:?}");
            }
        }
    }

    #[test]
    fn another_version_is_told_apart_from_damage() {
        let mut bytes = frame(&Header::new(Opcode::Stats), &[]);
        bytes[0] = 9;
        assert_eq!(Frame::parse(&bytes), Err(FrameError::Checksum));
        let crc = crate::crc::crc32c(&bytes[..HEADER_LEN - 4]).to_be_bytes();
        bytes[HEADER_LEN - 4..].copy_from_slice(&crc);
        assert_eq!(Frame::parse(&bytes), Err(FrameError::Version(9)));
    }
}
