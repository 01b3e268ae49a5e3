// SPDX-License-Identifier: GPL-2.0

//! The crate `test` of the KUnit module: what rustc's `--test` expects of libtest.
//!
//! rustc describes each `#[test]` function in the types below, whose names are libtest's, and hands the
//! list to [`collect`]. [`Suites`] has KUnit run them.

mod suites;

use alloc::string::String;
use kernel::sync::SetOnce;

pub use suites::Suites;

/// What a test is called: its path in the crate.
#[derive(Debug)]
pub enum TestName {
    /// The only kind that rustc makes.
    StaticTestName(&'static str),
}
pub use TestName::StaticTestName;

/// Whether a test must panic. In the kernel none can.
#[derive(Debug)]
pub enum ShouldPanic {
    /// It must not.
    No,
}

/// Where a test is from. The names are libtest's.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum TestType {
    UnitTest,
    IntegrationTest,
    Unknown,
}

/// What rustc says of a test. The names are libtest's.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct TestDesc {
    pub name: TestName,
    pub ignore: bool,
    pub ignore_message: Option<&'static str>,
    pub source_file: &'static str,
    pub start_line: usize,
    pub start_col: usize,
    pub end_line: usize,
    pub end_col: usize,
    pub compile_fail: bool,
    pub no_run: bool,
    pub should_panic: ShouldPanic,
    pub test_type: TestType,
}

/// The code of a test.
#[derive(Debug)]
pub enum TestFn {
    /// The only kind that rustc makes of `#[test]`.
    StaticTestFn(fn() -> Result<(), String>),
}
pub use TestFn::StaticTestFn;

/// A test.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct TestDescAndFn {
    pub desc: TestDesc,
    pub testfn: TestFn,
}

/// What a test returns, as libtest wants it. Tests here return nothing.
pub fn assert_test_result(result: ()) -> Result<(), String> {
    let () = result;
    Ok(())
}

static COLLECTED: SetOnce<&'static [&'static TestDescAndFn]> = SetOnce::new();

/// Takes note of all tests. The root names it as its `test_runner`.
pub fn collect(tests: &'static [&'static TestDescAndFn]) {
    COLLECTED.populate(tests);
}
