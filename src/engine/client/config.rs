// SPDX-License-Identifier: GPL-2.0

//! Settings of an administrator, and how they must fit together.

use super::ids::MAX_REPLICAS;

/// Default of the seconds that a request may wait for a copy that may still return.
pub const DEFAULT_IO_TIMEOUT_S: u32 = 60;

/// Default of how many of a hundred page-ins may ask a second replica early.
pub const DEFAULT_HEDGE_PERCENT: u32 = 5;

/// Default of the most pages that are copied in the background in a second: a tenth of what a
/// gigabit carries, for reading and writing each.
pub const DEFAULT_REPAIR_PAGES_PER_S: u32 = 10_000;

/// Default of the loss timeout: seconds for which a server has been suspected when its copies no
/// longer count.
pub const DEFAULT_LOSS_TIMEOUT_S: u32 = 30;

/// Nanoseconds of a second.
pub const NS_PER_S: u64 = 1_000_000_000;

/// The client's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Copies wanted of a page, 1 to [`MAX_REPLICAS`].
    pub replicas: usize,
    /// Copies that a page-out needs to complete, 1 to `replicas`.
    pub min_copies: usize,
    /// How long a request may wait, in nanoseconds.
    pub io_timeout_ns: u64,
}

/// A value that is out of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// `replicas` is not 1 to [`MAX_REPLICAS`].
    Replicas,
    /// `min_copies` is not 1 to `replicas`.
    MinCopies,
    /// The I/O timeout is not 1 s to a day.
    IoTimeout,
}

impl Config {
    /// Checks the three values.
    pub fn new(replicas: u32, min_copies: u32, io_timeout_s: u32) -> Result<Self, ConfigError> {
        let replicas = replicas as usize;
        let min_copies = min_copies as usize;
        if !(1..=MAX_REPLICAS).contains(&replicas) {
            return Err(ConfigError::Replicas);
        }
        if !(1..=replicas).contains(&min_copies) {
            return Err(ConfigError::MinCopies);
        }
        if !(1..=86_400).contains(&io_timeout_s) {
            return Err(ConfigError::IoTimeout);
        }
        Ok(Self {
            replicas,
            min_copies,
            io_timeout_ns: u64::from(io_timeout_s).wrapping_mul(NS_PER_S),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert!(Config::new(2, 1, 60).is_ok());
        assert_eq!(Config::new(0, 1, 60), Err(ConfigError::Replicas));
        assert_eq!(Config::new(4, 1, 60), Err(ConfigError::Replicas));
        assert_eq!(Config::new(2, 0, 60), Err(ConfigError::MinCopies));
        assert_eq!(Config::new(2, 3, 60), Err(ConfigError::MinCopies));
        assert_eq!(Config::new(2, 1, 0), Err(ConfigError::IoTimeout));
        assert_eq!(Config::new(2, 1, 86_401), Err(ConfigError::IoTimeout));
    }
}
