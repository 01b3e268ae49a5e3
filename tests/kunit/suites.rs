// SPDX-License-Identifier: GPL-2.0

//! KUnit suites of all tests.
//!
//! A panic is a BUG in the thread that KUnit has made for the test. KUnit counts that test as failed, and
//! runs the others where the kernel survives a BUG (`kernel.panic_on_oops` is 0).

use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};
use core::ptr;

use kernel::bindings;
use kernel::prelude::Zeroable;

use super::{StaticTestFn, StaticTestName, TestDescAndFn, COLLECTED};

/// A test under the name that KUnit has of it.
///
/// # Invariants
///
/// `name` ends with a NUL. It is the first field: [`run_case`] has only its address.
#[repr(C)]
struct Case {
    name: [u8; 128],
    test: &'static TestDescAndFn,
}

impl Case {
    fn new(name: &str, test: &'static TestDescAndFn) -> Box<Self> {
        let mut bytes = [0; 128];
        assert!(name.len() < bytes.len());
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        // INVARIANT: The name leaves at least one byte at the end, which is 0.
        Box::new(Self { name: bytes, test })
    }
}

/// Runs a test, in a thread that KUnit has made for it.
///
/// # Safety
///
/// `test` is KUnit's, of a case whose name is that of a [`Case`].
unsafe extern "C" fn run_case(test: *mut bindings::kunit) {
    // SAFETY: The name is the first field of a `Case` (see there), which lives as long as its suite.
    let case = unsafe { &*(*test).name.cast::<Case>() };
    if case.test.desc.ignore {
        // SAFETY: `test` is valid, and this thread's until it ends.
        unsafe { (*test).status = bindings::kunit_status_KUNIT_SKIPPED };
        return;
    }
    let StaticTestFn(function) = case.test.testfn;
    // A test returns nothing. It fails by a panic, which ends this thread.
    let _ = function();
}

/// All tests, as KUnit suites, one for each module.
pub struct Suites {
    suites: Vec<*mut bindings::kunit_suite>,
    _owned: Vec<Suite>,
}

struct Suite {
    _suite: Box<bindings::kunit_suite>,
    _for_kunit: Vec<bindings::kunit_case>,
    _cases: Vec<Box<Case>>,
}

// SAFETY: The pointers are to what `_owned` owns, and only `run` and `drop` give them to KUnit.
unsafe impl Send for Suites {}
// SAFETY: Nothing can be done with a reference.
unsafe impl Sync for Suites {}

impl Suites {
    /// Runs all tests that were collected. Returns when they are done; KUnit keeps the results, readable in
    /// debugfs, until the suites are dropped. Process context.
    pub fn run() -> Self {
        let mut modules: BTreeMap<&str, Vec<Box<Case>>> = BTreeMap::new();
        for test in COLLECTED.as_ref().copied().unwrap_or_default() {
            let StaticTestName(path) = test.desc.name;
            let (module, name) = path.rsplit_once("::").unwrap_or(("", path));
            modules
                .entry(module)
                .or_default()
                .push(Case::new(name, test));
        }
        let mut owned: Vec<Suite> = modules
            .into_iter()
            .map(|(module, cases)| suite(module, cases))
            .collect();
        let mut suites: Vec<_> = owned
            .iter_mut()
            .map(|suite| ptr::from_mut(&mut *suite._suite))
            .collect();
        // SAFETY: The suites are valid, end with a case that is zero, and live until `drop` has taken
        // them back.
        let status = unsafe {
            bindings::__kunit_test_suites_init(suites.as_mut_ptr(), suites.len() as i32, true)
        };
        assert!(status == 0, "KUnit runs nothing: {status}");
        Self {
            suites,
            _owned: owned,
        }
    }
}

impl Drop for Suites {
    fn drop(&mut self) {
        // SAFETY: They are those that `run` has given to KUnit.
        unsafe {
            bindings::__kunit_test_suites_exit(self.suites.as_mut_ptr(), self.suites.len() as i32)
        };
    }
}

fn suite(module: &str, cases: Vec<Box<Case>>) -> Suite {
    let mut for_kunit: Vec<bindings::kunit_case> = cases
        .iter()
        .map(|case| bindings::kunit_case {
            run_case: Some(run_case),
            name: ptr::from_ref(&**case).cast(),
            ..Zeroable::zeroed()
        })
        .collect();
    for_kunit.push(Zeroable::zeroed());
    let mut suite: Box<bindings::kunit_suite> = Box::new(Zeroable::zeroed());
    assert!(module.len() < suite.name.len());
    for (to, from) in suite.name.iter_mut().zip(module.bytes()) {
        *to = from as _;
    }
    suite.test_cases = for_kunit.as_mut_ptr();
    Suite {
        _suite: suite,
        _for_kunit: for_kunit,
        _cases: cases,
    }
}
