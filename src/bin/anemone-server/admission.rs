// SPDX-License-Identifier: GPL-2.0

//! Which clients are admitted, and the cookies that prove that a client has its address.

use std::collections::HashMap;
use std::hash::Hasher;

use anemone::engine::server::{Admission, CookieClaim};
use anemone::wire::{ClientId, MacAddress};
use siphasher::sip::SipHasher24;
use zerocopy::IntoBytes;

use crate::arguments::Allowed;

/// The list of admitted clients, their quotas, and the key of the cookies.
pub struct CookieAdmission {
    key: [u8; 16],
    allowed: Vec<Allowed>,
    quotas: HashMap<ClientId, u64>,
}

impl CookieAdmission {
    /// Admits the clients on the list, or all if it is empty. The key is random.
    pub fn new(key: [u8; 16], allowed: Vec<Allowed>) -> Self {
        Self {
            key,
            allowed,
            quotas: HashMap::new(),
        }
    }

    /// Sets the quotas, in pages, of clients that have their own.
    pub fn set_quotas(&mut self, quotas: HashMap<ClientId, u64>) {
        self.quotas = quotas;
    }
}

impl Admission for CookieAdmission {
    fn cookie(&self, claim: &CookieClaim) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(claim.as_bytes());
        hasher.finish()
    }

    fn nonce(&mut self) -> u64 {
        crate::random().expect("the kernel gives 8 random bytes at once")
    }

    fn quota_pages(&self, client: ClientId) -> Option<u64> {
        self.quotas.get(&client).copied()
    }

    fn admits(&self, client: ClientId, mac: MacAddress) -> bool {
        self.allowed.is_empty()
            || self.allowed.iter().any(|&allowed| match allowed {
                Allowed::Client(one) => one == client,
                Allowed::Mac(one) => one == mac,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_followed() {
        let (client, mac) = (ClientId([1; 16]), MacAddress([2; 6]));
        let admits = |allowed: &[Allowed]| {
            CookieAdmission::new([0; 16], allowed.to_vec()).admits(client, mac)
        };
        assert!(admits(&[]));
        assert!(admits(&[
            Allowed::Mac(MacAddress([9; 6])),
            Allowed::Mac(mac)
        ]));
        assert!(admits(&[Allowed::Client(client)]));
        assert!(!admits(&[Allowed::Client(ClientId([2; 16]))]));
    }

    #[test]
    fn cookies_depend_on_key_and_claim() {
        let claim = CookieClaim {
            client: ClientId([1; 16]),
            session: 2.into(),
            incarnation: 3.into(),
            epoch: 4.into(),
            mac: [5; 6],
            reserved: [0; 2],
        };
        let other = CookieClaim {
            mac: [6; 6],
            ..claim
        };
        let cookie = |key: u8, claim| CookieAdmission::new([key; 16], Vec::new()).cookie(claim);
        assert_eq!(cookie(1, &claim), cookie(1, &claim));
        assert_ne!(cookie(1, &claim), cookie(2, &claim));
        assert_ne!(cookie(1, &claim), cookie(1, &other));
    }
}
