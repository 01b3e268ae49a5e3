// SPDX-License-Identifier: GPL-2.0

//! System calls without a safe wrapper.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use anemone::uapi;

/// A keyring that a process has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Keyring {
    /// The session's.
    Session = libc::KEY_SPEC_SESSION_KEYRING,
    /// The user's.
    User = libc::KEY_SPEC_USER_KEYRING,
}

/// Adds a key of type `logon` to a keyring, or replaces the one with this description.
pub fn add_logon_key(keyring: Keyring, description: &CStr, key: &[u8; 32]) -> io::Result<()> {
    // SAFETY: Both strings end with a NUL, and the kernel reads as many bytes of `key` as it has.
    let result = unsafe {
        libc::syscall(
            libc::SYS_add_key,
            c"logon".as_ptr(),
            description.as_ptr(),
            key.as_ptr(),
            key.len(),
            keyring as i32,
        )
    };
    match result {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

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
    Rekey = REKEY,
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
