// SPDX-License-Identifier: GPL-2.0

//! The network block device's protocol, as the kernel uses it. A request is a header, and the bytes of a
//! write. Its answer is a header, and the bytes of a read. Answers are in any order.

use std::io::{self, Read, Write};
use std::ops::Range;

use crate::drive::Request;
use crate::mechanics::Access;

const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;
const REQUEST_BYTES: usize = 28;

/// Features of the device, as its flags.
pub const FLAGS: usize = HAS_FLAGS | ROTATIONAL;
const HAS_FLAGS: usize = 1 << 0;
const ROTATIONAL: usize = 1 << 4;

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Reads a request's header; `None` if the kernel has disconnected.
pub fn read_request(input: &mut impl Read) -> io::Result<Option<Request>> {
    let mut header = [0; REQUEST_BYTES];
    input.read_exact(&mut header)?;
    let word = |at: usize| {
        u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let double = |at: usize| u64::from(word(at)) << 32 | u64::from(word(at + 4));
    if word(0) != REQUEST_MAGIC {
        return Err(invalid(format!("{:#010x} begins no request", word(0))));
    }
    // The upper half holds flags, none of which we have offered.
    let access = match word(4) {
        0 => Access::Read,
        1 => Access::Write,
        2 => return Ok(None),
        other => return Err(invalid(format!("there is no request {other:#010x}"))),
    };
    let start = double(16);
    let end = start
        .checked_add(word(24).into())
        .ok_or_else(|| invalid(format!("{start} is not on the disk")))?;
    Ok(Some(Request {
        cookie: double(8),
        access,
        range: start..end,
    }))
}

/// Answers a request that has ended; `data` are the bytes of a read.
pub fn write_reply(output: &mut impl Write, cookie: u64, data: &[u8]) -> io::Result<()> {
    let mut header = [0; 16];
    header[..4].copy_from_slice(&REPLY_MAGIC.to_be_bytes());
    header[8..].copy_from_slice(&cookie.to_be_bytes());
    output.write_all(&header)?;
    output.write_all(data)
}

/// The place of `range` in `platter`.
pub fn place(platter: &[u8], range: &Range<u64>) -> io::Result<Range<usize>> {
    let index = |at| usize::try_from(at).map_err(io::Error::other);
    let place = index(range.start)?..index(range.end)?;
    match platter.get(place.clone()) {
        Some(_) => Ok(place),
        None => Err(invalid(format!("{range:?} is not on the disk"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(magic: u32, kind: u32, cookie: u64, start: u64, length: u32) -> Vec<u8> {
        let mut bytes = magic.to_be_bytes().to_vec();
        bytes.extend(kind.to_be_bytes());
        bytes.extend(cookie.to_be_bytes());
        bytes.extend(start.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes
    }

    #[test]
    fn requests_are_understood() {
        for (kind, access) in [(0, Access::Read), (1, Access::Write)] {
            let bytes = header(REQUEST_MAGIC, kind, 7 << 40, 1 << 33, 4096);
            let request = read_request(&mut &bytes[..]).expect("valid");
            let range = 1 << 33..(1 << 33) + 4096;
            let cookie = 7 << 40;
            assert_eq!(
                request,
                Some(Request {
                    cookie,
                    access,
                    range
                })
            );
        }
        let bytes = header(REQUEST_MAGIC, 2, 0, 0, 0);
        assert_eq!(read_request(&mut &bytes[..]).expect("valid"), None);
    }

    #[test]
    fn nonsense_is_refused() {
        for (magic, kind, start) in [
            (REPLY_MAGIC, 0, 0),
            (REQUEST_MAGIC, 3, 0),
            (REQUEST_MAGIC, 1 << 16, 0),
            (REQUEST_MAGIC, 0, u64::MAX),
        ] {
            let bytes = header(magic, kind, 1, start, 4096);
            read_request(&mut &bytes[..]).expect_err("nonsense");
        }
        read_request(&mut &header(REQUEST_MAGIC, 0, 1, 0, 1)[..20]).expect_err("cut");
        place(&[0; 8], &(4..9)).expect_err("behind its end");
        assert_eq!(place(&[0; 8], &(4..8)).expect("on the disk"), 4..8);
    }

    #[test]
    fn a_reply_is_a_header_and_the_bytes() {
        let mut bytes = Vec::new();
        write_reply(&mut bytes, 0x0102, b"page").expect("memory");
        assert_eq!(bytes[..4], REPLY_MAGIC.to_be_bytes());
        assert_eq!(bytes[4..16], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(bytes[16..], *b"page");
    }
}
