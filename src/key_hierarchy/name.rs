// SPDX-License-Identifier: GPL-2.0

//! The name of a server or of a client.

/// A name: 1 to 64 characters of `A` to `Z`, `a` to `z`, `0` to `9`, `.`, `_` and `-`.
///
/// # Invariants
///
/// The first `len` bytes are such characters, the others zeros.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    bytes: [u8; Self::MAX_LEN],
    len: u8,
}

/// The text is not a [`Name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadName;

impl core::fmt::Display for BadName {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("a name has 1 to 64 characters of A-Z, a-z, 0-9, '.', '_' and '-'")
    }
}

impl core::error::Error for BadName {}

impl Name {
    /// The most characters of a name.
    pub const MAX_LEN: usize = 64;

    /// Its characters.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len.into()).unwrap_or_default()
    }
}

impl core::str::FromStr for Name {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let is_right = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let mut bytes = [0; Self::MAX_LEN];
        let place = bytes.get_mut(..text.len()).ok_or(BadName)?;
        if text.is_empty() || !text.bytes().all(is_right) {
            return Err(BadName);
        }
        place.copy_from_slice(text.as_bytes());
        // CAST: at most 64.
        let len = text.len() as u8;
        Ok(Self { bytes, len })
    }
}

impl core::fmt::Display for Name {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // All are ASCII.
        f.write_str(core::str::from_utf8(self.bytes()).unwrap_or_default())
    }
}

impl core::fmt::Debug for Name {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn names() {
        let longest = "x".repeat(64);
        for text in ["a", "web3", "Web-3.example_org", ".", longest.as_str()] {
            let name: Name = text.parse().unwrap();
            assert_eq!(name.to_string(), text);
            assert_eq!(name.bytes(), text.as_bytes());
        }
        let too_long = "x".repeat(65);
        for text in [
            "",
            "a b",
            "a/b",
            "a:1",
            "a=1",
            "ä",
            "a\n",
            "a\0",
            too_long.as_str(),
        ] {
            assert_eq!(text.parse::<Name>(), Err(BadName), "{text:?}");
        }
    }

    #[test]
    fn names_differ_by_case_and_length() {
        let name = |text: &str| text.parse::<Name>().unwrap();
        assert_ne!(name("a"), name("A"));
        assert_ne!(name("a"), name("aa"));
    }
}
