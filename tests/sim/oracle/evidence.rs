// SPDX-License-Identifier: GPL-2.0

//! What the oracle can observe from outside the engine.

use crate::content::{Bytes, Content};
use crate::server::Copy;

/// A server that a client counts as holding a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub server: usize,
    pub incarnation: u64,
}

/// What can be observed from outside the engine.
pub trait Evidence {
    /// Copies of a page on any server, including those of earlier starts.
    fn copies(&self, client: usize, page: u32, content: Content) -> Vec<Copy>;

    /// The servers that the client counts as holding the page's newest version; `None` while the page is
    /// being written.
    fn claims(&self, client: usize, page: u32) -> Option<Vec<Claim>>;

    /// Whether a server has been rolled back, in which it may lack pages that it had.
    fn was_put_back(&self, server: usize) -> bool;

    /// Since when a server has been running with an undisturbed link to the client; `None` if one of these is
    /// not true now.
    fn calm_since_ns(&self, client: usize, server: usize) -> Option<u64>;

    /// The servers for which that has been true since `since_ns`.
    fn calm_since(&self, client: usize, since_ns: u64) -> Vec<usize>;

    /// Since when no frame of this start of a server can have reached a client; `None` if frames can.
    fn gone_since_ns(&self, client: usize, server: usize, incarnation: u64) -> Option<u64>;

    /// The same for all servers.
    fn all_gone_since_ns(&self, client: usize) -> Option<u64>;

    /// Whether some server has had no room for the client since then.
    fn any_full_since(&self, client: usize, since_ns: u64) -> bool;

    /// The number of a server's current start.
    fn incarnation(&self, server: usize) -> Option<u64>;

    /// Servers that the client has known since `since_ns`, and that have had room for it since then.
    fn usable_since(&self, client: usize, since_ns: u64) -> Vec<usize>;

    /// Whether the client has known a server, running or not, since `since_ns`, and whether the server has
    /// had room for it whenever it ran.
    fn has_had_room_since(&self, client: usize, server: usize, since_ns: u64) -> bool;

    /// How many servers there are.
    fn servers(&self) -> usize;

    /// The block of a page on a client's disk, if the client counts the page as being there.
    fn on_disk(&self, client: usize, page: u32) -> Option<Bytes>;

    /// Since when a client's disk has been healthy and has answered; `None` if it does not now.
    fn disk_well_since_ns(&self, client: usize) -> Option<u64>;

    /// Since when it has also accepted pages.
    fn disk_usable_since_ns(&self, client: usize) -> Option<u64>;

    /// Whether it has failed, or has not answered, since then, or is not attached.
    fn disk_was_faulty_since(&self, client: usize, since_ns: u64) -> bool;

    /// Whether the client's disk has been detached since then.
    fn disk_gone_since(&self, client: usize, since_ns: u64) -> bool;

    /// Whether the client's disk is out of its machine.
    fn is_disk_taken(&self, client: usize) -> bool;

    /// Whether there was no buffer for a page for the disk since then.
    fn disk_full_since(&self, client: usize, since_ns: u64) -> bool;

    /// Whether the client's page-outs may wait for its disk although the servers have the pages.
    fn is_held_back(&self, client: usize) -> bool;

    /// A server that still keeps the session of a dead client, long after others have needed its room.
    fn keeps_dead(&self) -> Option<usize>;

    /// Whether a server has ended a session since then because its lease had expired.
    fn lease_ended_since(&self, since_ns: u64) -> bool;
}

/// The reason why an ending is allowed, or why it is wrong.
pub(super) type Verdict = Result<&'static str, String>;
