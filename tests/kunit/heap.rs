// SPDX-License-Identifier: GPL-2.0

//! The kernel's heap, for `alloc`. A test that finds no memory fails.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};

use kernel::alloc::allocator::KVmalloc;
use kernel::alloc::{Allocator, NumaNode};
use kernel::prelude::GFP_KERNEL;

struct Heap;

// SAFETY: `KVmalloc` does what is asked for here.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        KVmalloc::alloc(layout, GFP_KERNEL, NumaNode::NO_NODE)
            .map_or(ptr::null_mut(), |memory| memory.as_ptr().cast())
    }
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if let Some(memory) = NonNull::new(memory) {
            // SAFETY: `memory` is from `alloc`, of this layout, as the caller sees to.
            unsafe { KVmalloc::free(memory, layout) };
        }
    }
}

#[global_allocator]
static HEAP: Heap = Heap;

/// rustc defines this where it links a program.
#[rustc_std_internal_symbol]
fn __rust_no_alloc_shim_is_unstable_v2() {}

/// rustc calls this where an allocation has failed.
#[rustc_std_internal_symbol]
fn __rust_alloc_error_handler(size: usize, _align: usize) -> ! {
    panic!("no memory for {size} bytes");
}
