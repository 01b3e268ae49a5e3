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

/// The state that netfilter passes to a hook. Opaque, and named as in C: where the kernel checks the types of
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

/// A transform of the kernel's AEAD interface. Opaque.
#[repr(C)]
pub(super) struct crypto_aead {
    _opaque: [u8; 0],
}

/// `struct aead_scratch` of `helpers/crypto.c`. Opaque.
#[repr(C)]
pub(super) struct aead_scratch {
    _opaque: [u8; 0],
}

/// `struct mac_scratch` of `helpers/crypto.c`. Opaque.
#[repr(C)]
pub(super) struct mac_scratch {
    _opaque: [u8; 0],
}

/// `receive_fn` of `helpers/net/hook.c`.
pub(super) type ReceiveFn =
    unsafe extern "C" fn(*mut c_void, *mut bindings::sk_buff, *const nf_hook_state) -> c_uint;

/// Declares functions of `helpers/`, where their names begin with `rust_helper_`.
macro_rules! helpers {
    ($(fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)?;)*) => {
        #[allow(
            improper_ctypes,
            reason = "struct page has an empty struct inside in some configurations"
        )]
        extern "C" {
            $(
                #[link_name = concat!("rust_helper_", stringify!($name))]
                pub(super) fn $name($($arg: $type),*) $(-> $result)?;
            )*
        }
    };
}

// Documented in `helpers/`.
helpers! {
    fn vmalloc_huge(size: usize, flags: bindings::gfp_t) -> *mut c_void;
    fn kvzalloc(size: usize, flags: bindings::gfp_t) -> *mut c_void;
    fn skb_pointer(skb: *const bindings::sk_buff, offset: c_uint, len: c_uint) -> *const c_void;
    fn page_address(page: *const bindings::page) -> *mut c_void;
    fn get_page_to_send(page: *mut bindings::page) -> bool;
    fn get_page(page: *mut bindings::page);
    fn put_page(page: *mut bindings::page);
    fn memalloc_noreclaim_save() -> c_uint;
    fn memalloc_noreclaim_restore(flags: c_uint);
    fn cond_resched();
    fn preempt_disable();
    fn preempt_enable();
    fn synchronize_rcu_tasks();
    fn debugfs_create_dir(name: *const c_char, parent: *mut bindings::dentry) -> *mut bindings::dentry;
    fn debugfs_create_file(
        name: *const c_char,
        mode: bindings::umode_t,
        dir: *mut bindings::dentry,
        data: *mut c_void,
        fops: *const bindings::file_operations,
    );
    fn debugfs_remove(dentry: *mut bindings::dentry);
    fn bdev_read_only(bdev: *mut bindings::block_device) -> bool;
    fn bdev_nr_bytes(bdev: *mut bindings::block_device) -> u64;
    fn bdev_is_zoned(bdev: *mut bindings::block_device) -> bool;
    fn bdev_logical_block_size(bdev: *mut bindings::block_device) -> c_uint;
    fn bdev_physical_block_size(bdev: *mut bindings::block_device) -> c_uint;
    fn bdev_is_misaligned(bdev: *mut bindings::block_device) -> bool;
    fn bdev_is_synchronous(bdev: *mut bindings::block_device) -> bool;
    fn bdev_takes_nowait(bdev: *mut bindings::block_device, sector: u64, sectors: c_uint) -> bool;
    fn bdev_claim(dev: bindings::dev_t, gone: *mut u32) -> *mut bindings::file;
    fn bdev_disown(file: *mut bindings::file);
    fn fput_wait(file: *mut bindings::file, wait_ms: c_uint) -> bool;
    fn bdev_is_made_of(bdev: *mut bindings::block_device, dev: bindings::dev_t, wait_ms: c_uint) -> c_int;
    fn disk_wait_closed(disk: *mut bindings::gendisk);
    fn put_disk_last(disk: *mut bindings::gendisk);
    fn disk_is_below_another(dev: *mut bindings::device) -> bool;
    fn dmi_product_uuid() -> *const c_char;
    fn siphash(data: *const c_void, len: usize, key: *const [u64; 2]) -> u64;
    fn current_dev_get_by_name(name: *const c_char) -> *mut bindings::net_device;
    fn cookie_dev_get_by_name(net_cookie: u64, name: *const c_char) -> *mut bindings::net_device;
    fn dev_hold(dev: *mut bindings::net_device);
    fn dev_put(dev: *mut bindings::net_device);
    fn dev_name(dev: *const bindings::net_device) -> *const c_char;
    fn dev_addr(dev: *const bindings::net_device) -> *const u8;
    fn dev_perm_addr(dev: *const bindings::net_device, addr: *mut u8);
    fn dev_has_random_addr(dev: *const bindings::net_device) -> bool;
    fn dev_mtu(dev: *const bindings::net_device) -> c_uint;
    fn dev_takes_frame(dev: *const bindings::net_device, len: c_uint) -> bool;
    fn dev_is_ethernet(dev: *const bindings::net_device) -> bool;
    fn dev_has_sg(dev: *const bindings::net_device) -> bool;
    fn dev_net_cookie(dev: *const bindings::net_device) -> u64;
    fn dev_is_registered(dev: *const bindings::net_device) -> bool;
    fn dev_next_lower(
        dev: *mut bindings::net_device,
        position: *mut *mut bindings::list_head,
    ) -> *mut bindings::net_device;
    fn dev_vlan(dev: *const bindings::net_device, protocol: *mut u16, id: *mut u16) -> bool;
    fn netif_is_lag_master(dev: *const bindings::net_device) -> bool;
    fn netif_is_bridge_master(dev: *const bindings::net_device) -> bool;
    fn netif_is_macvlan(dev: *const bindings::net_device) -> bool;
    fn netif_is_ovs_master(dev: *const bindings::net_device) -> bool;
    fn netdev_uses_dsa(dev: *const bindings::net_device) -> bool;
    fn dev_has_parent(dev: *const bindings::net_device) -> bool;
    fn dev_kind(dev: *const bindings::net_device) -> *const c_char;
    fn netdev_notifier_info_to_dev(info: *mut c_void) -> *mut bindings::net_device;
    fn ingress_hook_register(
        dev: *mut bindings::net_device,
        priority: c_int,
        receive: ReceiveFn,
        private: *mut c_void,
    ) -> *mut nf_hook_ops;
    fn ingress_hook_unregister(ops: *mut nf_hook_ops);
    fn packet_hook_register(
        dev: *mut bindings::net_device,
        ethertype: u16,
        receive: ReceiveFn,
        private: *mut c_void,
    ) -> *mut packet_hook;
    fn packet_hook_unregister(hook: *mut packet_hook);
    fn register_pm_notifier(block: *mut bindings::notifier_block) -> c_int;
    fn unregister_pm_notifier(block: *mut bindings::notifier_block) -> c_int;
    fn register_vmfork_notifier(block: *mut bindings::notifier_block) -> c_int;
    fn unregister_vmfork_notifier(block: *mut bindings::notifier_block) -> c_int;
    fn memzero_explicit(data: *mut c_void, len: usize);
    fn fresh_bytes(out: *mut u8);
    fn burst_noise() -> u32;
    fn cycles() -> u32;
    fn aead_alloc(name: *const c_char) -> *mut crypto_aead;
    fn aead_set_key(tfm: *mut crypto_aead, key: *const u8, key_len: c_uint) -> c_int;
    fn aead_free(tfm: *mut crypto_aead);
    fn aead_driver_name(tfm: *mut crypto_aead) -> *const c_char;
    fn aead_reqsize(tfm: *mut crypto_aead) -> c_uint;
    fn aead_scratch_alloc(reqsize: c_uint) -> *mut aead_scratch;
    fn aead_scratch_free(scratch: *mut aead_scratch);
    fn aead_seal(
        scratch: *mut aead_scratch,
        tfm: *mut crypto_aead,
        nonce: *const u8,
        runs: *const bindings::kvec,
        count: c_uint,
        to: *mut c_void,
        tag: *mut u8,
    ) -> c_int;
    fn aead_open(
        scratch: *mut aead_scratch,
        tfm: *mut crypto_aead,
        nonce: *const u8,
        tag: *const u8,
        runs: *const bindings::kvec,
        count: c_uint,
    ) -> c_int;
    fn aead_seal_bytes(
        scratch: *mut aead_scratch,
        tfm: *mut crypto_aead,
        nonce: *const u8,
        bytes: *mut u8,
        len: c_uint,
        tag: *mut u8,
    ) -> c_int;
    fn aead_open_bytes(
        scratch: *mut aead_scratch,
        tfm: *mut crypto_aead,
        nonce: *const u8,
        tag: *const u8,
        bytes: *mut u8,
        len: c_uint,
    ) -> c_int;
    fn mac_scratch_alloc(reqsize: c_uint, room: c_uint) -> *mut mac_scratch;
    fn mac_scratch_text(scratch: *mut mac_scratch) -> *mut u8;
    fn mac_scratch_free(scratch: *mut mac_scratch);
    fn mac_tag(
        scratch: *mut mac_scratch,
        tfm: *mut crypto_aead,
        nonce: *const u8,
        len: c_uint,
        runs: *const bindings::kvec,
        count: c_uint,
        tag: *mut u8,
    ) -> c_int;
    fn mac_verify(
        scratch: *mut mac_scratch,
        tfm: *mut crypto_aead,
        nonce: *const u8,
        tag: *const u8,
        len: c_uint,
    ) -> c_int;
    fn logon_key(description: *const c_char, secret: *mut u8, len: usize) -> c_int;
    fn memalloc_socket() -> *mut socket;
    fn memalloc_socket_release(sock: *mut socket);
}

// Exported by the kernel.
extern "C" {
    /// `lib/crc`: takes and returns the raw register.
    pub(super) fn crc32c(crc: u32, p: *const c_void, len: usize) -> u32;

    /// `lib/crypto/sha256.c`: `out` has room for 32 bytes.
    pub(super) fn hmac_sha256_usingrawkey(
        raw_key: *const u8,
        raw_key_len: usize,
        data: *const u8,
        data_len: usize,
        out: *mut u8,
    );

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
