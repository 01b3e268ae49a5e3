// SPDX-License-Identifier: GPL-2.0

//! Memory that is shared with the kernel while it is used, and a copy of this process.
//!
//! All unsafe code of these programs is here.
#![allow(
    unsafe_code,
    reason = "system calls on memory that is changed meanwhile"
)]

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use rustix::mm::{
    madvise, mlock, mmap_anonymous, mprotect, munmap, Advice, MapFlags, MprotectFlags, ProtFlags,
};

use crate::PAGE_SIZE;

/// Anonymous memory, as words that any thread may change at any time.
///
/// # Invariants
///
/// `start` is a private anonymous mapping of `len` bytes, whole pages, that only this type unmaps.
pub struct Memory {
    start: NonNull<c_void>,
    len: usize,
}

// SAFETY: It is memory of the process, not of a thread.
unsafe impl Send for Memory {}
// SAFETY: `&Memory` gives access by atomics and by system calls only.
unsafe impl Sync for Memory {}

impl Memory {
    /// `pages` pages of zeros.
    pub fn new(pages: usize) -> io::Result<Self> {
        let len = pages * PAGE_SIZE;
        // SAFETY: A new mapping, at a place that the kernel chooses.
        let start = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?;
        let start = NonNull::new(start).ok_or(io::ErrorKind::OutOfMemory)?;
        // INVARIANT: Mapped just now.
        Ok(Self { start, len })
    }

    /// Its words.
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: By the type invariant; the mapping is aligned to pages, and all bytes of it are
        // initialised, with zeros.
        unsafe { std::slice::from_raw_parts(self.start.cast().as_ptr(), self.len / 8) }
    }

    /// The words of page `page`.
    pub fn page(&self, page: usize) -> &[AtomicU64] {
        &self.words()[page * (PAGE_SIZE / 8)..(page + 1) * (PAGE_SIZE / 8)]
    }

    fn part(&self, pages: Range<usize>) -> (*mut c_void, usize) {
        assert!(pages.start <= pages.end && pages.end * PAGE_SIZE <= self.len);
        // SAFETY: Within the mapping, as just checked.
        let start = unsafe { self.start.as_ptr().byte_add(pages.start * PAGE_SIZE) };
        (start, pages.len() * PAGE_SIZE)
    }

    /// Makes the kernel page these pages out now.
    pub fn page_out(&self, pages: Range<usize>) -> io::Result<()> {
        let (start, len) = self.part(pages);
        // SAFETY: A part of our mapping, whose content this does not change.
        Ok(unsafe { madvise(start, len, Advice::LinuxPageOut) }?)
    }

    /// Keeps all of it in memory.
    pub fn lock(&self) -> io::Result<()> {
        // SAFETY: Our mapping.
        Ok(unsafe { mlock(self.start.as_ptr(), self.len) }?)
    }

    /// Writes pages to a file.
    pub fn write_to(&self, file: &File, pages: Range<usize>, offset: u64) -> io::Result<usize> {
        let (start, len) = self.part(pages);
        let offset = i64::try_from(offset).map_err(io::Error::other)?;
        // SAFETY: A part of our mapping. The kernel reads it while others may write to it, which
        // is the purpose: it copies any bytes.
        let written = unsafe {
            libc::pwrite(
                std::os::fd::AsRawFd::as_raw_fd(&file.as_fd()),
                start,
                len,
                offset,
            )
        };
        usize::try_from(written).map_err(|_| io::Error::last_os_error())
    }

    /// Reads pages from a file.
    pub fn read_from(&self, file: &File, pages: Range<usize>, offset: u64) -> io::Result<usize> {
        let (start, len) = self.part(pages);
        let offset = i64::try_from(offset).map_err(io::Error::other)?;
        // SAFETY: A part of our mapping, to whose bytes there are references as atomics only: the
        // kernel may write to them at any time.
        let read = unsafe {
            libc::pread(
                std::os::fd::AsRawFd::as_raw_fd(&file.as_fd()),
                start,
                len,
                offset,
            )
        };
        usize::try_from(read).map_err(|_| io::Error::last_os_error())
    }

    /// Whether page `page` holds these bytes, a page.
    pub fn bytes_are(&self, page: usize, bytes: &[u8]) -> bool {
        let words = bytes.chunks_exact(8);
        words.zip(self.page(page)).all(|(bytes, word)| {
            bytes
                == word
                    .load(std::sync::atomic::Ordering::Relaxed)
                    .to_ne_bytes()
        })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: By the type invariant; nothing refers to it any more. That it cannot fail for
        // a mapping of ours makes the result of no interest.
        let _ = unsafe { munmap(self.start.as_ptr(), self.len) };
    }
}

/// Memory with unmapped memory after it.
///
/// # Invariants
///
/// `start` is a private anonymous mapping of [`Edge::PAGES`] pages and one more, which must not be
/// accessed. Only this type unmaps it.
pub struct Edge {
    start: NonNull<c_void>,
}

impl Edge {
    /// Pages before the edge.
    pub const PAGES: usize = 3;

    /// Pages of zeros.
    pub fn new() -> io::Result<Self> {
        let len = (Self::PAGES + 1) * PAGE_SIZE;
        // SAFETY: A new mapping, at a place that the kernel chooses.
        let start = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }?;
        let start = NonNull::new(start).ok_or(io::ErrorKind::OutOfMemory)?;
        // INVARIANT: Mapped just now, and protected here.
        let edge = Self { start };
        // SAFETY: The last page of the mapping, to which nothing refers.
        unsafe { mprotect(edge.page(Self::PAGES), PAGE_SIZE, MprotectFlags::empty()) }?;
        Ok(edge)
    }

    fn page(&self, page: usize) -> *mut c_void {
        self.start.as_ptr().wrapping_byte_add(page * PAGE_SIZE)
    }

    /// The first address after it.
    pub fn end(&self) -> usize {
        self.page(Self::PAGES) as usize
    }

    /// Makes it read-only.
    pub fn make_read_only(&self) -> io::Result<()> {
        // SAFETY: Our mapping, to which nothing refers.
        Ok(unsafe {
            mprotect(
                self.start.as_ptr(),
                Self::PAGES * PAGE_SIZE,
                MprotectFlags::READ,
            )
        }?)
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, and as for `Memory`.
        let _ = unsafe { munmap(self.start.as_ptr(), (Self::PAGES + 1) * PAGE_SIZE) };
    }
}

/// Calls an ioctl with an argument that may be anything: the address of a buffer that is large
/// enough, or one where there is no memory of ours that can be written to. The error is its number.
pub fn ioctl(file: &File, number: u32, argument: usize) -> Result<(), i32> {
    use std::os::fd::AsRawFd;
    // SAFETY: Callers pass what is said above; the kernel checks addresses.
    match unsafe { libc::ioctl(file.as_raw_fd(), number as _, argument) } {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error().raw_os_error().unwrap_or(0)),
    }
}

/// Drops all privileges permanently.
pub fn become_nobody() -> io::Result<()> {
    const NOBODY: libc::uid_t = 65534;
    // SAFETY: No requirements; there is one thread.
    let failed = unsafe {
        libc::setgroups(0, std::ptr::null()) != 0
            || libc::setresgid(NOBODY, NOBODY, NOBODY) != 0
            || libc::setresuid(NOBODY, NOBODY, NOBODY) != 0
    };
    match failed {
        true => Err(io::Error::last_os_error()),
        false => Ok(()),
    }
}

/// A copy of this process.
pub struct Child(libc::pid_t);

impl Child {
    /// Copies the process, which must have no other thread. In the copy `work` says with which
    /// status it ends.
    pub fn fork(work: impl FnOnce() -> i32) -> io::Result<Self> {
        // SAFETY: There is no other thread whose locks could be copied.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                let status = work();
                // SAFETY: No requirements.
                unsafe { libc::_exit(status) }
            }
            pid => Ok(Self(pid)),
        }
    }

    /// Waits for its end; its wait status, 0 if all was well.
    pub fn wait(self) -> io::Result<i32> {
        let mut status = 0;
        // SAFETY: `status` is valid for writes.
        match unsafe { libc::waitpid(self.0, &mut status, 0) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(status),
        }
    }
}

/// A packet socket for one EtherType on one interface.
pub struct PacketSocket {
    fd: OwnedFd,
    interface: String,
}

impl PacketSocket {
    /// One that receives from now on.
    pub fn new(interface: &str, ethertype: u16) -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: No memory is passed.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: Opened just now, and only used here.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let index = std::fs::read_to_string(format!("/sys/class/net/{interface}/ifindex"))?;
        // SAFETY: The address is integers: all zeros is one.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
        address.sll_protocol = ethertype.to_be();
        address.sll_ifindex = index.trim().parse().map_err(io::Error::other)?;
        let len = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>());
        let len = len.map_err(io::Error::other)?;
        // SAFETY: A whole address that lives through the call.
        if unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            fd,
            interface: interface.to_owned(),
        })
    }

    /// Waits for a frame, and returns its length.
    pub fn receive(&self, bytes: &mut [u8]) -> io::Result<usize> {
        // SAFETY: The kernel writes at most so many bytes to where that many are.
        let len = unsafe {
            libc::recv(
                self.fd.as_raw_fd(),
                bytes.as_mut_ptr().cast(),
                bytes.len(),
                0,
            )
        };
        usize::try_from(len).map_err(|_| io::Error::last_os_error())
    }

    /// Sends a frame.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        // SAFETY: The kernel reads so many bytes where that many are.
        let len = unsafe { libc::send(self.fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
        usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
        Ok(())
    }

    /// The interface's hardware address.
    pub fn address(&self) -> io::Result<[u8; 6]> {
        let text = std::fs::read_to_string(format!("/sys/class/net/{}/address", self.interface))?;
        let mut address = [0; 6];
        for (byte, digits) in address.iter_mut().zip(text.trim().split(':')) {
            *byte = u8::from_str_radix(digits, 16).map_err(io::Error::other)?;
        }
        Ok(address)
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
