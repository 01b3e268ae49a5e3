// SPDX-License-Identifier: GPL-2.0

//! Published tags, and blocks as the block layer passes them, with each implementation of the kernel's.

use std::vec::Vec;

use super::*;
use crate::linux::{
    block::{
        place::BLOCK_SIZE,
        Page, //
    },
    crypto::aead::{
        tests::{
            bytes_of,
            page,
            pattern,
            write,
            Pieces,
            GCM, //
        },
        KEY_LEN, //
    },
    sched::NoPreemption,
};

const CHACHA20_POLY1305: &CStr = c"rfc7539(chacha20,poly1305)";
const KEY: [u8; KEY_LEN] = [3; KEY_LEN];
const NONCE: [u8; NONCE_LEN] = [5; NONCE_LEN];

/// A key, a nonce, a text and its tag, in hexadecimal digits.
type Vector = (
    &'static str,
    &'static str,
    &'static str,
    &'static str, //
);

/// NIST CAVP, `gcmEncryptExtIV256.rsp`, those without plain text: the first with 0, 128 and 160 bits of
/// associated data.
const GMAC: [Vector; 3] = [
    (
        "b52c505a37d78eda5dd34f20c22540ea1b58963cf8e5bf8ffa85f9f2492505b4",
        "516c33929df5a3284ff463d7",
        "",
        "bdc1ac884d332457a1d2664f168c76f0",
    ),
    (
        "78dc4e0aaf52d935c3c01eea57428f00ca1fd475f5da86a49c8dd73d68c8e223",
        "d79cf22d504cc793c3fb6c8a",
        "b96baa8c1c75a671bfb2d08d06be5f36",
        "3e5d486aa2e30b22e040b85723a06e76",
    ),
    (
        "886cff5f3e6b8d0e1ad0a38fcdb26de97e8acbe79f6bed66959a598fa5047d65",
        "3a8efa1cd74bbab5448f9945",
        "519fee519d25c7a304d6c6aa1897ee1eb8c59655",
        "f6d47505ec96c98a42dc3ae719877b87",
    ),
];

/// Wycheproof, `chacha20_poly1305_test.json`, numbers 2 and 3.
const POLY1305: [Vector; 2] = [
    (
        "80ba3192c803ce965ea371d5ff073cf0f43b6a2ab576b208426e11409c09b9b0",
        "4da5bf8dfd5852c1ea12379d",
        "",
        "76acb342cf3166a5b63c0c0ea1383c8d",
    ),
    (
        "7a4cd759172e02eb204db2c3f5c746227df584fc1345196391dbb9577a250742",
        "a92ef0ac991dd516a3c6f689",
        "bd506764f2d2c410",
        "906fa6284b52f87b7359cbaa7563c709",
    ),
];

fn bytes<const N: usize>(digits: &str) -> [u8; N] {
    let mut bytes = [0; N];
    assert_eq!(digits.len(), 2 * N);
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
        for &digit in pair {
            let value = (digit as char).to_digit(16);
            assert!(value.is_some());
            *byte = *byte << 4 | value.unwrap_or(0) as u8;
        }
    }
    bytes
}

fn write_text(request: &mut MacRequest, text: &[u8]) -> Result {
    let to = request.text_mut(text.len()).ok_or(EINVAL)?;
    to.copy_from_slice(text);
    Ok(())
}

/// The tag of a text that is copied, for comparison.
fn tag_of(request: &mut MacRequest, key: &Aead, text: &[u8]) -> Result<[u8; TAG_LEN]> {
    write_text(request, text)?;
    request.tag(key, &NONCE, text.len(), None)
}

fn vector(name: &CStr, (key, nonce, text, tag): Vector) -> Result {
    let key = Aead::with_algorithm(name, &bytes(key))?;
    let (nonce, tag) = (bytes(nonce), bytes(tag));
    let mut padded = [0; 20];
    let len = text.len() / 2;
    match len {
        0 => {}
        8 => padded[..8].copy_from_slice(&bytes::<8>(text)),
        16 => padded[..16].copy_from_slice(&bytes::<16>(text)),
        _ => padded = bytes(text),
    }
    let mut request = MacRequest::new(&key)?;
    write_text(&mut request, &padded[..len])?;
    assert_eq!(request.tag(&key, &nonce, len, None)?, tag);
    assert_eq!(request.verify(&key, &nonce, &tag, len), Ok(()));
    assert_eq!(request.text(len), Some(&padded[..len]));
    Ok(())
}

/// The key, with each of its bits changed in turn.
fn keys(name: &CStr) -> impl Iterator<Item = Result<Aead>> + '_ {
    (0..8 * KEY_LEN).map(move |bit| {
        let mut key = KEY;
        key[bit / 8] ^= 1 << (bit % 8);
        Aead::with_algorithm(name, &key)
    })
}

/// Nothing is taken for what was signed if one bit is another, or one byte is missing.
fn flips(name: &CStr) -> Result {
    const LEN: usize = 49;
    let key = Aead::with_algorithm(name, &KEY)?;
    let mut request = MacRequest::new(&key)?;
    let tag = tag_of(&mut request, &key, &pattern()[..LEN])?;

    for bit in 0..8 * LEN {
        let flip = |request: &mut MacRequest| -> Result {
            request.text_mut(LEN).ok_or(EINVAL)?[bit / 8] ^= 1 << (bit % 8);
            Ok(())
        };
        flip(&mut request)?;
        assert_eq!(request.verify(&key, &NONCE, &tag, LEN), Err(EBADMSG));
        flip(&mut request)?;
    }
    for bit in 0..8 * TAG_LEN {
        let mut wrong = tag;
        wrong[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(request.verify(&key, &NONCE, &wrong, LEN), Err(EBADMSG));
    }
    for bit in 0..8 * NONCE_LEN {
        let mut wrong = NONCE;
        wrong[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(request.verify(&key, &wrong, &tag, LEN), Err(EBADMSG));
    }
    for wrong in keys(name) {
        assert_eq!(request.verify(&wrong?, &NONCE, &tag, LEN), Err(EBADMSG));
    }
    for len in [0, 1, LEN - 1, LEN + 1, MacRequest::ROOM] {
        assert_eq!(request.verify(&key, &NONCE, &tag, len), Err(EBADMSG));
    }
    assert_eq!(request.verify(&key, &NONCE, &tag, LEN), Ok(()));
    Ok(())
}

/// The tag of bytes of its own and of a part of a block is that of all these bytes.
fn parts(key: &Aead, block: Block<'_>) -> Result {
    let mut request = MacRequest::new(key)?;
    let before = bytes_of(&block);
    for own in [0, 1, 15, 16, 64, 104, 128] {
        for part in [
            (0, 4096),
            (0, 1024),
            (1024, 1024),
            (511, 514),
            (4095, 1),
            (7, 0),
            (4096, 0),
        ] {
            let (from, to) = (usize::from(part.0), usize::from(part.0 + part.1));
            let mut text: Vec<u8> = (0..own as u8).collect();
            text.extend_from_slice(&before[from..to]);
            let expected = tag_of(&mut request, key, &text)?;
            assert_eq!(request.verify(key, &NONCE, &expected, text.len()), Ok(()));

            // What is behind the bytes of its own does not count.
            let _guard = NoPreemption::new();
            let rest = request.text_mut(MacRequest::ROOM).ok_or(EINVAL)?;
            rest[own..].fill(0xee);
            let tag = request.tag(key, &NONCE, own, Some((block, part.0, part.1)))?;
            assert_eq!(tag, expected);
        }
    }
    for part in [(4096, 1), (1, 4096), (u16::MAX, u16::MAX)] {
        let tag = request.tag(key, &NONCE, 16, Some((block, part.0, part.1)));
        assert_eq!(tag, Err(EINVAL));
    }
    assert_eq!(bytes_of(&block), before);
    Ok(())
}

fn blocks(key: &Aead) -> Result {
    parts(key, page()?.block())?;
    for pieces in [
        &[(0, 512), (512, 1024), (1536, 2560)][..],
        &[(3584, 512); MAX_RUNS],
        &[(0, 4095), (9, 1)],
        &[(1, 7), (0, 4089)],
    ] {
        let mut pieces = Pieces::new(pieces)?;
        let block = pieces.writer()?;
        write(&block, &pattern());
        parts(key, *block)?;
    }
    Ok(())
}

fn limits(key: &Aead) -> Result {
    let mut request = MacRequest::new(key)?;
    assert_eq!(
        request
            .text(1)
            .map(<[u8]>::as_ptr)
            .map(|text| text.align_offset(16)),
        Some(0)
    );
    assert_eq!(
        request.text(MacRequest::ROOM),
        Some(&[0; MacRequest::ROOM][..])
    );
    let tag = request.tag(key, &NONCE, MacRequest::ROOM, None)?;
    for len in [MacRequest::ROOM + 1, u32::MAX as usize, 1 << 32, usize::MAX] {
        assert!(request.text(len).is_none());
        assert!(request.text_mut(len).is_none());
        assert_eq!(request.tag(key, &NONCE, len, None), Err(EINVAL));
        assert_eq!(request.verify(key, &NONCE, &tag, len), Err(EINVAL));
    }
    assert_eq!(request.verify(key, &NONCE, &tag, MacRequest::ROOM), Ok(()));

    let mut pieces = Pieces::new(&[(0, 256); 16])?;
    let block = pieces.writer()?;
    let mut of = |len| request.tag(key, &NONCE, 16, Some((*block, 0, len)));
    assert_eq!(of(4096), Err(EINVAL));
    assert!(of(2048).is_ok());
    assert_eq!(of(2049), Err(EINVAL));
    Ok(())
}

fn all(name: &CStr, vectors: &[Vector]) -> Result<[u8; TAG_LEN]> {
    let key = Aead::with_algorithm(name, &KEY)?;
    vectors.iter().try_for_each(|of| vector(name, *of))?;
    flips(name)?;
    blocks(&key)?;
    limits(&key)?;
    tag_of(&mut MacRequest::new(&key)?, &key, &pattern())
}

#[test]
fn implementations_agree() {
    let tags: Result<Vec<_>> = GCM.iter().map(|name| all(name, &GMAC)).collect();
    let tags = tags.unwrap_or_default();
    assert_eq!(tags.len(), GCM.len());
    assert!(tags.iter().all(|tag| *tag == tags[0]));
}

/// It may be a module that is not there.
#[test]
fn chacha20_poly1305_works_as_well() {
    if Aead::with_algorithm(CHACHA20_POLY1305, &KEY).is_ok() {
        assert!(all(CHACHA20_POLY1305, &POLY1305).is_ok());
    }
}

/// Each is there on some processors only.
#[test]
fn implementations_of_the_processor_agree() {
    for name in [
        c"generic-gcm-aesni",
        c"generic-gcm-aesni-avx",
        c"generic-gcm-vaes-avx2",
        c"generic-gcm-vaes-avx512",
    ] {
        if Aead::with_algorithm(name, &KEY).is_ok() {
            assert!(all(name, &GMAC).is_ok());
        }
    }
}

/// The tag is that of a sealed text without any byte.
#[test]
fn an_empty_text_has_the_tag_of_one_that_is_sealed() {
    let same = || -> Result<bool> {
        let key = Aead::new(&KEY)?;
        let mut sealing = crate::linux::crypto::aead::AeadRequest::new(&key)?;
        let sealed = sealing.seal_bytes(&key, &NONCE, &mut [])?;
        Ok(MacRequest::new(&key)?.tag(&key, &NONCE, 0, None)? == sealed)
    };
    assert_eq!(same(), Ok(true));
}

#[test]
fn a_request_serves_keys_that_it_has_room_for() {
    let result = || -> Result {
        let small = Aead::with_algorithm(GCM[0], &KEY)?;
        let large = Aead::with_algorithm(GCM[1], &KEY)?;
        assert!(small.reqsize() < large.reqsize());
        let mut few = MacRequest::new(&small)?;
        let mut many = MacRequest::new(&large)?;

        assert_eq!(few.tag(&large, &NONCE, 9, None), Err(EINVAL));
        assert_eq!(few.verify(&large, &NONCE, &[0; TAG_LEN], 9), Err(EINVAL));
        let tag = many.tag(&small, &NONCE, 9, None)?;
        many.verify(&large, &NONCE, &tag, 9)
    };
    assert_eq!(result(), Ok(()));
}

#[test]
fn the_tag_is_of_the_bytes_as_they_are() {
    let result = || -> Result {
        let key = Aead::new(&KEY)?;
        let mut request = MacRequest::new(&key)?;
        let page = Page::new()?;
        let of = |request: &mut MacRequest| {
            request.tag(&key, &NONCE, 0, Some((page.block(), 0, BLOCK_SIZE as u16)))
        };
        let zeros = of(&mut request)?;
        page.writer().fill(1);
        assert_ne!(of(&mut request)?, zeros);
        page.writer().fill(0);
        assert_eq!(of(&mut request)?, zeros);
        Ok(())
    };
    assert_eq!(result(), Ok(()));
}
