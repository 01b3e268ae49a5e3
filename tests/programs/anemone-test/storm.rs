// SPDX-License-Identifier: GPL-2.0

//! As many datagrams as possible to a port without a listener. The kernel answers each with a message, and
//! must not wait for its memory.

use std::error::Error;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;

/// Options of `storm`.
#[derive(clap::Args)]
pub struct Options {
    /// Continues as long as this file exists
    #[arg(long = "while")]
    while_exists: PathBuf,
    /// Bytes of a datagram
    #[arg(long, default_value_t = 1400)]
    bytes: usize,
}

/// Datagrams between two checks of the file.
const BURST: usize = 64;
/// The pause between two bursts. The test is about memory, not about processor time.
const PAUSE: Duration = Duration::from_millis(10);

/// Runs the program.
pub fn run(options: &Options) -> Result<String, Box<dyn Error>> {
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let closed_port = {
        let closed = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        closed.local_addr()?
    };
    sender.connect(closed_port)?;
    let datagram = vec![0x5a; options.bytes];
    let (mut sent, mut answered, mut refused) = (0_u64, 0_u64, 0_u64);
    while options.while_exists.exists() {
        for _ in 0..BURST {
            match sender.send(&datagram).map_err(|error| error.raw_os_error()) {
                Ok(_) => sent += 1,
                Err(code) if code == Some(Errno::CONNREFUSED.raw_os_error()) => answered += 1,
                // There is no memory for it now.
                Err(code) if code == Some(Errno::NOBUFS.raw_os_error()) => refused += 1,
                Err(code) if code == Some(Errno::NOMEM.raw_os_error()) => refused += 1,
                Err(code) => return Err(format!("sending failed: error {code:?}").into()),
            }
        }
        std::thread::sleep(PAUSE);
    }
    if answered == 0 {
        return Err("not one datagram was answered: there was no storm".into());
    }
    Ok(format!(
        "storm: {sent} datagrams sent, {answered} answers seen, {refused} without memory"
    ))
}
