// SPDX-License-Identifier: GPL-2.0

//! Memory from the kernel, for the life of the process.

use std::io;
use std::ptr::null_mut;

use rustix::mm::{self, Advice, MapFlags, ProtFlags};
use tracing::warn;

/// Bytes of a huge page.
pub const HUGE_PAGE: usize = 2 << 20;
/// The flags for huge pages of this size. Without the size the kernel would use its default size, which
/// may be 1 GiB, and map more than the length. A kernel without pages of this size refuses.
const HUGE_PAGES: MapFlags = MapFlags::HUGETLB.union(MapFlags::HUGE_2MB);

/// How a mapping is backed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// By huge pages that the administrator has set aside.
    HugePages,
    /// By ordinary pages. The kernel was asked to use transparent huge pages.
    Ordinary,
}

/// Maps `len` zeroed private bytes that are never unmapped.
///
/// Uses huge pages if `len` is a multiple of their size and enough are set aside.
pub fn map_forever(len: usize) -> io::Result<(&'static mut [u8], Backing)> {
    if len.is_multiple_of(HUGE_PAGE) {
        if let Ok(memory) = map(len, MapFlags::PRIVATE | HUGE_PAGES) {
            match keep_out_of_dumps(memory) {
                Ok(()) => return Ok((memory, Backing::HugePages)),
                Err(error) => warn!(
                    %error,
                    "huge pages cannot be kept out of core dumps: ordinary pages are used"
                ),
            }
            unmap(memory)?;
        }
    }
    // Without NORESERVE the kernel refuses at once a mapping that it could never back.
    let memory = map(len, MapFlags::PRIVATE)?;
    keep_out_of_dumps(memory)?;
    // SAFETY: the range is our mapping; the advice does not change what it holds.
    // The result is ignored: without transparent huge pages the server is only slower.
    let _ = unsafe { mm::madvise(memory.as_mut_ptr().cast(), len, Advice::LinuxHugepage) };
    Ok((memory, Backing::Ordinary))
}

/// Excludes memory from core dumps: it holds what other machines have swapped out.
fn keep_out_of_dumps(memory: &mut [u8]) -> io::Result<()> {
    let (start, len) = (memory.as_mut_ptr(), memory.len());
    // SAFETY: the range is that of a borrowed slice; the advice does not change what it holds.
    unsafe { mm::madvise(start.cast(), len, Advice::LinuxDontDump) }?;
    Ok(())
}

fn map(len: usize, flags: MapFlags) -> io::Result<&'static mut [u8]> {
    // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
    let start =
        unsafe { mm::mmap_anonymous(null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, flags) }?;
    // SAFETY: the mapping has `len` readable and writable bytes, zeroed by the kernel; nothing
    // else knows its address, and it is unmapped by `unmap` alone, which takes the slice.
    Ok(unsafe { std::slice::from_raw_parts_mut(start.cast(), len) })
}

/// Unmaps a mapping of `map` that has not been handed out.
fn unmap(memory: &'static mut [u8]) -> io::Result<()> {
    let (start, len) = (memory.as_mut_ptr(), memory.len());
    // SAFETY: the range is a whole mapping of `map`; the only reference to it was given to us, and is
    // not used any more.
    unsafe { mm::munmap(start.cast(), len) }?;
    Ok(())
}

/// Populates memory and locks it. `EPERM` or `ENOMEM` if that is not allowed or there is too little
/// memory.
pub fn lock(memory: &mut [u8]) -> io::Result<()> {
    // SAFETY: the range is that of a borrowed slice; locking does not change what it holds.
    unsafe { mm::mlock(memory.as_mut_ptr().cast(), memory.len()) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_pages_are_asked_for_by_their_size() {
        // linux/mman.h: the size is in the flags as the power of two that it is.
        let power = HUGE_PAGES.difference(MapFlags::HUGETLB).bits() >> 26;
        assert_eq!(1_usize.checked_shl(power), Some(HUGE_PAGE));
    }

    #[test]
    fn mapped_memory_can_be_returned() {
        let memory = map(HUGE_PAGE, MapFlags::PRIVATE).unwrap();
        memory[HUGE_PAGE - 1] = 1;
        keep_out_of_dumps(memory).unwrap();
        unmap(memory).unwrap();
        let (memory, _) = map_forever(HUGE_PAGE).unwrap();
        assert!(memory.iter().all(|&byte| byte == 0));
    }
}
