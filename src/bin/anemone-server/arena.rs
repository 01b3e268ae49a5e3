// SPDX-License-Identifier: GPL-2.0

//! The server's memory: how much is available, and how it is taken and locked.

use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anemone::engine::server::store::{Arrays, Assembly, Layout, Memory, Owner, Page, Record};
use anemone::engine::server::{ServerArrays, Session, BYTES_PER_OWNER};
use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
use tracing::{debug, info, warn};
use zerocopy::FromBytes;

use crate::cgroup_limits;
use crate::exit_status::{Failure, Kind};
use crate::sys::checksum;
use crate::sys::mapping::{self, Backing, HUGE_PAGE};

const MIB: u64 = 1 << 20;
/// Bytes that are locked at a time, between two readings of the clock.
const LOCK_STEP: usize = 64 << 20;
/// Time between two progress messages.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// Arrays that live as long as the process.
pub struct Forever;

impl Memory for Forever {
    type Array<T: 'static> = &'static mut [T];

    #[inline]
    fn crc32c(bytes: &[u8]) -> u32 {
        checksum::crc32c(bytes)
    }
}

/// A memory server's memory.
pub struct Arena {
    /// How it is divided.
    pub layout: Layout,
    /// The arrays.
    pub arrays: ServerArrays<Forever>,
    /// A description of its pages, for the log.
    pub backing: String,
}

/// Available memory.
#[derive(Debug)]
pub struct Available {
    /// Bytes that can be taken without paging out other programs.
    pub bytes: u64,
    /// The control group's file with the limit, if a control group limits it.
    limit: Option<PathBuf>,
    /// Whether a control group may have a lower limit that cannot be seen.
    pub is_hidden: bool,
}

impl Available {
    /// The kernel's estimate, limited by the control groups of this process.
    pub fn now() -> Self {
        let machine = meminfo("MemAvailable:")
            .and_then(|kib| kib.checked_mul(1024))
            .unwrap_or_else(|| {
                let info = rustix::system::sysinfo();
                (info.freeram as u64).saturating_mul(info.mem_unit.into())
            });
        let cgroup_limits::Limits { room, is_hidden } = cgroup_limits::limits();
        let (bytes, limit) = match room {
            Some(room) if room.bytes < machine => (room.bytes, Some(room.limit)),
            _ => (machine, None),
        };
        Self {
            bytes,
            limit,
            is_hidden,
        }
    }
}

impl Display for Available {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB available", self.bytes / MIB)?;
        match &self.limit {
            Some(limit) => write!(f, " (below the limit in {})", limit.display()),
            None => Ok(()),
        }
    }
}

/// A number of /proc/meminfo.
fn meminfo(name: &str) -> Option<u64> {
    number("/proc/meminfo", name)
}

/// The number of the line that begins with `name`, in a file that counts in kB or pages.
fn number(file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

impl Arena {
    /// Takes and locks `given` bytes less `set_aside`, for this many clients. `None` if `stop` becomes
    /// true meanwhile.
    pub fn new(
        given: u64,
        set_aside: u64,
        max_clients: u16,
        stop: &AtomicBool,
    ) -> Result<Option<Self>, Failure> {
        let bytes = given.saturating_sub(set_aside);
        let layout = layout(bytes, max_clients).ok_or_else(|| {
            let text = format!(
                "too little memory: {} KiB leave no room for pages beside what {max_clients} clients \
                 need: raise --capacity, or reduce --max-clients",
                given / 1024
            );
            Failure::new(Kind::Memory, text)
        })?;
        let mib = given / MIB;
        let too_large = |why: &str| {
            let text = format!("too little memory: {mib} MiB cannot be mapped{why}");
            Failure::new(Kind::Memory, text)
        };
        let len = usize::try_from(mapping_len(bytes, &layout)).map_err(|_| too_large(""))?;
        let (memory, backing) =
            mapping::map_forever(len).map_err(|error| too_large(&format!(" ({error})")))?;
        if backing == Backing::Ordinary {
            let available = Available::now();
            if len as u64 > available.bytes {
                let text = format!(
                    "too little memory: {mib} MiB wanted, {available}: reduce --capacity, or raise the limit"
                );
                return Err(Failure::new(Kind::Memory, text));
            }
            if let Some(text) = unused_huge_pages(&pools(), len as u64) {
                warn!("{text}");
            }
        }
        if !lock(memory, stop)? {
            return Ok(None);
        }
        let backing = describe(backing);
        let arrays = divide(memory, &layout).ok_or_else(|| too_large(""))?;
        Ok(Some(Self {
            layout,
            arrays,
            backing,
        }))
    }
}

/// Bytes of the machine's ordinary page.
const SMALL_PAGE: u64 = 4096;

/// The layout that fits into `bytes`, whose mapping fills whole huge pages if it is large.
fn layout(bytes: u64, max_clients: u16) -> Option<Layout> {
    let tight = Layout::fit(bytes, max_clients, BYTES_PER_OWNER)?;
    let arena = tight.arena_bytes();
    // The rounding to huge pages pays off if there are many of them.
    let huge = HUGE_PAGE as u64;
    let beyond = if arena < 16 * huge { 0 } else { arena % huge };
    // Each rounding may cost one more page.
    let bytes = bytes.checked_sub(beyond + 2 * SMALL_PAGE)?;
    Layout::fit(bytes, max_clients, BYTES_PER_OWNER)
}

/// Bytes to map for `layout`: whole huge pages if `bytes` allows it, otherwise whole pages.
fn mapping_len(bytes: u64, layout: &Layout) -> u64 {
    let arena = layout.arena_bytes();
    let beside = layout.total_bytes(BYTES_PER_OWNER) - arena;
    let huge = arena.next_multiple_of(HUGE_PAGE as u64);
    if huge + beside <= bytes {
        huge
    } else {
        arena.next_multiple_of(SMALL_PAGE)
    }
}

/// Locks memory, with progress messages if it takes long. Returns `false` if `stop` becomes true before all
/// is locked.
fn lock(memory: &mut [u8], stop: &AtomicBool) -> Result<bool, Failure> {
    // A process without CAP_IPC_LOCK may lock up to the soft limit, and may raise that to the hard limit.
    let limit = getrlimit(Resource::Memlock);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Memlock, raised) {
        debug!(%error, "cannot raise the limit of locked memory");
    }
    let total_mib = memory.len() as u64 / MIB;
    let mut reported = Instant::now();
    let mut done = 0;
    for part in memory.chunks_mut(LOCK_STEP) {
        if stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        if let Err(error) = mapping::lock(part) {
            let limit = match limit.maximum {
                Some(bytes) => format!("{} KiB", bytes / 1024),
                None => "unlimited".to_owned(),
            };
            let text = format!(
                "cannot lock {total_mib} MiB of memory ({error}): raise the limit of locked memory (ulimit \
                 -l, LimitMEMLOCK=; it is {limit}), grant CAP_IPC_LOCK, or reduce --capacity"
            );
            return Err(Failure::new(Kind::Memory, text));
        }
        done += part.len();
        if reported.elapsed() >= PROGRESS_INTERVAL {
            reported = Instant::now();
            let done_mib = done as u64 / MIB;
            info!("locked {done_mib} of {total_mib} MiB of memory");
        }
    }
    Ok(true)
}

/// The huge pages of one size that are set aside.
struct Pool {
    kib: u64,
    free: u64,
}

/// The huge pages of all sizes or, if the kernel does not list these, of the default size.
fn pools() -> Vec<Pool> {
    let pool = |directory: std::fs::DirEntry| {
        let name = directory.file_name();
        let size = name.to_str()?.strip_prefix("hugepages-")?;
        let free = std::fs::read_to_string(directory.path().join("free_hugepages")).ok()?;
        Some(Pool {
            kib: size.strip_suffix("kB")?.parse().ok()?,
            free: free.trim().parse().ok()?,
        })
    };
    if let Ok(directories) = std::fs::read_dir("/sys/kernel/mm/hugepages") {
        return directories.flatten().filter_map(pool).collect();
    }
    let (kib, free) = (meminfo("Hugepagesize:"), meminfo("HugePages_Free:"));
    let pool = kib.zip(free).map(|(kib, free)| Pool { kib, free });
    pool.into_iter().collect()
}

/// The warning about these pools, none of which is used: they were probably meant for the server.
fn unused_huge_pages(pools: &[Pool], len: u64) -> Option<String> {
    const KIB: u64 = HUGE_PAGE as u64 / 1024;
    // A small arena is not rounded to huge pages.
    if !len.is_multiple_of(HUGE_PAGE as u64) {
        return None;
    }
    let needed = len / HUGE_PAGE as u64;
    let file = format!("/sys/kernel/mm/hugepages/hugepages-{KIB}kB/nr_hugepages");
    let free = |pool: &&Pool| pool.free > 0;
    if let Some(pool) = pools.iter().filter(free).find(|pool| pool.kib == KIB) {
        return Some(format!(
            "of the huge pages set aside {} are free, and {needed} are needed, so ordinary pages are used: \
             set {file}, or reduce --capacity",
            pool.free
        ));
    }
    let other = pools.iter().find(free)?;
    Some(format!(
        "huge pages of {} KiB are set aside, and the server can use those of {KIB} KiB only, so ordinary \
         pages are used: set {file} to {needed}, or boot with hugepagesz=2M hugepages={needed}",
        other.kib
    ))
}

/// Describes the pages that the kernel gave.
fn describe(backing: Backing) -> String {
    if backing == Backing::HugePages {
        return "huge pages set aside".to_owned();
    }
    // The arena is nearly all of this process.
    match number("/proc/self/smaps_rollup", "AnonHugePages:") {
        Some(kib) if kib > 0 => format!("{} MiB of transparent huge pages", kib / 1024),
        _ => "ordinary pages".to_owned(),
    }
}

/// The arrays of `layout` in `memory`. `None` if it is too short.
fn divide(memory: &'static mut [u8], layout: &Layout) -> Option<ServerArrays<Forever>> {
    let count = usize::try_from(layout.pages).ok()?;
    let (pages, rest) = <[Page]>::mut_from_prefix_with_elems(memory, count).ok()?;
    let (records, rest) = <[Record]>::mut_from_prefix_with_elems(rest, count).ok()?;
    let (heads, _) = <[u32]>::mut_from_prefix_with_elems(rest, count).ok()?;
    let owners = usize::from(layout.owners);
    Some(ServerArrays {
        store: Arrays {
            pages,
            records,
            heads,
            owners: defaults::<Owner>(owners),
            assemblies: defaults::<Assembly>(layout.assemblies()),
        },
        sessions: defaults::<Session>(owners),
        session_heads: defaults(owners),
    })
}

fn defaults<T: Clone + Default>(count: usize) -> &'static mut [T] {
    Vec::leak(vec![T::default(); count])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arena_is_never_larger_than_requested() {
        for mib in [1, 2, 8, 31, 33, 64, 100, 512, 4096] {
            for odd in [0, 1, 4095, 123_456] {
                let bytes = mib * MIB + odd;
                let layout = layout(bytes, 4).unwrap();
                let mapped = mapping_len(bytes, &layout);
                let beside = layout.total_bytes(BYTES_PER_OWNER) - layout.arena_bytes();
                assert!(mapped + beside <= bytes, "{bytes}");
                assert!(
                    mib < 64 || mapped.is_multiple_of(HUGE_PAGE as u64),
                    "{bytes}"
                );
            }
        }
    }

    #[test]
    fn memory_is_divided_as_the_layout_says() {
        let stop = AtomicBool::new(false);
        let layout = layout(2 * MIB, 2).unwrap();
        let arena = Arena::new(3 * MIB, MIB, 2, &stop).unwrap().unwrap();
        assert_eq!(arena.layout, layout);
        assert_eq!(
            arena.arrays.store.pages.len(),
            arena.arrays.store.records.len()
        );
        assert_eq!(arena.arrays.store.pages.len(), layout.pages as usize);
        assert_eq!(arena.arrays.sessions.len(), usize::from(layout.owners));
    }

    #[test]
    fn huge_pages_that_cannot_be_used_are_reported() {
        let said = |pools: &[(u64, u64)], len| {
            let pools: Vec<_> = pools
                .iter()
                .map(|&(kib, free)| Pool { kib, free })
                .collect();
            unused_huge_pages(&pools, len).unwrap_or_default()
        };
        let len = 20 * HUGE_PAGE as u64;
        assert_eq!(said(&[], len), "");
        assert_eq!(said(&[(2048, 0), (1 << 20, 0)], len), "");
        assert_eq!(said(&[(2048, 5)], len + SMALL_PAGE), "");
        let too_few = "of the huge pages set aside 5 are free, and 20 are needed";
        assert!(said(&[(1 << 20, 2), (2048, 5)], len).starts_with(too_few));
        let too_large =
            "huge pages of 1048576 KiB are set aside, and the server can use those of 2048 KiB";
        assert!(said(&[(2048, 0), (1 << 20, 2)], len).starts_with(too_large));
    }

    #[test]
    fn too_little_memory_is_reported() {
        let stop = AtomicBool::new(false);
        let failure = Arena::new(10_000, 1, 2, &stop).err().unwrap();
        assert_eq!(failure.kind, Kind::Memory);
        let failure = Arena::new(1 << 50, 0, 2, &stop).err().unwrap();
        assert_eq!(failure.kind, Kind::Memory);
    }
}
