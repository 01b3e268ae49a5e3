// SPDX-License-Identifier: GPL-2.0

//! Copying bytes that others may write to meanwhile.

/// Copies a few bytes into `to`: what is read there later is what they were at one moment, though
/// others may write to `from` meanwhile.
///
/// # Safety
///
/// `from` must be valid for reads of `N` bytes, which are not `to`'s.
#[inline]
pub(in crate::linux) unsafe fn take<const N: usize>(from: *const u8, to: &mut [u8; N]) {
    let to = to.as_mut_ptr();
    // SAFETY: By the requirements of this function.
    unsafe { from.copy_to_nonoverlapping(to, N) };
    // So that the compiler does not look at `from` again for what has been copied.
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
/// `from` must be valid for reads, `to` for writes, of `len` bytes. If they overlap, `to` gets a
/// mixture.
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
/// `to` must be valid for writes of `len` bytes.
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
