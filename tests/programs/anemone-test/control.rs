// SPDX-License-Identifier: GPL-2.0

//! Wrong calls of the control device: each must be refused with its own error, and change nothing.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};

use anemone::uapi;
use anemone::wire::MacAddress;
use clap::Args;
use zerocopy::{FromZeros, IntoBytes};

use crate::sys::{self, Edge};

#[derive(Args)]
pub struct Options {
    /// The address of a server that the device has.
    #[arg(long, value_parser = parse_mac)]
    server: MacAddress,
    /// The address of the interface.
    #[arg(long, value_parser = parse_mac)]
    own: MacAddress,
    /// Drop all privileges first: then each call must be refused.
    #[arg(long)]
    unprivileged: bool,
}

fn parse_mac(text: &str) -> Result<MacAddress, String> {
    text.parse()
        .map_err(|_| "not a hardware address".to_owned())
}

/// Calls of one file, compared with the expected errors.
struct Caller {
    file: File,
    /// Every call with its error number.
    calls: usize,
    wrong: Vec<String>,
}

impl Caller {
    /// Calls `number` with the address `at`.
    fn expect_at(&mut self, what: &str, number: u32, at: usize, error: i32) {
        let got = sys::ioctl(&self.file, number, at).err().unwrap_or(0);
        self.calls += 1;
        if got != error {
            let is = std::io::Error::from_raw_os_error(got);
            let wanted = std::io::Error::from_raw_os_error(error);
            self.wrong
                .push(format!("{what} ({number:#x}): {is}, not {wanted}"));
        }
    }

    /// Calls `number` with a structure.
    fn expect<T: IntoBytes + zerocopy::FromBytes>(
        &mut self,
        what: &str,
        number: u32,
        mut argument: T,
        error: i32,
    ) {
        let at = argument.as_mut_bytes().as_mut_ptr() as usize;
        self.expect_at(what, number, at, error);
    }
}

/// Runs it.
pub fn run(options: &Options) -> Result<String, Box<dyn Error>> {
    let mut caller = Caller {
        file: OpenOptions::new().read(true).write(true).open(uapi::PATH)?,
        calls: 0,
        wrong: Vec::new(),
    };
    if options.unprivileged {
        sys::become_nobody()?;
        without_privilege(&mut caller, options.server);
        let opened = File::open(uapi::PATH).err().and_then(|e| e.raw_os_error());
        if opened != Some(libc::EACCES) {
            caller.wrong.push(format!("opening it: {opened:?}"));
        }
    } else {
        let before = identities(&caller.file)?;
        numbers(&mut caller);
        addresses(&mut caller)?;
        contents(&mut caller);
        states(&mut caller, options);
        files(&mut caller);
        if identities(&caller.file)? != before {
            caller.wrong.push("the servers have changed".to_owned());
        }
    }
    match caller.wrong.as_slice() {
        [] => Ok(format!("{} calls refused as they should be", caller.calls)),
        wrong => Err(wrong.join("\n  ").into()),
    }
}

/// A server's address and incarnation.
type Identity = ([u8; 6], u64);

/// The servers of the device.
fn identities(file: &File) -> Result<Vec<Identity>, Box<dyn Error>> {
    let mut servers = uapi::Servers::new_zeroed();
    let at = servers.as_mut_bytes().as_mut_ptr() as usize;
    sys::ioctl(file, uapi::SERVERS, at).map_err(std::io::Error::from_raw_os_error)?;
    let all = servers.servers.iter().take(servers.count as usize);
    Ok(all.map(|one| (one.mac, one.incarnation)).collect())
}

/// Right and wrong calls of an unprivileged caller.
fn without_privilege(caller: &mut Caller, server: MacAddress) {
    let mut good = uapi::RemoveServer::new_zeroed();
    good.mac = server.0;
    good.flags = uapi::remove::FORCE;
    caller.expect("remove", uapi::REMOVE_SERVER, good, libc::EPERM);
    caller.expect(
        "status",
        uapi::STATUS,
        uapi::Status::new_zeroed(),
        libc::EPERM,
    );
    for number in uapi::IOCTLS {
        caller.expect_at("without privilege", number, 0, libc::EPERM);
    }
}

/// Unknown ioctl numbers, and structures of another size or direction.
fn numbers(caller: &mut Caller) {
    let buffer = || [0_u64; 1024];
    for number in uapi::IOCTLS {
        for (what, wrong, error) in [
            ("size 0", number & !(0x3fff << 16), libc::EINVAL),
            ("size + 8", number + (8 << 16), libc::EINVAL),
            ("size - 8", number - (8 << 16), libc::EINVAL),
            ("the largest size", number | 0x3fff << 16, libc::EINVAL),
            ("no direction", number & !(3 << 30), libc::EINVAL),
            ("read only", number & !(3 << 30) | 2 << 30, libc::EINVAL),
            ("another type", number ^ 1 << 8, libc::ENOTTY),
            ("another number", number + 100, libc::ENOTTY),
        ] {
            caller.expect(what, wrong, buffer(), error);
        }
    }
    for wrong in [0, 1, 0xa900, 0xa9ff, u32::MAX, 0x5401] {
        caller.expect("unknown number", wrong, buffer(), libc::ENOTTY);
    }
}

/// Addresses without a structure, or with a part of one.
fn addresses(caller: &mut Caller) -> Result<(), Box<dyn Error>> {
    let size_of = |number: u32| (number >> 16 & 0x3fff) as usize;
    let memory = Edge::new()?;
    let end = memory.end();
    for number in uapi::IOCTLS {
        for at in [0, 8, 0xffff_8880_0000_0000, usize::MAX - 7, end] {
            caller.expect_at(&format!("at {at:#x}"), number, at, libc::EFAULT);
        }
        let at = end - size_of(number) + 8;
        caller.expect_at("over the end", number, at, libc::EFAULT);
    }
    // The memory can be read, but not written to.
    memory.make_read_only()?;
    for number in [uapi::STATUS, uapi::SERVERS] {
        let at = end - size_of(number);
        caller.expect_at("read-only memory", number, at, libc::EFAULT);
    }
    Ok(())
}

/// Unknown flags, and reserved bytes that are set.
fn contents(caller: &mut Caller) {
    /// Sets each byte of a structure from `first` on, one at a time.
    fn each_byte<T: IntoBytes + zerocopy::FromBytes + Copy>(
        caller: &mut Caller,
        number: u32,
        good: T,
        bytes: std::ops::Range<usize>,
    ) {
        for at in bytes {
            let mut wrong = good;
            wrong.as_mut_bytes()[at] = 0x80;
            caller.expect(&format!("byte {at}"), number, wrong, libc::EINVAL);
        }
    }
    // There is no such server: a call that succeeds would add it.
    let mac = [0x52, 0x54, 0, 0xff, 0xff, 1];
    let mut add = uapi::AddServer::new_zeroed();
    add.mac = mac;
    each_byte(caller, uapi::ADD_SERVER, add, 0..4);
    each_byte(caller, uapi::ADD_SERVER, add, 10..16);
    let mut remove = uapi::RemoveServer::new_zeroed();
    remove.mac = mac;
    each_byte(caller, uapi::REMOVE_SERVER, remove, 0..4);
    each_byte(caller, uapi::REMOVE_SERVER, remove, 10..24);
    remove.flags = uapi::remove::LOSE_PAGES;
    caller.expect("without force", uapi::REMOVE_SERVER, remove, libc::EINVAL);
    let detach = uapi::DetachDisk::new_zeroed();
    each_byte(caller, uapi::DETACH_DISK, detach, 0..16);
    each_byte(
        caller,
        uapi::ATTACH_DISK,
        uapi::AttachDisk::new_zeroed(),
        0..8,
    );
    let rekey = uapi::Rekey::new_zeroed();
    each_byte(caller, uapi::REKEY, rekey, 0..size_of::<uapi::Rekey>());
    caller.expect("without keys", uapi::REKEY, rekey, libc::EOPNOTSUPP);
    let status = uapi::Status::new_zeroed();
    each_byte(caller, uapi::STATUS, status, 0..size_of::<uapi::Status>());
    let servers = uapi::Servers::new_zeroed();
    each_byte(
        caller,
        uapi::SERVERS,
        servers,
        0..size_of::<uapi::Servers>(),
    );
}

/// Valid calls that cannot be carried out.
fn states(caller: &mut Caller, options: &Options) {
    let add = |mac| uapi::AddServer {
        mac,
        ..uapi::AddServer::new_zeroed()
    };
    let remove = |mac| uapi::RemoveServer {
        mac,
        ..uapi::RemoveServer::new_zeroed()
    };
    caller.expect(
        "it is there",
        uapi::ADD_SERVER,
        add(options.server.0),
        libc::EEXIST,
    );
    caller.expect(
        "ourselves",
        uapi::ADD_SERVER,
        add(options.own.0),
        libc::EINVAL,
    );
    for mac in [[0; 6], [0xff; 6], [1, 0, 0x5e, 0, 0, 1]] {
        caller.expect("no station", uapi::ADD_SERVER, add(mac), libc::EINVAL);
        caller.expect("no station", uapi::REMOVE_SERVER, remove(mac), libc::EINVAL);
    }
    let absent = [0x52, 0x54, 0, 0xff, 0xff, 2];
    for flags in [
        0,
        uapi::remove::FORCE,
        uapi::remove::FORCE | uapi::remove::LOSE_PAGES,
    ] {
        let mut argument = remove(absent);
        argument.flags = flags;
        caller.expect("absent server", uapi::REMOVE_SERVER, argument, libc::ENOENT);
    }
    let detach = uapi::DetachDisk::new_zeroed();
    caller.expect("no disk", uapi::DETACH_DISK, detach, libc::ENODEV);
    let attach = |path: &[u8]| {
        let mut argument = uapi::AttachDisk::new_zeroed();
        argument.path[..path.len()].copy_from_slice(path);
        argument
    };
    for (path, error) in [
        (&b""[..], libc::EINVAL),
        (&[b'/'; uapi::PATH_MAX][..], libc::EINVAL),
        (b"/dev/nothing-is-called-so", libc::ENOENT),
        (b"/dev/null/x", libc::ENOENT),
        (b"/dev/null", libc::ENOTBLK),
        (b"/tmp", libc::ENOTBLK),
        (b"/dev/anemone", libc::EINVAL),
    ] {
        let what = format!(
            "attach {}",
            String::from_utf8_lossy(&path[..path.len().min(30)])
        );
        caller.expect(&what, uapi::ATTACH_DISK, attach(path), error);
    }
}

/// Other operations of the file.
fn files(caller: &mut Caller) {
    let mut expect_refused = |what: &str, result: std::io::Result<usize>| {
        if result.is_ok() {
            caller.wrong.push(format!("{what} is possible"));
        }
    };
    let mut file = &caller.file;
    let read = file.read(&mut [0; 8]);
    let written = file.write(&[0; 8]);
    expect_refused("reading", read);
    expect_refused("writing", written);
}
