// SPDX-License-Identifier: GPL-2.0

//! The file with the keys that this server shares with its clients.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anemone::engine::channel::server::KeyedClient;
use anemone::key_hierarchy::{client_identity, Name, ServerKey};
use anemone::secret::Secret;
use anemone::wire::{ClientId, PAGE_SIZE};
use rustix::process::geteuid;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use toml::Spanned;
use zeroize::Zeroizing;

use crate::secret_file::SecretFile;
use crate::size::parse_quota;

/// The most bytes of a file.
const MAX_LEN: usize = 16 << 20;

/// What the file says.
pub struct KeyFile {
    /// The server's name.
    pub server: Name,
    /// Its clients. No two have the same name.
    clients: Vec<Client>,
}

/// A client.
struct Client {
    keyed: KeyedClient,
    quota_pages: Option<u64>,
}

/// What is new in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Clients that were not in the one before.
    pub added: usize,
    /// Clients that are not in it any more.
    pub removed: usize,
    /// Clients with another key or another quota.
    pub changed: usize,
}

impl KeyFile {
    /// Reads it. It is refused if other users may use it, or if it has more than `most` clients.
    pub fn read(path: &Path, most: u16) -> Result<Self, String> {
        let name = path.display();
        let file = SecretFile::open(path)?;
        let owner = file.metadata.uid();
        let own = geteuid().as_raw();
        if owner != own && owner != 0 {
            return Err(format!(
                "{name} belongs to user {owner}, who could change it: chown {own} {name}"
            ));
        }
        let bytes = file.read(MAX_LEN + 1);
        let bytes = bytes.map_err(|error| format!("cannot read {name}: {error}"))?;
        if bytes.len() > MAX_LEN {
            return Err(format!("{name} is too long: at most {} MiB", MAX_LEN >> 20));
        }
        let text = std::str::from_utf8(&bytes).map_err(|error| {
            let line = line_at(&bytes, error.valid_up_to());
            format!("{name}, line {line}: not UTF-8 text")
        })?;
        let file = Self::parse(text).map_err(|wrong| {
            let line = line_at(text.as_bytes(), wrong.at);
            format!("{name}, line {line}: {}", wrong.why)
        })?;
        let count = file.clients.len();
        if count > most.into() {
            return Err(format!(
                "{name} has {count} clients, more than --max-clients {most}: start the server with \
                 --max-clients {count}, or remove clients"
            ));
        }
        Ok(file)
    }

    fn parse(text: &str) -> Result<Self, Wrong> {
        let document: Document = toml::from_str(text)?;
        let key = ServerKey::new(document.key);
        let mut names = HashSet::new();
        let mut clients = Vec::with_capacity(document.client.len());
        for entry in document.client {
            let name = entry.name.get_ref().0;
            if !names.insert(name) {
                return Err(Wrong {
                    at: entry.name.span().start,
                    why: format!("there are two clients '{name}': remove one"),
                });
            }
            let generation = entry.generation;
            let before = generation.checked_sub(1).filter(|&before| before > 0);
            let before = before.filter(|_| entry.accept_previous);
            let keyed = KeyedClient {
                identity: client_identity(&name),
                keys: [Some(generation), before]
                    .map(|generation| Some(key.pair_key(&name, generation?))),
            };
            clients.push(Client {
                keyed,
                quota_pages: entry.quota.map(|bytes| bytes / PAGE_SIZE as u64),
            });
        }
        Ok(Self {
            server: document.server.0,
            clients,
        })
    }

    /// Number of clients.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// The clients and their keys.
    pub fn keyed_clients(&self) -> Vec<KeyedClient> {
        self.clients
            .iter()
            .map(|client| client.keyed.clone())
            .collect()
    }

    /// The quotas, in pages, of clients that have their own.
    pub fn quotas(&self) -> HashMap<ClientId, u64> {
        let own = |client: &Client| Some((client.keyed.identity, client.quota_pages?));
        self.clients.iter().filter_map(own).collect()
    }

    /// What is new in this one, compared with the one before.
    pub fn changes_since(&self, before: &Self) -> Changes {
        let identity = |client: &Client| client.keyed.identity;
        let old: HashMap<_, _> = before
            .clients
            .iter()
            .map(|one| (identity(one), one))
            .collect();
        let mut changes = Changes::default();
        for client in &self.clients {
            match old.get(&identity(client)) {
                None => changes.added += 1,
                Some(old) => {
                    let is_same = old.keyed.keys == client.keyed.keys
                        && old.quota_pages == client.quota_pages;
                    changes.changed += usize::from(!is_same);
                }
            }
        }
        changes.removed = before.clients.len() - (self.clients.len() - changes.added);
        changes
    }
}

/// What is wrong with a text, and where.
#[derive(Debug)]
struct Wrong {
    at: usize,
    why: String,
}

impl From<toml::de::Error> for Wrong {
    /// The error's own text shows the line, which may be the key.
    fn from(error: toml::de::Error) -> Self {
        let message = error.message();
        let why = match message
            .split_once(" string \"")
            .zip(message.rsplit_once(", expected "))
        {
            // So does this message.
            Some(((what, _), (_, expected))) => format!("{what}, expected {expected}"),
            None => message.replace('\n', "; "),
        };
        let why = without_long_words(&why);
        let at = error.span().map_or(0, |span| span.start);
        Self { at, why }
    }
}

/// The text without what may be a key.
fn without_long_words(text: &str) -> String {
    let words = text.split_inclusive(|c: char| !c.is_ascii_alphanumeric());
    let kept = words.map(|word| match word.len() {
        0..=Secret::LEN => word,
        _ => "... ",
    });
    kept.collect()
}

/// The number of the line that has this byte.
fn line_at(text: &[u8], at: usize) -> usize {
    let before = text.get(..at).unwrap_or(text);
    1 + before.iter().filter(|&&byte| byte == b'\n').count()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    server: NameText,
    #[serde(deserialize_with = "key")]
    key: Secret,
    #[serde(default)]
    client: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: Spanned<NameText>,
    #[serde(default = "first", deserialize_with = "generation")]
    generation: u32,
    #[serde(default = "yes")]
    accept_previous: bool,
    #[serde(default, deserialize_with = "quota")]
    quota: Option<u64>,
}

fn first() -> u32 {
    1
}

fn yes() -> bool {
    true
}

struct NameText(Name);

impl<'de> Deserialize<'de> for NameText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(D::Error::custom)
    }
}

fn key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    let text = Zeroizing::new(String::deserialize(deserializer)?);
    let mut bytes = Zeroizing::new([0; Secret::LEN]);
    let decoded = base16ct::mixed::decode(text.as_bytes(), &mut bytes[..]);
    match decoded.map(<[u8]>::len) {
        Ok(Secret::LEN) => Ok(Secret::new(&bytes)),
        _ => Err(D::Error::custom(
            "the key is not 64 hexadecimal digits: take the line that 'anemonectl keygen server' prints",
        )),
    }
}

fn generation<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        0 => Err(D::Error::custom("the first generation is 1, not 0")),
        generation => Ok(generation),
    }
}

fn quota<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wrong = |why| D::Error::custom(format!("the quota '{text}' is wrong: {why}"));
    parse_quota(&text).map(Some).map_err(wrong)
}

#[cfg(test)]
mod tests;
