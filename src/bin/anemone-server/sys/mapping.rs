// SPDX-License-Identifier: GPL-2.0

//! Memory straight from the kernel, for as long as the process lives.

use std::io;
use std::ptr::null_mut;

use rustix::mm::{self, Advice, MapFlags, ProtFlags};

/// Bytes of a huge page.
pub const HUGE_PAGE: usize = 2 << 20;

/// How a mapping is backed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// By huge pages that the administrator has set aside.
    HugePages,
    /// By ordinary pages, which the kernel was asked to make huge ones where it can.
    Ordinary,
}

/// Maps `len` zeroed bytes that are nobody else's and are never given back.
///
/// Huge pages are taken if `len` is a multiple of theirs and there are enough set aside.
pub fn map_forever(len: usize) -> io::Result<(&'static mut [u8], Backing)> {
    if len.is_multiple_of(HUGE_PAGE) {
        if let Ok(memory) = map(len, MapFlags::PRIVATE | MapFlags::HUGETLB) {
            keep_out_of_dumps(memory)?;
            return Ok((memory, Backing::HugePages));
        }
    }
    // Without NORESERVE, the kernel refuses at once what it could never back.
    let memory = map(len, MapFlags::PRIVATE)?;
    keep_out_of_dumps(memory)?;
    // SAFETY: the range is our mapping; the advice does not change what it holds.
    // It is not needed: a kernel without it serves as well, if slower.
    let _ = unsafe { mm::madvise(memory.as_mut_ptr().cast(), len, Advice::LinuxHugepage) };
    Ok((memory, Backing::Ordinary))
}

/// Has the kernel leave memory out of core dumps: it holds what other machines have swapped out.
fn keep_out_of_dumps(memory: &mut [u8]) -> io::Result<()> {
    // SAFETY: the range is that of a borrowed slice; the advice does not change what it holds.
    unsafe {
        mm::madvise(
            memory.as_mut_ptr().cast(),
            memory.len(),
            Advice::LinuxDontDump,
        )
    }?;
    Ok(())
}

fn map(len: usize, flags: MapFlags) -> io::Result<&'static mut [u8]> {
    // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
    let start =
        unsafe { mm::mmap_anonymous(null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, flags) }?;
    // SAFETY: the mapping has `len` readable and writable bytes, zeroed by the kernel; nothing
    // else knows its address, and it is never unmapped.
    Ok(unsafe { std::slice::from_raw_parts_mut(start.cast(), len) })
}

/// Brings memory in and keeps it from being paged out. `EPERM` or `ENOMEM` if that is not allowed
/// or there is not so much.
pub fn lock(memory: &mut [u8]) -> io::Result<()> {
    // SAFETY: the range is that of a borrowed slice; locking does not change what it holds.
    unsafe { mm::mlock(memory.as_mut_ptr().cast(), memory.len()) }?;
    Ok(())
}
