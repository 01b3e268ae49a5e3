// SPDX-License-Identifier: GPL-2.0

//! Frames that somebody has altered, whose checksums are right all the same.

use anemone::crc::crc32c;
use anemone::wire::{FragmentMask, Frame, Header, Opcode, Status, HEADER_LEN, SIGNATURE_LEN};
use arbitrary::{Result, Unstructured};
use zerocopy::IntoBytes;

/// Where a header has its flags, and its payload's length and checksum.
const FLAGS: usize = 2;
const PAYLOAD_LEN: usize = 16;
const PAYLOAD_CRC: usize = 20;
/// [`anemone::wire::Flags::SIGNED`].
const IS_SIGNED: u8 = 2;

/// Makes the checksums of a frame right, if it is long enough to have them.
pub fn make_right(bytes: &mut [u8]) {
    if bytes.len() < HEADER_LEN {
        return;
    }
    let len = u16::from_be_bytes([bytes[PAYLOAD_LEN], bytes[PAYLOAD_LEN + 1]]);
    let begin = match bytes[FLAGS] & IS_SIGNED {
        0 => HEADER_LEN,
        _ => HEADER_LEN + SIGNATURE_LEN,
    };
    if let Some(payload) = bytes.get(begin..begin + usize::from(len)) {
        let crc = crc32c(payload).to_be_bytes();
        bytes[PAYLOAD_CRC..PAYLOAD_CRC + 4].copy_from_slice(&crc);
    }
    let crc = crc32c(&bytes[..HEADER_LEN - 4]).to_be_bytes();
    bytes[HEADER_LEN - 4..HEADER_LEN].copy_from_slice(&crc);
}

/// Alters one field of a frame, or a byte of it.
pub fn alter(u: &mut Unstructured<'_>, bytes: &mut Vec<u8>) -> Result<()> {
    let Ok(frame) = Frame::parse(bytes) else {
        return Ok(());
    };
    let (mut header, mut payload) = (frame.header, frame.payload.to_vec());
    let signature = frame.signature(bytes).copied();
    let small = u64::from(u.int_in_range(0..=9_u8)?);
    match u.int_in_range(0..=14_u8)? {
        0 => header.opcode = any_opcode(u)?,
        1 => header.status = any_status(u)?,
        2 => header.tag = header.tag.wrapping_add(u.arbitrary::<u8>()?.into()),
        3 => header.attempt = header.attempt.wrapping_add(small as u32),
        4 => header.fragment_index = small as u8,
        5 => header.fragment_count = small as u8,
        6 => header.fragment_mask = FragmentMask::from_bits(u.arbitrary()?),
        7 => header.utilisation = u.arbitrary()?,
        8 => header.session = header.session.wrapping_add(small),
        9 => header.incarnation = header.incarnation.wrapping_add(small),
        10 => header.page = header.page.wrapping_add(small),
        11 => header.version = header.version.wrapping_add(small).wrapping_sub(4),
        12 => header.low_water = u.arbitrary::<u64>()? >> u.int_in_range(0..=63_u8)?,
        13 if !payload.is_empty() => {
            let at = u.choose_index(payload.len())?;
            payload[at] = u.arbitrary()?;
        }
        _ => {
            let len = u.int_in_range(0..=payload.len())?;
            payload.truncate(len);
        }
    }
    // The checksum of a page is right only if it is whole in this frame.
    if u.ratio(3_u8, 4)? {
        header.payload_crc = crc32c(&payload);
    }
    *bytes = emit(&header, &payload);
    if let Some(signature) = signature {
        let at = HEADER_LEN;
        bytes.splice(at..at, signature.as_bytes().iter().copied());
    }
    Ok(())
}

/// A frame of these.
pub fn emit(header: &Header, payload: &[u8]) -> Vec<u8> {
    // CAST: the frames here are shorter than 64 KiB.
    let mut bytes = header.emit(payload.len() as u16).to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

/// Any opcode.
pub fn any_opcode(u: &mut Unstructured<'_>) -> Result<Opcode> {
    let number = u.int_in_range(0..=27_u8)?;
    Ok(Opcode::from_u8(number).unwrap_or(Opcode::Write))
}

/// Any status.
pub fn any_status(u: &mut Unstructured<'_>) -> Result<Status> {
    let number = u.int_in_range(0..=13_u8)?;
    Ok(Status::from_u8(number).unwrap_or(Status::Ok))
}
