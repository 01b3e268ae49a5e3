// SPDX-License-Identifier: GPL-2.0

//! The outgoing answers. They are collected while frames are handled, and sent in one system call.
//!
//! A page's bytes go from the arena straight into the kernel's packet. The batch keeps only their place.

use std::io;
use std::ops::Range;
use std::os::fd::AsFd;

use anemone::engine::server::store::{Page, PageSlice};
use anemone::engine::server::{Outbox, Payload};
use anemone::wire::{MacAddress, ETHERNET_LEN, HEADER_LEN, SIGNATURE_LEN};
use rustix::event::{poll, PollFd, PollFlags, Timespec};

use crate::sys::socket::{PacketSocket, BATCH};

/// How long the server waits for a full socket. After that, frames are lost, as on any network.
const SEND_TIMEOUT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 10_000_000,
};

/// A frame to be sent.
#[derive(Clone)]
struct Outgoing {
    /// The headers, and a signature if there is one.
    head: [u8; ETHERNET_LEN + HEADER_LEN + SIGNATURE_LEN],
    head_len: usize,
    payload: Kept,
}

/// Where a frame's payload is.
#[derive(Clone)]
enum Kept {
    /// In the batch's own bytes. May be empty.
    Here(Range<usize>),
    /// In the arena.
    Arena(PageSlice),
}

/// The frames collected.
pub struct Batch {
    /// Places for frames. The first `count` are used.
    frames: Vec<Outgoing>,
    count: usize,
    bytes: Vec<u8>,
    /// Frames that could not be sent.
    pub lost: u64,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        let none = Outgoing {
            head: [0; ETHERNET_LEN + HEADER_LEN + SIGNATURE_LEN],
            head_len: 0,
            payload: Kept::Here(0..0),
        };
        Self {
            frames: vec![none; BATCH],
            count: 0,
            bytes: Vec::new(),
            lost: 0,
        }
    }

    /// Whether it must be sent before another frame is handled.
    pub fn is_full(&self) -> bool {
        self.count + Sender::MOST > BATCH
    }

    /// Whether there is nothing to be sent.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// A batch with the socket that it is sent through.
pub struct Sender<'a> {
    /// The frames.
    pub batch: &'a mut Batch,
    /// The socket that sends them.
    pub socket: &'a mut PacketSocket,
    /// Their source address.
    pub source: MacAddress,
    /// Their EtherType.
    pub ethertype: u16,
}

impl Outbox for Sender<'_> {
    fn send(&mut self, destination: MacAddress, header: &[u8], payload: Payload<'_>) {
        let payload = match payload {
            Payload::Page(slice, _) => Kept::Arena(slice),
            Payload::Bytes(bytes) => {
                let start = self.batch.bytes.len();
                self.batch.bytes.extend_from_slice(bytes);
                Kept::Here(start..self.batch.bytes.len())
            }
        };
        // `is_full` has reserved room for it.
        let Some(frame) = self.batch.frames.get_mut(self.batch.count) else {
            return;
        };
        frame.head[..6].copy_from_slice(&destination.0);
        frame.head[6..12].copy_from_slice(&self.source.0);
        frame.head[12..ETHERNET_LEN].copy_from_slice(&self.ethertype.to_be_bytes());
        frame.head_len = ETHERNET_LEN + header.len();
        frame.head[ETHERNET_LEN..frame.head_len].copy_from_slice(header);
        frame.payload = payload;
        self.batch.count += 1;
    }

    fn flush(&mut self, arena: &[Page]) {
        let Batch {
            frames,
            count,
            bytes,
            lost,
        } = &mut *self.batch;
        let mut rest = frames.get(..*count).unwrap_or_default();
        let mut waited = false;
        while !rest.is_empty() {
            let parts = rest.iter().map(|frame| {
                let payload = match &frame.payload {
                    Kept::Here(range) => bytes.get(range.clone()).unwrap_or_default(),
                    Kept::Arena(slice) => slice.bytes(arena),
                };
                (&frame.head[..frame.head_len], payload)
            });
            let error = match self.socket.send(parts) {
                Ok(sent) => {
                    rest = rest.get(sent.max(1)..).unwrap_or_default();
                    continue;
                }
                Err(error) => error,
            };
            let skip = match error.kind() {
                io::ErrorKind::Interrupted => 0,
                io::ErrorKind::WouldBlock if !waited => {
                    waited = true;
                    wait_for_room(self.socket);
                    0
                }
                // The interface is down or gone, which the link's own check detects; or its queue is
                // full; or its MTU was reduced.
                io::ErrorKind::WouldBlock | io::ErrorKind::NetworkDown => rest.len(),
                _ => 1,
            };
            *lost += skip as u64;
            rest = rest.get(skip..).unwrap_or_default();
        }
        *count = 0;
        bytes.clear();
    }
}

fn wait_for_room(socket: &PacketSocket) {
    let socket = socket.as_fd();
    // The result does not matter: the next attempt to send shows whether there is room.
    let _ = poll(
        &mut [PollFd::new(&socket, PollFlags::OUT)],
        Some(&SEND_TIMEOUT),
    );
}
