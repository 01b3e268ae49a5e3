// SPDX-License-Identifier: GPL-2.0

//! Message authentication: a tag says that a text is as it was when someone with the key made the tag. The
//! text stays readable.
//!
//! The algorithm is that of an [`Aead`] key, of a text that is all associated data: GMAC (NIST SP 800-38D) if
//! it is AES-GCM, or else ChaCha20-Poly1305 (RFC 8439).
//!
//! # Context
//!
//! As for [`aead`](super::aead): requests are made in process context. Making and verifying tags allocates
//! nothing and does not sleep, in process and softirq context with interrupts enabled.
//!
//! # Memory
//!
//! Associated data may lie in pieces of any length and alignment: the kernel's common code only reads it
//! where it is. It allocates, in the cases that [`aead`](super::aead) lists, only to encrypt. What a template
//! encrypts for a tag is aligned, in one piece, and in the request.
//!
//! C header: [`include/crypto/aead.h`](srctree/include/crypto/aead.h)

use core::ptr::NonNull;

use kernel::{
    error::to_result,
    prelude::*, //
};

use super::aead::{
    runs_of,
    Aead,
    MAX_RUNS,
    NONCE_LEN,
    NO_RUN,
    TAG_LEN, //
};
use crate::linux::{
    block::Block,
    helpers, //
};

/// What tags need besides a key: one for each context that makes or verifies them at a time. It has room for
/// a text. It is made in process context, and dropped in any, which wipes the text. The [module](self) says
/// where it may be used.
///
/// A nonce must not be used for two texts of one key, sealed ones included: an attacker that has both tags
/// can then make tags of other texts.
///
/// Could be removed in a release after 7.3, once the kernel crate has `aead_request` and scatterlists that
/// can be filled in any context.
///
/// # Invariants
///
/// - `scratch` is a live request, which belongs to this value. None is under way unless `self` is borrowed
///   mutably.
/// - It has `reqsize` bytes for the implementation.
/// - `text` is its room for a text, in the linear map, and initialised. It is aligned to 16 bytes. Only the
///   owner of `self` writes there.
///
/// # Examples
///
/// ```ignore
/// fn sign(request: &mut MacRequest, key: &Aead, count: u32, block: Block<'_>) -> Result<[u8; TAG_LEN]> {
///     let header = request.text_mut(4).ok_or(EINVAL)?;
///     header.copy_from_slice(&count.to_be_bytes());
///     request.tag(key, &nonce(count), 4, Some((block, 0, 1024)))
/// }
///
/// /// The header and the part of the block, as they came.
/// fn is_signed(request: &mut MacRequest, key: &Aead, count: u32, came: &[u8], tag: &[u8; TAG_LEN]) -> bool {
///     let Some(text) = request.text_mut(came.len()) else {
///         return false;
///     };
///     text.copy_from_slice(came);
///     request.verify(key, &nonce(count), tag, came.len()).is_ok()
/// }
///
/// fn nonce(count: u32) -> [u8; NONCE_LEN] {
///     let mut nonce = [0; NONCE_LEN];
///     nonce[8..].copy_from_slice(&count.to_be_bytes());
///     nonce
/// }
/// ```
pub(crate) struct MacRequest {
    scratch: NonNull<helpers::mac_scratch>,
    text: NonNull<[u8; Self::ROOM]>,
    reqsize: u32,
}

// SAFETY: A request belongs to no thread.
unsafe impl Send for MacRequest {}
// SAFETY: `&MacRequest` allows only to read the text, which changes only with `&mut MacRequest`.
unsafe impl Sync for MacRequest {}

impl MacRequest {
    /// The longest text, in bytes, besides a block.
    pub(crate) const ROOM: usize = 128 + 4096;

    /// Makes one, for keys of the same algorithm as `key`. Its text is full of zeros. This function sleeps.
    pub(crate) fn new(key: &Aead) -> Result<Self> {
        let reqsize = key.reqsize();
        // SAFETY: The function sleeps, as this one says.
        let scratch = unsafe { helpers::mac_scratch_alloc(reqsize, Self::ROOM as c_uint) };
        let scratch = NonNull::new(scratch).ok_or(ENOMEM)?;
        // SAFETY: Allocated above.
        let text = unsafe { helpers::mac_scratch_text(scratch.as_ptr()) };
        // INVARIANT: Allocated above with that room, aligned and full of zeros, and with as many bytes for
        // the implementation.
        Ok(Self {
            scratch,
            // SAFETY: It points into the allocation, so it is not null.
            text: unsafe { NonNull::new_unchecked(text.cast()) },
            reqsize,
        })
    }

    /// The first `len` bytes of the text; `None` if they are more than [`Self::ROOM`].
    #[inline]
    pub(crate) fn text(&self, len: usize) -> Option<&[u8]> {
        // SAFETY: By the type invariants the text is initialised, and there as long as `self`. Nothing writes
        // to it while `self` is borrowed.
        unsafe { self.text.as_ref() }.get(..len)
    }

    /// As [`Self::text`], for writing.
    #[inline]
    pub(crate) fn text_mut(&mut self, len: usize) -> Option<&mut [u8]> {
        // SAFETY: As for `text`; `self` is borrowed mutably, so nothing else accesses it.
        unsafe { self.text.as_mut() }.get_mut(..len)
    }

    /// The tag of a text: the first `len` bytes of the own one, then, of a block, as many bytes from an
    /// offset on as the third part of `block` says. Where the own bytes end does not count, so they should
    /// say how many the block's are.
    ///
    /// `EINVAL` if there are more than [`Self::ROOM`] own bytes, or the part goes beyond the block, or lies
    /// in more pieces than a block has sectors. The block is only read. If others write to it meanwhile, the
    /// tag is of no use, as is one of bytes that change before they are sent.
    #[inline]
    pub(crate) fn tag(
        &mut self,
        key: &Aead,
        nonce: &[u8; NONCE_LEN],
        len: usize,
        block: Option<(Block<'_>, u16, u16)>,
    ) -> Result<[u8; TAG_LEN]> {
        let mut runs = [NO_RUN; MAX_RUNS];
        let runs = match &block {
            Some((block, offset, len)) => runs_of(block, (*offset, *len), &mut runs)?,
            None => &[],
        };
        let tfm = key.tfm(self.reqsize)?;
        let len = c_uint::try_from(len).map_err(|_| EINVAL)?;
        let mut tag = [0; TAG_LEN];
        // SAFETY:
        // - By the type invariants the request is live, not under way, and large enough for `tfm`, which is
        //   live, takes nonces and makes tags of these lengths. It completes before the call returns. The
        //   helper checks `len`, and how many runs there are.
        // - The runs are those of a block, which `block` borrows: valid for reads, and in the linear map.
        //   They are in the request's destination as well, but there the associated data is not written to,
        //   as `crypto/aead.h` says; the tag is behind it.
        // - Others may write to them. C and assembly read the bytes, as `mm::copy` says; they take no byte
        //   for an address, a length or an index.
        to_result(unsafe {
            helpers::mac_tag(
                self.scratch.as_ptr(),
                tfm,
                nonce.as_ptr(),
                len,
                runs.as_ptr(),
                // CAST: At most `MAX_RUNS`.
                runs.len() as c_uint,
                tag.as_mut_ptr(),
            )
        })?;
        Ok(tag)
    }

    /// Fails with `EBADMSG` if `tag` is not that of the first `len` bytes of the own text, with `key` and
    /// `nonce`, and with `EINVAL` if these are more than [`Self::ROOM`]. Tags are compared in constant time.
    #[inline]
    pub(crate) fn verify(
        &mut self,
        key: &Aead,
        nonce: &[u8; NONCE_LEN],
        tag: &[u8; TAG_LEN],
        len: usize,
    ) -> Result {
        let tfm = key.tfm(self.reqsize)?;
        let len = c_uint::try_from(len).map_err(|_| EINVAL)?;
        // SAFETY: As in `tag`, without a block.
        to_result(unsafe {
            helpers::mac_verify(
                self.scratch.as_ptr(),
                tfm,
                nonce.as_ptr(),
                tag.as_ptr(),
                len,
            )
        })
    }
}

impl Drop for MacRequest {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the request belongs to this value, and is not under way.
        unsafe { helpers::mac_scratch_free(self.scratch.as_ptr()) };
    }
}

#[cfg(test)]
mod tests;
