#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a virtual machine with a generation number is rolled back to a snapshot: it is notified, no page of the rolled-back interval is read, and page-outs continue
# machine: rewound
# vm: --disk 0 --vmgenid
# bound: 240
# debug: yes
# kinds: cfi
# shellcheck source-path=SCRIPTDIR source=common.sh source=rewound.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/rewound.sh"

rewound
is_detected() { dmesg | grep -q 'anemone: this virtual machine was rolled back or copied'; }
wait_for 30 "the log reports the rewind" is_detected || fail "the log does not report the rewind"
continues
# It did not need a server's answer.
[ "$(counter versions_renewed)" = 0 ] || fail "$(counter versions_renewed) page-outs had a version that servers did not take"
