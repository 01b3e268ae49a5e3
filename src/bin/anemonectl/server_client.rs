// SPDX-License-Identifier: GPL-2.0

//! A client in the arguments of `keygen server`.

use std::str::FromStr;

use anemone::key_hierarchy::Name;

use crate::size::parse_quota;

/// `NAME[=GENERATION][:QUOTA]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerClient {
    /// Its name.
    pub name: Name,
    /// The generation of its key.
    pub generation: u32,
    /// Its quota, as it was given.
    pub quota: Option<String>,
}

impl FromStr for ServerClient {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (text, quota) = match text.split_once(':') {
            Some((text, quota)) => (text, Some(quota)),
            None => (text, None),
        };
        let (name, generation) = text.split_once('=').unwrap_or((text, "1"));
        if let Some(quota) = quota {
            parse_quota(quota).map_err(|why| format!("the quota '{quota}' is wrong: {why}"))?;
        }
        Ok(Self {
            name: name.parse().map_err(|why| format!("'{name}': {why}"))?,
            generation: generation
                .parse()
                .ok()
                .filter(|&generation| generation != 0)
                .ok_or_else(|| {
                    format!("'{generation}' is no generation: they are 1, 2, and so on")
                })?,
            quota: quota.map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients() {
        for (text, name, generation, quota) in [
            ("web3", "web3", 1, None),
            ("web3=2", "web3", 2, None),
            ("web3:16G", "web3", 1, Some("16G")),
            ("a.b-c_d=4294967295:4096", "a.b-c_d", u32::MAX, Some("4096")),
        ] {
            let client = ServerClient {
                name: name.parse().unwrap(),
                generation,
                quota: quota.map(str::to_owned),
            };
            assert_eq!(text.parse(), Ok(client), "{text}");
        }
        for text in [
            "",
            "=1",
            ":1G",
            "a=",
            "a=0",
            "a=-1",
            "a=x",
            "a=4294967296",
            "a:",
            "a:16",
            "a:1G=2",
            "a b",
            "a:1G:2G",
            "a:1G\"",
        ] {
            assert!(text.parse::<ServerClient>().is_err(), "{text}");
        }
    }
}
