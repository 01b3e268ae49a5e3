// SPDX-License-Identifier: GPL-2.0

//! Read-only debugfs files that show text.
//!
//! What is here could be removed with [`Dir`], which says when.
//!
//! C header: [`include/linux/debugfs.h`](srctree/include/linux/debugfs.h)

use core::{
    cell::Cell,
    marker::PhantomData,
    ptr::null_mut, //
};

use kernel::{
    bindings,
    fmt,
    module::this_module,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::Arc,
    ModuleMetadata, //
};

use super::{
    helpers,
    module, //
};

/// Writes the text of a file. Called in process context; may sleep. An error means that memory was
/// short.
///
/// [`Dir`] has an example.
pub(crate) type Show<T> = fn(&T, &mut fmt::Formatter<'_>) -> fmt::Result;

/// One file.
struct Entry<T> {
    data: Arc<T>,
    show: Show<T>,
}

/// A directory of files. They are removed when it is dropped. It is made and dropped in process context, and
/// both sleep: dropping it waits for reads under way.
///
/// A file shows the text as it was when reading began, and cannot seek. It cannot be opened before the
/// module's `init` has succeeded: the module would be freed under an open file if `init` failed
/// afterwards. An open file keeps the module.
///
/// Could be removed in a release after 7.3, once the files of `kernel::debugfs::Dir` have an owner (they
/// have none, so an open one outlives the module's code), and cannot be opened while the module is being
/// loaded.
///
/// # Invariants
///
/// - `dentry` is null, or what `debugfs_create_dir` returned, which may be an error.
/// - The private data of each file below it is an element of `entries`, and its operations are a
///   [`FileVTable`] of the same `T`.
///
/// # Examples
///
/// ```ignore
/// struct Counters {
///     hits: Atomic<u64>,
/// }
///
/// fn hits(counters: &Counters, f: &mut fmt::Formatter<'_>) -> fmt::Result {
///     writeln!(f, "{}", counters.hits.load(Relaxed))
/// }
///
/// fn files(counters: &Arc<Counters>) -> Result<Dir<Counters>> {
///     Dir::new::<crate::LocalModule>(c"cache", counters, &[(c"hits", hits)])
/// }
/// ```
pub(crate) struct Dir<T: Send + Sync + 'static> {
    dentry: *mut bindings::dentry,
    entries: KVec<Arc<Entry<T>>>,
}

// SAFETY: Files may be removed by any thread, and `T` is `Send` and `Sync`.
unsafe impl<T: Send + Sync> Send for Dir<T> {}
// SAFETY: `&Dir` gives access to nothing.
unsafe impl<T: Send + Sync> Sync for Dir<T> {}

impl<T: Send + Sync> Dir<T> {
    /// Creates a directory, with a file of `data` for each of `files`, which module `M` owns. On a kernel
    /// without debugfs the files do not exist, which is not an error.
    pub(crate) fn new<M: ModuleMetadata>(
        name: &CStr,
        data: &Arc<T>,
        files: &[(&CStr, Show<T>)],
    ) -> Result<Self> {
        let mut this = Self {
            dentry: null_mut(),
            entries: KVec::with_capacity(files.len(), GFP_KERNEL)?,
        };
        // SAFETY: The name is terminated, and the kernel copies it.
        this.dentry = unsafe { helpers::debugfs_create_dir(name.as_char_ptr(), null_mut()) };
        for &(name, show) in files {
            let entry = Entry {
                data: data.clone(),
                show,
            };
            let entry = Arc::new(entry, GFP_KERNEL)?;
            let private = Arc::as_ptr(&entry).cast_mut().cast();
            // INVARIANT: The entry is an element before the file exists.
            this.entries.push(entry, GFP_KERNEL)?;
            // SAFETY: The name is terminated, and the kernel copies it. `private` stays valid until `drop`
            // has removed the file. If the directory is an error, the function does nothing.
            unsafe {
                helpers::debugfs_create_file(
                    name.as_char_ptr(),
                    0o444,
                    this.dentry,
                    private,
                    FileVTable::<T, M>::TABLE,
                )
            };
        }
        Ok(this)
    }
}

impl<T: Send + Sync> Drop for Dir<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants. The function waits for reads under way, and later ones fail,
        // so that `show` does not run any more when the entries are dropped.
        unsafe { helpers::debugfs_remove(self.dentry) };
    }
}

/// The operations of a file that shows an [`Entry<T>`] and belongs to module `M`.
///
/// A file cannot seek. That would make the text again, with other numbers of other lengths, and a program
/// that reads line by line (a shell) would continue in the middle of a line, or miss one.
struct FileVTable<T, M>(PhantomData<(T, M)>);

impl<T, M: ModuleMetadata> FileVTable<T, M> {
    /// # Safety
    ///
    /// - Only debugfs may call this function, for a file of a live [`Dir`] of `T`.
    unsafe extern "C" fn open_callback(
        inode: *mut bindings::inode,
        file: *mut bindings::file,
    ) -> c_int {
        // A module whose init fails is freed without waiting for the references of open files.
        if !module::is_live(this_module::<M>()) {
            return ENODEV.to_errno();
        }
        // SAFETY: Both are valid during this call. By the invariants of `Dir` the private data is an
        // `Entry<T>`.
        unsafe { bindings::single_open(file, Some(show::<T>), (*inode).i_private) }
    }

    const TABLE: &'static bindings::file_operations = &bindings::file_operations {
        owner: this_module::<M>().as_ptr(),
        open: Some(Self::open_callback),
        read: Some(bindings::seq_read),
        release: Some(bindings::single_release),
        ..pin_init::zeroed()
    };
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
/// - Only `seq_file` may call this function, for a file of a live [`Dir`] of `T`.
unsafe extern "C" fn show<T>(file: *mut bindings::seq_file, _: *mut c_void) -> c_int {
    // SAFETY: `open_callback` has set the private pointer to an `Entry<T>`. By the invariants of `Dir` it
    // lives at least until this call has returned.
    let entry = unsafe { &*(*file).private.cast::<Entry<T>>() };
    // SAFETY: The file is valid, and locked by the caller, during this call.
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
