// SPDX-License-Identifier: GPL-2.0

//! What the client counts. One table: a name here is the name in debugfs.

macro_rules! counters {
    ($(#[$all:meta])* $Counters:ident: $($(#[$doc:meta])* $name:ident,)*) => {
        $(#[$all])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl $Counters {
            /// Takes another's counts in.
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
    /// Counts since the module was loaded. Every shard has its own; they are added to be read.
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
    /// Those of them that every server that answers refused for want of room.
    pages_out_no_space,
    /// Page-ins that ended in an I/O error.
    pages_in_failed,
    /// Pages paged out as a header, one 64-bit value filling them.
    same_filled_out,
    /// Pages paged in as a header.
    same_filled_in,
    /// Pages paged in that were never written, or freed: zeros, no frame sent.
    unwritten_in,
    /// Requests that waited for another's page-out of the same page.
    parked,
    /// Requests that found no usable server and waited for one.
    stalled,
    /// Transfers sent, first sendings and later ones.
    transfers_sent,
    /// Transfers, or parts, sent again.
    retransmissions,
    /// Retransmission timeouts.
    timeouts,
    /// Transfers moved to another server.
    failovers,
    /// Page-ins for which another replica was asked too, because the first took long.
    hedges,
    /// Page-ins that the other replica ended first.
    hedges_won,
    /// Page-ins whose server had not the page, or another generation of it.
    misses,
    /// Copies that their server turned out not to have: struck from the map, and made again.
    copies_missing,
    /// Pages received that did not match their checksum.
    corrupt_in,
    /// Pages sent that the server found not to match their checksum.
    corrupt_out,
    /// Page-outs begun anew because the page changed while it was sent.
    pages_changed,
    /// Page-outs begun anew with another version, because a server had a later one, or because all
    /// versions have jumped.
    versions_renewed,
    /// Page-outs refused for lack of room, by one server.
    no_space,
    /// Answers to requests that were over, or never were: dropped.
    stale_frames,
    /// Fragments dropped because another was being copied to the same page.
    claim_conflicts,
    /// Pages discarded or freed by the swap layer.
    pages_freed,
    /// Stale copies of which the servers could not be told: the list was full.
    frees_dropped,
    /// Page-outs that waited for the local disk, for want of servers, and have it.
    local_out,
    /// Page-ins from the local disk, or from a page on its way there.
    local_in,
}

counters! {
    /// What the mirror counts.
    MirrorCounters:
    /// Writes given to the disk.
    writes,
    /// Pages in those writes.
    pages_written,
    /// Reads given to the disk.
    reads,
    /// Pages in those reads.
    pages_read,
    /// Page-ins answered from a page that was on its way to the disk.
    buffer_hits,
    /// Page-outs that found no buffer.
    pool_full,
    /// Pages that had a buffer, and whose newest version did not come to the disk all the same.
    lagged,
    /// Pages freed before they were written.
    freed_unwritten,
    /// I/Os that ended in an error.
    errors,
    /// I/Os that did not end in time.
    abandoned,
    /// How often the disk became faulty.
    faulty,
}

counters! {
    /// What repair counts.
    RepairCounters:
    /// Copies made, of pages that had too few.
    pages_repaired,
    /// Copies given up because their page was written meanwhile.
    repairs_cancelled,
    /// Copies given up because a server, or the disk, did not answer or had no room, or the page was
    /// freed.
    repairs_failed,
    /// Pages brought to the local disk after their page-outs had ended.
    pages_mirrored,
    /// Copies that servers that are dead or to be removed need not keep any more.
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
