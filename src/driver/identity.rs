// SPDX-License-Identifier: GPL-2.0

//! The client's identity towards servers. It stays the same after a crash, so that the new instance
//! replaces the old one there, whose pages would otherwise take up room.

use crate::{
    linux::{
        dmi,
        net::device::NetDevice,
        random,
        siphash::siphash, //
    },
    wire::ClientId,
};

/// The source of an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The module parameter.
    Parameter,
    /// The machine's UUID.
    Machine,
    /// The interface's permanent hardware address.
    Interface,
    /// Random, because there was nothing to derive it from: it differs after the next start.
    Random,
}

impl Source {
    /// In words.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Parameter => "client_id=",
            Self::Machine => "the machine's UUID",
            Self::Interface => "the interface's address",
            Self::Random => "a random number",
        }
    }
}

/// The identity of this machine's device, and its source.
pub(crate) fn find(given: Option<ClientId>, device: &NetDevice) -> (ClientId, Source) {
    if let Some(id) = given {
        return (id, Source::Parameter);
    }
    if let Some(uuid) = dmi::uuid().filter(|uuid| is_of_one_machine(uuid.to_bytes())) {
        return (derive(b'm', uuid.to_bytes()), Source::Machine);
    }
    let lasting = || (!device.has_random_address()).then(|| device.address());
    match device.perm_address().or_else(lasting) {
        Some(address) => (derive(b'i', &address), Source::Interface),
        None => (ClientId(random::random_bytes()), Source::Random),
    }
}

/// UUIDs that firmware vendors have forgotten to replace.
const PLACEHOLDER_UUIDS: [&str; 3] = [
    "03000200-0400-0500-0006-000700080009",
    "00020003-0004-0005-0006-000700080009",
    "12345678-1234-5678-90ab-cddeefaabbcc",
];

fn is_of_one_machine(uuid: &[u8]) -> bool {
    !uuid.is_empty()
        && !PLACEHOLDER_UUIDS
            .iter()
            .any(|text| uuid.eq_ignore_ascii_case(text.as_bytes()))
}

/// The device: a second one on the machine would be another client.
const DEVICE: &[u8] = b"/dev/anemone";

/// The identity of the device on a machine known by `name`, which is of `kind`. A UUID may be
/// confidential, so it is not sent itself.
fn derive(kind: u8, name: &[u8]) -> ClientId {
    let mut text = [0; 64];
    let parts = [&[kind][..], name, &[0], DEVICE];
    let bytes = parts.iter().flat_map(|part| part.iter());
    for (place, byte) in text.iter_mut().zip(bytes) {
        *place = *byte;
    }
    let mut id = [0; 16];
    for (half, number) in id.chunks_exact_mut(8).zip(1..) {
        half.copy_from_slice(&siphash(&text, [number, 0]).to_be_bytes());
    }
    ClientId(id)
}
