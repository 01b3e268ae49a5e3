// SPDX-License-Identifier: GPL-2.0

//! Ethernet frames in `struct sk_buff`s.
//!
//! C header: [`include/linux/skbuff.h`](srctree/include/linux/skbuff.h)

mod rx_frame;
mod tx_frame;

use kernel::bindings;

pub(crate) use rx_frame::RxFrame;
pub(crate) use tx_frame::{
    Payload,
    TxFrame, //
};

/// The fields of `struct sk_buff` that clones copy (`headers`).
type Headers = bindings::sk_buff__bindgen_ty_4__bindgen_ty_1;

/// Returns where the [`Headers`] of `skb` are.
///
/// # Safety
///
/// `skb` must be live.
#[inline]
unsafe fn headers(skb: *mut bindings::sk_buff) -> *mut Headers {
    // SAFETY: The skb is live. Both variants of this union are the same fields.
    unsafe { (&raw mut (*skb).__bindgen_anon_4).cast() }
}
