// SPDX-License-Identifier: GPL-2.0

//! Files in debugfs that show text, as it is when one begins to read. An open one keeps the module from
//! being unloaded: `kernel::debugfs` sets no owner, and closing its files after that is a call into code
//! that is gone.
//!
//! C header: [`include/linux/debugfs.h`](srctree/include/linux/debugfs.h)

use core::{
    cell::Cell,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    fmt,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::Arc, //
};

use super::helpers;

/// Writes what a file shows. Process context; may sleep. An error says that memory was short.
pub(crate) type Show<T> = fn(&T, &mut fmt::Formatter<'_>) -> fmt::Result;

/// One file.
///
/// # Invariants
///
/// `head.show` is [`show`] of the same `T`.
#[repr(C)]
struct Entry<T> {
    /// First: the file's private pointer is to this, and is taken for the whole.
    head: helpers::shown,
    name: &'static CStr,
    data: Arc<T>,
    show: Show<T>,
}

/// A directory with files. They go when it is dropped, which is in time when the module is
/// unloaded: then none of them is open.
///
/// # Invariants
///
/// The entries are ours, made from boxes. `dentry` is what creating the directory has returned,
/// null before that.
pub(crate) struct Directory<T: Send + Sync + 'static> {
    dentry: *mut bindings::dentry,
    entries: KVec<NonNull<Entry<T>>>,
}

// SAFETY: Files may be removed by any thread; what they show is `Send` and `Sync`.
unsafe impl<T: Send + Sync> Send for Directory<T> {}
// SAFETY: `&Directory` gives access to nothing.
unsafe impl<T: Send + Sync> Sync for Directory<T> {}

impl<T: Send + Sync> Directory<T> {
    /// A directory that nobody sees yet, with a file for each of `files`.
    pub(crate) fn new(data: &Arc<T>, files: &[(&'static CStr, Show<T>)]) -> Result<Self> {
        let mut directory = Self {
            dentry: core::ptr::null_mut(),
            entries: KVec::with_capacity(files.len(), GFP_KERNEL)?,
        };
        for &(name, what) in files {
            // INVARIANT: Just that `show`.
            let entry = KBox::new(
                Entry {
                    head: helpers::shown { show: show::<T> },
                    name,
                    data: data.clone(),
                    show: what,
                },
                GFP_KERNEL,
            )?;
            // INVARIANT: Made from a box.
            directory
                .entries
                .push(NonNull::from(KBox::leak(entry)), GFP_KERNEL)?;
        }
        Ok(directory)
    }

    /// Makes it, as `name`, once: nothing may fail in loading the module any more, for that would
    /// not wait for files that are open. A kernel without debugfs has none, which is no error.
    pub(crate) fn open(&mut self, name: &CStr) {
        if !self.dentry.is_null() {
            return;
        }
        // SAFETY: Names are terminated, and are copied. The entries stay until the files have been
        // removed. An error instead of a directory is understood by both functions.
        unsafe {
            self.dentry = helpers::debugfs_dir(name.as_char_ptr());
            for entry in &self.entries {
                let name = entry.as_ref().name.as_char_ptr();
                helpers::debugfs_file(name, self.dentry, entry.as_ptr().cast());
            }
        }
    }
}

impl<T: Send + Sync> Drop for Directory<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. Once they are removed, nobody uses the entries: whoever
        // reads one is waited for, and none is open.
        unsafe {
            helpers::debugfs_remove(self.dentry);
            for entry in &self.entries {
                drop(KBox::from_raw(entry.as_ptr()));
            }
        }
    }
}

/// The text of a file, for the kernel's formatting.
struct Text<'a, T> {
    entry: &'a Entry<T>,
    failed: Cell<bool>,
}

impl<T> fmt::Display for Text<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let result = (self.entry.show)(&self.entry.data, f);
        self.failed.set(result.is_err());
        result
    }
}

/// # Safety
///
/// Only seq_file may call this, for a file of a live [`Directory`] of `T`.
unsafe extern "C" fn show<T>(file: *mut bindings::seq_file, _: *mut c_void) -> c_int {
    // SAFETY: The private pointer is to the head of an `Entry<T>`, by its invariant, which is live.
    let entry = unsafe { &*(*file).private.cast::<Entry<T>>() };
    // SAFETY: It is ours for the time of this call.
    let file = unsafe { SeqFile::from_raw(file) };
    let text = Text {
        entry,
        failed: Cell::new(false),
    };
    seq_print!(file, "{}", text);
    match text.failed.get() {
        false => 0,
        true => ENOMEM.to_errno(),
    }
}
