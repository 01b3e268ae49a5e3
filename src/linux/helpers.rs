// SPDX-License-Identifier: GPL-2.0

//! Foreign functions that the kernel's bindings lack, declared as bindgen would: those of `helpers/`,
//! and exported kernel functions whose headers bindgen does not read. Only `src/linux/` calls them.

use kernel::{
    bindings,
    prelude::*, //
};

/// A registered hook of netfilter's. Opaque.
#[repr(C)]
pub(super) struct nf_hook_ops {
    _opaque: [u8; 0],
}

/// A registered packet type. Opaque.
#[repr(C)]
pub(super) struct packet_hook {
    _opaque: [u8; 0],
}

/// What netfilter tells a hook. Opaque, and named as in C: where the kernel checks the types of
/// indirect calls (CONFIG_CFI), the name is part of the callback's type.
#[repr(C)]
pub(super) struct nf_hook_state {
    _opaque: [u8; 0],
}

/// A socket. Opaque.
#[repr(C)]
pub(super) struct socket {
    _opaque: [u8; 0],
}

/// `receive_fn` of `helpers/net/hook.c`.
pub(super) type ReceiveFn =
    unsafe extern "C" fn(*mut c_void, *mut bindings::sk_buff, *const nf_hook_state) -> c_uint;

/// As in `helpers/debugfs.c`.
#[repr(C)]
pub(super) struct shown {
    pub(super) show: unsafe extern "C" fn(*mut bindings::seq_file, *mut c_void) -> c_int,
}

// Documented in `helpers/`.
#[allow(
    improper_ctypes,
    reason = "struct page has an empty struct inside in some configurations"
)]
extern "C" {
    #[link_name = "rust_helper_vzalloc_huge"]
    pub(super) fn vzalloc_huge(size: usize) -> *mut c_void;
    #[link_name = "rust_helper_kvzalloc_now"]
    pub(super) fn kvzalloc_now(size: usize) -> *mut c_void;
    #[link_name = "rust_helper_skb_pointer"]
    pub(super) fn skb_pointer(
        skb: *const bindings::sk_buff,
        offset: c_uint,
        len: c_uint,
    ) -> *const c_void;
    #[link_name = "rust_helper_page_address"]
    pub(super) fn page_address(page: *const bindings::page) -> *mut c_void;
    #[link_name = "rust_helper_get_page_to_send"]
    pub(super) fn get_page_to_send(page: *mut bindings::page) -> bool;
    #[link_name = "rust_helper_get_page"]
    pub(super) fn get_page(page: *mut bindings::page);
    #[link_name = "rust_helper_put_page"]
    pub(super) fn put_page(page: *mut bindings::page);
    #[link_name = "rust_helper_memalloc_noreclaim_save"]
    pub(super) fn memalloc_noreclaim_save() -> c_uint;
    #[link_name = "rust_helper_memalloc_noreclaim_restore"]
    pub(super) fn memalloc_noreclaim_restore(flags: c_uint);
    #[link_name = "rust_helper_cond_resched"]
    pub(super) fn cond_resched();
    #[link_name = "rust_helper_preempt_disable"]
    pub(super) fn preempt_disable();
    #[link_name = "rust_helper_preempt_enable"]
    pub(super) fn preempt_enable();
    #[link_name = "rust_helper_synchronize_rcu_tasks"]
    pub(super) fn synchronize_rcu_tasks();
    #[link_name = "rust_helper_local_bh_disable"]
    pub(super) fn local_bh_disable();
    #[link_name = "rust_helper_local_bh_enable"]
    pub(super) fn local_bh_enable();
    #[link_name = "rust_helper_debugfs_create_dir"]
    pub(super) fn debugfs_create_dir(name: *const c_char) -> *mut bindings::dentry;
    #[link_name = "rust_helper_debugfs_create_shown"]
    pub(super) fn debugfs_create_shown(
        name: *const c_char,
        dir: *mut bindings::dentry,
        shown: *mut shown,
    );
    #[link_name = "rust_helper_debugfs_remove"]
    pub(super) fn debugfs_remove(dentry: *mut bindings::dentry);
    #[link_name = "rust_helper_bdev_read_only"]
    pub(super) fn bdev_read_only(bdev: *mut bindings::block_device) -> bool;
    #[link_name = "rust_helper_bdev_nr_bytes"]
    pub(super) fn bdev_nr_bytes(bdev: *mut bindings::block_device) -> u64;
    #[link_name = "rust_helper_bdev_is_zoned"]
    pub(super) fn bdev_is_zoned(bdev: *mut bindings::block_device) -> bool;
    #[link_name = "rust_helper_bdev_logical_block_size"]
    pub(super) fn bdev_logical_block_size(bdev: *mut bindings::block_device) -> c_uint;
    #[link_name = "rust_helper_bdev_physical_block_size"]
    pub(super) fn bdev_physical_block_size(bdev: *mut bindings::block_device) -> c_uint;
    #[link_name = "rust_helper_bdev_is_misaligned"]
    pub(super) fn bdev_is_misaligned(bdev: *mut bindings::block_device) -> bool;
    #[link_name = "rust_helper_bdev_is_synchronous"]
    pub(super) fn bdev_is_synchronous(bdev: *mut bindings::block_device) -> bool;
    #[link_name = "rust_helper_bdev_takes_nowait"]
    pub(super) fn bdev_takes_nowait(
        bdev: *mut bindings::block_device,
        sector: u64,
        sectors: c_uint,
    ) -> bool;
    #[link_name = "rust_helper_bdev_claim"]
    pub(super) fn bdev_claim(dev: bindings::dev_t, gone: *mut u32) -> *mut bindings::file;
    #[link_name = "rust_helper_bdev_open"]
    pub(super) fn bdev_open(dev: bindings::dev_t) -> *mut bindings::file;
    #[link_name = "rust_helper_bdev_disown"]
    pub(super) fn bdev_disown(file: *mut bindings::file);
    #[link_name = "rust_helper_file_not_leak"]
    pub(super) fn file_not_leak(file: *mut bindings::file);
    #[link_name = "rust_helper_fput_wait"]
    pub(super) fn fput_wait(file: *mut bindings::file, wait_ms: c_uint) -> bool;
    #[link_name = "rust_helper_bdev_is_made_of"]
    pub(super) fn bdev_is_made_of(
        bdev: *mut bindings::block_device,
        dev: bindings::dev_t,
        wait_ms: c_uint,
    ) -> c_int;
    #[link_name = "rust_helper_disk_wait_closed"]
    pub(super) fn disk_wait_closed(disk: *mut bindings::gendisk);
    #[link_name = "rust_helper_disk_is_below_another"]
    pub(super) fn disk_is_below_another(dev: *mut bindings::device) -> bool;
    #[link_name = "rust_helper_dmi_product_uuid"]
    pub(super) fn dmi_product_uuid() -> *const c_char;
    #[link_name = "rust_helper_siphash"]
    pub(super) fn siphash(data: *const c_void, len: usize, key0: u64, key1: u64) -> u64;
    #[link_name = "rust_helper_dev_get_by_name"]
    pub(super) fn dev_get_by_name(name: *const c_char) -> *mut bindings::net_device;
    #[link_name = "rust_helper_dev_get_sibling"]
    pub(super) fn dev_get_sibling(
        dev: *const bindings::net_device,
        name: *const c_char,
    ) -> *mut bindings::net_device;
    #[link_name = "rust_helper_dev_hold"]
    pub(super) fn dev_hold(dev: *mut bindings::net_device);
    #[link_name = "rust_helper_dev_put"]
    pub(super) fn dev_put(dev: *mut bindings::net_device);
    #[link_name = "rust_helper_dev_name"]
    pub(super) fn dev_name(dev: *const bindings::net_device) -> *const c_char;
    #[link_name = "rust_helper_dev_addr"]
    pub(super) fn dev_addr(dev: *const bindings::net_device) -> *const u8;
    #[link_name = "rust_helper_dev_perm_addr"]
    pub(super) fn dev_perm_addr(dev: *const bindings::net_device, addr: *mut u8);
    #[link_name = "rust_helper_dev_has_random_addr"]
    pub(super) fn dev_has_random_addr(dev: *const bindings::net_device) -> bool;
    #[link_name = "rust_helper_dev_mtu"]
    pub(super) fn dev_mtu(dev: *const bindings::net_device) -> c_uint;
    #[link_name = "rust_helper_dev_takes_frame"]
    pub(super) fn dev_takes_frame(dev: *const bindings::net_device, len: c_uint) -> bool;
    #[link_name = "rust_helper_dev_is_ethernet"]
    pub(super) fn dev_is_ethernet(dev: *const bindings::net_device) -> bool;
    #[link_name = "rust_helper_dev_has_sg"]
    pub(super) fn dev_has_sg(dev: *const bindings::net_device) -> bool;
    #[link_name = "rust_helper_dev_net_cookie"]
    pub(super) fn dev_net_cookie(dev: *const bindings::net_device) -> u64;
    #[link_name = "rust_helper_dev_is_registered"]
    pub(super) fn dev_is_registered(dev: *const bindings::net_device) -> bool;
    #[link_name = "rust_helper_dev_next_lower"]
    pub(super) fn dev_next_lower(
        dev: *mut bindings::net_device,
        position: *mut *mut bindings::list_head,
    ) -> *mut bindings::net_device;
    #[link_name = "rust_helper_dev_vlan"]
    pub(super) fn dev_vlan(
        dev: *const bindings::net_device,
        protocol: *mut u16,
        id: *mut u16,
    ) -> bool;
    #[link_name = "rust_helper_netif_is_lag_master"]
    pub(super) fn netif_is_lag_master(dev: *const bindings::net_device) -> bool;
    #[link_name = "rust_helper_netif_is_bridge_master"]
    pub(super) fn netif_is_bridge_master(dev: *const bindings::net_device) -> bool;
    #[link_name = "rust_helper_netif_is_macvlan"]
    pub(super) fn netif_is_macvlan(dev: *const bindings::net_device) -> bool;
    #[link_name = "rust_helper_netif_is_ovs_master"]
    pub(super) fn netif_is_ovs_master(dev: *const bindings::net_device) -> bool;
    #[link_name = "rust_helper_netdev_uses_dsa"]
    pub(super) fn netdev_uses_dsa(dev: *const bindings::net_device) -> bool;
    #[link_name = "rust_helper_dev_has_parent"]
    pub(super) fn dev_has_parent(dev: *const bindings::net_device) -> bool;
    #[link_name = "rust_helper_dev_kind"]
    pub(super) fn dev_kind(dev: *const bindings::net_device) -> *const c_char;
    #[link_name = "rust_helper_netdev_notifier_info_to_dev"]
    pub(super) fn netdev_notifier_info_to_dev(info: *mut c_void) -> *mut bindings::net_device;
    #[link_name = "rust_helper_ingress_hook_register"]
    pub(super) fn ingress_hook_register(
        dev: *mut bindings::net_device,
        priority: c_int,
        receive: ReceiveFn,
        private: *mut c_void,
    ) -> *mut nf_hook_ops;
    #[link_name = "rust_helper_ingress_hook_unregister"]
    pub(super) fn ingress_hook_unregister(ops: *mut nf_hook_ops);
    #[link_name = "rust_helper_packet_hook_register"]
    pub(super) fn packet_hook_register(
        dev: *mut bindings::net_device,
        ethertype: u16,
        receive: ReceiveFn,
        private: *mut c_void,
    ) -> *mut packet_hook;
    #[link_name = "rust_helper_packet_hook_unregister"]
    pub(super) fn packet_hook_unregister(hook: *mut packet_hook);
    #[link_name = "rust_helper_register_pm_notifier"]
    pub(super) fn register_pm_notifier(block: *mut bindings::notifier_block) -> c_int;
    #[link_name = "rust_helper_unregister_pm_notifier"]
    pub(super) fn unregister_pm_notifier(block: *mut bindings::notifier_block);
    #[link_name = "rust_helper_register_vmfork_notifier"]
    pub(super) fn register_vmfork_notifier(block: *mut bindings::notifier_block) -> c_int;
    #[link_name = "rust_helper_unregister_vmfork_notifier"]
    pub(super) fn unregister_vmfork_notifier(block: *mut bindings::notifier_block);
    #[link_name = "rust_helper_memalloc_socket"]
    pub(super) fn memalloc_socket() -> *mut socket;
    #[link_name = "rust_helper_memalloc_socket_release"]
    pub(super) fn memalloc_socket_release(sock: *mut socket);
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

    pub(super) fn register_netdevice_notifier(nb: *mut bindings::notifier_block) -> c_int;
    pub(super) fn unregister_netdevice_notifier(nb: *mut bindings::notifier_block) -> c_int;
}
