// SPDX-License-Identifier: GPL-2.0

//! Ethernet frames in `struct sk_buff`s.
//!
//! C header: [`include/linux/skbuff.h`](srctree/include/linux/skbuff.h)

mod frags;
mod frame_policy;
mod rx_frame;
mod tx_frame;

use kernel::bindings;

pub(crate) use frame_policy::{
    AllocCpu,
    FramePolicy, //
};
pub(crate) use rx_frame::RxFrame;
pub(crate) use tx_frame::{
    Payload,
    SendError,
    TxFrame, //
};

/// Bytes of an Ethernet header.
const ETH_HLEN: usize = bindings::ETH_HLEN as usize;

/// The fields of `struct sk_buff` that clones copy (`headers`).
type Headers = bindings::sk_buff__bindgen_ty_4__bindgen_ty_1;

/// Returns a pointer to the [`Headers`] of `skb`.
///
/// # Safety
///
/// - `skb` must be live.
#[inline]
unsafe fn headers(skb: *mut bindings::sk_buff) -> *mut Headers {
    // SAFETY: By the requirements of this function. Both variants of this union are the same fields.
    unsafe { (&raw mut (*skb).__bindgen_anon_4).cast() }
}
