// SPDX-License-Identifier: GPL-2.0

//! Answers requests for keys.
//!
//! A request without the current cookie changes nothing. So the server keeps nothing of a station that has
//! not proved that it has the key and receives at its address, and an old request is never accepted.

use zerocopy::{FromBytes, IntoBytes};

use super::{count, ServerChannels};
use crate::aead::Cipher;
use crate::engine::channel::pair_key::{FrameKeySeed, PairKey};
use crate::engine::server::store::Memory;
use crate::engine::server::{Admission, Outbox, Payload, Server};
use crate::secret::are_equal;
use crate::wire::{
    Flags, Frame, Header, KeyReply, KeyRequest, MacAddress, Opcode, Status, HEADER_LEN,
};

/// An answer.
struct Answer {
    status: Status,
    cookie: [u8; 16],
    key: u8,
    is_known: bool,
}

impl ServerChannels {
    /// Handles a request whose frame is intact. `is_verified`: its signature was right.
    pub(super) fn handle_request<M: Memory, A: Admission>(
        &mut self,
        now_ns: u64,
        source: MacAddress,
        frame: &Frame<'_>,
        is_verified: bool,
        server: &Server<M, A>,
        out: &mut impl Outbox,
    ) {
        let header = &frame.header;
        let Some((client, pair, request)) = self.named(frame) else {
            count(&mut self.counters.forged);
            return;
        };
        // A signature has cost less than a proof, and nobody can send any number of them. Who floods in the
        // name of one client takes no more than what there is for all, and its reserve.
        if !is_verified && !self.requests.take(now_ns, 1) {
            let one = self.clients.get_mut(client);
            if !one.is_some_and(|one| one.requests.take(now_ns, 1)) {
                count(&mut self.counters.flooded);
                return;
            }
        }
        let proof = pair.prove_request(header, &request, source, self.own);
        let is_proved = proof.is_some_and(|proof| are_equal(&proof, &request.proof));
        if !is_proved && !mutated!(KeyRequestUnproved) {
            count(&mut self.counters.forged);
            return;
        }
        // Only the keys of the request itself are known to be the same on both sides.
        let is_known = is_verified;
        let answer = self.answer(source, header, client, &pair, &request, is_known, server);
        let Some(answer) = answer else {
            return;
        };
        let header = Header {
            incarnation: self.incarnation,
            ..header.answer(Opcode::KeyReply, answer.status)
        };
        let mut reply = KeyReply {
            nonce: request.nonce,
            cookie: answer.cookie,
            key: answer.key,
            is_known: answer.is_known.into(),
            reserved: [0; 14],
            proof: [0; 16],
        };
        let Some(proof) = pair.prove_reply(&header, &reply, self.own, source) else {
            return;
        };
        reply.proof = proof;
        let header = Header {
            payload_crc: M::crc32c(reply.as_bytes()),
            ..header
        };
        let mut bytes = [0; HEADER_LEN];
        // CAST: 64 bytes.
        header.emit_to(&mut bytes, reply.as_bytes().len() as u16, M::crc32c);
        let payload = Payload::Bytes(reply.as_bytes());
        // Its proof is enough, but a signed one takes no place of those that anybody can send.
        let signed = match frame.header.flags.contains(Flags::SIGNED) {
            true => self.sign(
                header.session,
                source,
                Some(client),
                &bytes,
                payload.bytes(),
            ),
            false => None,
        };
        match signed {
            Some(bytes) => out.send(source, &bytes, payload),
            None => out.send(source, &bytes, payload),
        }
    }

    /// The client and the key that a request names, and the request.
    fn named(&self, frame: &Frame<'_>) -> Option<(usize, PairKey, KeyRequest)> {
        let request = KeyRequest::read_from_bytes(frame.payload).ok()?;
        let client = *self.pairs.get(&request.pair)?;
        let mut pairs = self.clients.get(client)?.keyed.keys.iter().flatten();
        let pair = pairs.find(|pair| pair.id() == request.pair)?.clone();
        (frame.header.session != 0).then_some((client, pair, request))
    }

    #[allow(clippy::too_many_arguments, reason = "each is of another kind")]
    fn answer<M: Memory, A: Admission>(
        &mut self,
        source: MacAddress,
        header: &Header,
        client: usize,
        pair: &PairKey,
        request: &KeyRequest,
        is_known: bool,
        server: &Server<M, A>,
    ) -> Option<Answer> {
        let session = header.session;
        let refuse = |status| Answer {
            status,
            cookie: [0; 16],
            key: 0,
            is_known: false,
        };
        let found = self.sessions.get(&(session, client)).copied();
        let Some(cipher) = Cipher::from_u8(request.cipher) else {
            return Some(refuse(Status::NotAdmitted));
        };
        let epoch = self.clients.get(client)?.epoch;
        let cookie = self
            .secret
            .derive(
                "cookie",
                &[
                    &request.pair,
                    &request.nonce,
                    &session.to_be_bytes(),
                    &source.0,
                    &epoch.to_be_bytes(),
                ],
            )?
            .prefix();
        let one = self.clients.get_mut(client)?;
        // A lost answer is repeated.
        let again = found.and_then(|index| {
            let association = one.associations.get(index)?;
            association.accepted(&request.nonce, &request.cookie)
        });
        if let Some(key) = again {
            return Some(Answer {
                status: Status::Ok,
                cookie: request.cookie,
                key,
                is_known,
            });
        }
        let is_current =
            are_equal(&request.cookie, &cookie) && header.incarnation == self.incarnation;
        if !is_current && !mutated!(KeyCookieUnchecked) {
            return Some(Answer {
                status: Status::Cookie,
                cookie,
                key: 0,
                is_known,
            });
        }
        let index = match found {
            Some(index) => index,
            // A client has one open session, so one of the two places is free.
            None => {
                let place = |is_free: &dyn Fn(u64) -> bool| {
                    let mut all = one.associations.iter();
                    all.position(|association| is_free(association.session()))
                };
                place(&|session| session == 0).or_else(|| {
                    place(&|session| !server.has_session_of(one.keyed.identity, session))
                })?
            }
        };
        let association = one.associations.get_mut(index)?;
        if association.session() != session {
            self.sessions.remove(&(association.session(), client));
            association.open(session);
            self.sessions.insert((session, client), index);
        }
        let seed = FrameKeySeed {
            cipher,
            session,
            incarnation: self.incarnation,
            key: request.key,
            nonce: request.nonce,
            cookie: request.cookie,
        };
        if !association.accept(pair, &seed, source) {
            return None;
        }
        count(&mut self.counters.keys);
        let epoch = self.next_epoch();
        if let Some(one) = self.clients.get_mut(client) {
            one.epoch = epoch;
        }
        Some(Answer {
            status: Status::Ok,
            cookie: request.cookie,
            key: seed.key,
            is_known,
        })
    }
}
