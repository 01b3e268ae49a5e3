#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a starved machine with a socket that is marked for memory allocation: frames in the reserve reach only that socket
# machine: starved
# bound: 900
# debug: no, that kernel needs more memory than the test leaves
# shellcheck source-path=SCRIPTDIR source=common.sh source=starved.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/starved.sh"

modprobe nbd nbds_max=1 max_part=0 || fail "no nbd"
mkfifo "$SCRATCH/until"
anemone-test memalloc <"$SCRATCH/until" >"$SCRATCH/memalloc" 2>&1 &
memalloc=$!
exec 3>"$SCRATCH/until"
swaps_on_disk
swaps "servers, and a socket with privileges"
swaps "servers and a disk, and a socket with privileges" local_device="$ANEMONE_DISK"
exec 3>&-
wait $memalloc || fail "$(cat "$SCRATCH/memalloc")"
