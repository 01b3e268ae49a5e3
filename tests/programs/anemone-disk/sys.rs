// SPDX-License-Identifier: GPL-2.0

//! The ioctls of a network block device (`linux/nbd.h`).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// What an ioctl does; its argument, if it has one, is a number.
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
pub enum Ioctl {
    SetSocket = 0xab00,
    SetBlockSize = 0xab01,
    /// Sends requests to the socket until its other end is closed.
    DoIt = 0xab03,
    ClearSocket = 0xab04,
    SetBlocks = 0xab07,
    /// Makes the kernel send its last request, which disconnects.
    Disconnect = 0xab08,
    SetFlags = 0xab0a,
}

/// Calls it on `device`, which may be any file: others answer ENOTTY.
pub fn ioctl(device: &File, what: Ioctl, argument: usize) -> io::Result<()> {
    // SAFETY: None of these takes its argument for an address.
    match unsafe { libc::ioctl(device.as_raw_fd(), what as _, argument) } {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
