// SPDX-License-Identifier: GPL-2.0

//! Authenticated encryption: bytes that are sealed with a key and a nonce can be opened with both only, and
//! only as they are.
//!
//! The algorithm is AES-256-GCM, or ChaCha20-Poly1305 where the processor has no instructions for AES.
//!
//! # Context
//!
//! Keys and requests are made in process context. Sealing and opening allocate nothing and do not sleep. They
//! are for process and softirq context with interrupts enabled, whether or not softirqs are disabled and
//! locks are held. They are not for hard interrupts, where the kernel refuses them (`EDEADLK`, with a
//! warning), nor for NMIs, nor between `kernel_fpu_begin` and `kernel_fpu_end`. On x86 they take the vector
//! registers by `kernel_fpu_begin`, which has a task's registers saved and disables softirqs, or preemption
//! with PREEMPT_RT. So no other user of these registers comes in between, and the two contexts need no other
//! care. At the end softirqs that wait are run, unless the caller has disabled them.
//!
//! # Memory
//!
//! An implementation says by `CRYPTO_ALG_ALLOCATES_MEMORY` whether it allocates. The kernel's common code may
//! do so besides, without sleeping, in three cases (`skcipher_walk_next`, `skcipher_walk_first`): the bytes
//! or the nonce are not aligned as the implementation wants them, or a chunk of the cipher (16 bytes; 64 of
//! ChaCha20) lies in two pieces. So an implementation that wants more than words is not used, and pieces of a
//! block must be sectors, as the block layer has them unless a driver lowers `dma_alignment`. Otherwise the
//! result is still right, or an error.
//!
//! C header: [`include/crypto/aead.h`](srctree/include/crypto/aead.h)

use core::ptr::NonNull;

use kernel::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    prelude::*, //
};

use crate::linux::{
    block::{
        place::{
            BLOCK_SIZE, //
        },
        Block,
        BlockWriter,
        Page, //
    },
    helpers,
};

/// Bytes of a key.
pub(crate) const KEY_LEN: usize = 32;

/// Bytes of a nonce.
pub(crate) const NONCE_LEN: usize = 12;

/// Bytes of a tag.
pub(crate) const TAG_LEN: usize = 16;

/// A block has as many pieces as this at most: they are sectors. A helper has the same number, and checks it.
pub(super) const MAX_RUNS: usize = 8;
const _: () = assert!(BLOCK_SIZE / MAX_RUNS == 512);

/// In the names of the template that makes the counter mode of any cipher. It writes the key stream to where
/// the sealed bytes will be, before these: others must not see that.
const TEMPLATE: &[u8] = b"ctr(";

/// A key, for any number of [`AeadRequest`]s at a time. It is made and dropped in process context. Dropping
/// it wipes it, and may sleep.
///
/// Could be removed in a release after 7.3, once the kernel crate has `crypto_aead`.
///
/// # Invariants
///
/// `transform` has a key, which never changes, and needs `reqsize` bytes behind a request.
///
/// # Examples
///
/// ```ignore
/// let key = Aead::new(&random_bytes())?;
/// let mut request = AeadRequest::new(&key)?;
///
/// let mut bytes = *b"attack at dawn";
/// let tag = request.seal_bytes(&key, &[0; NONCE_LEN], &mut bytes)?;
/// request.open_bytes(&key, &[0; NONCE_LEN], &tag, &mut bytes)?;
/// assert_eq!(&bytes, b"attack at dawn");
///
/// fn random_bytes() -> [u8; KEY_LEN] {
///     crate::linux::random::random_bytes()
/// }
/// ```
pub(crate) struct Aead {
    transform: Transform,
    reqsize: u32,
}

/// A transform. Dropping it wipes its key, if it has one.
///
/// # Invariants
///
/// It is live, and belongs to this value. It takes nonces of [`NONCE_LEN`] and makes tags of [`TAG_LEN`]
/// bytes, and neither sleeps nor completes later.
struct Transform(NonNull<helpers::crypto_aead>);

// SAFETY: A transform belongs to no thread.
unsafe impl Send for Transform {}
// SAFETY: `&Transform` allows only reading what does not change, and requests, if it has a key: they only
// read it.
unsafe impl Sync for Transform {}

impl Transform {
    fn new(name: &CStr) -> Result<Self> {
        // SAFETY: `name` ends with a NUL. The function sleeps, as those that call this say.
        let tfm = from_err_ptr(unsafe { helpers::aead_alloc(name.as_char_ptr()) })?;
        // INVARIANT: The helper has made a transform with those lengths. It asked for one that is
        // synchronous.
        Ok(Self(NonNull::new(tfm).ok_or(ENOMEM)?))
    }

    /// On failure it comes back.
    fn with_key(self, key: &[u8; KEY_LEN]) -> core::result::Result<Aead, (Self, Error)> {
        let tfm = self.0.as_ptr();
        // SAFETY: By the type invariants the transform is live. No request is under way with it: each borrows
        // the `Aead` that had it before, if there was one, until it has completed. `key` is valid for reads
        // of its length.
        let set = to_result(unsafe { helpers::aead_set_key(tfm, key.as_ptr(), KEY_LEN as c_uint) });
        if let Err(error) = set {
            return Err((self, error));
        }
        // INVARIANT: It has got a key, and gets no other.
        Ok(Aead {
            // SAFETY: `tfm` is live.
            reqsize: unsafe { helpers::aead_reqsize(tfm) },
            transform: self,
        })
    }

    fn driver_name(&self) -> &CStr {
        // SAFETY: By the type invariants the transform is live as long as `self`, and it has a reference to
        // its implementation, whose name does not change and ends with a NUL.
        unsafe { CStr::from_char_ptr(helpers::aead_driver_name(self.0.as_ptr())) }
    }
}

impl Drop for Transform {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the transform belongs to this value. No request is under way with
        // it: each borrows it until it has completed.
        unsafe { helpers::aead_free(self.0.as_ptr()) };
    }
}

/// A place for another key, for tasks that others wait for to get memory: to make one from nothing may wait
/// for other tasks and load modules. Could be removed with [`Aead`].
///
/// # Examples
///
/// ```ignore
/// let first = Aead::new(&[1; KEY_LEN])?;
/// let spare = first.spare()?;
/// let second = spare.with_key(&[2; KEY_LEN]).map_err(|(_, error)| error)?;
/// ```
pub(crate) struct SpareAead(Transform);

impl SpareAead {
    /// Makes a key of 32 secret bytes. This function may allocate, as any task does: one that others wait for
    /// to get memory calls it in a [`noreclaim_scope`](crate::linux::mm::memalloc::noreclaim_scope).
    ///
    /// On failure the place comes back.
    pub(crate) fn with_key(self, key: &[u8; KEY_LEN]) -> core::result::Result<Aead, (Self, Error)> {
        self.0
            .with_key(key)
            .map_err(|(transform, error)| (Self(transform), error))
    }
}

impl Aead {
    /// Makes one of 32 secret bytes. This function sleeps, and may load modules.
    pub(crate) fn new(key: &[u8; KEY_LEN]) -> Result<Self> {
        let gcm = Self::with_algorithm(c"gcm(aes)", key);
        match &gcm {
            Ok(aead) if !aead.has_in_name(b"aes-lib") && !aead.has_in_name(TEMPLATE) => gcm,
            _ => Self::with_algorithm(c"rfc7539(chacha20,poly1305)", key)
                .or_else(|error| gcm.and_then(|aead| aead.unless_template().ok_or(error))),
        }
    }

    /// Makes a place for another key, of the same implementation: requests that were made for one can be used
    /// with both. This function sleeps.
    pub(crate) fn spare(&self) -> Result<SpareAead> {
        Ok(SpareAead(Transform::new(self.driver_name())?))
    }

    pub(super) fn with_algorithm(name: &CStr, key: &[u8; KEY_LEN]) -> Result<Self> {
        Transform::new(name)?
            .with_key(key)
            .map_err(|(_, error)| error)
    }

    /// Bytes that a request must have for the implementation.
    pub(super) fn reqsize(&self) -> u32 {
        self.reqsize
    }

    /// The transform, for a request that has `room` bytes for the implementation. `EINVAL` if it needs more.
    /// Between calls nothing of a key is in a request, so any other key will do.
    #[inline]
    pub(super) fn tfm(&self, room: u32) -> Result<*mut helpers::crypto_aead> {
        if self.reqsize > room {
            return Err(EINVAL);
        }
        Ok(self.transform.0.as_ptr())
    }

    /// Whether this is in the implementation's name. `aes-lib` is the kernel's library, which enciphers block
    /// by block even if the processor has instructions for that. The other names say `aesni` or `aes-ce`;
    /// `generic` is in those of x86 too.
    fn has_in_name(&self, word: &[u8]) -> bool {
        let name = self.driver_name().to_bytes();
        name.windows(word.len()).any(|part| part == word)
    }

    fn unless_template(self) -> Option<Self> {
        (!self.has_in_name(TEMPLATE)).then_some(self)
    }

    /// The implementation's name, for the log.
    pub(crate) fn driver_name(&self) -> &CStr {
        self.transform.driver_name()
    }

    /// Whether it is AES-GCM.
    pub(crate) fn is_gcm(&self) -> bool {
        self.has_in_name(b"gcm")
    }

    /// Makes a place for another key of one that is not needed any more.
    pub(crate) fn into_spare(self) -> SpareAead {
        SpareAead(self.transform)
    }
}

/// What sealing and opening need besides a key: one for each context that does so at a time. It is made in
/// process context, and dropped in any. The [module](self) says where it may be used.
///
/// A nonce must not be used for two texts of one key: an attacker that has both can then read them, and seal
/// others.
///
/// Could be removed in a release after 7.3, once the kernel crate has `aead_request` and scatterlists that
/// can be filled in any context.
///
/// # Invariants
///
/// - `scratch` is a live request, which belongs to this value. None is under way unless `self` is borrowed.
/// - It has `reqsize` bytes for the implementation.
///
/// # Examples
///
/// ```ignore
/// fn keep(request: &mut AeadRequest, key: &Aead, block: &Block<'_>) -> Result<(Page, [u8; TAG_LEN])> {
///     let page = Page::new()?;
///     let tag = request.seal_page(key, &[0; NONCE_LEN], block, &page)?;
///     Ok((page, tag))
/// }
///
/// fn give_back(
///     request: &mut AeadRequest,
///     key: &Aead,
///     (page, tag): &(Page, [u8; TAG_LEN]),
///     block: &BlockWriter<'_>,
/// ) -> Result {
///     page.copy_to(block);
///     request.open_page(key, &[0; NONCE_LEN], tag, block)
/// }
/// ```
pub(crate) struct AeadRequest {
    scratch: NonNull<helpers::aead_scratch>,
    reqsize: u32,
}

// SAFETY: A request belongs to no thread.
unsafe impl Send for AeadRequest {}
// SAFETY: `&AeadRequest` gives access to nothing.
unsafe impl Sync for AeadRequest {}

impl AeadRequest {
    /// Makes one, for keys of the same algorithm as `key`. This function sleeps.
    pub(crate) fn new(key: &Aead) -> Result<Self> {
        // SAFETY: The function sleeps, as this one says.
        let scratch = unsafe { helpers::aead_scratch_alloc(key.reqsize) };
        // INVARIANT: Allocated above, with as many bytes.
        Ok(Self {
            scratch: NonNull::new(scratch).ok_or(ENOMEM)?,
            reqsize: key.reqsize,
        })
    }

    /// Seals a block into a page, which must not be the block's own, and returns the tag. Nothing is written
    /// to the page but what is sealed. `EINVAL` if the block has more pieces than sectors.
    ///
    /// If others write to the block meanwhile, a mixture is sealed. The tag is that of the bytes in the page.
    #[inline]
    pub(crate) fn seal_page(
        &mut self,
        key: &Aead,
        nonce: &[u8; NONCE_LEN],
        from: &Block<'_>,
        to: &Page,
    ) -> Result<[u8; TAG_LEN]> {
        match from.whole() {
            // SAFETY: The bytes are those of a block, which `from` borrows.
            Some(data) => unsafe { self.seal(key, nonce, &[run(data, BLOCK_SIZE)], to) },
            None => self.seal_pieces(key, nonce, from, to),
        }
    }

    /// As [`Self::seal_page`]. Not inlined: blocks in pieces are rare.
    #[inline(never)]
    fn seal_pieces(
        &mut self,
        key: &Aead,
        nonce: &[u8; NONCE_LEN],
        from: &Block<'_>,
        to: &Page,
    ) -> Result<[u8; TAG_LEN]> {
        let mut runs = [NO_RUN; MAX_RUNS];
        // SAFETY: The runs are those of a block, which `from` borrows.
        unsafe { self.seal(key, nonce, runs_of(from, ALL, &mut runs)?, to) }
    }

    /// # Safety
    ///
    /// - Each of `runs` must be valid for reads, in the kernel's linear map. Others may write to them
    ///   meanwhile. All together are a block.
    #[inline]
    unsafe fn seal(
        &mut self,
        key: &Aead,
        nonce: &[u8; NONCE_LEN],
        runs: &[bindings::kvec],
        to: &Page,
    ) -> Result<[u8; TAG_LEN]> {
        let tfm = key.tfm(self.reqsize)?;
        let mut tag = [0; TAG_LEN];
        // SAFETY:
        // - By the type invariants the request is live, not under way, and large enough for `tfm`, which is
        //   live and makes tags of this length. It completes before the call returns.
        // - The runs are valid for reads by the requirements of this function, and the page for writes by
        //   the invariants of `Page`. All are in the linear map. The helper checks how many they are.
        // - Others may write to both. C and assembly read and write the bytes, as `mm::copy` says; they take
        //   no byte for an address, a length or an index. (AES without the processor's instructions has
        //   tables: an index is a byte, and a table has 256 entries.)
        to_result(unsafe {
            helpers::aead_seal(
                self.scratch.as_ptr(),
                tfm,
                nonce.as_ptr(),
                runs.as_ptr(),
                // CAST: At most `MAX_RUNS`.
                runs.len() as c_uint,
                to.data().as_ptr().cast(),
                tag.as_mut_ptr(),
            )
        })?;
        Ok(tag)
    }

    /// Opens a block where it is. Fails with `EBADMSG` if it is not what was sealed with `key`, `nonce` and
    /// `tag`; its bytes are of no use then. `EINVAL` if it has more pieces than sectors.
    ///
    /// If others write to the block meanwhile, it may fail, or hold their bytes, decrypted or not. So what
    /// comes from a network must not be written there until this has returned.
    #[inline]
    pub(crate) fn open_page(
        &mut self,
        key: &Aead,
        nonce: &[u8; NONCE_LEN],
        tag: &[u8; TAG_LEN],
        block: &BlockWriter<'_>,
    ) -> Result {
        match block.whole() {
            // SAFETY: The bytes are those of a block, which may be written to, and which `block` borrows.
            Some(data) => unsafe { self.open(key, nonce, tag, &[run(data, BLOCK_SIZE)]) },
            None => self.open_pieces(key, nonce, tag, block),
        }
    }

    /// As [`Self::open_page`]. Not inlined: blocks in pieces are rare.
    #[inline(never)]
    fn open_pieces(
        &mut self,
        key: &Aead,
        nonce: &[u8; NONCE_LEN],
        tag: &[u8; TAG_LEN],
        block: &BlockWriter<'_>,
    ) -> Result {
        let mut runs = [NO_RUN; MAX_RUNS];
        // SAFETY: The runs are those of a block, which may be written to, and which `block` borrows.
        unsafe { self.open(key, nonce, tag, runs_of(block, ALL, &mut runs)?) }
    }

    /// # Safety
    ///
    /// - Each of `runs` must be valid for reads and writes, in the kernel's linear map. Others may write to
    ///   them meanwhile.
    #[inline]
    unsafe fn open(
        &mut self,
        key: &Aead,
        nonce: &[u8; NONCE_LEN],
        tag: &[u8; TAG_LEN],
        runs: &[bindings::kvec],
    ) -> Result {
        let tfm = key.tfm(self.reqsize)?;
        // SAFETY: As in `seal`; the runs are valid by the requirements of this function. The helper checks
        // how many they are.
        to_result(unsafe {
            helpers::aead_open(
                self.scratch.as_ptr(),
                tfm,
                nonce.as_ptr(),
                tag.as_ptr(),
                runs.as_ptr(),
                // CAST: At most `MAX_RUNS`.
                runs.len() as c_uint,
            )
        })
    }

    /// Seals at most 64 bytes where they are, and returns the tag. `EINVAL` if they are more.
    pub(crate) fn seal_bytes(
        &mut self,
        key: &Aead,
        nonce: &[u8; NONCE_LEN],
        bytes: &mut [u8],
    ) -> Result<[u8; TAG_LEN]> {
        let tfm = key.tfm(self.reqsize)?;
        let len = c_uint::try_from(bytes.len()).map_err(|_| EINVAL)?;
        let mut tag = [0; TAG_LEN];
        // SAFETY: As in `seal`. `bytes` is valid for reads and writes of `len` bytes, which the helper
        // copies; it checks how many they are.
        to_result(unsafe {
            helpers::aead_seal_bytes(
                self.scratch.as_ptr(),
                tfm,
                nonce.as_ptr(),
                bytes.as_mut_ptr(),
                len,
                tag.as_mut_ptr(),
            )
        })?;
        Ok(tag)
    }

    /// Opens at most 64 bytes where they are. Fails with `EBADMSG` if they are not what was sealed with
    /// `key`, `nonce` and `tag`, and with `EINVAL` if they are more. They stay as they are then.
    pub(crate) fn open_bytes(
        &mut self,
        key: &Aead,
        nonce: &[u8; NONCE_LEN],
        tag: &[u8; TAG_LEN],
        bytes: &mut [u8],
    ) -> Result {
        let tfm = key.tfm(self.reqsize)?;
        let len = c_uint::try_from(bytes.len()).map_err(|_| EINVAL)?;
        // SAFETY: As in `seal_bytes`.
        to_result(unsafe {
            helpers::aead_open_bytes(
                self.scratch.as_ptr(),
                tfm,
                nonce.as_ptr(),
                tag.as_ptr(),
                bytes.as_mut_ptr(),
                len,
            )
        })
    }
}

/// No bytes.
pub(super) const NO_RUN: bindings::kvec = bindings::kvec {
    iov_base: core::ptr::null_mut(),
    iov_len: 0,
};

/// All of a block: the first byte, and how many.
const ALL: (u16, u16) = (0, BLOCK_SIZE as u16);

/// The runs of bytes of a part of a block, in `runs`: `len` bytes from `offset` on. None of them is empty.
/// `EINVAL` if they are too many, or the block ends before.
pub(super) fn runs_of<'a>(
    block: &Block<'_>,
    (offset, len): (u16, u16),
    runs: &'a mut [bindings::kvec; MAX_RUNS],
) -> Result<&'a [bindings::kvec]> {
    if usize::from(offset).wrapping_add(len.into()) > BLOCK_SIZE {
        return Err(EINVAL);
    }
    if len == 0 {
        return Ok(&[]);
    }
    let mut rest = runs.iter_mut();
    let mut fit = true;
    block.for_each_run(offset, len, |data, len| {
        match rest.next() {
            Some(slot) => *slot = run(data, len),
            None => fit = false,
        }
        fit
    });
    let used = MAX_RUNS.wrapping_sub(rest.len());
    runs.get(..used).filter(|_| fit).ok_or(EINVAL)
}

/// Bytes that follow one another in memory.
fn run(data: *mut u8, len: usize) -> bindings::kvec {
    bindings::kvec {
        iov_base: data.cast(),
        iov_len: len,
    }
}

impl Drop for AeadRequest {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the request belongs to this value, and is not under way.
        unsafe { helpers::aead_scratch_free(self.scratch.as_ptr()) };
    }
}

#[cfg(test)]
pub(super) mod tests;
