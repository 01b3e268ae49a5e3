// SPDX-License-Identifier: GPL-2.0

//! A network block device whose other end never answers. Its socket is marked for memory allocation. As
//! long as there is such a socket, the kernel drops frames in reserve memory for all others.

use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::net::sockopt::set_socket_send_buffer_size;

use crate::sys;

/// Options of `memalloc`.
#[derive(clap::Args)]
pub struct Options {
    /// A network block device that is not in use
    #[arg(long, default_value = "/dev/nbd0")]
    device: PathBuf,
    /// Its size
    #[arg(long, value_name = "MIB", default_value_t = 0)]
    mib: u16,
}

// include/uapi/linux/nbd.h
const SET_SOCK: u32 = 0xab00;
const SET_BLOCK_SIZE: u32 = 0xab01;
const DO_IT: u32 = 0xab03;
const CLEAR_SOCK: u32 = 0xab04;
const SET_BLOCKS: u32 = 0xab07;

const BLOCK: usize = 4096;

/// Bytes that the socket takes without a reader: a few requests, however small they are. The kernel doubles
/// it.
const SOCKET: usize = 8192;

/// Runs the program: until the end of standard input.
pub fn run(options: &Options) -> Result<String, Box<dyn Error>> {
    let device = File::options()
        .read(true)
        .write(true)
        .open(&options.device)?;
    let (socket, other_end) = UnixStream::pair()?;
    set_socket_send_buffer_size(&socket, SOCKET)?;
    let call = |what: &str, number, argument| {
        sys::ioctl(&device, number, argument).map_err(|code| {
            let error = std::io::Error::from_raw_os_error(code);
            format!("{}: {what}: {error}", options.device.display())
        })
    };
    call("the block size", SET_BLOCK_SIZE, BLOCK)?;
    let blocks = (usize::from(options.mib) << 20) / BLOCK;
    call("the size", SET_BLOCKS, blocks)?;
    call("the socket", SET_SOCK, usize::try_from(socket.as_raw_fd())?)?;
    std::thread::scope(|scope| {
        // It marks the socket, and returns when the other end is gone.
        let doing = scope.spawn(|| sys::ioctl(&device, DO_IT, 0));
        let ended = std::io::stdin().read_to_end(&mut Vec::new());
        drop(other_end);
        let _ = doing.join();
        ended.map_err(|error| error.to_string())
    })?;
    call("letting go of the socket", CLEAR_SOCK, 0)?;
    Ok("memalloc: the device was connected".into())
}
