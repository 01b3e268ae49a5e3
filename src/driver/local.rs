// SPDX-License-Identifier: GPL-2.0

//! The local disk: attached and detached.
//!
//! Context: process; all of it sleeps.

use kernel::{
    fmt,
    prelude::*,
    sync::{
        Arc,
        Mutex,
        SetOnce, //
    }, //
};

use super::core::Core;
use crate::{
    linux::block_device::{
        BlockDevice,
        DeviceNumber,
        Excluded,
        OpenError, //
    },
    wire::PAGE_SIZE,
};

/// The name of our own disk in `/dev`.
const OWN_NAME: &CStr = c"anemone";

/// Why a disk cannot be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttachError {
    /// It cannot be had.
    Open(OpenError),
    /// Another disk is attached.
    Another,
    /// There is no memory for the pages that wait to be written.
    NoMemory,
}

impl AttachError {
    /// The error number that says it.
    pub(crate) fn to_error(self) -> Error {
        match self {
            Self::Open(error) => error.to_error(),
            Self::Another => EEXIST,
            Self::NoMemory => ENOMEM,
        }
    }
}

/// To follow the device's path.
impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => match error {
                OpenError::NotFound => f.write_str(": there is no such file"),
                OpenError::NotABlockDevice => f.write_str(" is not a block device"),
                OpenError::Busy => f.write_str(" is in use: mounted, swapped on, or another's"),
                OpenError::ReadOnly => f.write_str(" is read-only"),
                OpenError::Itself => f.write_str(" is this device itself, or is made of it"),
                OpenError::TooSmall { have, want } => {
                    write!(f, " is too small: {have} bytes, {want} are needed")
                }
                OpenError::Other(error) => write!(f, " cannot be opened: {error:?}"),
            },
            Self::Another => f.write_str(": another disk is attached; detach that first"),
            Self::NoMemory => f.write_str(": no memory for pages that wait to be written"),
        }
    }
}

/// Why the disk cannot be detached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DetachError {
    /// There is none.
    NotAttached,
}

impl DetachError {
    /// The error number that says it.
    pub(crate) fn to_error(self) -> Error {
        match self {
            Self::NotAttached => ENODEV,
        }
    }
}

impl fmt::Display for DetachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAttached => f.write_str("no local disk is attached"),
        }
    }
}

/// The local disk, if there is one.
#[pin_data]
pub(crate) struct Local {
    #[pin]
    attached: Mutex<Option<Arc<BlockDevice>>>,
    /// Our own disk, once it has been made.
    own: SetOnce<DeviceNumber>,
}

impl Local {
    /// No disk.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            attached <- kernel::new_mutex!(None, "anemone_local"),
            own: SetOnce::new(),
        })
    }

    /// Our own disk has been made: it is not to be attached to itself.
    pub(crate) fn set_own(&self, number: DeviceNumber) {
        self.own.populate(number);
    }
}

/// Attaches the disk at `path`. Sleeps.
pub(crate) fn attach(core: &Arc<Core>, path: &CStr) -> Result<(), AttachError> {
    let local = &core.local;
    let mut attached = local.attached.lock();
    if let Some(device) = &*attached {
        let number = BlockDevice::look_up(path).map_err(AttachError::Open)?;
        return match number == device.number() {
            true => Ok(()),
            false => Err(AttachError::Another),
        };
    }
    let bytes = (core.device.map.len() as u64).saturating_mul(PAGE_SIZE as u64);
    let own = local.own.copy().map(|number| Excluded {
        number,
        name: OWN_NAME,
    });
    let device = BlockDevice::open(path, bytes, own.as_ref()).map_err(AttachError::Open)?;
    let device = Arc::new(device, GFP_KERNEL).map_err(|_| AttachError::NoMemory)?;
    *attached = Some(device);
    pr_info!("local disk {} attached\n", path);
    Ok(())
}

/// Detaches the disk; with `force` also if it has the only copy of some page. Sleeps.
pub(crate) fn detach(core: &Arc<Core>, _force: bool) -> Result<(), DetachError> {
    let mut attached = core.local.attached.lock();
    if attached.take().is_none() {
        return Err(DetachError::NotAttached);
    }
    pr_info!("local disk detached\n");
    Ok(())
}
