// SPDX-License-Identifier: GPL-2.0

//! Blocks as the block layer passes them, and each implementation of the kernel's.

use std::{
    boxed::Box,
    vec::Vec, //
};

use super::*;
use crate::linux::{
    block::place::{
        page_address,
        Place,
        Places, //
    },
    sched::NoPreemption,
};

const KEY: [u8; KEY_LEN] = [3; KEY_LEN];
const NONCE: [u8; NONCE_LEN] = [5; NONCE_LEN];

/// The processor's own, if it has one; a template of the kernel's, whose requests are larger; its library.
pub(in crate::linux::crypto) const GCM: [&CStr; 3] = [
    c"gcm(aes)",
    c"gcm_base(ctr-aes-lib,ghash-lib)",
    c"gcm-aes-lib",
];

pub(in crate::linux::crypto) fn pattern() -> Vec<u8> {
    (0..BLOCK_SIZE).map(|i| (i * 7 + i / 256) as u8).collect()
}

pub(in crate::linux::crypto) fn bytes_of(block: &Block<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    block.for_each_run(0, BLOCK_SIZE as u16, |data, len| {
        // SAFETY: The run is memory of the block.
        bytes.extend((0..len).map(|i| unsafe { data.add(i).read_volatile() }));
        true
    });
    bytes
}

pub(in crate::linux::crypto) fn write(block: &BlockWriter<'_>, bytes: &[u8]) {
    let mut from = bytes.iter();
    block.for_each_run(0, BLOCK_SIZE as u16, |data, len| {
        for (i, byte) in from.by_ref().take(len).enumerate() {
            // SAFETY: The run is memory of the block, which may be written to.
            unsafe { data.add(i).write_volatile(*byte) };
        }
        true
    });
}

/// A page that holds the pattern.
pub(in crate::linux::crypto) fn page() -> Result<Page> {
    let page = Page::new()?;
    write(&page.writer(), &pattern());
    Ok(page)
}

/// A block in pieces. Each has a page of its own, begins at an offset there, and has a length.
pub(in crate::linux::crypto) struct Pieces {
    _pages: Vec<Page>,
    _table: Vec<bindings::bio_vec>,
    bio: Box<bindings::bio>,
}

impl Pieces {
    pub(in crate::linux::crypto) fn new(pieces: &[(u32, u32)]) -> Result<Self> {
        let mut pages = Vec::new();
        let mut table = Vec::new();
        for &(bv_offset, bv_len) in pieces {
            let page = Page::new()?;
            table.push(bindings::bio_vec {
                bv_page: page.as_ptr(),
                bv_len,
                bv_offset,
            });
            pages.push(page);
        }
        let mut bio: Box<bindings::bio> = Box::new(Zeroable::zeroed());
        bio.bi_io_vec = table.as_mut_ptr();
        bio.bi_iter.bi_size = pieces.iter().map(|(_, len)| len).sum();
        Ok(Self {
            _pages: pages,
            _table: table,
            bio,
        })
    }

    pub(in crate::linux::crypto) fn writer(&mut self) -> Result<BlockWriter<'_>> {
        // SAFETY: The bio has a block of data, and no other bio behind it. It is there as long as `self`.
        let mut places = unsafe { Places::new(&raw mut *self.bio, 1) };
        let place = places.next().ok_or(EINVAL)?;
        // SAFETY: As above; the memory is that of pages of our own.
        Ok(unsafe { BlockWriter::new(place) })
    }
}

/// Seals a page in each way, and opens it. Returns the tag.
fn pages(key: &Aead) -> Result<[u8; TAG_LEN]> {
    let mut request = AeadRequest::new(key)?;
    let (from, to) = (page()?, Page::new()?);

    let tag = request.seal_page(key, &NONCE, &from.block(), &to)?;
    assert_eq!(bytes_of(&from.block()), pattern());
    assert_ne!(bytes_of(&to.block()), pattern());
    {
        let _guard = NoPreemption::new();
        let sealed = request.seal_page(key, &NONCE, &from.block(), &to)?;
        assert_eq!(sealed, tag);
    }
    let sealed = bytes_of(&to.block());

    request.open_page(key, &NONCE, &tag, &to.writer())?;
    assert_eq!(bytes_of(&to.block()), pattern());

    // Opened by another key, under another nonce, with another tag, with another byte.
    let mut wrong = tag;
    wrong[15] ^= 1;
    let mut refused = |nonce, tag, bytes: &[u8]| {
        write(&from.writer(), bytes);
        request.open_page(key, nonce, tag, &from.writer()) == Err(EBADMSG)
    };
    assert!(refused(&NONCE, &wrong, &sealed));
    assert!(refused(&[6; NONCE_LEN], &tag, &sealed));
    for at in [0, 2047, 2048, 4095] {
        let mut changed = sealed.clone();
        changed[at] ^= 0x80;
        assert!(refused(&NONCE, &tag, &changed));
    }
    assert!(!refused(&NONCE, &tag, &sealed));
    assert_eq!(bytes_of(&from.block()), pattern());
    Ok(tag)
}

/// As `pages`, for blocks that are not pages.
fn blocks(key: &Aead, tag: &[u8; TAG_LEN]) -> Result {
    let mut request = AeadRequest::new(key)?;
    let to = Page::new()?;
    let mut both_ways = |block: &BlockWriter<'_>| -> Result {
        write(block, &pattern());
        assert_eq!(&request.seal_page(key, &NONCE, block, &to)?, tag);
        assert_eq!(bytes_of(block), pattern());
        let sealed = bytes_of(&to.block());
        write(block, &sealed);
        request.open_page(key, &NONCE, tag, block)?;
        assert_eq!(bytes_of(block), pattern());
        let mut changed = sealed.clone();
        changed[4095] ^= 1;
        write(block, &changed);
        assert_eq!(request.open_page(key, &NONCE, tag, block), Err(EBADMSG));
        Ok(())
    };

    both_ways(&Pieces::new(&[(0, 512), (512, 1024), (1536, 2560)])?.writer()?)?;
    both_ways(&Pieces::new(&[(3584, 512); MAX_RUNS])?.writer()?)?;

    // All in one, but on two pages.
    // SAFETY: The function has no requirements.
    let pages = unsafe { bindings::alloc_pages(bindings::GFP_KERNEL, 1) };
    let pages = NonNull::new(pages).ok_or(ENOMEM)?;
    // SAFETY: There are two pages from there on.
    let data = unsafe { page_address(pages).add(512) };
    let place = Place::Whole {
        page: pages,
        data: NonNull::new(data).ok_or(ENOMEM)?,
    };
    // SAFETY: The pages are freed below.
    let result = both_ways(&unsafe { BlockWriter::new(place) });
    // SAFETY: They are those from above.
    unsafe { bindings::__free_pages(pages.as_ptr(), 1) };
    result
}

fn few_bytes(key: &Aead) -> Result {
    let mut request = AeadRequest::new(key)?;
    let mut bytes = [9; 65];
    assert_eq!(request.seal_bytes(key, &NONCE, &mut bytes), Err(EINVAL));
    assert_eq!(
        request.open_bytes(key, &NONCE, &[0; TAG_LEN], &mut bytes),
        Err(EINVAL)
    );
    assert_eq!(bytes, [9; 65]);
    for len in 0..=64 {
        let part = &mut bytes[..len];
        let tag = request.seal_bytes(key, &NONCE, part)?;
        request.open_bytes(key, &NONCE, &tag, part)?;
        assert_eq!(bytes, [9; 65]);
    }
    Ok(())
}

#[test]
fn implementations_agree() {
    let tags: Result<Vec<_>> = GCM
        .iter()
        .map(|name| {
            let key = Aead::with_algorithm(name, &KEY)?;
            let tag = pages(&key)?;
            blocks(&key, &tag)?;
            few_bytes(&key)?;
            Ok(tag)
        })
        .collect();
    let tags = tags.unwrap_or_default();
    assert_eq!(tags.len(), GCM.len());
    assert!(tags.iter().all(|tag| *tag == tags[0]));
}

/// It may be a module that is not there.
#[test]
fn chacha20_poly1305_works_as_well() {
    let Ok(key) = Aead::with_algorithm(c"rfc7539(chacha20,poly1305)", &KEY) else {
        return;
    };
    let result = pages(&key)
        .and_then(|tag| blocks(&key, &tag))
        .and_then(|()| few_bytes(&key));
    assert_eq!(result, Ok(()));
}

#[test]
fn the_librarys_aes_is_the_last_choice() {
    let is_of_library =
        |name| Aead::with_algorithm(name, &KEY).map(|key: Aead| key.has_in_name(b"aes-lib"));
    assert_eq!(is_of_library(c"gcm-aes-lib"), Ok(true));
    for name in [c"generic-gcm-aesni", c"generic-gcm-aesni-avx"] {
        assert!(matches!(is_of_library(name), Ok(false) | Err(ENOENT)));
    }
    let chosen = Aead::new(&KEY).map(|key| pages(&key).is_ok());
    assert_eq!(chosen, Ok(true));
}

#[test]
fn a_request_serves_keys_that_it_has_room_for() {
    let result = || -> Result {
        let small = Aead::with_algorithm(GCM[0], &KEY)?;
        let large = Aead::with_algorithm(GCM[1], &KEY)?;
        assert!(small.reqsize < large.reqsize);
        let mut few = AeadRequest::new(&small)?;
        let mut many = AeadRequest::new(&large)?;

        let mut bytes = *b"either";
        assert_eq!(few.seal_bytes(&large, &NONCE, &mut bytes), Err(EINVAL));
        assert_eq!(&bytes, b"either");
        let tag = many.seal_bytes(&small, &NONCE, &mut bytes)?;
        many.open_bytes(&large, &NONCE, &tag, &mut bytes)?;
        assert_eq!(&bytes, b"either");
        Ok(())
    };
    assert_eq!(result(), Ok(()));
}

#[test]
fn a_block_in_more_pieces_than_sectors_is_refused() {
    let refused = || -> Result<bool> {
        let key = Aead::new(&KEY)?;
        let mut request = AeadRequest::new(&key)?;
        let mut pieces = Pieces::new(&[(0, 256); 16])?;
        let block = pieces.writer()?;
        Ok(request.open_page(&key, &NONCE, &[0; TAG_LEN], &block) == Err(EINVAL))
    };
    assert_eq!(refused(), Ok(true));
}
