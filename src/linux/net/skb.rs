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
#[expect(unused_imports, reason = "the error of `TxFrame::send`")]
pub(crate) use tx_frame::SendError;
pub(crate) use tx_frame::{
    FramePolicy,
    Payload,
    TxFrame, //
};

/// The CPU that is entered as a sent frame's allocating CPU.
///
/// A device driver that has sent a frame may leave freeing it to the CPU that allocated it, which does so
/// when it next receives a frame (`skb_attempt_defer_free`). The CPU that allocates a [`TxFrame`] may
/// receive none: frames would stay busy, and their pages in use, without end.
///
/// # Invariants
///
/// The value is the number of a CPU.
///
/// # Examples
///
/// ```ignore
/// static FREEING_CPU: AllocCpu = AllocCpu::new();
///
/// struct Counter(Atomic<u64>);
///
/// impl Receiver for Counter {
///     fn receive(&self, _frame: RxFrame<'_>) -> Verdict {
///         // This CPU receives frames.
///         FREEING_CPU.set_current();
///         Verdict::Accept
///     }
/// }
/// ```
pub(crate) struct AllocCpu(Atomic<u32>);

impl AllocCpu {
    /// Returns the first CPU.
    pub(crate) const fn new() -> Self {
        // INVARIANT: Each machine has a CPU of this number.
        Self(Atomic::new(0))
    }

    /// Changes it to the local CPU, which is one that receives frames: it frees frames that are sent from
    /// here on, if the device's driver leaves that to another CPU. May be called in any context.
    #[inline]
    pub(crate) fn set_current(&self) {
        let cpu = CpuId::current().as_u32();
        // It is usually the same CPU, and then the cache line stays shared.
        if self.0.load(Relaxed) != cpu {
            // INVARIANT: This CPU exists.
            self.0.store(cpu, Relaxed);
        }
    }
}

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
