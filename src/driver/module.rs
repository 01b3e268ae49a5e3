// SPDX-License-Identifier: GPL-2.0

//! Loading and unloading: the order in which things are made and removed. What an unload waits for:
//! `unload.rs`.

use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    }, //
};

use super::{
    block_device::{
        AnemoneDevice,
        MAX_REQUEST_SECTORS,
        PAGE_SECTORS, //
    },
    client::Client,
    control_device,
    debugfs,
    identity::{
        self,
        Source, //
    },
    initial_sessions,
    link::LinkWatch,
    local_disk::{
        self,
        AttachError, //
    },
    params::Params, //
    snapshot_restore::{
        OnHibernation, //
        OnVmFork,
    },
    unload::Running, //
};
use crate::{
    engine::client::cluster::usual_cut,
    linux::{
        block::{
            mq::{
                GenDisk,
                GenDiskBuilder,
                TagSet,
                TagSetFlag, //
            },
            DeviceNumber, //
        },
        debugfs::Dir,
        miscdevice::{
            MiscDeviceOptions,
            MiscDeviceRegistration, //
        },
        net::{
            device::{
                NetDevice,
                Rtnl, //
            },
            hook::HAS_INGRESS,
            notifier::Notifier,
            sock::MemallocSocket, //
        },
        random::vmfork::VmforkNotifier,
        suspend::PmNotifier, //
    },
    wire::{
        signature_len,
        Fragmentation, //
    },
};

/// Everything that exists while the module is loaded. Dropped in the order of the fields.
pub(crate) struct Anemone {
    /// Ends ioctls; none is under way, because no file is open.
    _control: Pin<KBox<MiscDeviceRegistration<Client>>>,
    /// Ends requests; none is under way.
    _disk: GenDisk<AnemoneDevice>,
    _unfollow: Unfollow,
    _files: Dir<Client>,
    _watch: Pin<KBox<Notifier<LinkWatch>>>,
    _hibernation: Pin<KBox<PmNotifier<OnHibernation>>>,
    _vm_fork: Pin<KBox<VmforkNotifier<OnVmFork>>>,
    _running: Running,
    _socket: MemallocSocket,
}

/// Dropped before the notifier: the link stops following its device.
struct Unfollow(Arc<Client>);

impl Drop for Unfollow {
    fn drop(&mut self) {
        self.0.shared.link.unfollow();
    }
}

impl kernel::Module for Anemone {
    /// Loads the module with its parameters.
    #[inline(never)]
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let params = Params::read()?;
        let interface = &*params.interface;
        let device = NetDevice::by_name(interface).ok_or_else(|| {
            pr_err!("interface={interface}: there is no such network device\n");
            ENODEV
        })?;
        let rtnl = Rtnl::lock();
        let name = device.name(&rtnl);
        if name.to_bytes() != interface.to_bytes() {
            pr_err!("interface={interface}: this is another name of {name}; use that one\n");
            return Err(EINVAL);
        }
        drop(rtnl);
        if !device.is_ethernet() {
            pr_err!("interface={interface}: not an Ethernet device\n");
            return Err(EINVAL);
        }
        let mtu = device.mtu();
        let is_signed = params.keys.is_some();
        let Some(cut) = usual_cut((mtu as usize).saturating_sub(signature_len(is_signed))) else {
            let least = Fragmentation::min_mtu(is_signed);
            pr_err!(
                "interface={interface}: an MTU of {mtu} bytes is too small; the minimum is {least}\n"
            );
            return Err(EINVAL);
        };
        if !HAS_INGRESS {
            pr_warn!(
                "this kernel has no ingress hook, so answers may be dropped when memory is short; only a local disk guarantees progress\n"
            );
        }
        if params.servers.is_empty() && params.local_device.is_none() {
            pr_err!("servers= and local_device= are both missing; give at least one of them\n");
            return Err(EHOSTUNREACH);
        }

        let (id, source) = identity::find(params.client_id, &device);
        let client = Client::new(&params, id, cut.count())?;
        let local = find_local(&params)?;
        let socket = MemallocSocket::new()?;
        let running = Running::new(client.clone());
        let namespace = bind(&client, device)?;
        let fork = KBox::pin_init(VmforkNotifier::new(OnVmFork(client.clone())), GFP_KERNEL)?;
        let pm = KBox::pin_init(PmNotifier::new(OnHibernation(client.clone())), GFP_KERNEL)?;
        let watch = KBox::pin_init(
            Notifier::new(LinkWatch::new(client.clone(), namespace)),
            GFP_KERNEL,
        )?;
        // Also for errors from here on: it is declared later, so it is dropped earlier.
        let unfollow = Unfollow(client.clone());
        if !client.shared.link.is_there(namespace, &Rtnl::lock()) {
            pr_err!("interface={interface}: disappeared during loading\n");
            return Err(ENODEV);
        }
        initial_sessions::open(&params, &client, local.is_some())?;

        let tag_set = Arc::pin_init(
            TagSet::new(
                u32::from(params.hw_queues),
                params.queue_depth as u32,
                1,
                // There is no seek for a scheduler to save. And requests are ended by softirqs and
                // work that any CPU may run.
                TagSetFlag::NoSchedByDefault | TagSetFlag::Stacking,
            ),
            GFP_KERNEL,
        )?;
        let files = debugfs::files(&client)?;
        // Before the disk, which other programs open as soon as it exists.
        let options = MiscDeviceOptions {
            name: control_device::NAME,
        };
        let control = KBox::pin_init(
            MiscDeviceRegistration::register(options, client.clone()),
            GFP_KERNEL,
        )?;
        // A load that fails after this waits until the local disk is open. Only the next step can fail.
        attach_local(&params, &client, local)?;
        let disk = GenDiskBuilder::new()
            .capacity_sectors((params.pages as u64).wrapping_mul(PAGE_SECTORS))
            .max_hw_sectors(MAX_REQUEST_SECTORS)
            .max_hw_discard_sectors(MAX_DISCARD_SECTORS)
            .stable_writes()
            .no_partitions()
            .build(fmt!("anemone"), tag_set, client.clone())?;
        // Nothing fails from here on.
        client.shared.local.set_own(disk.reference());
        pr_info!(
            "/dev/anemone: {} MiB, {} replicas, {} hardware queues of {} requests\n",
            params.size_mib(),
            params.config.replicas,
            params.hw_queues,
            params.queue_depth
        );
        report_encryption(&client, params.local_device.is_some());
        pr_info!("client {id}, from {}\n", source.word());
        if source == Source::Random {
            pr_warn!(
                "client {id}: this identity is random, so servers will not recognise this machine after a crash; set client_id=\n"
            );
        }
        Ok(Self {
            _control: control,
            _disk: disk,
            _unfollow: unfollow,
            _files: files,
            _watch: watch,
            _hibernation: pm,
            _vm_fork: fork,
            _running: running,
            _socket: socket,
        })
    }
}

/// Logs what protects pages.
fn report_encryption(client: &Client, has_disk: bool) {
    let sealer = client.shared.sealer.as_ref();
    let disk = match has_disk {
        true => "; the local disk gets them as they are",
        false => "",
    };
    match sealer.and_then(|sealer| sealer.driver_name()) {
        Some(name) => pr_info!("pages are sealed with {name}{disk}\n"),
        None => {
            pr_warn!("encrypt=0: servers, and whoever sees the frames, can read the pages\n");
        }
    }
    match &client.shared.keys {
        Some(keys) => pr_info!("frames are signed with {}\n", keys.cipher().driver_name()),
        None => pr_notice!(
            "keys= is not given: any station on the segment can pose as a server or as this machine, and destroy pages\n"
        ),
    }
}

/// Binds the interface. Returns the number of its network namespace.
fn bind(client: &Arc<Client>, device: ARef<NetDevice>) -> Result<u64> {
    let rtnl = Rtnl::lock();
    if !device.is_registered(&rtnl) {
        let interface = device.name(&rtnl);
        pr_err!("interface={interface}: disappeared during loading\n");
        return Err(ENODEV);
    }
    let namespace = device.namespace(&rtnl);
    client.shared.link.bind(client, device, &rtnl)?;
    Ok(namespace)
}

/// Finds the local disk, if one is given.
fn find_local(params: &Params) -> Result<Option<DeviceNumber>> {
    let Some(path) = params.local_device.as_deref() else {
        return Ok(None);
    };
    let number = DeviceNumber::look_up(path).map_err(|error| refuse_local(path, error.into()))?;
    Ok(Some(number))
}

/// Attaches the local disk, if one is given.
#[inline(never)]
fn attach_local(params: &Params, client: &Client, local: Option<DeviceNumber>) -> Result {
    let (Some(path), Some(number)) = (params.local_device.as_deref(), local) else {
        return Ok(());
    };
    let is_attached = local_disk::attach_first(&client.shared, path, number)
        .map_err(|error| refuse_local(path, error))?;
    if !is_attached {
        pr_warn!(
            "local_device={path}: still being opened; it will be attached when open, and until then the module is in use\n"
        );
    }
    Ok(())
}

/// Logs why the local disk cannot be used. Returns the error number for it.
fn refuse_local(path: &CStr, error: AttachError) -> Error {
    pr_err!("local_device={path}{error}\n");
    match error.to_error() {
        // insmod would report ENOENT as a missing symbol.
        error if error == ENOENT => ENXIO,
        error => error,
    }
}

/// The largest discard in sectors: 64 MiB, handled in a bounded time without sleeping.
const MAX_DISCARD_SECTORS: u32 = (64 << 20) / 512;
