// SPDX-License-Identifier: GPL-2.0

//! The room that the servers have for a device, and whether the device may be larger.

/// The room of the servers that have answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerRoom {
    /// How many servers these are.
    pub servers: usize,
    /// Pages that they have room for.
    pub offered_pages: u64,
    /// Pages that fit in as many copies as wanted, or one on each server if there are fewer.
    pub fitting_pages: u64,
    /// How many copies that is.
    pub copies: usize,
}

/// Whether a device fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It does, or nothing is known.
    Fits,
    /// It is larger than the room, and may be.
    Exceeds,
    /// It is too large: a program that grows into the rest would get no memory.
    TooLarge,
}

impl ServerRoom {
    /// The room of servers with this many pages each; 0 for a server that has not answered.
    pub fn new(rooms: &[u64], replicas: usize) -> Self {
        let servers = rooms.iter().filter(|room| **room > 0).count();
        let copies = replicas.min(servers);
        Self {
            servers,
            offered_pages: sum(rooms),
            fitting_pages: pages_for(rooms, copies),
            copies,
        }
    }

    /// Whether a device of `pages` pages fits. `is_complete`: all servers have answered. `may_exceed`: the
    /// administrator allows it, or a local disk takes the pages that do not fit.
    pub fn fit(&self, pages: u64, is_complete: bool, may_exceed: bool) -> Fit {
        // A server has a little less room for pages than it was configured with.
        let is_close = pages <= self.fitting_pages.saturating_add(self.fitting_pages / 16);
        if self.servers == 0 || pages <= self.fitting_pages {
            Fit::Fits
        } else if is_close || may_exceed || !is_complete {
            Fit::Exceeds
        } else {
            Fit::TooLarge
        }
    }
}

fn sum(rooms: &[u64]) -> u64 {
    rooms
        .iter()
        .fold(0, |sum: u64, room| sum.saturating_add(*room))
}

/// How many pages fit on servers with this much room each, if each page is to be on `copies` different ones.
fn pages_for(rooms: &[u64], copies: usize) -> u64 {
    // CAST: a small number.
    let copies = copies as u64;
    let fit = |pages: u64| {
        let held = rooms
            .iter()
            .fold(0_u64, |sum, room| sum.saturating_add((*room).min(pages)));
        held >= pages.saturating_mul(copies)
    };
    if copies == 0 {
        return 0;
    }
    let (mut fits, mut most) = (0_u64, sum(rooms).checked_div(copies).unwrap_or(0));
    while fits < most {
        // Rounded up, so that the loop ends.
        let middle = most.saturating_sub(most.saturating_sub(fits) / 2);
        match fit(middle) {
            true => fits = middle,
            false => most = middle.saturating_sub(1),
        }
    }
    fits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_fit_as_long_as_different_servers_have_room() {
        let fits = |rooms: &[u64], replicas| ServerRoom::new(rooms, replicas).fitting_pages;
        assert_eq!(fits(&[], 2), 0);
        assert_eq!(fits(&[100], 1), 100);
        assert_eq!(fits(&[100], 2), 100, "one server has them all");
        assert_eq!(fits(&[100, 100], 2), 100);
        assert_eq!(fits(&[1000, 100], 2), 100);
        assert_eq!(fits(&[1000, 100], 1), 1100);
        assert_eq!(fits(&[100, 100, 100], 2), 150);
        assert_eq!(fits(&[1000, 100, 100], 2), 200);
        assert_eq!(fits(&[10, 20, 30, 40], 3), 30);
        assert_eq!(fits(&[1 << 40, 1 << 40, 0], 2), 1 << 40);
        assert_eq!(fits(&[u64::MAX; 3], 1), u64::MAX, "saturates");
    }

    #[test]
    fn a_device_that_is_much_larger_than_the_room_is_refused_unless_that_is_allowed() {
        let room = ServerRoom::new(&[0, 1000, 0, 1000, 600], 2);
        assert_eq!((room.servers, room.copies), (3, 2));
        assert_eq!((room.offered_pages, room.fitting_pages), (2600, 1300));
        assert_eq!(room.fit(1300, true, false), Fit::Fits);
        assert_eq!(room.fit(1381, true, false), Fit::Exceeds, "it is close");
        assert_eq!(room.fit(1382, true, false), Fit::TooLarge);
        assert_eq!(room.fit(1 << 40, true, true), Fit::Exceeds);
        assert_eq!(room.fit(1 << 40, false, false), Fit::Exceeds);
        assert_eq!(ServerRoom::new(&[0, 0], 2).fit(1, true, false), Fit::Fits);
    }
}
