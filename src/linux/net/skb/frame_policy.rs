// SPDX-License-Identifier: GPL-2.0

//! What a driver decides about the frames that it sends.

use kernel::{
    cpu::CpuId,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

/// What a driver decides about its frames. Could be removed with [`TxFrame`](super::TxFrame).
///
/// # Examples
///
/// ```ignore
/// struct Bulk;
///
/// static FREEING_CPU: AllocCpu = AllocCpu::new();
///
/// impl FramePolicy for Bulk {
///     const HEADROOM: usize = 64;
///     // `TC_PRIO_BULK`
///     const PRIORITY: u32 = 2;
///
///     fn alloc_cpu() -> &'static AllocCpu {
///         &FREEING_CPU
///     }
///
///     fn hash(_destination: [u8; 6]) -> u32 {
///         // All frames keep their order.
///         1
///     }
/// }
/// ```
pub(crate) trait FramePolicy: 'static {
    /// Bytes before the Ethernet header, for headers that devices add. With fewer than a device wants
    /// (`LL_RESERVED_SPACE`) the stack copies the frame.
    const HEADROOM: usize;

    /// The priority for the queueing discipline (`TC_PRIO_*`).
    const PRIORITY: u32;

    /// Returns the CPU that is to free frames.
    fn alloc_cpu() -> &'static AllocCpu;

    /// Returns the hash of a frame to `destination`: frames of the same hash leave through one queue of the
    /// device, and so keep their order.
    fn hash(destination: [u8; 6]) -> u32;
}

/// The CPU that is entered as a sent frame's allocating CPU.
///
/// A device driver that has sent a frame may leave freeing it to the CPU that allocated it, which does so
/// when it next receives a frame (`skb_attempt_defer_free`). The CPU that allocates a [`TxFrame`] may
/// receive none: frames would stay busy, and their pages in use, without end. Could be removed with
/// [`TxFrame`](super::TxFrame).
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

    #[inline]
    pub(super) fn number(&self) -> u32 {
        self.0.load(Relaxed)
    }
}
