// SPDX-License-Identifier: GPL-2.0

//! The commands.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anemone::uapi::{self, Health};
use anemone::wire::MacAddress;
use zerocopy::FromZeros;

use crate::arguments::{Add, Remove, Status};
use crate::device::Device;
use crate::exit_status::{Failure, Kind};
use crate::report::{find, health_word, refusal, servers, Report};
use crate::text::Text;
use crate::{json, write};

/// The default time to wait for servers.
const WAIT_S: u32 = 3;
/// Time between two checks of the servers meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Prints a line on standard error. A line that cannot be written is dropped: the exit status remains.
pub fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "anemonectl: {line}");
}

/// Prints a line on standard output.
fn say(line: &str) -> Result<ExitCode, Failure> {
    write(|out| writeln!(out, "{line}"))
}

/// The text of an error number for which the command has no text of its own.
fn words(number: i32) -> String {
    io::Error::from_raw_os_error(number).to_string()
}

/// Adds servers.
pub fn add(device: &Device, add: &Add) -> Result<ExitCode, Failure> {
    let mut added = Vec::new();
    for &mac in &add.servers {
        let mut argument = uapi::AddServer::new_zeroed();
        argument.mac = mac.0;
        match device.call(&mut argument)? {
            None => added.push(mac),
            Some(libc::EEXIST) => complain(&format!("{mac} is a server of this device already")),
            Some(libc::ENOSPC) => complain(&format!(
                "{mac} cannot be added: all {} places for servers are in use or not swept yet; remove one, or try again soon",
                uapi::MAX_SERVERS
            )),
            Some(libc::EINVAL) => complain(&format!("{mac} is this machine's own address")),
            Some(libc::ENOKEY) => complain(&format!(
                "{mac} cannot be added: its key is not in the keyring of this session; add it with anemonectl keyring add {mac}"
            )),
            Some(number) => complain(&format!("{mac} cannot be added: {}", words(number))),
        }
    }
    let is_up = |server: &uapi::Server| server.health == Health::Up as u32;
    let answered = wait(device, add.wait, |servers| {
        added
            .iter()
            .all(|mac| find(servers, *mac).is_some_and(is_up))
    })?;
    let now = servers(device, 0)?;
    for &mac in &added {
        match find(&now, mac) {
            Some(server) if is_up(server) => {
                say(&format!("{mac}: added, up"))?;
            }
            Some(server) => match refusal(server) {
                Some(why) => complain(&format!("{mac} is added, but refuses the session: {why}")),
                None => complain(&format!(
                    "{mac} is added, but has not answered yet; check that anemone-server runs there"
                )),
            },
            None => complain(&format!(
                "{mac} is added, and waits until its old slot is swept"
            )),
        }
    }
    Ok(exit_code(
        added.len() == add.servers.len(),
        answered || add.wait.is_none(),
    ))
}

/// Has the keys read again.
pub fn rekey(device: &Device) -> Result<ExitCode, Failure> {
    let mut argument = uapi::Rekey::new_zeroed();
    let Some(number) = device.call(&mut argument)? else {
        return say("the keys were read again, and are being changed");
    };
    let mac = MacAddress(argument.mac);
    match number {
        libc::EOPNOTSUPP => complain("the module was loaded without keys="),
        libc::ENOKEY => complain(&format!(
            "no key of server {mac} is in the keyring of this session: anemonectl keyring add {mac}; nothing has changed"
        )),
        libc::EINVAL => complain(&format!("the key of server {mac} has not 32 bytes; nothing has changed")),
        number => complain(&format!("the key of server {mac} cannot be read: {}; nothing has changed", words(number))),
    }
    Ok(exit_code(false, true))
}

/// Removes servers.
pub fn remove(device: &Device, remove: &Remove) -> Result<ExitCode, Failure> {
    let mut flags = if remove.force { uapi::remove::FORCE } else { 0 };
    if remove.lose_pages {
        flags |= uapi::remove::LOSE_PAGES;
    }
    let mut draining = Vec::new();
    for &mac in &remove.servers {
        let mut argument = uapi::RemoveServer::new_zeroed();
        argument.flags = flags;
        argument.mac = mac.0;
        match device.call(&mut argument)? {
            None => draining.push(mac),
            Some(libc::ENOENT) => complain(&format!("{mac} is not a server of this device")),
            Some(libc::EBUSY) => complain(&format!(
                "{mac} is kept: it has the only copy of {} pages, apart from servers that do not answer; remove it without --force, so that they are copied, or lose them with --force --lose-pages",
                argument.pages
            )),
            Some(libc::EAGAIN) => complain(&format!(
                "{mac} is kept: other servers are being lost, so it is unknown whether pages need it; try again"
            )),
            Some(number) => complain(&format!("{mac} cannot be removed: {}", words(number))),
        }
    }
    let gone = wait(device, remove.wait, |servers| {
        draining.iter().all(|mac| find(servers, *mac).is_none())
    })?;
    let now = servers(device, if gone { 0 } else { uapi::status::COUNT })?;
    for &mac in &draining {
        match find(&now, mac) {
            None => say(&format!("{mac}: removed"))?,
            Some(server) => say(&format!(
                "{mac}: {}; it is removed when no page needs it; it has {} pages now",
                health_word(server),
                server.held_pages
            ))?,
        };
    }
    Ok(exit_code(
        draining.len() == remove.servers.len(),
        gone || remove.wait.is_none(),
    ))
}

/// The exit status of a command whose refusals have been reported.
fn exit_code(all_accepted: bool, over_in_time: bool) -> ExitCode {
    match (all_accepted, over_in_time) {
        (false, _) => Kind::Other.into(),
        (true, false) => Kind::Unfinished.into(),
        (true, true) => ExitCode::SUCCESS,
    }
}

/// Waits until `are_right` holds. Returns whether it does.
fn wait(
    device: &Device,
    seconds: Option<u32>,
    are_right: impl Fn(&[uapi::Server]) -> bool,
) -> Result<bool, Failure> {
    let bound = Duration::from_secs(seconds.unwrap_or(WAIT_S).into());
    let begin = Instant::now();
    loop {
        if are_right(&servers(device, 0)?) {
            return Ok(true);
        }
        if begin.elapsed() >= bound {
            return Ok(false);
        }
        thread::sleep(LOOK_AGAIN);
    }
}

/// Attaches the local disk.
pub fn attach(device: &Device, path: &Path) -> Result<ExitCode, Failure> {
    let mut argument = uapi::AttachDisk::new_zeroed();
    let name = path.display();
    let refuse = |why: &str| Err(Failure::new(Kind::Other, format!("{name} {why}")));
    let bytes = path.as_os_str().as_bytes();
    // The last byte stays zero.
    match argument.path.get_mut(..bytes.len()) {
        Some(room) if bytes.len() < uapi::PATH_MAX => room.copy_from_slice(bytes),
        _ => return refuse("cannot be attached: its path is too long"),
    }
    match device.call(&mut argument)? {
        None => say(&format!("{name}: attached")),
        Some(libc::ENOENT) => refuse("does not exist"),
        Some(libc::ENOTBLK) => refuse("is not a block device"),
        Some(libc::EBUSY) => refuse(
            "is in use (mounted, swapped on, or opened exclusively), or another attach or detach is under way",
        ),
        Some(libc::EROFS) => refuse("is read-only"),
        Some(libc::EOPNOTSUPP) => refuse("has zones, or logical blocks larger than a page"),
        Some(libc::ENOSPC) => refuse("is smaller than the Anemone device"),
        Some(libc::EINVAL) => refuse("is the Anemone device itself, or is made of it"),
        Some(libc::EEXIST) => refuse("cannot be attached: another disk is attached; detach it first"),
        Some(number) => refuse(&format!("cannot be attached: {}", words(number))),
    }
}

/// Detaches the local disk.
pub fn detach(device: &Device, force: bool) -> Result<ExitCode, Failure> {
    let mut argument = uapi::DetachDisk::new_zeroed();
    argument.flags = if force { uapi::detach::FORCE } else { 0 };
    let refuse = |why: &str| Err(Failure::new(Kind::Other, why));
    match device.call(&mut argument)? {
        None => say("the local disk is detached"),
        Some(libc::ENODEV) => refuse("no local disk is attached"),
        Some(libc::EBUSY) if argument.pages != 0 => refuse(&format!(
            "the local disk is kept: it has the only copy of {} pages, apart from servers that do not answer; wait until servers have them, or lose them with --force",
            argument.pages
        )),
        Some(libc::EBUSY) => refuse(
            "the local disk is kept: I/O that does not end is under way; try again when the disk answers",
        ),
        Some(libc::ETIMEDOUT) => refuse(
            "the local disk is kept: its I/O went on, or servers kept being lost, for too long; try again",
        ),
        Some(number) => refuse(&format!("the local disk cannot be detached: {}", words(number))),
    }
}

/// Shows everything.
pub fn status(device: &Device, status: &Status) -> Result<ExitCode, Failure> {
    let report = Report::ask(device, !status.quick)?;
    write(|out| match status.json {
        true => writeln!(out, "{:#}", json::report(&report)),
        false => write!(out, "{}", Text(&report)),
    })
}
