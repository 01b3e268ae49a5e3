// SPDX-License-Identifier: GPL-2.0

//! Softirqs of the local CPU.
//!
//! C header: [`include/linux/bottom_half.h`](srctree/include/linux/bottom_half.h)

use kernel::types::NotThreadSafe;

use super::helpers;

/// Disables softirqs on the local CPU while it exists.
///
/// A softirq that is raised meanwhile runs when the last such guard is dropped. The task stays on its
/// CPU, and must not sleep.
///
/// Could be dropped once the kernel crate has a guard for `local_bh_disable`; it has one for interrupts
/// (`kernel::interrupt::LocalInterruptDisabled`).
///
/// # Invariants
///
/// Softirqs have been disabled once for this value, by the task or softirq that owns it.
///
/// # Examples
///
/// ```ignore
/// fn send_all<P: FramePolicy>(frames: &mut [TxFrame<P, 4>], device: &NetDevice, to: [u8; 6]) {
///     // The answers are received when all frames are sent.
///     let _guard = local_bh_disable();
///     for frame in frames {
///         let _ = frame.send(device, to, 0x88b5, |header| *header = [0; 4], Payload::None);
///     }
/// }
/// ```
pub(crate) struct LocalBhDisabled(NotThreadSafe);

/// Disables softirqs on the local CPU. Nests.
///
/// Interrupts must be enabled when this is called and when the guard is dropped, and the context must not
/// be a hard interrupt.
#[inline]
pub(crate) fn local_bh_disable() -> LocalBhDisabled {
    // SAFETY: The function has no requirements for memory safety.
    unsafe { helpers::local_bh_disable() };
    // INVARIANT: Disabled above; the type is not `Send`.
    LocalBhDisabled(NotThreadSafe)
}

impl Drop for LocalBhDisabled {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant softirqs have been disabled for this value, in this context.
        unsafe { helpers::local_bh_enable() };
    }
}
