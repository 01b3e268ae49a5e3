// SPDX-License-Identifier: GPL-2.0

//! Memory straight from the kernel, for as long as the process lives.

use std::io;
use std::ptr::null_mut;

use rustix::mm::{self, Advice, MapFlags, ProtFlags};
use tracing::warn;

/// Bytes of a huge page.
pub const HUGE_PAGE: usize = 2 << 20;
/// With their size: else the kernel takes those of its default size, of a GiB perhaps, and more of them than
/// the length says. One that has none of this size refuses.
const HUGE_PAGES: MapFlags = MapFlags::HUGETLB.union(MapFlags::HUGE_2MB);

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
    // else knows its address, and it is unmapped by `unmap` alone, which takes the slice.
    Ok(unsafe { std::slice::from_raw_parts_mut(start.cast(), len) })
}

/// Gives back what `map` has mapped, and nobody has seen.
fn unmap(memory: &'static mut [u8]) -> io::Result<()> {
    let (start, len) = (memory.as_mut_ptr(), memory.len());
    // SAFETY: the range is a whole mapping of `map`; the only reference to it was given to us, and is
    // not used any more.
    unsafe { mm::munmap(start.cast(), len) }?;
    Ok(())
}

/// Brings memory in and keeps it from being paged out. `EPERM` or `ENOMEM` if that is not allowed
/// or there is not so much.
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
    fn what_was_mapped_can_be_given_back() {
        let memory = map(HUGE_PAGE, MapFlags::PRIVATE).unwrap();
        memory[HUGE_PAGE - 1] = 1;
        keep_out_of_dumps(memory).unwrap();
        unmap(memory).unwrap();
        let (memory, _) = map_forever(HUGE_PAGE).unwrap();
        assert!(memory.iter().all(|&byte| byte == 0));
    }
}
