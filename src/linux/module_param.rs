// SPDX-License-Identifier: GPL-2.0

//! Module parameters with ranges, strings among them, that can be read, and some changed, in
//! `/sys/module/NAME/parameters`. Those of `module!` are numbers without a range that can be seen
//! nowhere.
//!
//! A value of the wrong form is refused, and reported, by the kernel's own parser. A number out
//! of range is reported by [`Number::check`], which the module calls when it is loaded, so that
//! one message says what is wrong; written later, it is refused at once.
//!
//! C header: [`include/linux/moduleparam.h`](srctree/include/linux/moduleparam.h)

use core::cell::UnsafeCell;

use kernel::{
    bindings,
    error::from_result,
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

/// Permissions of a parameter that everybody may read.
pub(crate) const READ: u16 = 0o444;
/// Permissions of a parameter that root may change besides.
pub(crate) const READ_WRITE: u16 = 0o644;

/// The kernel's name for what is to be declared by [`module_params`].
pub(crate) trait Param: Sync + Sized + 'static {
    /// How the kernel sets and shows one. Its `arg` is a `Self`.
    const OPS: &'static bindings::kernel_param_ops;

    /// Takes a value: the text without a terminator.
    fn set(&self, text: &BStr, is_live: bool) -> Result;

    /// Writes the value and a newline to `buffer`, a page; returns the length.
    ///
    /// # Safety
    ///
    /// `buffer` must be valid for writes of a page.
    unsafe fn get(&self, buffer: *mut c_char) -> c_int;
}

/// # Safety
///
/// Only the kernel may call this, for a parameter declared by [`module_params`] as a `P`.
unsafe extern "C" fn set<P: Param>(
    value: *const c_char,
    param: *const bindings::kernel_param,
) -> c_int {
    from_result(|| {
        // SAFETY: The kernel passes a live parameter; `arg` is a static `P`; its module, which
        // is this one, outlives it.
        let (this, is_live) = unsafe {
            let state = (*(*param).mod_).state;
            (
                &*(*param).__bindgen_anon_1.arg.cast::<P>(),
                state == bindings::module_state_MODULE_STATE_LIVE,
            )
        };
        let text = if value.is_null() {
            // Only a parameter that allows it is set without a value.
            c"1"
        } else {
            // SAFETY: A value is terminated, and stays during this call.
            unsafe { CStr::from_char_ptr(value) }
        };
        // What is written to sysfs ends in a newline.
        let text = text.to_bytes();
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        this.set(BStr::from_bytes(text), is_live)?;
        Ok(0)
    })
}

/// # Safety
///
/// As for [`set`]; `buffer` must be valid for writes of a page.
unsafe extern "C" fn get<P: Param>(
    buffer: *mut c_char,
    param: *const bindings::kernel_param,
) -> c_int {
    // SAFETY: By the requirements of this function; `arg` is a static `P`.
    unsafe { (*(*param).__bindgen_anon_1.arg.cast::<P>()).get(buffer) }
}

const fn ops<P: Param>(flags: u32) -> bindings::kernel_param_ops {
    bindings::kernel_param_ops {
        flags,
        set: Some(set::<P>),
        get: Some(get::<P>),
        free: None,
    }
}

/// A number with a range.
pub(crate) struct Number {
    name: &'static str,
    value: Atomic<u64>,
    min: u64,
    max: u64,
}

impl Number {
    /// To be made by [`module_params`].
    pub(crate) const fn new(name: &'static str, default: u64, min: u64, max: u64) -> Self {
        assert!(min <= default && default <= max);
        Self {
            name,
            value: Atomic::new(default),
            min,
            max,
        }
    }

    /// Its value now, always within its range.
    #[inline]
    pub(crate) fn value(&self) -> u64 {
        self.value.load(Relaxed).clamp(self.min, self.max)
    }

    /// Whether it was set to a value in its range; if not, says so in the kernel's log.
    pub(crate) fn check(&self) -> Result {
        self.check_value(self.value.load(Relaxed))
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
    const OPS: &'static bindings::kernel_param_ops = &ops::<Self>(0);

    fn set(&self, text: &BStr, is_live: bool) -> Result {
        let value = u64::from_str(text)?;
        if is_live {
            self.check_value(value)?;
        }
        self.value.store(value, Relaxed);
        Ok(())
    }

    unsafe fn get(&self, buffer: *mut c_char) -> c_int {
        // SAFETY: By the requirements of this function; the format takes an `unsigned long long`.
        unsafe {
            bindings::scnprintf(
                buffer,
                bindings::PAGE_SIZE,
                c"%llu\n".as_char_ptr(),
                self.value(),
            )
        }
    }
}

/// One of a few words.
pub(crate) struct Choice {
    words: &'static [&'static str],
    value: Atomic<u32>,
}

impl Choice {
    /// To be made by [`module_params`].
    pub(crate) const fn new(words: &'static [&'static str], default: u32) -> Self {
        assert!((default as usize) < words.len());
        Self {
            words,
            value: Atomic::new(default),
        }
    }

    /// Which of the words was chosen.
    #[inline]
    pub(crate) fn value(&self) -> u32 {
        self.value.load(Relaxed)
    }
}

impl Param for Choice {
    const OPS: &'static bindings::kernel_param_ops = &ops::<Self>(0);

    fn set(&self, text: &BStr, _is_live: bool) -> Result {
        for (index, word) in (0..).zip(self.words) {
            if word.as_bytes() == &**text {
                self.value.store(index, Relaxed);
                return Ok(());
            }
        }
        Err(EINVAL)
    }

    unsafe fn get(&self, buffer: *mut c_char) -> c_int {
        let word = self.words.get(self.value() as usize).unwrap_or(&"");
        // SAFETY: By the requirements of this function; the format takes the length of a string,
        // and the string, which need not end in a zero byte.
        unsafe {
            bindings::scnprintf(
                buffer,
                bindings::PAGE_SIZE,
                c"%.*s\n".as_char_ptr(),
                // CAST: A word.
                word.len() as c_int,
                word.as_ptr(),
            )
        }
    }
}

/// Longest string, terminator included.
const TEXT_LEN: usize = 512;

/// A string, which is set only when the module is loaded.
///
/// # Invariants
///
/// It is written to only while the kernel parses the module's arguments, before the module is
/// initialised, and always ends in a zero byte.
pub(crate) struct Text(UnsafeCell<[u8; TEXT_LEN]>);

// SAFETY: By the type invariant it is not written to while it is shared.
unsafe impl Sync for Text {}

impl Text {
    /// To be made by [`module_params`].
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new([0; TEXT_LEN]))
    }

    /// Its value; empty if it was not set.
    pub(crate) fn value(&self) -> &CStr {
        // SAFETY: By the type invariant nobody writes to it now.
        let bytes: &[u8] = unsafe { &*self.0.get() };
        CStr::from_bytes_until_nul(bytes).unwrap_or_default()
    }
}

impl Param for Text {
    const OPS: &'static bindings::kernel_param_ops = &ops::<Self>(0);

    fn set(&self, text: &BStr, is_live: bool) -> Result {
        if is_live {
            return Err(EPERM);
        }
        let mut value = [0; TEXT_LEN];
        // INVARIANT: The last byte stays zero.
        value
            .get_mut(..text.len())
            .filter(|_| text.len() < TEXT_LEN)
            .ok_or(ENOSPC)?
            .copy_from_slice(text);
        // SAFETY: By the type invariant: the module is not initialised, so nobody else looks.
        unsafe { self.0.get().write(value) };
        Ok(())
    }

    unsafe fn get(&self, buffer: *mut c_char) -> c_int {
        // SAFETY: By the requirements of this function; the format takes a string.
        unsafe {
            bindings::scnprintf(
                buffer,
                bindings::PAGE_SIZE,
                c"%s\n".as_char_ptr(),
                self.value().as_char_ptr(),
            )
        }
    }
}

/// The bytes of `text`, of which there are `N`. For [`module_params`].
pub(crate) const fn text_bytes<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(text.as_bytes());
    bytes
}

/// Declares the module's parameters, each as a static named as the parameter, and
/// `check_parameters`, which checks all ranges.
///
/// ```ignore
/// module_params! {
///     text interface, "Network device of the segment with the memory servers";
///     number replicas = 2 in 1..=3, READ, "Copies of each page";
///     choice mirror = 0 of ["lag", "strict"], READ_WRITE, "What to do when the pool is full";
/// }
/// ```
macro_rules! module_params {
    ($($kind:ident $name:ident
       $(= $default:literal $(in $min:literal..=$max:literal)? $(of $words:expr)?, $perm:expr)?,
       $text:literal;)*) => {
        $($crate::linux::module_param::module_param!(
            $kind $name $(= $default $(in $min..=$max)? $(of $words)?, $perm)?, $text
        );)*

        /// Checks the range of each number; the first that is wrong is named in the log.
        pub(crate) fn check_parameters() -> kernel::error::Result {
            $($crate::linux::module_param::module_param!(check $kind $name);)*
            Ok(())
        }
    };
}

/// One parameter of [`module_params`].
macro_rules! module_param {
    (check number $name:ident) => {
        $name.check()?
    };
    (check $kind:ident $name:ident) => {};
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
            use kernel::{bindings, module_param::KernelParam};
            use $crate::linux::module_param::{text_bytes, Param, $type};

            #[link_section = "__param"]
            #[used(compiler)]
            static PARAM: KernelParam = KernelParam::new(bindings::kernel_param {
                name: concat!(stringify!($name), "\0").as_ptr().cast(),
                mod_: (&raw const bindings::__this_module).cast_mut(),
                ops: <$type as Param>::OPS,
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
