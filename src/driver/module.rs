// SPDX-License-Identifier: GPL-2.0

//! Loading and unloading: the order in which things are made and removed.

use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    }, //
};

use super::{
    control::{
        self,
        Control, //
    },
    control_device,
    core::{
        Core,
        Parts, //
    },
    debugfs,
    disk::{
        Disk,
        MAX_REQUEST_SECTORS,
        PAGE_SECTORS, //
    },
    earlier::{
        Fork,
        Sleep, //
    },
    identity::{
        self,
        Source, //
    },
    link::{
        Link,
        LinkWatch, //
    },
    local::{
        self,
        Local, //
    },
    params::Params,
    queue::Queue,
    receive,
    repair,
    timer::{
        new_timer,
        Target, //
    }, //
};
use crate::{
    engine::client::{
        free::{
            words_for,
            DirtyChunks, //
        },
        ids::SERVER_SLOTS,
        placement, //
    },
    linux::{
        block::mq::{
            GenDisk,
            GenDiskBuilder,
            TagSet,
            TagSetFlags, //
        },
        debugfs::Dir,
        miscdevice::{
            MiscDeviceOptions,
            MiscDeviceRegistration, //
        },
        mm::alloc::{
            is_available,
            zeroed_table, //
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
        suspend::PmNotifier,
        workqueue::OwnedQueue, //
    },
    wire::{
        ClientId,
        Fragmentation,
        Status,
        PAGE_SIZE, //
    },
};

/// Everything that exists while the module is loaded. Dropped in the order of the fields.
pub(crate) struct Anemone {
    /// Ends ioctls; none is under way, because no file is open.
    _control: Pin<KBox<MiscDeviceRegistration<Core>>>,
    /// Ends requests; none is under way.
    _disk: GenDisk<Disk>,
    _unfollow: Unfollow,
    _files: Dir<Core>,
    _watch: Pin<KBox<Notifier<LinkWatch>>>,
    _sleep: Pin<KBox<PmNotifier<Sleep>>>,
    _fork: Pin<KBox<VmforkNotifier<Fork>>>,
    _connection: Connection,
    _socket: MemallocSocket,
}

/// Dropped before the notifier: the link stops following its device.
struct Unfollow(Arc<Core>);

impl Drop for Unfollow {
    fn drop(&mut self) {
        self.0.link.unfollow();
    }
}

/// The running core: frames are received, timers fire, the worker runs. Dropping it ends that.
struct Connection {
    core: Arc<Core>,
}

impl Connection {
    fn new(core: Arc<Core>) -> Self {
        core.timer.connect(core.clone());
        for queue in &core.queues {
            queue.timer.connect(core.clone());
        }
        core.local.timer.connect(core.clone());
        Self { core }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let core = &self.core;
        local::shut_down(core.as_arc_borrow());
        control::say_bye(core);
        core.link.unbind(&Rtnl::lock());
        // Frames are no longer received, and the timers and the worker find nothing to do. Each of them
        // must end before the core is freed, because they hold references to it.
        core.timer.disconnect();
        for queue in &core.queues {
            queue.timer.disconnect();
        }
        core.timer.cancel();
        for queue in &core.queues {
            queue.timer.cancel();
        }
        core.work_queue.drain();
    }
}

impl Anemone {
    /// Loads the module with its parameters.
    #[inline(never)]
    pub(crate) fn new() -> Result<Self> {
        let params = Params::read()?;
        let device = NetDevice::by_name(&params.interface).ok_or_else(|| {
            pr_err!(
                "interface={}: there is no such network device\n",
                &*params.interface
            );
            ENODEV
        })?;
        let rtnl = Rtnl::lock();
        let name = device.name(&rtnl);
        if name.to_bytes() != params.interface.to_bytes() {
            pr_err!(
                "interface={}: this is another name of {}; use that one\n",
                &*params.interface,
                name
            );
            return Err(EINVAL);
        }
        drop(rtnl);
        if !device.is_ethernet() {
            pr_err!("interface={}: not an Ethernet device\n", &*params.interface);
            return Err(EINVAL);
        }
        let Some(cut) = Fragmentation::for_mtu((device.mtu() as usize).min(1500)) else {
            pr_err!(
                "interface={}: an MTU of {} bytes is too small; the minimum is {}\n",
                &*params.interface,
                device.mtu(),
                Fragmentation::MIN_MTU
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

        let queues = Self::make_queues(&params, cut.count())?;
        let (client, source) = identity::find(params.client_id, &device);
        let core = Self::make_core(&params, client, queues)?;
        let has_local = Self::attach_local(&params, &core)?;
        let socket = MemallocSocket::new()?;
        let connection = Connection::new(core.clone());
        let namespace = Self::bind(&core, device)?;
        let fork = KBox::pin_init(VmforkNotifier::new(Fork(core.clone())), GFP_KERNEL)?;
        let sleep = KBox::pin_init(PmNotifier::new(Sleep(core.clone())), GFP_KERNEL)?;
        let watch = KBox::pin_init(
            Notifier::new(LinkWatch::new(core.clone(), namespace)),
            GFP_KERNEL,
        )?;
        // Also for errors from here on: it is declared later, so it is dropped earlier.
        let unfollow = Unfollow(core.clone());
        if !core.link.is_there(namespace, &Rtnl::lock()) {
            pr_err!(
                "interface={}: it disappeared during loading\n",
                &*params.interface
            );
            return Err(ENODEV);
        }
        Self::connect(&params, &core, has_local)?;

        let tag_set = Arc::pin_init(
            TagSet::new(
                u32::from(params.hw_queues),
                params.queue_depth as u32,
                1,
                // There is no seek for a scheduler to save. And requests are ended by softirqs and
                // work that any CPU may run.
                TagSetFlags::NO_SCHED_BY_DEFAULT | TagSetFlags::STACKING,
            ),
            GFP_KERNEL,
        )?;
        let files = debugfs::files(&core)?;
        // Before the disk, which other programs open as soon as it exists.
        let options = MiscDeviceOptions {
            name: control_device::NAME,
        };
        let control = KBox::pin_init(
            MiscDeviceRegistration::register(options, core.clone()),
            GFP_KERNEL,
        )?;
        let disk = GenDiskBuilder::new()
            .capacity_sectors((params.pages as u64).wrapping_mul(PAGE_SECTORS))
            .max_hw_sectors(MAX_REQUEST_SECTORS)
            .max_hw_discard_sectors(MAX_DISCARD_SECTORS)
            .stable_writes()
            .no_partitions()
            .build(fmt!("anemone"), tag_set, core.clone())?;
        core.local.set_own(disk.number());
        pr_info!(
            "/dev/anemone: {} MiB, {} replicas, {} hardware queues of {} requests\n",
            params.pages / ((1 << 20) / PAGE_SIZE),
            params.config.replicas,
            params.hw_queues,
            params.queue_depth
        );
        pr_info!("client {}, from {}\n", client, source.word());
        if source == Source::Chance {
            pr_warn!(
                "client {}: its identity is random, and servers will not recognise it after a crash; set client_id=\n",
                client
            );
        }
        Ok(Self {
            _control: control,
            _disk: disk,
            _unfollow: unfollow,
            _files: files,
            _watch: watch,
            _sleep: sleep,
            _fork: fork,
            _connection: connection,
            _socket: socket,
        })
    }

    /// Binds the interface. Returns the number of its network namespace.
    fn bind(core: &Arc<Core>, device: ARef<NetDevice>) -> Result<u64> {
        let rtnl = Rtnl::lock();
        if !device.is_registered(&rtnl) {
            pr_err!(
                "interface={}: it disappeared during loading\n",
                device.name(&rtnl)
            );
            return Err(ENODEV);
        }
        let namespace = device.namespace(&rtnl);
        core.link.bind(core.as_arc_borrow(), device, &rtnl)?;
        Ok(namespace)
    }

    // Separate functions: together they would take half of a kernel stack.
    #[inline(never)]
    fn make_core(params: &Params, client: ClientId, queues: KVec<Arc<Queue>>) -> Result<Arc<Core>> {
        let map = zeroed_table(params.pages).inspect_err(|_| {
            pr_err!(
                "no memory for the page map: {} MiB for a device of {} MiB; reduce size_mib=\n",
                (params.pages >> 18).max(1),
                params.pages / ((1 << 20) / PAGE_SIZE)
            );
        })?;
        let words = words_for(params.pages);
        let work_queue = OwnedQueue::new_unbound()
            .mem_reclaim()
            .max_active(1)
            .build(c"anemone")?;
        let parts = Parts {
            map,
            dirty_bitmaps: [zeroed_table(words)?, zeroed_table(words)?],
            config: params.config,
            hw_queues: u32::from(params.hw_queues),
            chunks: DirtyChunks::new(zeroed_table(words)?),
            queues,
            timer: new_timer(Target::Worker)?,
            work_queue: Arc::new(work_queue, GFP_KERNEL)?,
            inbox: receive::empty_inbox()?,
        };
        Arc::pin_init(
            Core::new(
                parts,
                Link::new((*params.interface).try_into()?, params.ethertype),
                Control::new(client, params.cluster)?,
                Local::new(params.mirror_pool_pages)?,
            ),
            GFP_KERNEL,
        )
    }

    /// The data path's queues, and repair's.
    fn make_queues(params: &Params, fragments: u8) -> Result<KVec<Arc<Queue>>> {
        let bytes = Queue::bytes(params.queue_depth, params.config.replicas, fragments)
            .saturating_mul(usize::from(params.hw_queues));
        let queues = if is_available(bytes) {
            Self::try_make_queues(params, fragments)
        } else {
            Err(ENOMEM)
        };
        queues.inspect_err(|_| {
            pr_err!(
                "no memory for {} hardware queues of {} requests: {} MiB; reduce hw_queues= or queue_depth=\n",
                params.hw_queues,
                params.queue_depth,
                (bytes >> 20).max(1)
            );
        })
    }

    #[inline(never)]
    fn try_make_queues(params: &Params, fragments: u8) -> Result<KVec<Arc<Queue>>> {
        let mut queues = KVec::with_capacity(usize::from(params.hw_queues) + 1, GFP_KERNEL)?;
        for number in 0..params.hw_queues {
            let timer = new_timer(Target::Queue(usize::from(number)))?;
            let queue = Queue::new(
                number,
                params.queue_depth,
                params.config.replicas,
                fragments,
                timer,
            )?;
            queues.push(queue, GFP_KERNEL)?;
        }
        let number = params.hw_queues;
        let timer = new_timer(Target::Queue(usize::from(number)))?;
        let queue = repair::new_queue(number, params.pages, fragments, timer)?;
        queues.push(queue, GFP_KERNEL)?;
        Ok(queues)
    }

    /// Attaches the local disk, if one is given. Returns whether one is.
    #[inline(never)]
    fn attach_local(params: &Params, core: &Arc<Core>) -> Result<bool> {
        let Some(path) = &params.local_device else {
            return Ok(false);
        };
        local::attach_quietly(core, path, true).map_err(|error| {
            pr_err!("local_device={}{}\n", &**path, error);
            match error.to_error() {
                // insmod would report ENOENT as a missing symbol.
                error if error == ENOENT => ENXIO,
                error => error,
            }
        })?;
        Ok(true)
    }

    /// Waits for servers as long as the administrator allows. Returns how many are up.
    fn wait_for_servers(params: &Params, core: &Arc<Core>, wanted: usize) -> Result<usize> {
        let control = &core.control;
        let mut up = control.wait_for_servers(wanted, params.connect_ms)?;
        if up < wanted && control.is_refused(Status::Wait) {
            // Servers are challenging an older life of this client.
            up = control.wait_for_servers(wanted, REPLACED_MS)?;
        }
        let enough = wanted.min(params.config.replicas);
        if up < enough && params.wait_s > 0 {
            pr_info!(
                "{} of {} servers answered: waiting up to {} s for {}\n",
                up,
                wanted,
                params.wait_s,
                enough
            );
            up = control.wait_for_servers(enough, params.wait_s.saturating_mul(1000))?;
            if up >= enough && up < wanted {
                // After a power failure servers start one after the other.
                up = control.wait_for_servers(wanted, params.connect_ms)?;
            }
        }
        Ok(up)
    }

    /// Opens the sessions. Waits for a bounded time.
    #[inline(never)]
    fn connect(params: &Params, core: &Arc<Core>, has_local: bool) -> Result {
        core.control.mtu_changed(core);
        core.control.address_changed(core);
        core.control
            .add(core, &params.servers)
            .map_err(|_| EINVAL)?;
        core.as_arc_borrow().kick();
        let wanted = params.servers.len();
        let up = Self::wait_for_servers(params, core, wanted)?;
        if up == 0 && !has_local && core.control.is_refused(Status::InUse) {
            pr_err!("servers have a live session of a client with this identity; give this one another client_id=\n");
            return Err(EBUSY);
        }
        if up == 0 && !has_local {
            pr_err!(
                "none of {} servers answered on {} within {} ms; check that they run and that the interface is up\n",
                wanted,
                &*params.interface,
                params.connect_ms
            );
            return Err(EHOSTUNREACH);
        }
        if up < wanted || up < params.config.replicas {
            pr_warn!(
                "degraded: {} of {} servers answered, {} replicas are wanted of each page\n",
                up,
                wanted,
                params.config.replicas
            );
        }
        Self::check_room(params, core, up, has_local)
    }

    /// Refuses a device that is larger than the room that its servers have for it, unless that is
    /// allowed: a program that grows into the rest would get no memory. The room of servers that
    /// have not answered is unknown. A local disk takes the pages that do not fit on them.
    #[inline(never)]
    fn check_room(params: &Params, core: &Arc<Core>, up: usize, has_local: bool) -> Result {
        let mut rooms = [0; SERVER_SLOTS];
        core.control.reports(|slot, report| {
            if let Some(room) = rooms.get_mut(slot) {
                *room = report.capacity_pages;
            }
        });
        let mut count = 0_usize;
        for index in 0..rooms.len() {
            if rooms.get(index).is_some_and(|room| *room > 0) {
                rooms.swap(count, index);
                count = count.saturating_add(1);
            }
        }
        let rooms = rooms.get(..count).unwrap_or(&[]);
        let replicas = params.config.replicas;
        let fits = placement::pages_for(rooms, replicas);
        if up == 0 || params.pages as u64 <= fits {
            return Ok(());
        }
        let offered = rooms
            .iter()
            .fold(0_u64, |sum, room| sum.saturating_add(*room));
        let size_mib = params.pages / PAGES_OF_MIB;
        let copies = replicas.min(count);
        // PANIC: none; the divisor is a constant.
        let (fits_mib, offered_mib) = (fits >> 8, offered >> 8);
        // A server has a little less room for pages than it was configured with.
        let is_close = params.pages as u64 <= fits.saturating_add(fits / 16);
        let is_known = up >= params.servers.len();
        if is_close || has_local || params.overcommit || !is_known {
            pr_warn!(
                "the device has {} MiB; {} servers that answered have {} MiB, enough for {} MiB in {} copies\n",
                size_mib,
                count,
                offered_mib,
                fits_mib,
                copies
            );
            return Ok(());
        }
        pr_err!(
            "size_mib={} is more than the servers have room for: {} servers have {} MiB, enough for {} MiB in {} copies; reduce it, add servers or a local disk, or set overcommit=1\n",
            size_mib,
            count,
            offered_mib,
            fits_mib,
            copies
        );
        Err(ENOSPC)
    }
}

/// Pages of a MiB.
const PAGES_OF_MIB: usize = (1 << 20) / PAGE_SIZE;

/// How long servers may take to end the session of an older life: two seconds and some attempts.
const REPLACED_MS: u32 = 5000;

/// The largest discard in sectors: 64 MiB, handled in a bounded time without sleeping.
const MAX_DISCARD_SECTORS: u32 = (64 << 20) / 512;
