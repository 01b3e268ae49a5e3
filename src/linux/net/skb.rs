// SPDX-License-Identifier: GPL-2.0

//! Ethernet frames in `struct sk_buff`s.
//!
//! C header: [`include/linux/skbuff.h`](srctree/include/linux/skbuff.h)

mod rx_frame;
mod tx_frame;

use kernel::{
    bindings,
    cpu::CpuId,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

pub(crate) use rx_frame::RxFrame;
pub(crate) use tx_frame::{
    Payload,
    TxFrame, //
};

/// The CPU that last received a frame of ours.
///
/// A driver that has sent a frame may leave its freeing to the CPU that is said to have allocated
/// it, which does so when it next receives something (`skb_attempt_defer_free`). By default that
/// is the one that loaded the module, and it may receive nothing: frames would stay busy, and
/// their pages in use, without end. This one receives the answers.
static RECEIVING_CPU: Atomic<u32> = Atomic::new(0);

/// Notes that the calling CPU receives our frames.
#[inline]
pub(super) fn note_receiving_cpu() {
    let cpu = CpuId::current().as_u32();
    // Mostly it is the same one, and the cache line stays shared.
    if RECEIVING_CPU.load(Relaxed) != cpu {
        RECEIVING_CPU.store(cpu, Relaxed);
    }
}

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
