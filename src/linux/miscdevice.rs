// SPDX-License-Identifier: GPL-2.0

//! A character device whose files share a value: `kernel::miscdevice` gives them none.
//!
//! C header: [`include/linux/miscdevice.h`](srctree/include/linux/miscdevice.h)

use core::marker::PhantomData;

use kernel::{
    bindings,
    fs::File,
    miscdevice::{
        self,
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Release, //
        },
        Arc,
        ArcBorrow, //
    }, //
};

/// What the ioctls of a device do.
pub(crate) trait Ioctl: Send + Sync + 'static {
    /// Process context: may sleep. `arg` is whatever the caller gave, an address as a rule.
    fn ioctl(this: ArcBorrow<'_, Self>, cmd: u32, arg: usize) -> Result<isize>;
}

/// An open file of a device. It keeps the module from being unloaded.
pub(crate) struct OpenFile<T>(PhantomData<T>);

/// A device, `/dev/NAME`, which only the superuser can open, once it is open for them. Gone when
/// dropped; may be dropped only when no file of it is open, as is so when the module is unloaded.
///
/// # Invariants
///
/// `registration` lies in a `MiscDevice`, initialised after `data`.
#[pin_data]
pub(crate) struct MiscDevice<T: Ioctl> {
    /// First: nobody opens it any more when the value goes.
    #[pin]
    registration: MiscDeviceRegistration<OpenFile<T>>,
    data: Arc<T>,
    is_open: Atomic<bool>,
}

impl<T: Ioctl> MiscDevice<T> {
    /// Makes the device, which cannot be opened yet.
    pub(crate) fn new(name: &'static CStr, data: Arc<T>) -> impl PinInit<Self, Error> {
        // INVARIANT: In this order.
        try_pin_init!(Self {
            data,
            is_open: Atomic::new(false),
            registration <- MiscDeviceRegistration::register(MiscDeviceOptions { name }),
        })
    }

    /// From now on it can be opened, so nothing may fail in loading the module any more: that would
    /// not wait for files that are open.
    pub(crate) fn open(&self) {
        self.is_open.store(true, Release);
    }
}

#[vtable]
impl<T: Ioctl> miscdevice::MiscDevice for OpenFile<T> {
    type Ptr = Arc<T>;

    fn open(_file: &File, registration: &MiscDeviceRegistration<Self>) -> Result<Arc<T>> {
        let registration: *const MiscDeviceRegistration<Self> = registration;
        // SAFETY: Only `MiscDevice::new` makes registrations of this type, so by the type
        // invariant this one lies in a `MiscDevice` whose value is there; and while a file is
        // being opened the device is not unregistered.
        let device = unsafe { &*kernel::container_of!(registration, MiscDevice<T>, registration) };
        if !device.is_open.load(Acquire) {
            return Err(ENODEV);
        }
        Ok(device.data.clone())
    }

    fn ioctl(data: ArcBorrow<'_, T>, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        T::ioctl(data, cmd, arg)
    }
}

/// Whether the calling process may administer the system.
pub(crate) fn is_administrator() -> bool {
    // SAFETY: May be called in process context; ioctls are.
    unsafe { bindings::capable(bindings::CAP_SYS_ADMIN as c_int) }
}
