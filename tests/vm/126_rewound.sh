#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a virtual machine without a generation number is rolled back to a snapshot: its servers' answers reveal it, no page of the rolled-back interval is read, and page-outs continue
# machine: rewound
# bound: 240
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh source=rewound.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/rewound.sh"

rewound
# The first thing that happens: here page-outs of pages of which the servers have seen newer versions.
write_part 2 "$SCRATCH/kept" || fail "the first page-outs: $(cat "$SCRATCH/dd")"
read_part 2 | cmp - "$SCRATCH/kept" || fail "part 2"
says_so() { dmesg | grep -q 'anemone: servers know of page-outs that this machine does not'; }
wait_for 30 "that it is said" says_so || fail "nothing is said"
continues
