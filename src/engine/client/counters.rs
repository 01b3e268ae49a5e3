// SPDX-License-Identifier: GPL-2.0

//! The client's counters. A name in this table is the name in debugfs.

macro_rules! counters {
    ($(#[$all:meta])* $Counters:ident: $($(#[$doc:meta])* $name:ident,)*) => {
        $(#[$all])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl $Counters {
            /// Adds the counts of `other`.
            pub fn merge(&mut self, other: &Self) {
                $(self.$name = self.$name.wrapping_add(other.$name);)*
            }

            /// Calls `each` with every counter's name and value, in the order of the table.
            pub fn for_each(&self, mut each: impl FnMut(&'static str, u64)) {
                $(each(stringify!($name), self.$name);)*
            }
        }
    };
}

counters! {
    /// Counts since the module was loaded. Each shard has its own; readers add them up.
    Counters:
    /// Pages paged out, completed without error.
    pages_out,
    /// Pages paged in, completed without error.
    pages_in,
    /// Copies acknowledged by servers for those page-outs.
    copies_out,
    /// Pages paged out with fewer copies than wanted.
    pages_out_degraded,
    /// Page-outs that ended in an error.
    pages_out_failed,
    /// Those of them that all servers that answer refused for lack of room.
    pages_out_no_space,
    /// Page-ins that ended in an I/O error.
    pages_in_failed,
    /// Pages sent as a header with the 64-bit value that fills them.
    same_filled_out,
    /// Pages received as a header.
    same_filled_in,
    /// Pages paged in that were never written, or freed: zeros, without a frame.
    unwritten_in,
    /// Requests that waited for a page-out of the same page.
    parked,
    /// Requests that found no usable server and waited for one.
    stalled,
    /// Transfers sent, including retransmissions.
    transfers_sent,
    /// Transfers sent again, in whole or in part.
    retransmissions,
    /// Retransmission timeouts.
    timeouts,
    /// Transfers moved to another server.
    failovers,
    /// Page-ins that also asked a second replica because the first was slow.
    hedges,
    /// Page-ins that the second replica completed first.
    hedges_won,
    /// Page-ins whose server did not hold the page, or held another generation.
    misses,
    /// Copies that a server was found to lack. They were removed from the map, and made again.
    copies_missing,
    /// Pages received that did not match their checksum, or were not as they were sealed.
    corrupt_in,
    /// Pages that a server returned in an older version.
    outdated_in,
    /// Pages sent that the server found not to match their checksum.
    corrupt_out,
    /// Page-outs restarted because the page changed while it was sent.
    pages_changed,
    /// Page-outs restarted with another version, because a server had a later one or because all
    /// versions jumped.
    versions_renewed,
    /// Page-outs refused for lack of room, by one server.
    no_space,
    /// Answers dropped because their request had ended or never existed.
    stale_frames,
    /// Fragments dropped because another one was being copied to the same page.
    claim_conflicts,
    /// Pages discarded or freed by the swap layer.
    pages_freed,
    /// Stale copies of which servers could not be notified: the list was full.
    frees_dropped,
    /// Page-outs that waited for the local disk for lack of servers, and are on it.
    local_out,
    /// Page-ins from the local disk, or from a page on its way there.
    local_in,
}

counters! {
    /// What the mirror counts.
    MirrorCounters:
    /// Writes submitted to the disk.
    writes,
    /// Pages in those writes.
    pages_written,
    /// Reads submitted to the disk.
    reads,
    /// Pages in those reads.
    pages_read,
    /// Page-ins answered from a page that was on its way to the disk.
    buffer_hits,
    /// Page-outs that found no buffer.
    pool_full,
    /// Pages that had a buffer, but whose newest version did not reach the disk.
    left_out_of_sync,
    /// Pages freed before they were written.
    freed_unwritten,
    /// I/Os that ended in an error.
    errors,
    /// I/Os that timed out.
    abandoned,
    /// Times that the disk became faulty.
    faulty,
}

counters! {
    /// What repair counts.
    RepairCounters:
    /// Copies made of pages that had too few.
    pages_repaired,
    /// Copies cancelled because their page was written meanwhile.
    repairs_cancelled,
    /// Copies that failed: a server or the disk did not answer or had no room, or the page was freed.
    repairs_failed,
    /// Pages copied to the local disk after their page-outs had ended.
    pages_mirrored,
    /// Copies that lost or draining servers no longer need to keep.
    copies_dropped,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up() {
        let mut one = Counters {
            pages_out: 3,
            ..Counters::default()
        };
        let two = Counters {
            pages_out: 4,
            misses: 1,
            ..Counters::default()
        };
        one.merge(&two);
        let mut sum = 0;
        one.for_each(|name, value| {
            sum += value;
            assert_eq!(
                value,
                match name {
                    "pages_out" => 7,
                    "misses" => 1,
                    _ => 0,
                }
            );
        });
        assert_eq!(sum, 8);
    }
}
