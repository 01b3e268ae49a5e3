// SPDX-License-Identifier: GPL-2.0

//! The ioctl system call.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use anemone::uapi;

/// A structure and the ioctl that takes it.
///
/// # Safety
///
/// The ioctl reads and writes at most the structure, any bytes of which are one.
pub unsafe trait Argument {
    /// The ioctl's number.
    const NUMBER: u32;
}

macro_rules! arguments {
    ($($structure:ident = $number:ident,)*) => {
        $(
            // SAFETY: The structure's size is in the number, and it has no padding and no invalid
            // values: it derives `FromBytes` and `IntoBytes`.
            unsafe impl Argument for uapi::$structure {
                const NUMBER: u32 = uapi::$number;
            }
        )*
    };
}

arguments! {
    AddServer = ADD_SERVER,
    RemoveServer = REMOVE_SERVER,
    AttachDisk = ATTACH_DISK,
    DetachDisk = DETACH_DISK,
    Status = STATUS,
    Servers = SERVERS,
}

/// Calls the ioctl of `argument` on `file`. `file` may be anything: what does not know the number
/// answers ENOTTY.
pub fn ioctl<T: Argument>(file: &File, argument: &mut T) -> io::Result<()> {
    // SAFETY: By the trait's requirements, `argument` is what the ioctl takes, and it is valid for
    // the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), T::NUMBER as _, argument) };
    match result {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
