// SPDX-License-Identifier: GPL-2.0

//! The keys that follow from the one that an administrator keeps: a key for each server, from that a key for
//! each of its clients. And the identity by which servers know a client that has a name.
//!
//! The derivations: `docs/protocol.md`, "Keys".

mod name;

pub use name::{BadName, Name};

use crate::engine::channel::PairKey;
use crate::secret::Secret;
use crate::wire::ClientId;

/// The administrator's key. All others follow from it.
#[derive(Clone, Debug)]
pub struct MasterKey(Secret);

impl MasterKey {
    /// The key that consists of these bytes.
    pub fn new(secret: Secret) -> Self {
        Self(secret)
    }

    /// The key of a server. A name is not used for a second one: the first one would know its key.
    pub fn server_key(&self, server: &Name) -> ServerKey {
        ServerKey(derive(&self.0, "anemone server", &[server.bytes()]))
    }
}

/// The key of a server. The keys that it shares with its clients follow from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerKey(Secret);

impl ServerKey {
    /// The key that consists of these bytes.
    pub fn new(secret: Secret) -> Self {
        Self(secret)
    }

    /// Its bytes.
    pub fn secret(&self) -> &Secret {
        &self.0
    }

    /// The bytes of the key that the server shares with a client in a generation.
    pub fn pair_secret(&self, client: &Name, generation: u32) -> Secret {
        derive(
            &self.0,
            "anemone client",
            &[client.bytes(), &generation.to_be_bytes()],
        )
    }

    /// [`Self::pair_secret`] as a key.
    pub fn pair_key(&self, client: &Name, generation: u32) -> PairKey {
        PairKey::new(self.pair_secret(client, generation)).expect("a label always fits")
    }
}

/// The identity of a client that has a name. It is no secret.
pub fn client_identity(client: &Name) -> ClientId {
    let nothing = Secret::new(&[0; Secret::LEN]);
    ClientId(derive(&nothing, "anemone client identity", &[client.bytes()]).prefix())
}

fn derive(secret: &Secret, label: &str, inputs: &[&[u8]]) -> Secret {
    secret
        .derive(label, inputs)
        .expect("a label, a name and a number always fit")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::String;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn server_key() -> ServerKey {
        let bytes = core::array::from_fn(|index| index as u8);
        MasterKey::new(Secret::new(&bytes)).server_key(&name("alpha"))
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Computed by another implementation (Python's `hmac`).
    #[test]
    fn vectors() {
        let server = server_key();
        assert_eq!(
            hex(server.secret().bytes()),
            "9b1d5d40270c4855509c76cc196d9d115dc840f390e0fc7e17a72ef9e9194d8d"
        );
        let pair = |generation| hex(server.pair_secret(&name("web3"), generation).bytes());
        assert_eq!(
            pair(1),
            "6925be98e1083da0783bf381db58893bc7e968ad7333feeb44de17c7531f9630"
        );
        assert_eq!(
            pair(2),
            "3cbc1f56f7e8736ed0273f43f625ddb6b294b385e691fbf386fb66ba02f6b9d1"
        );
        assert_eq!(
            hex(&server.pair_key(&name("web3"), 1).id()),
            "f44983a2a51c57e6a4a858057e358b6e"
        );
        assert_eq!(
            hex(&client_identity(&name("web3")).0),
            "ec2795dda8627c51ee1cb22576f12cc0"
        );
    }

    #[test]
    fn keys_differ_by_name_and_generation() {
        let server = server_key();
        let key = |client: &str, generation| server.pair_secret(&name(client), generation);
        let all = [key("a", 1), key("a", 2), key("b", 1), key("a", 256)];
        for (at, one) in all.iter().enumerate() {
            assert!(all[..at].iter().all(|other| other != one), "{at}");
        }
        let master = MasterKey::new(Secret::new(&[7; 32]));
        assert_ne!(master.server_key(&name("a")), master.server_key(&name("b")));
        assert_ne!(client_identity(&name("a")), client_identity(&name("b")));
    }

    #[test]
    fn the_longest_names_fit() {
        let longest = name(&"x".repeat(Name::MAX_LEN));
        let master = MasterKey::new(Secret::new(&[7; 32]));
        let server = master.server_key(&longest);
        server.pair_key(&longest, u32::MAX);
        client_identity(&longest);
    }
}
