// SPDX-License-Identifier: GPL-2.0

//! Copying bytes that others may write to meanwhile: a user in its buffer, a device, another CPU.
//!
//! To the memory models of Rust and of C that is a data race, whatever a SAFETY comment says. The functions
//! rely on what the kernel's C code relies on when it copies a page that is mapped elsewhere:
//!
//! - Inline assembly and volatile accesses are done once, as written. The processor reads or writes each byte
//!   before or after the other access, so the result is a mixture.
//! - C functions (`memcpy`, `skb_copy_bits`, `crc32c`) are compiled apart from this code. The compiler knows
//!   nothing of how often they read a byte.
//! - `copy_to` and plain stores, in [`take`] and where there is no assembly, become such a call or a few
//!   instructions. The compiler could read a byte twice and assume that both are equal. It has no use for a
//!   second read: nothing else in these functions looks at the source.
//!
//! Callers must accept any bytes. All bytes are valid for what they are copied to.

/// Copies a few bytes into `to`, though others may write to `from` meanwhile. What is read from `to` later
/// does not change.
///
/// # Safety
///
/// - `from` must be valid for reads of `N` bytes, which are not `to`'s.
#[inline]
pub(in crate::linux) unsafe fn take<const N: usize>(from: *const u8, to: &mut [u8; N]) {
    let to = to.as_mut_ptr();
    // SAFETY: By the requirements of this function.
    unsafe { from.copy_to_nonoverlapping(to, N) };
    // The compiler must take what is in `to` now for unknown, and so not read `from` again for it.
    // SAFETY: No instruction.
    unsafe { core::arch::asm!("/* {0} */", in(reg) to, options(nostack, preserves_flags)) };
}

/// Copies `len` bytes.
///
/// By the processor's string instruction, as the kernel's `copy_page` does: its `memcpy` uses
/// that only where short copies are fast as well (FSRM), and an unrolled loop elsewhere, which
/// takes three times the instructions for a page.
///
/// # Safety
///
/// - `from` must be valid for reads, `to` for writes, of `len` bytes. If they overlap, `to` gets a
///   mixture.
#[inline]
pub(in crate::linux) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // KASAN sees through `memcpy` only.
    #[cfg(all(target_arch = "x86_64", not(CONFIG_KASAN)))]
    // SAFETY: By the requirements of this function; the direction flag is clear in all Rust code.
    unsafe {
        let (rest_from, rest_to): (*const u8, *mut u8);
        core::arch::asm!(
            "rep movsq",
            inout("rcx") len / 8 => _,
            inout("rsi") from => rest_from,
            inout("rdi") to => rest_to,
            options(nostack, preserves_flags)
        );
        if len % 8 != 0 {
            rest_from.copy_to(rest_to, len % 8);
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(CONFIG_KASAN))))]
    // SAFETY: By the requirements of this function.
    unsafe {
        from.copy_to(to, len);
    }
}

/// Fills `len` bytes, a multiple of 8, with a 64-bit value.
///
/// # Safety
///
/// - `to` must be valid for writes of `len` bytes.
#[inline]
pub(in crate::linux) unsafe fn fill(to: *mut u8, value: u64, len: usize) {
    // As in `copy`.
    #[cfg(all(target_arch = "x86_64", not(CONFIG_KASAN)))]
    // SAFETY: By the requirements of this function; the direction flag is clear in all Rust code.
    unsafe {
        core::arch::asm!(
            "rep stosq",
            inout("rcx") len / 8 => _,
            inout("rdi") to => _,
            in("rax") value,
            options(nostack, preserves_flags)
        );
    }
    #[cfg(not(all(target_arch = "x86_64", not(CONFIG_KASAN))))]
    for index in 0..len / 8 {
        // SAFETY: By the requirements of this function.
        unsafe { to.cast::<u64>().add(index).write_unaligned(value) };
    }
}
