// SPDX-License-Identifier: GPL-2.0

//! A memory server's host: its memory, its decisions, and what it sends.

use std::hash::{DefaultHasher, Hash, Hasher};

use anemone::engine::server::store::{Arrays, Assembly, Layout, Memory, Owner, Page, Record};
use anemone::engine::server::{
    Admission, Config, CookieClaim, Outbox, Payload, Server, ServerArrays, Session,
};
use anemone::wire::{ClientId, ClusterName, MacAddress};
use zerocopy::IntoBytes;

/// A frame on its way.
#[derive(Clone, Debug)]
pub struct Wire {
    pub source: MacAddress,
    pub destination: MacAddress,
    pub bytes: Vec<u8>,
}

/// Arrays that are `Vec`s.
pub struct Heap;

impl Memory for Heap {
    type Array<T: 'static> = Vec<T>;
}

/// Admits all clients but one.
pub struct Door {
    refused: ClientId,
    nonces: u64,
}

impl Admission for Door {
    fn cookie(&self, claim: &CookieClaim) -> u64 {
        let mut hasher = DefaultHasher::new();
        claim.as_bytes().hash(&mut hasher);
        hasher.finish()
    }

    fn nonce(&mut self) -> u64 {
        self.nonces += 1;
        let mut hasher = DefaultHasher::new();
        self.nonces.hash(&mut hasher);
        hasher.finish()
    }

    fn admits(&self, client: ClientId, _: MacAddress) -> bool {
        client != self.refused
    }
}

/// The client that servers do not admit.
pub const STRANGER: ClientId = ClientId([0xee; 16]);

/// Frames that a server sends.
pub struct Sent {
    pub source: MacAddress,
    pub wires: Vec<Wire>,
}

impl Sent {
    /// Nothing yet.
    pub fn by(source: MacAddress) -> Self {
        Self {
            source,
            wires: Vec::new(),
        }
    }
}

impl Outbox for Sent {
    fn send(&mut self, destination: MacAddress, header: &[u8], payload: Payload<'_>) {
        let mut bytes = header.to_vec();
        bytes.extend_from_slice(payload.bytes());
        self.wires.push(Wire {
            source: self.source,
            destination,
            bytes,
        });
    }
}

/// A server's sizes.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub capacity_pages: u32,
    pub quota_pages: u64,
    pub max_clients: u16,
}

/// A server that has just started. Its lease is a second.
pub fn start(size: Size, incarnation: u64, now_ns: u64) -> Server<Heap, Door> {
    let assemblies_per_owner = 4;
    let owners = size.max_clients + 2;
    let spare = u32::from(size.max_clients) * u32::from(assemblies_per_owner) + 1;
    let layout = Layout {
        pages: size.capacity_pages + spare,
        capacity_pages: size.capacity_pages,
        max_clients: size.max_clients,
        owners,
        assemblies_per_owner,
    };
    let pages = layout.pages as usize;
    let arrays = ServerArrays {
        store: Arrays {
            pages: vec![Page::default(); pages],
            records: vec![Record::default(); pages],
            heads: vec![0; pages],
            owners: vec![Owner::default(); owners.into()],
            assemblies: vec![Assembly::default(); layout.assemblies()],
        },
        sessions: vec![Session::default(); owners.into()],
        session_heads: vec![0; owners.into()],
    };
    let config = Config {
        incarnation,
        seed: 1,
        cluster: ClusterName::default(),
        lease_s: 1,
        quota_pages: size.quota_pages,
    };
    let door = Door {
        refused: STRANGER,
        nonces: 0,
    };
    Server::new(config, &layout, arrays, door, now_ns).expect("the arrays fit the layout")
}
