// SPDX-License-Identifier: GPL-2.0

//! How often each fault happened, and what else a run counted.

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
    /// A frame was on its way for long.
    FrameDelayed,
    /// Bits of a frame were flipped.
    FrameCorrupted,
    /// A frame was cut off.
    FrameTruncated,
    /// A frame met a partition.
    FramePartitioned,
    /// A frame was longer than the switch lets pass.
    FrameJumboDropped,
    /// An old frame came again, much later.
    FrameReplayed,
    /// A frame came hours after it had been sent.
    FrameHoursOld,
    /// A frame was made up, from parts of real ones.
    FrameForged,
    /// A frame of another protocol, or noise.
    FrameForeign,
    /// A link between a client and a server was cut.
    Partition,
    /// A link was cut in one direction.
    PartitionOneWay,
    /// The switch began to drop jumbo frames.
    JumboLimit,
    /// It began to drop shorter ones, that an Ethernet carries, without a word.
    NarrowLimit,
    /// A client's MTU was changed.
    MtuChanged,
    /// A client's interface was down.
    InterfaceDown,
    /// A frame met an interface that was down.
    FrameInterfaceDown,
    /// A client stood still for three leases.
    StoodThreeLeases,
    /// A server was gone from one moment to the next.
    ServerCrashed,
    /// A server came back empty.
    ServerRestarted,
    /// A server stopped for a while.
    ServerPaused,
    /// A server's host was suspended, its clock with it.
    ServerSuspended,
    /// A server refused a page for lack of room.
    ServerFull,
    /// A server's announcement was wrong.
    ServerLied,
    /// A server ended a session whose lease was over.
    LeaseExpired,
    /// A server was added while the device was in use.
    ServerAdded,
    /// A server was removed that no page needed any more.
    ServerDrained,
    /// A server was removed at once.
    ServerRemoved,
    /// A server was removed at once, and pages were lost.
    ServerForced,
    /// A server stayed that pages needed.
    RemovalRefused,
    /// A server was added again while it drained.
    RemovalCancelled,
    /// The I/O timeout was changed.
    IoTimeoutChanged,
    /// The device went away.
    Unloaded,
    /// A client stood still for a while.
    ClientFrozen,
    /// A client's host was suspended, its clock with it.
    ClientSuspended,
    /// A host's clock was ahead from one moment to the next.
    ClockStepped,
    /// A host's clock was faster or slower than others.
    ClockDrifted,
    /// A client's power was gone from one moment to the next.
    ClientDied,
    /// It began anew, as the same client.
    ClientReborn,
    /// All servers had been full for five seconds.
    FullForLong,
    /// The same, where clients have disks.
    FullBesideDisk,
    /// There was room on them again.
    RoomAgain,
    /// A look at how full a crowd's servers were.
    CrowdPlaced,
    /// A page was changed while it was written.
    PageChanged,
    /// A frame could not be sent by its host.
    SendFailed,
    /// A received frame could not be copied.
    CopyFailed,
    /// A disk took long.
    DiskSlow,
    /// A disk failed an I/O.
    DiskFailed,
    /// A disk failed a write, and may have done some of it.
    DiskTorn,
    /// A disk did not answer.
    DiskHung,
    /// A disk was detached, of which servers had every page.
    DiskDetached,
    /// A disk was detached by force.
    DiskForced,
    /// A disk stayed, having the only copies of pages.
    DetachRefused,
    /// A disk stayed for another reason.
    DetachInVain,
    /// A disk is treated otherwise.
    DiskConfigured,
    /// A page was read back while it was on its way to the disk.
    BufferHit,
    /// Repair brought pages to a client's disk.
    MirroredLater,
    /// Repair read a page from a disk, to copy it to a server.
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
    /// Operations that ended in an error, rightly.
    pub errors: u64,
    /// Frames delivered.
    pub frames: u64,
    /// Simulated time.
    pub simulated_ns: u64,
    /// On which grounds the oracle found endings right.
    pub grounds: BTreeMap<&'static str, u64>,
    /// Copies left on servers that no map knows, for a known reason.
    pub orphans: u64,
    /// Copies that repair has made.
    pub repaired: u64,
    /// Pages that servers had, and nobody needed, when they were asked.
    pub orphans_found: u64,
    /// Copies that a server lost that was put back, and those of them that were missed.
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
    /// The fault has happened.
    pub fn fault(&mut self, fault: Fault) {
        self.faults[fault as usize] += 1;
    }

    /// How often it has.
    pub fn of(&self, fault: Fault) -> u64 {
        self.faults[fault as usize]
    }

    /// Takes another run's counts in.
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
