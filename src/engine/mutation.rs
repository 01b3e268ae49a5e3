// SPDX-License-Identifier: GPL-2.0

//! Planted bugs. The simulator must find each of them, or it would not find a real one either:
//! see `tests/sim/mutations.rs`.
//!
//! `mutated!(Name)` says whether the bug is to be shown. It is `false` at compile time but with
//! the feature `mutations`, which nothing but that test asks for, and which the module has not.

/// Whether a planted bug is to be shown here.
#[cfg(not(feature = "mutations"))]
macro_rules! mutated {
    ($name:ident) => {
        false
    };
}

/// Whether a planted bug is to be shown here.
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

            /// All of them.
            pub const ALL: &[Mutation] = &[$(Mutation::$name,)*];
        };
    }

    mutations! {
        /// A page-out is acknowledged when the first copy is.
        AckBeforeSecondCopy,
        /// A page-out completes with no copy at all.
        MinCopiesIgnored,
        /// A server that was sent a newer version keeps its bit, and who held the page before its
        /// page-out keeps it afterwards.
        StaleReplicaKept,
        /// Both copies of a page may go to one server.
        TwoCopiesOnOneServer,
        /// A server lets an older version replace a newer one.
        OlderVersionStored,
        /// A server takes in what is below its client's low-water version.
        LowWaterIgnored,
        /// A server frees a page whatever its version.
        FreeIgnoresVersion,
        /// A client has its servers free newer versions than the one that was replaced.
        FreeTooMuch,
        /// A server does not check the checksum of what it takes in.
        CrcUncheckedOut,
        /// A client does not check the checksum of what it reads.
        CrcUncheckedIn,
        /// A page that is one value over and over is not told from one that begins with it.
        FilledFlagLost,
        /// A server refuses a newer version of a page that it holds, for lack of room.
        OverwriteRefused,
        /// A server ends a session that it hears, as if its lease were over.
        LeaseEndsLiveClient,
        /// A HELLO without a fresh cookie opens a session.
        CookieUnchecked,
        /// An answer is matched by its tag alone: one of an earlier use counts.
        StaleReplyAccepted,
        /// A copy counts whose server has begun anew since it acknowledged.
        IncarnationUnchecked,
        /// The word that a session is unknown is believed, whichever session is meant.
        RejectBelieved,
        /// A server's slot is used again before it has been swept from the map.
        SlotReusedBeforeSweep,
        /// Two fragments may be copied into a page at once, and the op ends meanwhile.
        ReceiveClaimIgnored,
        /// An op ends while frames of it are being sent.
        SendHoldIgnored,
        /// A page that changed under its page-out is sent again as the same version.
        ChangedPageSameVersion,
        /// Who waits for a page to be written is not told when it is.
        WakeLost,
        /// What a transfer had in its server's window is not given back.
        WindowLeaks,
        /// A server that was silent is not used again when it answers.
        SuspicionKept,
        /// A request waits beyond its I/O timeout.
        IoTimeoutIgnored,
        /// A transfer that is not answered is sent again at once, without back-off.
        NoBackOff,
        /// Page-ins are hedged whether there is credit or not.
        HedgesUnpaid,
        /// A page that the local disk lacks is not brought there later.
        LagForgotten,
        /// What is read from the disk to be copied goes to a server with the checksum of another page.
        CopyUnsummed,
        /// A write to the disk is not dropped when a newer version of the page comes.
        OldMirrorWriteKept,
        /// Two I/Os of a page are with the disk at once.
        DiskIosOverlap,
        /// The end of an older version's write says that the disk has the newest.
        DiskBitByOlderWrite,
        /// A page-out that needs the disk does not wait for it.
        DiskNotAwaited,
        /// A shard in whose line nobody waits does not pass its turn on.
        TurnKept,
        /// A background copy goes on although its page is being written.
        CopyCancelIgnored,
        /// A background copy has a version that was given out long before.
        CopyVersionPast,
        /// What a server says that it has is freed there although the map names it.
        LiveCopyFreed,
        /// A client looks only at announcements to see where other clients have placed pages.
        HerdFollowed,
        /// A server that was full is taken for full after it has said that it has room.
        RoomForgotten,
        /// A server does not ask a silent client whether it lives before it ends its session.
        LifeUnasked,
        /// The session of a client's former life goes on beside the new one's.
        FormerLifeKept,
        /// A client that is told to wait for its former life's end does not ask again.
        WaitForgotten,
        /// What a client was stopped for counts as its servers' silence.
        StopCounted,
        /// Pages are cut no smaller when long frames do not cross the path.
        PathMtuNeverLowered,
        /// A server is closed although one page needs it.
        ClosedOnePageEarly,
        /// The disk is detached although it has the only copies of pages.
        DetachedWithOnlyCopy,
    }

    std::thread_local! {
        static ON: Cell<Option<Mutation>> = const { Cell::new(None) };
        static REACHED: Cell<u64> = const { Cell::new(0) };
    }

    /// Shows one planted bug, or none, in what this thread does from now on.
    pub fn show(mutation: Option<Mutation>) {
        ON.set(mutation);
        REACHED.set(0);
    }

    /// How often this thread has come to where the bug is.
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
