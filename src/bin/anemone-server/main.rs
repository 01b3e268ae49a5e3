// SPDX-License-Identifier: GPL-2.0

//! The memory server: keeps pages for Anemone clients in this machine's memory.
//!
//! The library has the protocol and the store. The program has the socket, the memory, the clock and the
//! command line.
#![deny(unsafe_code)]

mod admission;
mod arena;
mod arguments;
mod cgroup_limits;
mod exit_status;
#[path = "../failure.rs"]
mod failure;
mod key_file;
mod link;
mod oom;
mod outbox;
mod rival;
mod rtnetlink;
#[path = "../secret_file.rs"]
mod secret_file;
mod serve;
mod service;
#[path = "../size.rs"]
mod size;
mod sys;
mod upper;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::Arc;
use std::time::Duration;

use anemone::engine::server::{Config, Server};
use anemone::secret::Secret;
use anemone::wire::PAGE_SIZE;
use clap::Parser;
use rustix::mm::{mlockall, MlockAllFlags};
use rustix::process::{set_dumpable_behavior, DumpableBehavior};
use rustix::rand::{getrandom, GetRandomFlags};
use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGTERM};
use tracing::{debug, error, info, warn};
use zeroize::Zeroizing;

use admission::CookieAdmission;
use arena::{Arena, Available, Forever};
use arguments::Arguments;
use exit_status::{Failure, Kind};
use key_file::KeyFile;
use link::{Claim, LinkOptions};
use serve::Serving;
use service::{Keys, Service};
use sys::ticker;

/// The receive ring's share of the capacity: one part of so many.
const RING_SHARE: u64 = 64;
/// The minimum and maximum size of the receive ring, in bytes.
const RING_BYTES: (u64, u64) = (512 << 10, 4 << 20);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(!is_plain && std::io::stderr().is_terminal())
        .with_target(false)
        .with_max_level(arguments.log_level)
        // It would report a failure of standard error on standard error, and panic. The pages would be lost.
        .log_internal_errors(false)
        .init();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            error!("{failure}");
            failure.kind.into()
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let oom_score_adj = oom::spare();
    // No core dump, and no access from outside except root's: the memory holds other machines' pages.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(other)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(other)?;
    }
    // The signal only has to interrupt a sleep.
    signal_hook::flag::register(SIGALRM, Arc::default()).map_err(other)?;
    let reload = Arc::new(AtomicBool::new(false));
    let keys = match arguments.keys {
        Some(path) => {
            signal_hook::flag::register(SIGHUP, Arc::clone(&reload)).map_err(other)?;
            Some(keys(path, arguments.max_clients)?)
        }
        None => None,
    };
    let capacity = match arguments.capacity {
        Some(bytes) => bytes,
        None => {
            let available = Available::now();
            info!("no --capacity; using half of the available memory ({available})");
            if available.is_hidden {
                warn!(
                    "no control group file system shows this process's group, so its limit cannot be seen, \
                     and the kernel kills a process that exceeds it: give --capacity, or mount the file system"
                );
            }
            available.bytes / 2
        }
    };
    let ring_bytes = (capacity / RING_SHARE).clamp(RING_BYTES.0, RING_BYTES.1);
    let options = LinkOptions {
        interface: arguments.interface,
        index: None,
        ethertype: arguments.ethertype,
        // CAST: at most 4 MiB.
        ring_bytes: ring_bytes as usize,
        is_signed: keys.is_some(),
    };
    let claim = Claim::new(&options).map_err(|failure| match failure.kind {
        Kind::NoInterface => Failure::new(failure.kind, format!("{failure}{}", those_there_are())),
        _ => failure,
    })?;
    debug!(bytes = capacity, "taking memory");
    let Some(arena) = Arena::new(capacity, ring_bytes, arguments.max_clients, &stop)? else {
        info!("ended by a signal while memory was being taken");
        return Ok(());
    };
    let capacity_pages = u64::from(arena.layout.capacity_pages);
    let config = Config {
        // 0 stands for an unknown incarnation.
        incarnation: random::<u64>()?.max(1),
        seed: random()?,
        cluster: arguments.cluster,
        lease_s: arguments.lease,
        quota_pages: arguments
            .quota
            .map_or(u64::MAX, |bytes| bytes / PAGE_SIZE as u64),
    };
    let admission = CookieAdmission::new(random::<u128>()?.to_ne_bytes(), arguments.allow);
    let now_ns = serve::now_ns();
    let server = Server::<Forever, _>::new(config, &arena.layout, arena.arrays, admission, now_ns)
        .ok_or_else(|| Failure::new(Kind::Other, "the arrays do not fit the layout"))?;
    let mut service = match keys {
        Some(keys) => {
            info!(
                server = %keys.file.server,
                clients = keys.file.len(),
                "only frames that clients have signed are taken"
            );
            let secret = Zeroizing::new(random()?);
            Service::keyed(server, keys, Secret::new(&secret), config.incarnation)
        }
        None => {
            warn!(
                "frames are not authenticated: any station on the segment can become a client, fill this server, \
                 and take over or end sessions: give --keys FILE ('anemonectl keygen' makes the file)"
            );
            Service::open(server)
        }
    };
    let link = claim.listen(&options)?;
    // The server must not be paged out itself. Its arena is locked already; this locks the rest.
    if let Err(error) = mlockall(MlockAllFlags::CURRENT) {
        debug!(%error, "cannot lock the program's own memory");
    }
    let oom_score_adj = oom_score_adj
        .inspect_err(|error| {
            warn!(
                %error,
                "cannot set oom_score_adj: when memory runs out, the kernel kills this process early: \
                 grant CAP_SYS_RESOURCE, or set OOMScoreAdjust=-900 in the unit"
            );
        })
        .ok();
    info!(
        interface = link.interface.name,
        mac = %link.interface.mac,
        mtu = link.interface.mtu,
        pages = capacity_pages,
        backing = arena.backing,
        oom_score_adj,
        incarnation = format_args!("{:016x}", config.incarnation),
        "ready"
    );
    ticker::start(serve::TICK).map_err(other)?;
    let mut serving = Serving {
        options,
        spin: Duration::from_micros(arguments.spin_us.into()),
        stop: &stop,
        reload: &reload,
    };
    serve::serve(&mut serving, &mut service, link);
    let server = service.server();
    let held = capacity_pages - server.store().free_pages();
    let sessions = server.open_sessions();
    info!(
        pages_held = held,
        sessions,
        counters = ?server.counters(),
        channel = service.channel_counters().map(tracing::field::debug),
        "ended by a signal"
    );
    Ok(())
}

/// Reads the file with the keys.
fn keys(path: PathBuf, max_clients: u16) -> Result<Keys, Failure> {
    let file = KeyFile::read(&path, max_clients).map_err(|why| Failure::new(Kind::Keys, why))?;
    Ok(Keys {
        path,
        max_clients,
        file,
    })
}

/// Lists the existing interfaces, for a message that the named one does not exist.
fn those_there_are() -> String {
    let mut names: Vec<_> = rtnetlink::list()
        .unwrap_or_default()
        .into_iter()
        .filter(|one| one.is_ethernet)
        .map(|one| one.name)
        .collect();
    names.sort();
    match &names[..] {
        [] => "; this network namespace has no Ethernet interface".to_owned(),
        names => format!("; there are: {}", names.join(", ")),
    }
}

/// A random number of at most 256 bytes: the kernel gives so many at once.
fn random<T: zerocopy::FromBytes + zerocopy::IntoBytes>() -> Result<T, Failure> {
    let mut number = T::new_zeroed();
    getrandom(number.as_mut_bytes(), GetRandomFlags::empty()).map_err(other)?;
    Ok(number)
}

fn other(error: impl std::fmt::Display) -> Failure {
    Failure::new(Kind::Other, error.to_string())
}
