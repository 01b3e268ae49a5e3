// SPDX-License-Identifier: GPL-2.0

//! The main loop. It passes frames from the ring to the protocol, sends answers, runs timers, sleeps, and
//! follows an interface that disappears and comes back.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anemone::engine::server::store::Memory;
use anemone::engine::server::{Outbox, Payload};
use anemone::wire::{MacAddress, ETHERNET_LEN};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::time::{clock_gettime, ClockId};
use tracing::{debug, info, warn};

use crate::exit_status::Kind;
use crate::link::{Claim, Health, Link, LinkOptions};
use crate::outbox::{Batch, Sender};
use crate::service::Service;

/// Time between two checks of the interface.
const CHECK_INTERVAL_NS: u64 = 1_000_000_000;
/// Time between two attempts to open an interface that is not there.
const RETRY_INTERVAL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 250_000_000,
};
/// A signal interrupts a sleep after this time. So timers may be late by as much.
pub const TICK: Duration = Duration::from_millis(100);
/// If a timer is due within this time, the sleep gets a timeout of its own.
const SOON_NS: u64 = 10_000_000;
/// Frames that are handled between two readings of the clock.
const ROUND: usize = 256;
/// `PACKET_HOST` of packet(7): the frame was for us.
const FOR_US: u8 = 0;

/// The parameters of the loop.
pub struct Serving<'a> {
    /// The link to open again if it is lost.
    pub options: LinkOptions,
    /// How long to poll for the next frame before sleeping.
    pub spin: Duration,
    /// Becomes true when the loop should end.
    pub stop: &'a AtomicBool,
    /// Becomes true when the keys should be read again.
    pub reload: &'a AtomicBool,
}

/// Nanoseconds of a monotonic clock with a resolution of a few milliseconds. Reading it takes no system
/// call: it is read before every single frame.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    // CAST: neither is negative on this clock.
    (now.tv_sec as u64) * 1_000_000_000 + now.tv_nsec as u64
}

/// Serves until `stop` becomes true.
pub fn serve<M: Memory>(serving: &mut Serving<'_>, service: &mut Service<M>, first: Link) {
    let mut batch = Batch::new();
    let mut link = Some(first);
    let mut logged = String::new();
    let mut dropped = 0;
    let mut check_at_ns = now_ns() + CHECK_INTERVAL_NS;
    while !serving.stop.load(Ordering::Relaxed) {
        if serving.reload.load(Ordering::Relaxed) {
            serving.reload.store(false, Ordering::Relaxed);
            service.reload();
        }
        let now_ns = now_ns();
        let Some(open) = &mut link else {
            link = reopen(serving, service, now_ns, &mut logged);
            check_at_ns = now_ns + CHECK_INTERVAL_NS;
            continue;
        };
        let mut look = now_ns >= check_at_ns;
        let mut sender = Sender {
            batch: &mut batch,
            socket: &mut open.socket,
            source: open.interface.mac,
            ethertype: serving.options.ethertype,
        };
        service.begin_round(open.interface.mac);
        if service.server().next_timeout_ns() <= now_ns {
            service.handle_timeout(now_ns, &mut sender);
            service.flush(&mut sender);
        }
        let handled = receive(service, &mut open.ring, &mut sender, now_ns);
        if !handled.more && !spin(serving, open) {
            let until_ns = service.server().next_timeout_ns().min(check_at_ns);
            look |= sleep(open, until_ns.saturating_sub(now_ns));
        }
        if look || handled.truncated {
            check_at_ns = now_ns + CHECK_INTERVAL_NS;
            dropped += u64::from(open.socket.take_drops().unwrap_or(0));
            service.server_mut().set_frames_dropped(dropped);
            service.log_counters();
            serving.options.index = match open.check() {
                Health::Usable => continue,
                Health::Lost => Some(open.interface.index),
                Health::Gone => None,
            };
            link = None;
        }
    }
    let lost = batch.lost;
    debug!(dropped, lost, "frames that were lost in this host");
}

/// What a round of receiving found.
struct Round {
    /// There may be more.
    more: bool,
    /// A frame was longer than the ring's slots.
    truncated: bool,
}

/// Passes frames to the server until there are none, or the clock must be read.
fn receive<M: Memory>(
    service: &mut Service<M>,
    ring: &mut crate::sys::ring::Ring,
    sender: &mut Sender<'_>,
    now_ns: u64,
) -> Round {
    let mut truncated = false;
    for _ in 0..ROUND {
        let Some(slot) = ring.next() else {
            if sender.batch.is_empty() && !service.server().has_kept() {
                return Round {
                    more: false,
                    truncated,
                };
            }
            // The next frame may arrive while this is being sent.
            service.flush(sender);
            continue;
        };
        truncated |= slot.len > slot.bytes.len();
        if slot.kind != FOR_US {
            continue;
        }
        let Some((ethernet, frame)) = slot.bytes.split_first_chunk::<ETHERNET_LEN>() else {
            continue;
        };
        let [_, _, _, _, _, _, source @ .., _, _] = *ethernet;
        service.handle_frame(now_ns, MacAddress(source), frame, sender);
        drop(slot);
        if sender.batch.is_full() {
            service.flush(sender);
        }
    }
    service.flush(sender);
    Round {
        more: true,
        truncated,
    }
}

/// Polls for a frame for a while. Returns whether there is one.
fn spin(serving: &Serving<'_>, link: &Link) -> bool {
    if serving.spin.is_zero() {
        return false;
    }
    let begin = Instant::now();
    while begin.elapsed() < serving.spin {
        if link.ring.is_ready() {
            return true;
        }
        std::hint::spin_loop();
    }
    false
}

/// Sleeps until a frame or a signal arrives, or a timer is due in `due_ns`. Returns whether the interface
/// should be checked.
fn sleep(link: &Link, due_ns: u64) -> bool {
    let timeout = Timespec::try_from(Duration::from_nanos(due_ns)).ok();
    // Without a timeout the kernel needs no timer, which saves 900 instructions of each page-in.
    let timeout = timeout.as_ref().filter(|_| due_ns < SOON_NS);
    let socket = link.socket.as_fd();
    let mut fds = [PollFd::new(&socket, PollFlags::IN)];
    // After a signal, the loop finds `stop` set, or a timer due.
    match poll(&mut fds, timeout) {
        Ok(_) => fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP),
        Err(_) => false,
    }
}

/// Tries once to open the link again, and otherwise waits a little. The server's own timers keep running.
/// `logged` is the last logged reason of a failure.
fn reopen<M: Memory>(
    serving: &mut Serving<'_>,
    service: &mut Service<M>,
    now_ns: u64,
    logged: &mut String,
) -> Option<Link> {
    let opened = Claim::new(&serving.options).and_then(|claim| claim.listen(&serving.options));
    match opened {
        Ok(link) => {
            let interface = &link.interface;
            info!(interface = interface.name, mac = %interface.mac, "serving on the interface again");
            logged.clear();
            service.server_mut().announce_now(now_ns);
            Some(link)
        }
        Err(failure) => {
            let text = failure.to_string();
            if failure.kind == Kind::NoInterface && serving.options.index.take().is_some() {
                warn!("the interface is gone");
            }
            // A missing interface has already been logged.
            if failure.kind != Kind::NoInterface && *logged != text {
                warn!("cannot serve on the interface again: {text}");
                *logged = text;
            }
            if service.server().next_timeout_ns() <= now_ns {
                service.handle_timeout(now_ns, &mut Nowhere);
            }
            // Signals interrupt the wait.
            let _ = poll(&mut [], Some(&RETRY_INTERVAL));
            None
        }
    }
}

/// The outbox of a server without an interface.
struct Nowhere;

impl Outbox for Nowhere {
    fn send(&mut self, _: MacAddress, _: &[u8], _: Payload<'_>) {}
}
