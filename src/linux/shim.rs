// SPDX-License-Identifier: GPL-2.0

//! Foreign functions that the kernel's bindings lack: those of `shim.c`, and exported kernel
//! functions whose headers bindgen does not read. Only `src/linux/` calls them.

use kernel::{
    bindings,
    prelude::*, //
};

/// A registered ingress hook, or packet type. Opaque.
#[repr(C)]
pub(super) struct anemone_ingress {
    _opaque: [u8; 0],
}

/// What netfilter tells a hook. Opaque, and named as in C: where the kernel checks the types of
/// indirect calls (CONFIG_CFI), the name is part of the callback's type.
#[repr(C)]
pub(super) struct nf_hook_state {
    _opaque: [u8; 0],
}

/// `anemone_receive_fn` of `shim.h`.
pub(super) type ReceiveFn =
    unsafe extern "C" fn(*mut c_void, *mut bindings::sk_buff, *const nf_hook_state) -> c_uint;

/// As in `shim.h`.
#[repr(C)]
pub(super) struct anemone_shown {
    pub(super) show: unsafe extern "C" fn(*mut bindings::seq_file, *mut c_void) -> c_int,
}

// shim.c; documented there.
#[allow(
    improper_ctypes,
    reason = "struct page has an empty struct inside in some configurations"
)]
extern "C" {
    pub(super) fn anemone_vzalloc_huge(size: usize) -> *mut c_void;
    pub(super) fn anemone_kvzalloc_now(size: usize) -> *mut c_void;

    pub(super) fn anemone_skb_pointer(
        skb: *const bindings::sk_buff,
        offset: c_uint,
        len: c_uint,
    ) -> *const c_void;

    pub(super) fn anemone_page_address(page: *const bindings::page) -> *mut c_void;
    pub(super) fn anemone_get_page_to_send(page: *mut bindings::page) -> bool;
    pub(super) fn anemone_get_page(page: *mut bindings::page);
    pub(super) fn anemone_put_page(page: *mut bindings::page);

    pub(super) fn anemone_cond_resched();
    pub(super) fn anemone_preempt_disable();
    pub(super) fn anemone_preempt_enable();
    pub(super) fn anemone_synchronize_rcu_tasks();

    pub(super) fn anemone_local_bh_disable();
    pub(super) fn anemone_local_bh_enable();

    pub(super) fn anemone_debugfs_dir(name: *const c_char) -> *mut bindings::dentry;
    pub(super) fn anemone_debugfs_file(
        name: *const c_char,
        dir: *mut bindings::dentry,
        shown: *mut anemone_shown,
    );
    pub(super) fn anemone_debugfs_remove(dentry: *mut bindings::dentry);

    pub(super) fn anemone_bdev_read_only(bdev: *mut bindings::block_device) -> bool;
    pub(super) fn anemone_bdev_nr_bytes(bdev: *mut bindings::block_device) -> u64;
    pub(super) fn anemone_bdev_is_zoned(bdev: *mut bindings::block_device) -> bool;
    pub(super) fn anemone_bdev_logical_block_size(bdev: *mut bindings::block_device) -> c_uint;
    pub(super) fn anemone_bdev_physical_block_size(bdev: *mut bindings::block_device) -> c_uint;
    pub(super) fn anemone_bdev_is_misaligned(bdev: *mut bindings::block_device) -> bool;
    pub(super) fn anemone_bdev_is_synchronous(bdev: *mut bindings::block_device) -> bool;
    pub(super) fn anemone_bdev_takes_nowait(
        bdev: *mut bindings::block_device,
        sector: u64,
        sectors: c_uint,
    ) -> bool;
    pub(super) fn anemone_bdev_open(dev: bindings::dev_t, gone: *mut u32) -> *mut bindings::file;
    pub(super) fn anemone_bdev_has_dirty_cache(bdev: *mut bindings::block_device) -> bool;
    pub(super) fn anemone_bdev_is_made_of(
        bdev: *mut bindings::block_device,
        dev: bindings::dev_t,
    ) -> bool;
    pub(super) fn anemone_bdev_is_below_another(dev: bindings::dev_t) -> bool;
    pub(super) fn anemone_submit_bio_from_reserve(bio: *mut bindings::bio);

    pub(super) fn anemone_machine_uuid() -> *const c_char;
    pub(super) fn anemone_siphash(data: *const c_void, len: usize, key0: u64, key1: u64) -> u64;

    pub(super) fn anemone_dev_get_by_name(name: *const c_char) -> *mut bindings::net_device;
    pub(super) fn anemone_dev_sibling(
        dev: *const bindings::net_device,
        name: *const c_char,
    ) -> *mut bindings::net_device;
    pub(super) fn anemone_dev_hold(dev: *mut bindings::net_device);
    pub(super) fn anemone_dev_put(dev: *mut bindings::net_device);
    pub(super) fn anemone_dev_name(dev: *const bindings::net_device) -> *const c_char;
    pub(super) fn anemone_dev_addr(dev: *const bindings::net_device) -> *const u8;
    pub(super) fn anemone_dev_lasting_addr(dev: *const bindings::net_device, addr: *mut u8)
        -> bool;
    pub(super) fn anemone_dev_mtu(dev: *const bindings::net_device) -> c_uint;
    pub(super) fn anemone_dev_is_ethernet(dev: *const bindings::net_device) -> bool;
    pub(super) fn anemone_dev_net_cookie(dev: *const bindings::net_device) -> u64;
    pub(super) fn anemone_dev_is_registered(dev: *const bindings::net_device) -> bool;
    pub(super) fn anemone_dev_next_lower(
        dev: *mut bindings::net_device,
        position: *mut *mut bindings::list_head,
    ) -> *mut bindings::net_device;
    pub(super) fn anemone_dev_passes_on(dev: *const bindings::net_device) -> bool;
    pub(super) fn anemone_dev_is_opaque(dev: *mut bindings::net_device) -> bool;
    pub(super) fn anemone_dev_is_fed(dev: *mut bindings::net_device) -> bool;
    pub(super) fn anemone_dev_takes_pieces(dev: *const bindings::net_device) -> bool;
    pub(super) fn anemone_dev_vlan(
        dev: *const bindings::net_device,
        protocol: *mut u16,
        id: *mut u16,
    ) -> bool;
    pub(super) fn anemone_notifier_info_to_dev(info: *mut c_void) -> *mut bindings::net_device;

    pub(super) fn anemone_ingress_register(
        dev: *mut bindings::net_device,
        ethertype: u16,
        receive: ReceiveFn,
        private: *mut c_void,
        last: bool,
    ) -> *mut anemone_ingress;
    pub(super) fn anemone_ingress_unregister(ingress: *mut anemone_ingress);

    pub(super) fn anemone_register_pm_notifier(block: *mut bindings::notifier_block) -> c_int;
    pub(super) fn anemone_unregister_pm_notifier(block: *mut bindings::notifier_block);
    pub(super) fn anemone_register_vmfork_notifier(block: *mut bindings::notifier_block) -> c_int;
    pub(super) fn anemone_unregister_vmfork_notifier(block: *mut bindings::notifier_block);

    pub(super) fn anemone_memalloc_socket() -> *mut c_void;
    pub(super) fn anemone_memalloc_socket_release(sock: *mut c_void);
}

// Exported by the kernel.
extern "C" {
    /// `lib/crc`: takes and returns the raw register.
    pub(super) fn crc32c(crc: u32, p: *const c_void, len: usize) -> u32;

    /// `net/core/dev.c`: consumes the skb whatever it returns.
    pub(super) fn __dev_queue_xmit(
        skb: *mut bindings::sk_buff,
        sb_dev: *mut bindings::net_device,
    ) -> c_int;

    /// `net/core/rtnetlink.c`
    pub(super) fn rtnl_lock();
    pub(super) fn rtnl_unlock();

    /// `mm/slub.c`
    pub(super) fn kvfree(address: *const c_void);

    pub(super) fn register_netdevice_notifier(nb: *mut bindings::notifier_block) -> c_int;
    pub(super) fn unregister_netdevice_notifier(nb: *mut bindings::notifier_block) -> c_int;
}
