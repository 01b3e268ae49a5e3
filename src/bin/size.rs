// SPDX-License-Identifier: GPL-2.0

//! Sizes on command lines and in files. The programs share this file.

use anemone::wire::PAGE_SIZE;

/// Parses bytes, or a number with K, M, G or T.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or_default();
    let shift = match unit
        .to_ascii_uppercase()
        .trim_end_matches('B')
        .trim_end_matches('I')
    {
        "" if !unit.to_ascii_uppercase().starts_with('I') => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err(format!("unknown unit '{unit}': one of K, M, G, T")),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| "not a number, with or without a unit".to_owned())?;
    match number.checked_mul(1 << shift) {
        Some(0) => Err("must not be 0".to_owned()),
        Some(bytes) => Ok(bytes),
        None => Err("too large".to_owned()),
    }
}

/// [`parse_size`] of at least a page.
pub fn parse_quota(text: &str) -> Result<u64, String> {
    let bytes = parse_size(text)?;
    if bytes < PAGE_SIZE as u64 {
        return Err("less than a page; is the unit missing?".to_owned());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("1", 1),
            ("4096", 4096),
            ("2K", 2048),
            ("512M", 512 << 20),
            ("512MiB", 512 << 20),
            ("512mb", 512 << 20),
            ("4G", 4 << 30),
            ("1T", 1 << 40),
            ("7B", 7),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "M",
            "0",
            "0G",
            "-1",
            "1.5G",
            "12X",
            "12iB",
            "99999999999T",
            "1 G",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn quotas_have_a_page() {
        assert_eq!(parse_quota("4096"), Ok(4096));
        for text in ["4095", "16", "0", "16Q"] {
            assert!(parse_quota(text).is_err(), "{text}");
        }
    }
}
