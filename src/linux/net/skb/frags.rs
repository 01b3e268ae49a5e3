// SPDX-License-Identifier: GPL-2.0

//! The fragments of an skb: bytes behind the linear part, in pages that the skb refers to.
//!
//! C header: [`include/linux/skbuff.h`](srctree/include/linux/skbuff.h)

use kernel::{
    bindings,
    prelude::*, //
};

use super::SendError;
use crate::linux::{
    block::bytes::Span,
    helpers,
    mm::copy::copy, //
};

/// Without sleeping and without a warning, and from the emergency reserve if need be
/// (`__GFP_MEMALLOC`): sending frees memory.
pub(super) const ATOMIC_RESERVE: bindings::gfp_t =
    bindings::GFP_ATOMIC | bindings::__GFP_NOWARN | 1 << bindings::___GFP_MEMALLOC_BIT;

/// Adds a fragment with the bytes of `span`. It holds a reference to its page.
///
/// # Safety
///
/// - `skb` must be live, and no other code may use its fragments.
#[inline]
pub(super) unsafe fn add(skb: *mut bindings::sk_buff, span: Span<'_>) -> Result<(), SendError> {
    // SAFETY: By the requirements of this function.
    let info = unsafe { shared_info(skb) };
    // SAFETY: As above.
    let nr_frags = unsafe { (*info).nr_frags };
    if u32::from(nr_frags) >= bindings::MAX_SKB_FRAGS {
        return Err(SendError::TooLong);
    }
    let (mut page, mut offset, len) = span.parts();
    // SAFETY: The page is a block's, which is borrowed.
    if !unsafe { helpers::get_page_to_send(page) } {
        page = copy_of(span)?;
        offset = 0;
    }
    // The reference taken above belongs to the fragment.
    // SAFETY: There are `MAX_SKB_FRAGS` fragments. By the requirements of this function no other code
    // uses them.
    unsafe {
        // As `skb_frag_fill_page_desc`.
        let frag = (&raw mut (*info).frags)
            .cast::<bindings::skb_frag_t>()
            .add(usize::from(nr_frags));
        (*frag).netmem = page as bindings::netmem_ref;
        (*frag).offset = offset;
        (*frag).len = len;
        (*info).nr_frags = nr_frags.wrapping_add(1);
        (*skb).data_len = (*skb).data_len.wrapping_add(len);
    }
    Ok(())
}

/// Drops all fragments.
///
/// # Safety
///
/// - As for [`add`].
/// - Each fragment must hold a reference to its page.
#[inline]
pub(super) unsafe fn drop_all(skb: *mut bindings::sk_buff) {
    // SAFETY: By the requirements of this function. The references are dropped here.
    unsafe {
        let info = shared_info(skb);
        let frags = (&raw const (*info).frags).cast::<bindings::skb_frag_t>();
        for index in 0..usize::from((*info).nr_frags) {
            helpers::put_page((*frags.add(index)).netmem as *mut bindings::page);
        }
        (*info).nr_frags = 0;
        (*skb).data_len = 0;
    }
}

/// Returns a new page with the bytes of `span` at its beginning.
#[cold]
fn copy_of(span: Span<'_>) -> Result<*mut bindings::page, SendError> {
    // SAFETY: The function has no requirements.
    let page = unsafe { bindings::alloc_pages(ATOMIC_RESERVE, 0) };
    if page.is_null() {
        return Err(SendError::NoMemory);
    }
    let (_, _, len) = span.parts();
    // SAFETY: The new page has room for any span, which lies within one page. `mm::copy` says why others
    // may write to the span meanwhile.
    unsafe {
        let to = helpers::page_address(page).cast();
        copy(span.data(), to, len as usize);
    }
    Ok(page)
}

/// Returns a pointer to the shared info, as `skb_shinfo` does.
///
/// # Safety
///
/// - `skb` must be live.
#[inline]
pub(super) unsafe fn shared_info(skb: *mut bindings::sk_buff) -> *mut bindings::skb_shared_info {
    // SAFETY: By the requirements of this function. The shared info is at the end of the linear part.
    unsafe { (*skb).head.add((*skb).end as usize).cast() }
}
