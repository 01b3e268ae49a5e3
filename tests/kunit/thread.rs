// SPDX-License-Identifier: GPL-2.0

//! Threads that end before what they borrow: `std::thread::scope`, over the kernel's threads.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::{RefCell, UnsafeCell};
use core::marker::PhantomData;
use core::mem::transmute;
use core::time::Duration;

use kernel::bindings;
use kernel::error::from_err_ptr;
use kernel::prelude::{c_int, c_void, InPlaceInit, GFP_KERNEL};
use kernel::sync::atomic::{Acquire, Atomic, Release};
use kernel::sync::Completion;
use kernel::task::Task;

/// What spawns threads, and waits for them in the end.
pub struct Scope<'scope, 'env: 'scope> {
    threads: RefCell<Vec<Thread>>,
    _scope: PhantomData<&'scope mut &'scope ()>,
    _env: PhantomData<&'env mut &'env ()>,
}

/// A thread that was spawned, and is waited for by `drop`.
struct Thread {
    task: *mut bindings::task_struct,
    begun: kernel::sync::Arc<Completion>,
}

/// What a thread's code has returned.
///
/// # Invariants
///
/// Only the thread accesses `value` while `is_set` is 0, and only the handle afterwards.
struct Outcome<T> {
    value: UnsafeCell<Option<T>>,
    is_set: Atomic<u32>,
}

// SAFETY: By the invariants, one thread at a time has access to the value.
unsafe impl<T: Send> Sync for Outcome<T> {}

/// What joins one thread.
pub struct ScopedJoinHandle<'scope, T> {
    outcome: Arc<Outcome<T>>,
    _scope: PhantomData<&'scope mut &'scope ()>,
}

/// Calls `f` with a scope, and returns when all threads that were spawned in it have ended.
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let scope = Scope {
        threads: RefCell::new(Vec::new()),
        _scope: PhantomData,
        _env: PhantomData,
    };
    // No panic unwinds past here: a panic is a BUG.
    let result = f(&scope);
    scope.threads.take();
    result
}

/// Lets others run.
pub fn yield_now() {
    // SAFETY: A test holds no lock.
    unsafe { bindings::yield_() };
}

/// Sleeps for that long, or up to twice as long.
pub fn sleep(duration: Duration) {
    let us = duration.as_micros() as usize;
    // SAFETY: A test holds no lock.
    unsafe { bindings::usleep_range_state(us, 2 * us, bindings::TASK_UNINTERRUPTIBLE) };
}

/// The calling thread runs on the first CPU only from now on. If it is urgent, it preempts those that are
/// not. The host's `std` has no such function.
pub fn run_on_first_cpu(is_urgent: bool) {
    let mut mask = bindings::cpumask::default();
    mask.bits[0] = 1;
    // SAFETY: The calling task is there, and the mask is copied.
    unsafe {
        bindings::set_cpus_allowed_ptr(Task::current_raw(), &mask);
        if is_urgent {
            bindings::sched_set_fifo_low(Task::current_raw());
        }
    }
}

impl<'scope> Scope<'scope, '_> {
    /// Runs `f` in a thread.
    pub fn spawn<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let outcome = Arc::new(Outcome {
            value: UnsafeCell::new(None),
            is_set: Atomic::new(0),
        });
        let begun = kernel::sync::Arc::pin_init(Completion::new(), GFP_KERNEL).unwrap();
        let (theirs, begins) = (outcome.clone(), begun.clone());
        let code: Box<dyn FnOnce() + Send + 'scope> = Box::new(move || {
            begins.complete_all();
            let value = f();
            // SAFETY: By the invariants it is this thread's until `is_set` says otherwise.
            unsafe { *theirs.value.get() = Some(value) };
            theirs.is_set.store(1, Release);
        });
        // SAFETY: `scope` does not return before the thread has ended, so that the code outlives it.
        let code: Box<dyn FnOnce() + Send> = unsafe { transmute(code) };
        let data = Box::into_raw(Box::new(code)).cast();
        // SAFETY: `run` takes over `data`; the name is a constant.
        let task = unsafe {
            bindings::kthread_create_on_node(
                Some(run),
                data,
                bindings::NUMA_NO_NODE,
                c"test".as_ptr().cast(),
            )
        };
        let task = from_err_ptr(task).unwrap();
        // SAFETY: The task has not begun, so it is there. It is held until `Thread` is dropped.
        unsafe {
            bindings::get_task_struct(task);
            bindings::wake_up_process(task);
        }
        self.threads.borrow_mut().push(Thread { task, begun });
        ScopedJoinHandle {
            outcome,
            _scope: PhantomData,
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // A thread that is to stop before it has begun does not begin.
        self.begun.wait_for_completion();
        // SAFETY: `spawn` has got hold of the task. This waits until it has ended, and its code with it.
        unsafe { bindings::kthread_stop_put(self.task) };
    }
}

impl<T> ScopedJoinHandle<'_, T> {
    /// Whether the thread's code has returned.
    pub fn is_finished(&self) -> bool {
        self.outcome.is_set.load(Acquire) == 1
    }

    /// Waits for the thread's code to return. It cannot fail: a panic is a BUG, and such a thread never
    /// returns.
    pub fn join(self) -> Result<T, ()> {
        while !self.is_finished() {
            yield_now();
        }
        // SAFETY: By the invariants it is the handle's now.
        unsafe { (*self.outcome.value.get()).take() }.ok_or(())
    }
}

/// A thread's code.
///
/// # Safety
///
/// `data` is `spawn`'s.
unsafe extern "C" fn run(data: *mut c_void) -> c_int {
    // SAFETY: `spawn` has made it of such a box, and uses it no more.
    let code = unsafe { Box::from_raw(data.cast::<Box<dyn FnOnce() + Send>>()) };
    code();
    0
}
