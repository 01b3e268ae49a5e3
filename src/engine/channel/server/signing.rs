// SPDX-License-Identifier: GPL-2.0

//! Signs what a server sends.

extern crate alloc;

use alloc::vec::Vec;

use super::{covered, covers_payload, ServerChannels};
use crate::engine::server::store::Page;
use crate::engine::server::{Outbox, Payload};
use crate::wire::{Header, MacAddress, HEADER_LEN, SIGNATURE_LEN};
use zerocopy::IntoBytes;

/// An outbox that signs frames for the clients of sessions. To all it sends unsigned hints, and a signed
/// frame to each client besides.
pub struct Signing<'a, O> {
    channels: &'a mut ServerChannels,
    /// The client whose frame is handled.
    client: Option<usize>,
    out: &'a mut O,
}

impl<'a, O: Outbox> Signing<'a, O> {
    /// Signs what `out` sends when no frame is handled.
    pub fn new(channels: &'a mut ServerChannels, out: &'a mut O) -> Self {
        Self {
            channels,
            client: None,
            out,
        }
    }

    /// Signs what `out` sends when a frame of this client is handled.
    pub(super) fn for_client(
        channels: &'a mut ServerChannels,
        client: usize,
        out: &'a mut O,
    ) -> Self {
        Self {
            client: Some(client),
            ..Self::new(channels, out)
        }
    }

    /// Sends a frame of a session, signed. Without keys it is not sent.
    fn send_signed(
        &mut self,
        destination: MacAddress,
        session: u64,
        client: Option<usize>,
        header: &[u8; HEADER_LEN],
        payload: Payload<'_>,
    ) {
        let signed = self
            .channels
            .sign(session, destination, client, header, payload.bytes());
        if let Some(bytes) = signed {
            self.out.send(destination, &bytes, payload);
        }
    }
}

impl<O: Outbox> Outbox for Signing<'_, O> {
    fn send(&mut self, destination: MacAddress, header: &[u8], payload: Payload<'_>) {
        let Some(header) = header.first_chunk::<HEADER_LEN>() else {
            return;
        };
        let Some(session) = Header::session_of(header) else {
            return;
        };
        if destination != MacAddress::BROADCAST {
            self.send_signed(destination, session, self.client, header, payload);
            return;
        }
        self.out.send(destination, header, payload);
        let mut clients = self.channels.addresses();
        let turn = self.channels.next_turn();
        if let Some(turn) = turn.checked_rem(clients.len()) {
            clients.rotate_left(turn);
        }
        for (session, mac, client) in clients {
            self.send_signed(mac, session, Some(client), header, payload);
        }
    }

    fn flush(&mut self, arena: &[Page]) {
        self.out.flush(arena);
    }
}

impl ServerChannels {
    /// The header with its signature, of a frame of this session. `None` if there are no keys. It is for this
    /// client, if two have a session of that number, or for the one whose session is open.
    pub(super) fn sign(
        &mut self,
        session: u64,
        destination: MacAddress,
        client: Option<usize>,
        header: &[u8; HEADER_LEN],
        payload: &[u8],
    ) -> Option<[u8; HEADER_LEN + SIGNATURE_LEN]> {
        let mut bytes = [0; HEADER_LEN + SIGNATURE_LEN];
        let (head, place) = bytes.split_first_chunk_mut::<HEADER_LEN>()?;
        *head = *header;
        // An announcement has none of its own.
        let flags = Header::mark_signed(head, session);
        let payload = match covers_payload(flags) {
            true => payload,
            false => &[],
        };
        let random = self.random;
        let (client, index, _) = self
            .find_all(session, destination)
            .max_by_key(|&(one, _, association)| (Some(one) == client, association.is_open))?;
        let association = self.clients.get_mut(client)?.associations.get_mut(index)?;
        let text = covered(&mut self.text, head, payload)?;
        let signature = association.sending_key()?.sign(random, text)?;
        place.copy_from_slice(signature.as_bytes());
        Some(bytes)
    }

    /// The open sessions whose clients have keys, their addresses, and the clients.
    pub(super) fn addresses(&self) -> Vec<(u64, MacAddress, usize)> {
        let all = self.clients.iter().enumerate();
        let all = all.flat_map(|(client, one)| {
            let all = one.associations.iter();
            all.filter_map(move |one| Some((one.session(), one.address()?, client)))
        });
        all.collect()
    }

    fn next_turn(&mut self) -> usize {
        self.turn = self.turn.wrapping_add(1);
        self.turn
    }
}
