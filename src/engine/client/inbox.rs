// SPDX-License-Identifier: GPL-2.0

//! Control frames that wait for the worker, oldest first.
//!
//! An announcement has no session, so any station can send any number in the name of a known
//! server. So announcements get only a share of the places, and each sender one of these: its
//! newest announcement replaces the older one. The rest is for frames of our sessions, which cannot
//! be forged: answers to pings, acknowledgements.

use core::ops::DerefMut;

use super::ring::Ring;
use crate::wire::MacAddress;

/// Control frames that may wait.
pub const INBOX_FRAMES: usize = 64;

/// Announcements among them.
const ANNOUNCEMENTS: usize = 16;

/// A frame that can wait.
pub trait Waiting {
    /// The sender, if the frame is an announcement.
    fn announces(&self) -> Option<MacAddress>;
}

/// Received control frames.
pub struct Inbox<S> {
    frames: Ring<S>,
    announcements: usize,
}

impl<T: Waiting, S: DerefMut<Target = [Option<T>]>> Inbox<S> {
    /// An empty inbox. `frames` has [`INBOX_FRAMES`] elements, all `None`.
    pub fn new(frames: S) -> Self {
        Self {
            frames: Ring::new(frames),
            announcements: 0,
        }
    }

    /// Adds a frame. Returns whether there was room for its kind.
    pub fn put(&mut self, frame: T) -> bool {
        let source = frame.announces();
        if source.is_some() {
            if let Some(older) = self
                .frames
                .places_mut()
                .iter_mut()
                .flatten()
                .find(|older| older.announces() == source)
            {
                *older = frame;
                return true;
            }
            if self.announcements >= ANNOUNCEMENTS {
                return false;
            }
        }
        let has_room = self.frames.put(Some(frame));
        self.announcements = self
            .announcements
            .wrapping_add(usize::from(has_room && source.is_some()));
        has_room
    }

    /// Whether no frame waits.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Takes the first frame.
    pub fn take(&mut self) -> Option<T> {
        let frame = self.frames.take()??;
        if frame.announces().is_some() {
            self.announcements = self.announcements.wrapping_sub(1);
        }
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::vec::Vec;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Said {
        /// The sender, and which of its announcements.
        Announcement(u8, u32),
        Pong(u32),
    }

    impl Waiting for Said {
        fn announces(&self) -> Option<MacAddress> {
            match self {
                Self::Announcement(number, _) => Some(MacAddress([2, 0, 0, 0, 0, *number])),
                Self::Pong(_) => None,
            }
        }
    }

    fn inbox() -> Inbox<Vec<Option<Said>>> {
        Inbox::new(std::vec![None; INBOX_FRAMES])
    }

    fn all(inbox: &mut Inbox<Vec<Option<Said>>>) -> Vec<Said> {
        core::iter::from_fn(|| inbox.take()).collect()
    }

    #[test]
    fn frames_come_out_as_they_went_in() {
        let mut inbox = inbox();
        for turn in 0..1000 {
            let frames = [
                Said::Pong(turn),
                Said::Announcement(1, turn),
                Said::Pong(turn + 1),
            ];
            for frame in frames {
                assert!(inbox.put(frame));
            }
            assert_eq!(all(&mut inbox), frames);
            assert!(inbox.is_empty());
        }
    }

    #[test]
    fn a_flood_of_announcements_leaves_answers_their_room() {
        for senders in [1, 32, 255] {
            let mut inbox = inbox();
            for turn in 0..10_000 {
                inbox.put(Said::Announcement((turn % senders) as u8, turn));
            }
            let mut pongs = 0;
            while inbox.put(Said::Pong(pongs)) {
                pongs += 1;
                inbox.put(Said::Announcement(0, pongs));
            }
            assert!(pongs >= 48, "{senders} senders: {pongs} answers");
            let out = all(&mut inbox);
            let answers = out.iter().filter(|said| matches!(said, Said::Pong(_)));
            assert_eq!(answers.count(), pongs as usize);
            assert_eq!(out.len(), INBOX_FRAMES);
            // Once they are taken, there is room for others.
            assert!(inbox.put(Said::Announcement(77, 0)));
        }
    }

    #[test]
    fn of_each_servers_announcements_the_newest_is_kept() {
        let mut inbox = inbox();
        for turn in 0..100 {
            assert!(inbox.put(Said::Announcement(1, turn)));
        }
        // A flood in one server's name does not replace another's.
        assert!(inbox.put(Said::Announcement(2, 7)));
        assert_eq!(
            all(&mut inbox),
            [Said::Announcement(1, 99), Said::Announcement(2, 7)]
        );
    }

    #[test]
    fn full_is_full() {
        let mut inbox = inbox();
        for turn in 0..64 {
            assert!(inbox.put(Said::Pong(turn)));
        }
        assert!(!inbox.put(Said::Pong(64)));
        assert!(!inbox.put(Said::Announcement(1, 0)));
        assert_eq!(inbox.take(), Some(Said::Pong(0)));
        assert!(inbox.put(Said::Pong(64)));
        assert_eq!(all(&mut inbox).last(), Some(&Said::Pong(64)));
    }
}
