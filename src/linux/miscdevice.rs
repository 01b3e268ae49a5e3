// SPDX-License-Identifier: GPL-2.0

//! Miscellaneous character devices whose files share a value.
//!
//! What is here could be removed with [`MiscDeviceRegistration`], which says when.
//!
//! C header: [`include/linux/miscdevice.h`](srctree/include/linux/miscdevice.h)

use core::marker::PhantomData;

use kernel::{
    fs::File,
    miscdevice,
    module::this_module,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    }, //
};

pub(crate) use kernel::miscdevice::MiscDeviceOptions;

use super::{
    helpers,
    module, //
};

/// The value that the open files of a device share.
///
/// [`MiscDeviceRegistration`] has an example.
#[vtable]
pub(crate) trait MiscDevice: Send + Sync + 'static {
    /// Handles an ioctl. Called in process context; may sleep.
    ///
    /// `cmd` and `arg` are what user space passes and may be anything. `arg` is usually an address.
    fn ioctl(device: ArcBorrow<'_, Self>, file: &File, cmd: u32, arg: usize) -> Result<isize>;
}

/// The type of a device's files for `kernel::miscdevice`.
///
/// It is private: its `open` relies on [`MiscDeviceRegistration`] being the only one that registers it.
struct OpenFile<T>(PhantomData<T>);

/// A registration of a device, `/dev/NAME`, which by default only root may open. It is made and dropped in
/// process context, and both sleep.
///
/// It cannot be opened before the module's `init` has succeeded: the module would be freed under an
/// open file if `init` failed afterwards. An open file keeps the module, and `data`.
///
/// Could be removed in a release after 7.3, once `kernel::miscdevice::MiscDeviceRegistration` holds data
/// for `open`, and refuses to open while the module is being loaded.
///
/// # Invariants
///
/// - Each registration of an `OpenFile<T>` is the field `registration` of a `MiscDeviceRegistration<T>`.
/// - `data` is initialised before the device is registered, and dropped after it is deregistered.
///
/// # Examples
///
/// ```ignore
/// struct Counter(Atomic<u64>);
///
/// #[vtable]
/// impl MiscDevice for Counter {
///     fn ioctl(device: ArcBorrow<'_, Self>, _file: &File, cmd: u32, _arg: usize) -> Result<isize> {
///         match cmd {
///             1 => {
///                 device.0.fetch_add(1, Relaxed);
///                 Ok(0)
///             }
///             _ => Err(ENOTTY),
///         }
///     }
/// }
///
/// let counter = Arc::new(Counter(Atomic::new(0)), GFP_KERNEL)?;
/// let options = MiscDeviceOptions { name: c"counter" };
/// let device = KBox::pin_init(MiscDeviceRegistration::register(options, counter), GFP_KERNEL)?;
/// ```
#[pin_data]
pub(crate) struct MiscDeviceRegistration<T: MiscDevice> {
    // Declared first, so dropped before the others.
    #[pin]
    registration: miscdevice::MiscDeviceRegistration<OpenFile<T>>,
    _openers: Openers,
    data: Arc<T>,
}

/// Tasks that are opening the device, and have not got it because the module's `init` is under way.
struct Openers(&'static ThisModule);

impl Drop for Openers {
    /// A task that was refused still reads the module's tables. It may have been preempted, but does not
    /// sleep between being refused and its last read. The device is not registered any more. Sleeps, as
    /// deregistering does.
    fn drop(&mut self) {
        if module::is_coming(self.0) {
            // SAFETY: The function sleeps, as this one says.
            unsafe { helpers::synchronize_rcu_tasks() };
        }
    }
}

impl<T: MiscDevice> MiscDeviceRegistration<T> {
    /// Registers a device whose files share `data`.
    pub(crate) fn register(opts: MiscDeviceOptions, data: Arc<T>) -> impl PinInit<Self, Error> {
        // INVARIANT: `data` is initialised first.
        try_pin_init!(Self {
            data,
            _openers: Openers(this_module::<T::OwnerModule>()),
            registration <- miscdevice::MiscDeviceRegistration::register(opts),
        })
    }
}

#[vtable]
impl<T: MiscDevice> miscdevice::MiscDevice for OpenFile<T> {
    type OwnerModule = T::OwnerModule;
    type Ptr = Arc<T>;

    fn open(
        _file: &File,
        registration: &miscdevice::MiscDeviceRegistration<Self>,
    ) -> Result<Arc<T>> {
        if !module::is_live(this_module::<T::OwnerModule>()) {
            return Err(ENODEV);
        }
        let registration: *const miscdevice::MiscDeviceRegistration<Self> = registration;
        // SAFETY: By the type invariants `registration` is a field of a `MiscDeviceRegistration<T>`
        // whose `data` is initialised. It is not deregistered meanwhile: `misc_open` holds `misc_mtx`, which
        // `misc_deregister` takes.
        let data = unsafe {
            let this = kernel::container_of!(registration, MiscDeviceRegistration<T>, registration);
            &(*this).data
        };
        Ok(data.clone())
    }

    fn ioctl(device: ArcBorrow<'_, T>, file: &File, cmd: u32, arg: usize) -> Result<isize> {
        T::ioctl(device, file, cmd, arg)
    }
}
