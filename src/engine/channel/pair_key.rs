// SPDX-License-Identifier: GPL-2.0

//! The key that a client and a server share, and what follows from it.
//!
//! The derivations: `docs/protocol.md`, "Keys".

use zerocopy::IntoBytes;

use crate::aead::Cipher;
use crate::secret::Secret;
use crate::wire::{Flags, Header, KeyReply, KeyRequest, MacAddress, HEADER_LEN};

/// Bytes of a proof, which is the last part of a payload.
const PROOF_LEN: u16 = 16;

/// Bytes of a request's payload that its proof covers: all before it. An answer has fewer.
const PROVED_LEN: usize = size_of::<KeyRequest>() - PROOF_LEN as usize;

/// Bytes that a proof covers.
const TEXT_LEN: usize = HEADER_LEN + PROVED_LEN + 12;

/// The key of a client and a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairKey {
    secret: Secret,
    id: [u8; 16],
}

/// Who sends the frames that a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The client.
    ToServer = 1,
    /// The server.
    ToClient = 2,
}

/// From what the keys of a session follow, besides the pair's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameKeySeed {
    /// The algorithm.
    pub cipher: Cipher,
    /// The session.
    pub session: u64,
    /// The server's incarnation.
    pub incarnation: u64,
    /// The number of the keys.
    pub key: u8,
    /// The client's nonce.
    pub nonce: [u8; 16],
    /// The server's cookie.
    pub cookie: [u8; 16],
}

impl PairKey {
    /// The key that consists of these secret bytes.
    pub fn new(secret: Secret) -> Option<Self> {
        let id = secret.derive("anemone pair", &[])?.prefix();
        Some(Self { secret, id })
    }

    /// By which a server finds the key. It tells nothing about the key.
    pub fn id(&self) -> [u8; 16] {
        self.id
    }

    /// The key of one direction of a session.
    pub fn frame_key(&self, seed: &FrameKeySeed, direction: Direction) -> Option<Secret> {
        self.secret.derive(
            "anemone frames",
            &[
                &[direction as u8, seed.cipher as u8, seed.key],
                &seed.session.to_be_bytes(),
                &seed.incarnation.to_be_bytes(),
                &seed.nonce,
                &seed.cookie,
            ],
        )
    }

    /// The proof of a KEY_REQUEST.
    pub fn prove_request(
        &self,
        header: &Header,
        request: &KeyRequest,
        source: MacAddress,
        destination: MacAddress,
    ) -> Option<[u8; 16]> {
        let payload = request.as_bytes().get(..PROVED_LEN)?;
        self.prove("anemone key request", header, payload, source, destination)
    }

    /// The proof of a KEY_REPLY.
    pub fn prove_reply(
        &self,
        header: &Header,
        reply: &KeyReply,
        source: MacAddress,
        destination: MacAddress,
    ) -> Option<[u8; 16]> {
        let payload = reply
            .as_bytes()
            .get(..size_of::<KeyReply>() - usize::from(PROOF_LEN))?;
        self.prove("anemone key reply", header, payload, source, destination)
    }

    fn prove(
        &self,
        label: &str,
        header: &Header,
        payload: &[u8],
        source: MacAddress,
        destination: MacAddress,
    ) -> Option<[u8; 16]> {
        let mut text = [0; TEXT_LEN];
        let (head, rest) = text.split_first_chunk_mut::<HEADER_LEN>()?;
        // As it is without a signature, which may be added later, and with no checksum of the payload.
        let header = Header {
            flags: Flags::default(),
            payload_crc: 0,
            ..*header
        };
        let payload_len = u16::try_from(payload.len()).ok()?.checked_add(PROOF_LEN)?;
        header.emit_to(head, payload_len, |_| 0);
        let (place, rest) = rest.split_at_mut_checked(payload.len())?;
        place.copy_from_slice(payload);
        let addresses = source.0.into_iter().chain(destination.0);
        rest.iter_mut()
            .zip(addresses)
            .for_each(|(to, from)| *to = from);
        let key = self.secret.derive(label, &[])?;
        Some(Secret::new(&crate::hmac::hmac_sha256(key.bytes(), &text)).prefix())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Opcode;

    fn pair(byte: u8) -> PairKey {
        PairKey::new(Secret::new(&[byte; 32])).unwrap()
    }

    fn seed() -> FrameKeySeed {
        FrameKeySeed {
            cipher: Cipher::AesGcm,
            session: 1,
            incarnation: 2,
            key: 3,
            nonce: [4; 16],
            cookie: [5; 16],
        }
    }

    #[test]
    fn frame_keys_depend_on_everything() {
        let base = seed();
        let key = |seed: &FrameKeySeed| pair(1).frame_key(seed, Direction::ToServer).unwrap();
        let all = [
            key(&base),
            pair(2).frame_key(&base, Direction::ToServer).unwrap(),
            pair(1).frame_key(&base, Direction::ToClient).unwrap(),
            key(&FrameKeySeed {
                cipher: Cipher::ChaCha20Poly1305,
                ..base
            }),
            key(&FrameKeySeed { session: 9, ..base }),
            key(&FrameKeySeed {
                incarnation: 9,
                ..base
            }),
            key(&FrameKeySeed { key: 9, ..base }),
            key(&FrameKeySeed {
                nonce: [9; 16],
                ..base
            }),
            key(&FrameKeySeed {
                cookie: [9; 16],
                ..base
            }),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(all[..at].iter().all(|other| other != one), "{at}");
        }
    }

    #[test]
    fn a_proof_covers_header_payload_and_addresses() {
        let (pair, header) = (pair(1), Header::new(Opcode::KeyRequest));
        let request = KeyRequest {
            pair: pair.id(),
            nonce: [1; 16],
            cookie: [2; 16],
            cipher: 0,
            key: 0,
            reserved: [0; 14],
            proof: [0; 16],
        };
        let (a, b) = (MacAddress([2; 6]), MacAddress([4; 6]));
        let good = pair.prove_request(&header, &request, a, b).unwrap();
        assert_eq!(pair.prove_request(&header, &request, a, b), Some(good));
        let proof = [9; 16];
        let same = KeyRequest { proof, ..request };
        assert_eq!(pair.prove_request(&header, &same, a, b), Some(good));
        assert_ne!(pair.prove_request(&header, &request, b, a), Some(good));
        for byte in 0..size_of::<KeyRequest>() - 16 {
            let mut other = request;
            other.as_mut_bytes()[byte] ^= 1;
            assert_ne!(pair.prove_request(&header, &other, a, b), Some(good));
        }
        for other in [
            Header {
                session: 1,
                ..header
            },
            Header {
                incarnation: 1,
                ..header
            },
            Header {
                attempt: 1,
                ..header
            },
            Header {
                low_water: 1,
                ..header
            },
        ] {
            assert_ne!(pair.prove_request(&other, &request, a, b), Some(good));
        }
        // An answer's proof is another one, of the same bytes too.
        let reply = KeyReply {
            nonce: [1; 16],
            cookie: [2; 16],
            key: 0,
            is_known: 0,
            reserved: [0; 14],
            proof: [0; 16],
        };
        assert_ne!(pair.prove_reply(&header, &reply, a, b), Some(good));
    }
}
