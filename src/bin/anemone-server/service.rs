// SPDX-License-Identifier: GPL-2.0

//! The server that the main loop runs: with keys, only signed frames reach it, and what it sends is signed.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anemone::engine::channel::server::{Counters, ServerChannels, Signing};
use anemone::engine::server::store::Memory;
use anemone::engine::server::{Outbox, Server};
use anemone::secret::Secret;
use anemone::wire::MacAddress;
use tracing::{debug, error, info};

use crate::admission::CookieAdmission;
use crate::key_file::KeyFile;

/// The file with the keys.
pub struct Keys {
    /// Where it is.
    pub path: PathBuf,
    /// The most clients that it may have.
    pub max_clients: u16,
    /// What it said when it was read last.
    pub file: KeyFile,
}

/// What lies between a server with keys and the network.
struct Channel {
    keys: Keys,
    channels: ServerChannels,
    /// The random part of nonces was drawn in this round.
    is_drawn: bool,
    /// As they were logged last.
    logged: Counters,
}

/// A server, with keys or without.
pub struct Service<M: Memory> {
    server: Server<M, CookieAdmission>,
    channel: Option<Channel>,
}

impl<M: Memory> Service<M> {
    /// A server without keys: it takes frames of anybody.
    pub fn open(server: Server<M, CookieAdmission>) -> Self {
        Self {
            server,
            channel: None,
        }
    }

    /// A server that takes only what clients with keys have signed. The secret is random, and the incarnation
    /// is the server's.
    pub fn keyed(
        mut server: Server<M, CookieAdmission>,
        keys: Keys,
        secret: Secret,
        incarnation: u64,
    ) -> Self {
        server.admission_mut().set_quotas(keys.file.quotas());
        let channels = ServerChannels::new(keys.file.keyed_clients(), secret, incarnation);
        Self {
            server,
            channel: Some(Channel {
                keys,
                channels,
                is_drawn: false,
                logged: Counters::default(),
            }),
        }
    }

    /// The server itself.
    pub fn server(&self) -> &Server<M, CookieAdmission> {
        &self.server
    }

    /// The server itself, for what concerns no frame.
    pub fn server_mut(&mut self) -> &mut Server<M, CookieAdmission> {
        &mut self.server
    }

    /// A round begins, on an interface with this address.
    pub fn begin_round(&mut self, own: MacAddress) {
        if let Some(channel) = &mut self.channel {
            channel.channels.set_address(own);
            channel.is_drawn = false;
        }
    }

    /// Handles one frame, without its Ethernet header.
    pub fn handle_frame(
        &mut self,
        now_ns: u64,
        source: MacAddress,
        bytes: &[u8],
        out: &mut impl Outbox,
    ) {
        match &mut self.channel {
            None => self.server.handle_frame(now_ns, source, bytes, out),
            Some(channel) => {
                channel.draw();
                let server = &mut self.server;
                channel
                    .channels
                    .handle_frame(now_ns, source, bytes, server, out);
            }
        }
    }

    /// Handles what is due.
    pub fn handle_timeout(&mut self, now_ns: u64, out: &mut impl Outbox) {
        match &mut self.channel {
            None => self.server.handle_timeout(now_ns, out),
            Some(channel) => self
                .server
                .handle_timeout(now_ns, &mut channel.signing(out)),
        }
    }

    /// Sends what the server and `out` have kept.
    pub fn flush(&mut self, out: &mut impl Outbox) {
        match &mut self.channel {
            None => self.server.flush(out),
            Some(channel) => self.server.flush(&mut channel.signing(out)),
        }
    }

    /// Reads the file with the keys again. A file that is wrong changes nothing.
    pub fn reload(&mut self) {
        let Some(Channel { keys, channels, .. }) = &mut self.channel else {
            return;
        };
        let file = match KeyFile::read(&keys.path, keys.max_clients) {
            Ok(file) => file,
            Err(why) => {
                error!("the keys stay as they were, because their file is wrong now: {why}");
                return;
            }
        };
        let changes = file.changes_since(&keys.file);
        channels.set_clients(file.keyed_clients());
        self.server.admission_mut().set_quotas(file.quotas());
        self.server.update_quotas();
        info!(
            server = %file.server,
            clients = file.len(),
            added = changes.added,
            removed = changes.removed,
            changed = changes.changed,
            "the keys were read again"
        );
        keys.file = file;
    }

    /// What was counted of frames and keys.
    pub fn channel_counters(&self) -> Option<Counters> {
        self.channel
            .as_ref()
            .map(|channel| channel.channels.counters())
    }

    /// Logs these counters if they have changed, for who looks for a fault.
    pub fn log_counters(&mut self) {
        if let Some(channel) = &mut self.channel {
            let counters = channel.channels.counters();
            if std::mem::replace(&mut channel.logged, counters) != counters {
                debug!(channel = ?counters);
            }
        }
    }
}

impl Channel {
    /// Draws the random part of nonces, once in a round: a machine that was put back to a snapshot must not
    /// repeat them. The kernel's random numbers may be the same there until it is told; the clock hardly is.
    fn draw(&mut self) {
        if !self.is_drawn {
            let random = crate::random().expect("the kernel gives 4 random bytes at once");
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            let clock = since.map_or(0, |since| since.subsec_nanos());
            let random = u32::from_ne_bytes(random) ^ clock;
            self.channels.set_random(random.to_ne_bytes());
            self.is_drawn = true;
        }
    }

    fn signing<'a, O: Outbox>(&'a mut self, out: &'a mut O) -> Signing<'a, O> {
        self.draw();
        Signing::new(&mut self.channels, out)
    }
}
