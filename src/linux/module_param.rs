// SPDX-License-Identifier: GPL-2.0

//! Module parameters: numbers with a range, choices and strings, which can be read, and some of them
//! changed, in `/sys/module/NAME/parameters`.
//!
//! The kernel's parser refuses and reports a value of the wrong form. While the module is being loaded,
//! a number out of range is stored, and [`Param::check`], which `init` calls, reports and refuses it;
//! later it is refused when it is written.
//!
//! Could be removed in a release after 7.3, once `module!` has parameters with ranges, with strings and
//! with permissions. Those of `kernel::module_param` are numbers without a range, which cannot be seen in
//! sysfs.
//!
//! C header: [`include/linux/moduleparam.h`](srctree/include/linux/moduleparam.h)

use core::cell::UnsafeCell;

use kernel::{
    bindings,
    error::from_result,
    page::PAGE_SIZE,
    prelude::*,
    str::{
        parse_int::ParseInt,
        BStr, //
    },
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

use super::module;

/// Permissions of a parameter that any user may read.
pub(crate) const READ: u16 = 0o444;
/// Permissions of a parameter that any user may read and root may change.
pub(crate) const READ_WRITE: u16 = 0o644;

/// The type of a parameter that [`module_params`] declares.
pub(crate) trait Param: Sync + Sized + 'static {
    /// Reports an error in the log if the parameter was set to a value out of its range.
    fn check(&self) -> Result {
        Ok(())
    }

    /// Sets the parameter to `text`, which has no terminator.
    ///
    /// # Safety
    ///
    /// - Only the kernel's parser and sysfs, which never call it twice at once, may call this function
    ///   (through [`set`]).
    /// - `is_live` must say whether the module's `init` has succeeded.
    unsafe fn set(&self, text: &BStr, is_live: bool) -> Result;

    /// Writes the value and a newline to `buffer`. Returns their length.
    ///
    /// # Safety
    ///
    /// - `buffer` must be valid for writes of a page.
    unsafe fn get(&self, buffer: *mut c_char) -> c_int;
}

/// # Safety
///
/// - Only the kernel may call this function, for a parameter that [`module_params`] declares as a `P`.
unsafe extern "C" fn set<P: Param>(
    value: *const c_char,
    param: *const bindings::kernel_param,
) -> c_int {
    from_result(|| {
        // SAFETY: The kernel passes a valid parameter, whose `arg` is a static `P`.
        let this = unsafe { &*(*param).__bindgen_anon_1.arg.cast::<P>() };
        let text = if value.is_null() {
            // The kernel passes no value only for a parameter whose flags allow that.
            c"1"
        } else {
            // SAFETY: The value is terminated, and valid during this call.
            unsafe { CStr::from_char_ptr(value) }
        };
        // A value that is written to sysfs ends in a newline.
        let text = text.to_bytes();
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        // SAFETY: The parameter belongs to this module.
        let module = unsafe { ThisModule::from_ptr((*param).mod_) };
        // SAFETY: The kernel calls, and holds the lock of the module's parameters.
        unsafe { this.set(BStr::from_bytes(text), module::is_live(&module))? };
        Ok(0)
    })
}

/// # Safety
///
/// - As for [`set`].
/// - `buffer` must be valid for writes of a page.
unsafe extern "C" fn get<P: Param>(
    buffer: *mut c_char,
    param: *const bindings::kernel_param,
) -> c_int {
    // SAFETY: By the requirements of this function; the parameter's `arg` is a static `P`.
    unsafe { (*(*param).__bindgen_anon_1.arg.cast::<P>()).get(buffer) }
}

/// The functions of a parameter whose `arg` is a static `P`.
pub(crate) const fn ops<P: Param>() -> &'static bindings::kernel_param_ops {
    const {
        &bindings::kernel_param_ops {
            flags: 0,
            set: Some(set::<P>),
            get: Some(get::<P>),
            free: None,
        }
    }
}

/// Writes `text` and a newline to `buffer`. Returns their length.
///
/// # Safety
///
/// - `buffer` must be valid for writes of a page.
unsafe fn write_line(buffer: *mut c_char, text: &CStr) -> c_int {
    let (format, text) = (c"%s\n".as_char_ptr(), text.as_char_ptr());
    // SAFETY: By the requirements of this function. The format takes a terminated string.
    unsafe { bindings::scnprintf(buffer, PAGE_SIZE, format, text) }
}

/// A number with a range.
///
/// # Invariants
///
/// `min <= max`, so that `clamp` does not panic.
pub(crate) struct Number {
    name: &'static str,
    value: Atomic<u64>,
    min: u64,
    max: u64,
}

impl Number {
    /// For [`module_params`].
    pub(crate) const fn new(name: &'static str, default: u64, min: u64, max: u64) -> Self {
        // INVARIANT: Checked when the kernel module is compiled: parameters are statics.
        assert!(min <= default && default <= max);
        Self {
            name,
            value: Atomic::new(default),
            min,
            max,
        }
    }

    /// Returns the current value, which is always within the range.
    #[inline]
    pub(crate) fn value(&self) -> u64 {
        self.value.load(Relaxed).clamp(self.min, self.max)
    }

    fn check_value(&self, value: u64) -> Result {
        if (self.min..=self.max).contains(&value) {
            return Ok(());
        }
        let Self { name, min, max, .. } = self;
        pr_err!("{name}={value} is out of range: {min} to {max}\n");
        Err(EINVAL)
    }
}

impl Param for Number {
    fn check(&self) -> Result {
        self.check_value(self.value.load(Relaxed))
    }

    unsafe fn set(&self, text: &BStr, is_live: bool) -> Result {
        let value = u64::from_str(text)?;
        if is_live {
            self.check_value(value)?;
        }
        self.value.store(value, Relaxed);
        Ok(())
    }

    unsafe fn get(&self, buffer: *mut c_char) -> c_int {
        // SAFETY: By the requirements of this function. The format takes an `unsigned long long`.
        unsafe { bindings::scnprintf(buffer, PAGE_SIZE, c"%llu\n".as_char_ptr(), self.value()) }
    }
}

/// One of several words.
///
/// # Invariants
///
/// `value` is an index of `words`.
pub(crate) struct Choice {
    words: &'static [&'static CStr],
    value: Atomic<u32>,
}

impl Choice {
    /// For [`module_params`].
    pub(crate) const fn new(words: &'static [&'static CStr], default: u32) -> Self {
        assert!((default as usize) < words.len());
        Self {
            words,
            value: Atomic::new(default),
        }
    }

    /// Returns the index of the chosen word.
    #[inline]
    pub(crate) fn value(&self) -> u32 {
        self.value.load(Relaxed)
    }
}

impl Param for Choice {
    unsafe fn set(&self, text: &BStr, _is_live: bool) -> Result {
        for (index, word) in (0..).zip(self.words) {
            if word.to_bytes() == &**text {
                self.value.store(index, Relaxed);
                return Ok(());
            }
        }
        Err(EINVAL)
    }

    unsafe fn get(&self, buffer: *mut c_char) -> c_int {
        let word = self.words.get(self.value() as usize).unwrap_or(&c"");
        // SAFETY: By the requirements of this function.
        unsafe { write_line(buffer, word) }
    }
}

/// Bytes of the longest string, with its terminator.
const TEXT_LEN: usize = 512;

/// A string, which is set only by the arguments with which the module is loaded.
///
/// # Invariants
///
/// - The string is written only while the kernel parses the module's arguments: before `init` runs, and
///   before the parameter is in sysfs, where it is read-only.
/// - Its last byte is zero.
pub(crate) struct Text(UnsafeCell<[u8; TEXT_LEN]>);

// SAFETY: By the type invariants the string is not written while other code of the module runs.
unsafe impl Sync for Text {}

impl Text {
    /// For [`module_params`].
    pub(crate) const fn new() -> Self {
        // INVARIANT: All bytes are zero.
        Self(UnsafeCell::new([0; TEXT_LEN]))
    }

    /// Returns the string, which is empty if the parameter was not set.
    pub(crate) fn value(&self) -> &CStr {
        // SAFETY: By the type invariants the string is not written any more.
        let bytes: &[u8] = unsafe { &*self.0.get() };
        CStr::from_bytes_until_nul(bytes).unwrap_or_default()
    }
}

impl Param for Text {
    unsafe fn set(&self, text: &BStr, is_live: bool) -> Result {
        if is_live {
            return Err(EPERM);
        }
        let mut value = [0; TEXT_LEN];
        // INVARIANT: The last byte stays zero: the text is shorter than the array.
        value
            .get_mut(..text.len())
            .filter(|_| text.len() < TEXT_LEN)
            .ok_or(ENOSPC)?
            .copy_from_slice(text);
        // SAFETY: By the requirements of this function the kernel parses the module's arguments: a
        // parameter of this type is read-only in sysfs. So `value` has not been called yet.
        unsafe { self.0.get().write(value) };
        Ok(())
    }

    unsafe fn get(&self, buffer: *mut c_char) -> c_int {
        // SAFETY: By the requirements of this function.
        unsafe { write_line(buffer, self.value()) }
    }
}

/// Returns the bytes of `text`, whose length is `N`. For [`module_params`].
pub(crate) const fn text_bytes<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(text.as_bytes());
    bytes
}

/// Declares the module's parameters, each as a static with the parameter's name, and
/// `check_parameters`, which checks all ranges.
///
/// For a module that is not built in.
///
/// # Examples
///
/// ```ignore
/// module_params! {
///     text interface, "Network device to listen on";
///     number queues = 2 in 1..=8, READ, "Number of queues";
///     choice order = 0 of [c"fifo", c"lifo"], READ_WRITE, "Which entry is taken first";
/// }
///
/// check_parameters()?;
/// pr_info!("{} queues on {}\n", queues.value(), interface.value());
/// ```
macro_rules! module_params {
    ($($kind:ident $name:ident
       $(= $default:literal $(in $min:literal..=$max:literal)? $(of $words:expr)?, $perm:expr)?,
       $text:literal;)*) => {
        $($crate::linux::module_param::module_param!(
            $kind $name $(= $default $(in $min..=$max)? $(of $words)?, $perm)?, $text
        );)*

        /// Checks the range of each number. The log names the first that is wrong.
        pub(crate) fn check_parameters() -> kernel::error::Result {
            $($crate::linux::module_param::Param::check(&$name)?;)*
            Ok(())
        }
    };
}

/// One parameter of [`module_params`].
macro_rules! module_param {
    (number $name:ident = $default:literal in $min:literal..=$max:literal, $perm:expr,
     $text:literal) => {
        #[doc = $text]
        #[allow(non_upper_case_globals)]
        pub(crate) static $name: $crate::linux::module_param::Number =
            $crate::linux::module_param::Number::new(stringify!($name), $default, $min, $max);
        $crate::linux::module_param::module_param!(@declare Number, $name, $perm, "ulong",
            concat!($text, " (", $min, " to ", $max, ", default ", $default, ")"));
    };
    (choice $name:ident = $default:literal of $words:expr, $perm:expr, $text:literal) => {
        #[doc = $text]
        #[allow(non_upper_case_globals)]
        pub(crate) static $name: $crate::linux::module_param::Choice =
            $crate::linux::module_param::Choice::new(&$words, $default);
        $crate::linux::module_param::module_param!(@declare Choice, $name, $perm, "charp", $text);
    };
    (text $name:ident, $text:literal) => {
        #[doc = $text]
        #[allow(non_upper_case_globals)]
        pub(crate) static $name: $crate::linux::module_param::Text = $crate::linux::module_param::Text::new();
        $crate::linux::module_param::module_param!(@declare Text, $name,
            $crate::linux::module_param::READ, "charp", $text);
    };
    (@declare $type:ident, $name:ident, $perm:expr, $parmtype:literal, $text:expr) => {
        const _: () = {
            use kernel::{bindings, module::this_module, module_param::KernelParam};
            use $crate::linux::module_param::{ops, text_bytes, $type};

            #[link_section = "__param"]
            #[used(compiler)]
            static PARAM: KernelParam = KernelParam::new(bindings::kernel_param {
                name: concat!(stringify!($name), "\0").as_ptr().cast(),
                mod_: this_module::<crate::LocalModule>().as_ptr(),
                ops: ops::<$type>(),
                perm: $perm,
                level: -1,
                flags: 0,
                __bindgen_anon_1: bindings::kernel_param__bindgen_ty_1 {
                    arg: (&raw const $name).cast_mut().cast(),
                },
            });

            const PARM: &str = concat!("parm=", stringify!($name), ":", $text, "\0");
            #[link_section = ".modinfo"]
            #[used(compiler)]
            static PARM_INFO: [u8; PARM.len()] = text_bytes(PARM);

            const PARMTYPE: &str = concat!("parmtype=", stringify!($name), ":", $parmtype, "\0");
            #[link_section = ".modinfo"]
            #[used(compiler)]
            static PARMTYPE_INFO: [u8; PARMTYPE.len()] = text_bytes(PARMTYPE);
        };
    };
}

pub(crate) use module_param;
pub(crate) use module_params;
