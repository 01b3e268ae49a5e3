// SPDX-License-Identifier: GPL-2.0

//! The control device, `/dev/anemone-control`: checks what callers pass, and calls the code that
//! does it. [`crate::uapi`] defines the interface.
//!
//! Context: process, the caller's. A bad call gets an error and no line in the log. Only the reason why
//! a disk cannot be attached is logged, because an error number does not say enough.

use kernel::{
    fs::File,
    prelude::*,
    sync::ArcBorrow,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};
use zerocopy::{
    FromBytes,
    Immutable,
    IntoBytes, //
};

use super::{
    client::Client,
    local_disk,
    membership::AddServerError, //
};
use crate::{
    engine::client::{
        cluster::AddError,
        maintenance::{
            detach::DetachError,
            removal::{
                RemovalMode,
                RemoveError, //
            }, //
        }, //
    },
    linux::{
        capability::{
            capable,
            Capability, //
        },
        miscdevice::MiscDevice,
    },
    uapi,
    wire::MacAddress, //
};

/// The device's name in `/dev`.
pub(crate) const NAME: &CStr = c"anemone-control";

#[vtable]
impl MiscDevice for Client {
    fn ioctl(client: ArcBorrow<'_, Self>, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        if !capable(Capability::SYS_ADMIN) {
            return Err(EPERM);
        }
        let arg = UserPtr::from_addr(arg);
        match cmd {
            uapi::ADD_SERVER => add_server(&client, arg)?,
            uapi::REMOVE_SERVER => remove_server(&client, arg)?,
            uapi::ATTACH_DISK => attach_disk(&client, arg)?,
            uapi::DETACH_DISK => detach_disk(&client, arg)?,
            uapi::STATUS => status(&client, arg)?,
            uapi::SERVERS => servers(&client, arg)?,
            uapi::REKEY => rekey(&client, arg)?,
            _ => {
                // A known ioctl, with the structure of another version?
                let is_ours = |ours: &u32| uapi::type_and_nr(*ours) == uapi::type_and_nr(cmd);
                return Err(match uapi::IOCTLS.iter().any(is_ours) {
                    true => EINVAL,
                    false => ENOTTY,
                });
            }
        }
        Ok(0)
    }
}

/// Copies a structure from the caller.
fn read<T: FromBytes + IntoBytes>(arg: UserPtr) -> Result<T> {
    let mut value = T::new_zeroed();
    UserSlice::new(arg, size_of::<T>())
        .reader()
        .read_slice(value.as_mut_bytes())?;
    Ok(value)
}

/// Copies a structure to the caller.
fn write<T: IntoBytes + Immutable>(arg: UserPtr, value: &T) -> Result {
    UserSlice::new(arg, size_of::<T>())
        .writer()
        .write_slice(value.as_bytes())
}

/// An error unless `holds`.
fn check(holds: bool) -> Result {
    match holds {
        true => Ok(()),
        false => Err(EINVAL),
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// The same for each ioctl that only reads: flags followed by zeros. Read in pieces, because some
/// of the structures are large for a kernel stack.
fn read_question<T>(arg: UserPtr) -> Result<u32> {
    let mut reader = UserSlice::new(arg, size_of::<T>()).reader();
    let flags: u32 = reader.read()?;
    let mut is_good = flags & !uapi::status::COUNT == 0;
    while !reader.is_empty() {
        let mut piece = [0; 64];
        let len = reader.len().min(piece.len());
        let piece = piece.get_mut(..len).ok_or(EINVAL)?;
        reader.read_slice(piece)?;
        is_good &= is_zero(piece);
    }
    check(is_good)?;
    Ok(flags)
}

#[inline(never)]
fn add_server(client: &Client, arg: UserPtr) -> Result {
    let asked: uapi::AddServer = read(arg)?;
    check(asked.flags == 0 && is_zero(&asked.reserved))?;
    client
        .add_server(MacAddress(asked.mac))
        .map_err(|error| match error {
            AddServerError::Add(AddError::Exists) => EEXIST,
            AddServerError::Add(AddError::NotUnicast) => EINVAL,
            AddServerError::Add(AddError::NoSlot) => ENOSPC,
            AddServerError::Key(error) => error,
        })
}

#[inline(never)]
fn rekey(client: &Client, arg: UserPtr) -> Result {
    let mut asked: uapi::Rekey = read(arg)?;
    check(asked.flags == 0 && asked.mac == [0; 6] && is_zero(&asked.reserved))?;
    if client.shared.keys.is_none() {
        return Err(EOPNOTSUPP);
    }
    client.rekey().or_else(|(server, error)| {
        asked.mac = server.0;
        write(arg, &asked)?;
        Err(error)
    })
}

#[inline(never)]
fn remove_server(client: &Client, arg: UserPtr) -> Result {
    let mut asked: uapi::RemoveServer = read(arg)?;
    check(is_zero(&asked.reserved) && asked.pages == 0)?;
    const FORCE: u32 = uapi::remove::FORCE;
    const LOSE_PAGES: u32 = FORCE | uapi::remove::LOSE_PAGES;
    let how = match asked.flags {
        0 => RemovalMode::Drained,
        FORCE => RemovalMode::AtOnce,
        LOSE_PAGES => RemovalMode::Regardless,
        _ => return Err(EINVAL),
    };
    let mac = MacAddress(asked.mac);
    check(mac.is_unicast())?;
    client.remove_server(mac, how).or_else(|error| match error {
        RemoveError::NotThere => Err(ENOENT),
        RemoveError::Needed(pages) => {
            asked.pages = pages;
            write(arg, &asked)?;
            Err(EBUSY)
        }
        RemoveError::Unknown => Err(EAGAIN),
    })
}

#[inline(never)]
fn attach_disk(client: &Client, arg: UserPtr) -> Result {
    // Too large for the stack: the path is read separately.
    let mut reader = UserSlice::new(arg, size_of::<uapi::AttachDisk>()).reader();
    let mut head = [0; size_of::<uapi::AttachDisk>() - uapi::PATH_MAX];
    let mut path = KVec::from_elem(0_u8, uapi::PATH_MAX, GFP_KERNEL)?;
    reader.read_slice(&mut head)?;
    reader.read_slice(&mut path)?;
    check(is_zero(&head))?;
    let path = CStr::from_bytes_until_nul(&path).map_err(|_| EINVAL)?;
    check(!path.is_empty())?;
    local_disk::attach(&client.shared, path).map_err(|error| error.to_error())?;
    client.shared.kick();
    Ok(())
}

#[inline(never)]
fn detach_disk(client: &Client, arg: UserPtr) -> Result {
    let mut asked: uapi::DetachDisk = read(arg)?;
    check(asked.flags & !uapi::detach::FORCE == 0 && asked.reserved == 0 && asked.pages == 0)?;
    let force = asked.flags & uapi::detach::FORCE != 0;
    local_disk::detach(client, force).or_else(|error| {
        if let DetachError::OnlyCopies(pages) = error {
            asked.pages = pages;
            write(arg, &asked)?;
        }
        Err(error.to_error())
    })?;
    client.shared.kick();
    Ok(())
}

#[inline(never)]
fn status(client: &Client, arg: UserPtr) -> Result {
    let flags = read_question::<uapi::Status>(arg)?;
    write(arg, &client.status(flags)?)
}

#[inline(never)]
fn servers(client: &Client, arg: UserPtr) -> Result {
    let flags = read_question::<uapi::Servers>(arg)?;
    let (count, servers) = client.servers(flags)?;
    let mut writer = UserSlice::new(arg, size_of::<uapi::Servers>()).writer();
    writer.write_slice([flags, count].as_bytes())?;
    writer.write_slice(servers.as_bytes())
}
