// SPDX-License-Identifier: GPL-2.0

//! Has the driver of a loop device look for partitions. It does so once for each file of the device, also
//! when another program has claimed the device. Meanwhile it holds the mutex that openers and closers need,
//! and it waits for the disk below.

use std::error::Error;
use std::fs::File;
use std::path::PathBuf;

use crate::sys;

/// How it is done.
#[derive(clap::Args)]
pub struct Options {
    /// A loop device whose partitions were never looked for
    device: PathBuf,
}

// include/uapi/linux/loop.h
const SET_STATUS64: u32 = 0x4c04;
const GET_STATUS64: u32 = 0x4c05;
/// `sizeof(struct loop_info64)`, in words of 32 bits.
const INFO_WORDS: usize = 232 / 4;
/// Where `lo_flags` is.
const FLAGS: usize = 52 / 4;
const FLAG_PARTSCAN: u32 = 8;

/// Runs the program: until partitions have been looked for.
pub fn run(options: &Options) -> Result<String, Box<dyn Error>> {
    let device = File::open(&options.device)?;
    let mut info = [0_u32; INFO_WORDS];
    let mut call = |number, flag| {
        info[FLAGS] |= flag;
        sys::ioctl(&device, number, info.as_mut_ptr() as usize)
            .map_err(std::io::Error::from_raw_os_error)
    };
    call(GET_STATUS64, 0)?;
    call(SET_STATUS64, FLAG_PARTSCAN)?;
    Ok("scan: done".into())
}
