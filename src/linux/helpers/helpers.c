// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel interfaces that exist only as macros and inline functions, or whose structures the
 * kernel's Rust bindings do not cover, as rust/helpers of the kernel has them. Each function does
 * one thing that src/linux/ wraps. Some are more than one call: callbacks that C needs (note_dead,
 * packet_hook_rcv, with its struct packet_hook), loops that poll until a device is closed, a check of a
 * queue's limits (bdev_takes_nowait), the search in bdev_below.c, the steps of one encryption or tag in crypto.c,
 * and the reading of a key in keyring.c.
 * No policy of a driver is here.
 * src/linux/helpers.rs declares them again by hand, for bindgen runs only for the kernel's own headers:
 * change both together.
 *
 * Sorted alphabetically.
 */

#include "bdev.c"
#include "bdev_below.c"
#include "blk.c"
#include "crypto.c"
#include "debugfs.c"
#include "dmi.c"
#include "keyring.c"
#include "mm.c"
#include "net/device.c"
#include "net/hook.c"
#include "net/notifier.c"
#include "net/skb.c"
#include "net/sock.c"
#include "page.c"
#include "random.c"
#include "rcu.c"
#include "sched.c"
#include "siphash.c"
#include "suspend.c"
#include "vmalloc.c"
