// SPDX-License-Identifier: GPL-2.0

//! Counts how often each fault happened, and other things of a run.

use std::collections::BTreeMap;

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Fault {
            $($(#[$doc])* $name,)*
        }

        /// Every kind.
        pub const ALL: &[Fault] = &[$(Fault::$name,)*];
    };
}

faults! {
    /// A frame was lost.
    FrameLost,
    /// A frame arrived twice.
    FrameRepeated,
    /// A frame was overtaken by later ones.
    FrameReordered,
    /// A frame was delayed for long.
    FrameDelayed,
    /// Bits of a frame were flipped.
    FrameCorrupted,
    /// A frame was truncated.
    FrameTruncated,
    /// A frame was dropped by a partition.
    FramePartitioned,
    /// A frame was longer than the switch forwards.
    FrameJumboDropped,
    /// An old frame was delivered again, much later.
    FrameReplayed,
    /// A frame was delivered hours after it had been sent.
    FrameHoursOld,
    /// A frame was forged from parts of real ones.
    FrameForged,
    /// A frame of another protocol, or of random bytes, was delivered.
    FrameForeign,
    /// A client dropped a frame whose signature was wrong, or not new.
    FrameUnverified,
    /// A client had no keys for a frame.
    FrameHeld,
    /// A client got keys.
    KeysChanged,
    /// A link between a client and a server was cut.
    Partition,
    /// A link was cut in one direction.
    PartitionOneWay,
    /// The switch began to drop jumbo frames.
    JumboLimit,
    /// It began to drop shorter frames silently, which an Ethernet normally carries.
    NarrowLimit,
    /// A client's MTU was changed.
    MtuChanged,
    /// A client's interface was down.
    InterfaceDown,
    /// A frame was dropped by an interface that was down.
    FrameInterfaceDown,
    /// A client was stopped for three leases.
    StoodThreeLeases,
    /// A server crashed.
    ServerCrashed,
    /// A server restarted, empty.
    ServerRestarted,
    /// A server was stopped for a while.
    ServerPaused,
    /// A server's host and its clock were suspended.
    ServerSuspended,
    /// A server refused a page for lack of room.
    ServerFull,
    /// A server's announcement was wrong.
    ServerLied,
    /// A server ended a session whose lease had expired.
    LeaseExpired,
    /// A server was added while the device was in use.
    ServerAdded,
    /// A server that no page needed any more was removed.
    ServerDrained,
    /// A server was removed at once.
    ServerRemoved,
    /// A server was removed at once, and pages were lost.
    ServerForced,
    /// A server that pages needed was not removed.
    RemovalRefused,
    /// A server was added again while it drained.
    RemovalCancelled,
    /// The I/O timeout was changed.
    IoTimeoutChanged,
    /// The device was removed.
    Unloaded,
    /// A client was stopped for a while.
    ClientFrozen,
    /// A client's host and its clock were suspended.
    ClientSuspended,
    /// A host's clock stepped forward.
    ClockStepped,
    /// A host's clock was faster or slower than others.
    ClockDrifted,
    /// A client's power failed.
    ClientDied,
    /// It started again, as the same client.
    ClientReborn,
    /// All servers were full for five seconds.
    FullForLong,
    /// The same, while clients had disks.
    FullBesideDisk,
    /// Those servers had room again.
    RoomAgain,
    /// A crowd's servers were checked for how full they were.
    CrowdPlaced,
    /// A page was changed while it was written.
    PageChanged,
    /// A host could not send a frame.
    SendFailed,
    /// A received frame could not be copied.
    CopyFailed,
    /// A disk was slow.
    DiskSlow,
    /// A disk failed an I/O.
    DiskFailed,
    /// A disk failed a write after a part of it.
    DiskTorn,
    /// A disk did not answer.
    DiskHung,
    /// An I/O was not submitted because its client's module was being unloaded.
    DiskIoWithdrawn,
    /// A disk refused an I/O that may not wait.
    DiskRefused,
    /// A disk was detached, and servers had each of its pages.
    DiskDetached,
    /// A disk was detached by force.
    DiskForced,
    /// A disk was not detached, because it had the only copies of pages.
    DetachRefused,
    /// A disk was not detached for another reason.
    DetachInVain,
    /// A signal ended a detach.
    DetachInterrupted,
    /// A disk was taken out of its machine.
    DiskTaken,
    /// A client's module was unloaded, to be loaded again.
    ClientUnloaded,
    /// It was not, because its disk had I/O.
    UnloadRefused,
    /// A client's host hibernated.
    ClientHibernated,
    /// A mirror's configuration changed.
    DiskConfigured,
    /// A page was read from the buffer from which it was being written.
    BufferHit,
    /// Repair wrote pages to a client's disk.
    MirroredLater,
    /// Repair read a page from a disk to copy it to a server.
    CopiedFromDisk,
}

/// Counts of a run, or of many.
#[derive(Clone, Debug)]
pub struct Counts {
    faults: [u64; ALL.len()],
    /// Page-ins that ended.
    pub page_ins: u64,
    /// Page-outs that ended.
    pub page_outs: u64,
    /// Discards.
    pub discards: u64,
    /// Operations that ended with an allowed error.
    pub errors: u64,
    /// Frames delivered.
    pub frames: u64,
    /// Simulated time.
    pub simulated_ns: u64,
    /// How often the oracle allowed an ending, by its reason.
    pub grounds: BTreeMap<&'static str, u64>,
    /// Copies left on servers for a known reason, and in no map.
    pub orphans: u64,
    /// Copies that repair has made.
    pub repaired: u64,
    /// Pages that an inventory listed and no client needed.
    pub orphans_found: u64,
    /// Copies lost by a server that was rolled back, and the number of them that were noticed.
    pub lost: u64,
    pub missed: u64,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            faults: [0; ALL.len()],
            page_ins: 0,
            page_outs: 0,
            discards: 0,
            errors: 0,
            frames: 0,
            simulated_ns: 0,
            grounds: BTreeMap::new(),
            orphans: 0,
            repaired: 0,
            orphans_found: 0,
            lost: 0,
            missed: 0,
        }
    }
}

impl Counts {
    /// Counts a fault.
    pub fn fault(&mut self, fault: Fault) {
        self.faults[fault as usize] += 1;
    }

    /// How often a fault has happened.
    pub fn of(&self, fault: Fault) -> u64 {
        self.faults[fault as usize]
    }

    /// Adds another run's counts.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.faults.iter_mut().zip(other.faults) {
            *mine += theirs;
        }
        self.page_ins += other.page_ins;
        self.page_outs += other.page_outs;
        self.discards += other.discards;
        self.errors += other.errors;
        self.frames += other.frames;
        self.simulated_ns += other.simulated_ns;
        self.orphans += other.orphans;
        self.repaired += other.repaired;
        self.orphans_found += other.orphans_found;
        self.lost += other.lost;
        self.missed += other.missed;
        for (grounds, count) in &other.grounds {
            *self.grounds.entry(grounds).or_default() += count;
        }
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{} page-outs, {} page-ins, {} discards, {} rightful errors; {} frames; {:.1} s simulated; {} orphans, {} found by asking; {} copies repaired",
            self.page_outs,
            self.page_ins,
            self.discards,
            self.errors,
            self.frames,
            self.simulated_ns as f64 / 1e9,
            self.orphans,
            self.orphans_found,
            self.repaired,
        )?;
        for &fault in ALL {
            writeln!(f, "  {:<20} {:>9}", format!("{fault:?}"), self.of(fault))?;
        }
        for (grounds, count) in &self.grounds {
            writeln!(f, "  {count:>9} {grounds}")?;
        }
        Ok(())
    }
}
