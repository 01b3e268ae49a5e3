// SPDX-License-Identifier: GPL-2.0

//! Planted bugs. The simulator must find each of them, to show that it would find real ones: see
//! `tests/sim/mutations.rs`.
//!
//! `mutated!(Name)` is true while the bug is shown. It is `false` at compile time without the
//! feature `mutations`, which only that test enables; the module does not have it.

/// Whether a planted bug is shown here.
#[cfg(not(feature = "mutations"))]
macro_rules! mutated {
    ($name:ident) => {
        false
    };
}

/// Whether a planted bug is shown here.
#[cfg(feature = "mutations")]
macro_rules! mutated {
    ($name:ident) => {
        $crate::engine::mutation::is_on($crate::engine::mutation::Mutation::$name)
    };
}

#[cfg(feature = "mutations")]
pub use switch::*;

#[cfg(feature = "mutations")]
mod switch {
    extern crate std;

    use core::cell::Cell;

    macro_rules! mutations {
        ($($(#[$doc:meta])* $name:ident,)*) => {
            /// A planted bug.
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub enum Mutation {
                $($(#[$doc])* $name,)*
            }

            /// All planted bugs.
            pub const ALL: &[Mutation] = &[$(Mutation::$name,)*];
        };
    }

    mutations! {
        /// A page-out is acknowledged when its first copy is.
        AckBeforeSecondCopy,
        /// A page-out completes without any copy.
        MinCopiesIgnored,
        /// A server that was sent a newer version keeps its bit, and so do servers that held the
        /// page before its page-out.
        StaleReplicaKept,
        /// Both copies of a page may go to one server.
        TwoCopiesOnOneServer,
        /// A server lets an older version replace a newer one.
        OlderVersionStored,
        /// A server accepts versions below its client's low water.
        LowWaterIgnored,
        /// A server frees a page whatever its version.
        FreeIgnoresVersion,
        /// A client has its servers free newer versions than the one that was replaced.
        FreeTooMuch,
        /// A server does not verify the checksum of what it receives.
        CrcUncheckedOut,
        /// A client does not verify the checksum of what it reads.
        CrcUncheckedIn,
        /// A page is sent before it has been sealed.
        SentUnsealed,
        /// A same-filled page is not distinguished from one that begins with the same value.
        FilledFlagLost,
        /// A server refuses a newer version of a page that it holds, for lack of room.
        OverwriteRefused,
        /// A server ends the session of a live client, as if its lease had expired.
        LeaseEndsLiveClient,
        /// A HELLO without a fresh cookie opens a session.
        CookieUnchecked,
        /// An answer is matched by its tag alone: one to an earlier use of the op counts.
        StaleReplyAccepted,
        /// A copy counts although its server has restarted since it acknowledged.
        IncarnationUnchecked,
        /// A signed frame is accepted whatever its tag.
        TagUnchecked,
        /// A signed frame is accepted again.
        WindowUnchecked,
        /// A signed frame is accepted from another address than its session's.
        SourceUnchecked,
        /// A server signs two frames with one counter.
        CounterRepeated,
        /// A request for keys is answered without a proof.
        KeyRequestUnproved,
        /// A request for keys is accepted with any cookie.
        KeyCookieUnchecked,
        /// Keys are taken from anybody who claims to be the server.
        KeyReplyUnproved,
        /// Any REJECT for an unknown session is believed, whichever session it is for.
        RejectBelieved,
        /// A server's slot is reused before it has been swept from the map.
        SlotReusedBeforeSweep,
        /// Two fragments may be copied into a page at once, and the op ends meanwhile.
        ReceiveClaimIgnored,
        /// An op ends while frames of it are being sent.
        SendPinIgnored,
        /// A page that changed under its page-out is sent again as the same version.
        ChangedPageSameVersion,
        /// A request that waits for a page-out is not woken when it ends.
        WakeLost,
        /// A transfer does not leave its server's window.
        WindowLeaks,
        /// A suspected server is not used again when it answers.
        SuspicionKept,
        /// A request waits beyond its I/O timeout.
        IoTimeoutIgnored,
        /// A transfer that is not answered is sent again at once, without back-off.
        NoBackOff,
        /// Page-ins are hedged whether there is credit or not.
        HedgesUnpaid,
        /// A page that is out of sync on the local disk is not copied there later.
        OutOfSyncForgotten,
        /// A page read from the disk is copied to a server with the checksum of another page.
        CopyUnsummed,
        /// A write to the disk is not dropped when a newer version of the page arrives.
        OldMirrorWriteKept,
        /// Two I/Os of a page are submitted to the disk at the same time.
        DiskIosOverlap,
        /// The end of an older version's write marks the newest version as on the disk.
        DiskBitByOlderWrite,
        /// A page-out that needs the disk does not wait for it.
        DiskNotAwaited,
        /// A shard without queued requests does not return its grant.
        GrantKept,
        /// An I/O that the disk has refused is not submitted again.
        RefusalForgotten,
        /// A background copy continues although its page is being written.
        CopyCancelIgnored,
        /// A background copy has a version that was given out long ago.
        CopyVersionPast,
        /// A page that a server reports to hold is freed there although the map names it.
        LiveCopyFreed,
        /// A client learns only from announcements where other clients have placed pages.
        HerdFollowed,
        /// A server that was full still counts as full after it has reported room.
        RoomForgotten,
        /// A server that has refused a page is not asked again before it reports room.
        FullNeverAsked,
        /// A server does not challenge a silent client before it ends its session.
        ClientUnasked,
        /// The session of a client's earlier instance continues beside the new one's.
        EarlierInstanceKept,
        /// A client that must wait for the end of its earlier instance does not ask again.
        WaitForgotten,
        /// Time for which a client was stopped counts as its servers' silence.
        StopCounted,
        /// Pages are not cut smaller when long frames do not cross the path.
        PathMtuNeverLowered,
        /// The low water is read before the pages to be freed have versions.
        LowWaterBeforeFrees,
        /// A server is closed although one page needs it.
        ClosedOnePageEarly,
        /// The disk is detached although it has the only copies of pages.
        DetachedWithOnlyCopy,
        /// The disk is detached although servers have not confirmed that they still have their pages.
        DetachedUnasked,
        /// A detach goes on waiting although a signal has arrived.
        InterruptIgnored,
        /// A disk whose detach was interrupted is not used again.
        InterruptedDiskPaused,
        /// The module may be unloaded although its disk has I/O.
        UnloadedWithDiskIo,
        /// A disk that was taken out of the machine is still written to.
        GoneDiskWritten,
        /// Pages are freed on servers while the machine hibernates.
        FreedWhileHibernating,
        /// A server is removed although the others have not confirmed that they still have their pages.
        ClosedUnasked,
    }

    std::thread_local! {
        static ON: Cell<Option<Mutation>> = const { Cell::new(None) };
        static REACHED: Cell<u64> = const { Cell::new(0) };
    }

    /// Shows one planted bug, or none, in this thread from now on.
    pub fn show(mutation: Option<Mutation>) {
        ON.set(mutation);
        REACHED.set(0);
    }

    /// How often this thread has reached the bug.
    pub fn reached() -> u64 {
        REACHED.get()
    }

    /// Whether this thread shows the bug.
    pub fn is_on(mutation: Mutation) -> bool {
        let on = ON.get() == Some(mutation);
        if on {
            REACHED.set(REACHED.get().wrapping_add(1));
        }
        on
    }
}
