// SPDX-License-Identifier: GPL-2.0

//! Attaching the local disk.
//!
//! Context: process, may sleep.

use kernel::{
    fmt,
    prelude::*,
    sync::Arc, //
};

use super::{
    check,
    log,
    AttachError,
    LocalDisk,
    Pool, //
};
use crate::{
    driver::{
        params,
        shared::Shared, //
    },
    linux::block::{
        bdev::{
            BlockDevice,
            Late, //
        },
        mq::DiskRef,
        DeviceNumber, //
    },
    wire::PAGE_SIZE, //
};

/// Attaches the disk at `path`, or logs why not. A disk that is attached already and is faulty is re-added.
pub(crate) fn attach(shared: &Shared, path: &CStr) -> Result<(), AttachError> {
    try_attach(shared, path).inspect_err(|error| pr_warn!("{path}{error}\n"))
}

fn try_attach(shared: &Shared, path: &CStr) -> Result<(), AttachError> {
    let local = &shared.local;
    let mut attached = local.lock_attached().ok_or(AttachError::UnderWay)?;
    if let (Some(device), Some(pool)) = (&*attached, local.pool()) {
        return re_add(shared, pool, device, path);
    }
    let number = DeviceNumber::look_up(path)?;
    let own = local.own.as_ref().map(DiskRef::number);
    if own == Some(number) {
        return Err(AttachError::Itself);
    }
    let opened = local.opener.open(number, Late::Close)?;
    let device = opened.ok_or(AttachError::Opening)?;
    check::check(&device, wanted_bytes(shared))?;
    if let Some(own) = own {
        check::check_below(&device, own)?;
    }
    use_device(shared, &mut attached, device, fmt!("{path}"))
}

/// The module is being loaded, and our own block device does not exist yet: attaches the disk of this
/// number, which `path` named. Returns false if it is still being opened, for which there is no bound.
/// [`attach_late`] attaches it then.
pub(crate) fn attach_first(
    shared: &Shared,
    path: &CStr,
    number: DeviceNumber,
) -> Result<bool, AttachError> {
    let local = &shared.local;
    let mut attached = local.lock_attached().ok_or(AttachError::UnderWay)?;
    // The worker, which may attach it, must not wait for memory.
    local.make_pool()?;
    let Some(device) = local.opener.open(number, Late::Keep)? else {
        return Ok(false);
    };
    check::check(&device, wanted_bytes(shared))?;
    use_device(shared, &mut attached, device, fmt!("{path}"))?;
    Ok(true)
}

/// Called by the worker: attaches a disk that was still being opened when the module was loaded. Waits
/// neither for memory nor for a disk that it refuses to be closed.
pub(super) fn attach_late(shared: &Shared) {
    let local = &shared.local;
    let Some(mut attached) = local.attached.try_lock() else {
        return;
    };
    let Some((number, opened)) = local.opener.take_late() else {
        return;
    };
    let (major, minor) = number.major_minor();
    let refuse = |error: AttachError| pr_err!("local disk {major}:{minor}{error}\n");
    let device = match opened {
        Ok(device) => device,
        Err(error) => return refuse(error.into()),
    };
    let name = fmt!("{major}:{minor}");
    let result = check::check(&device, wanted_bytes(shared))
        .and_then(|()| use_device(shared, &mut attached, device.clone(), name));
    if let Err(error) = result {
        refuse(error);
        device.close_later();
    }
}

/// The least size of a disk.
fn wanted_bytes(shared: &Shared) -> u64 {
    (shared.device.map.len() as u64).saturating_mul(PAGE_SIZE as u64)
}

/// Uses a device that has been opened and checked.
fn use_device(
    shared: &Shared,
    attached: &mut Option<Arc<BlockDevice>>,
    device: Arc<BlockDevice>,
    name: fmt::Arguments<'_>,
) -> Result<(), AttachError> {
    let pool = shared.local.make_pool()?;
    pool.with(shared, |state, _| {
        let result = state.mirror.attach(&shared.device);
        if result.is_ok() {
            state.device = Some(device.clone());
        }
        result
    })
    .map_err(|_| AttachError::TimedOut)?;
    pr_info!("local disk {name}: attached\n");
    log::warn_of(&device, name);
    *attached = Some(device);
    Ok(())
}

/// The disk to be attached is attached already: re-adds it if it is faulty.
fn re_add(
    shared: &Shared,
    pool: &Pool,
    device: &BlockDevice,
    path: &CStr,
) -> Result<(), AttachError> {
    if device.is_gone() {
        return Err(AttachError::Gone);
    }
    if DeviceNumber::look_up(path)? != device.number() {
        return Err(AttachError::Another);
    }
    pool.with(shared, |state, _| state.mirror.re_add(&shared.device))
        .map_err(|_| AttachError::TimedOut)
}

impl LocalDisk {
    /// Returns the pool. Allocates it the first time. The caller holds `attached`, so no other task allocates
    /// one.
    fn make_pool(&self) -> Result<&Pool, AttachError> {
        if self.pool.as_ref().is_none() {
            let pool = Pool::new(self.pool_pages, params::mirror_config(), self.timer.clone())
                .map_err(|_| AttachError::NoMemory)?;
            self.pool.populate(pool);
        }
        self.pool().ok_or(AttachError::NoMemory)
    }
}
