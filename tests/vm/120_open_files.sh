#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: open files keep the module loaded, or outlive it harmlessly; programs that read them all the time do not disturb it
# machine: segment
# bound: 150
# debug: yes
# kinds: cfi rt
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

needs_single
requires anemone-test

# Files that keep it: unloading is refused, they can be read meanwhile, and closed afterwards.
for file in "$ANEMONE_DEBUG/counters" "$ANEMONE_DEBUG/servers" "$ANEMONE_DEBUG/latency" "$ANEMONE_DEBUG/disk" \
    /dev/anemone-control; do
    anemone_load size_mib=64 || fail "load"
    exec 7<"$file" || fail "$file cannot be opened"
    anemone_unload 2>"$SCRATCH/busy" && fail "$file is open, and the module is gone"
    grep -qi -e "in use" -e busy -e "temporarily unavailable" "$SCRATCH/busy" || fail "$file: $(cat "$SCRATCH/busy")"
    case $file in
    /dev/*) ;;
    *) [ "$(wc -l <&7)" -gt 0 ] || fail "$file cannot be read any more" ;;
    esac
    exec 7<&-
    wait_for 10 "unload" anemone_unload || fail "unload after $file was closed"
    nothing_left || fail "$file: something is left"
done

# Files that do not: reading them afterwards is an error or an end of file, and they can be closed.
anemone_load size_mib=64 || fail "load"
exec 5</sys/module/anemone/parameters/io_timeout_s 6</sys/block/anemone/size 7</sys/block/anemone/queue/nr_requests \
    8</sys/kernel/debug/anemone 9</sys/block/anemone/inflight || fail "open"
anemone_unload || fail "unload"
nothing_left || fail "something is left"
for number in 5 6 7 9; do
    # shellcheck disable=SC2320 # of cat
    cat <&$number >"$SCRATCH/read" 2>/dev/null && [ -s "$SCRATCH/read" ] && fail "file $number: $(cat "$SCRATCH/read")"
done
anemone_load size_mib=64 || fail "load beside files of the one before"
exec 5<&- 6<&- 7<&- 8<&- 9<&-
wait_for 10 "unload" anemone_unload || fail "unload"

# Read line by line, as shells do, while the numbers grow: it is one text, and no line of it is cut or missing.
anemone_load size_mib=64 || fail "load"
cut -d' ' -f1 "$ANEMONE_DEBUG/counters" >"$SCRATCH/names"
[ "$(wc -l <"$SCRATCH/names")" -gt 20 ] || fail "few counters: $(cat "$SCRATCH/names")"
load_begin --threads 2 --blocks 512
round=0
while [ $round -lt "$(scaled 100 5)" ]; do
    while read -r name number rest; do
        case $number$rest in *[!0-9]* | '') fail "a line is '$name $number $rest'" ;; esac
        echo "$name"
    done <"$ANEMONE_DEBUG/counters" >"$SCRATCH/read"
    cmp -s "$SCRATCH/read" "$SCRATCH/names" || fail "in round $round: $(diff "$SCRATCH/read" "$SCRATCH/names")"
    round=$((round + 1))
done
load_end || fail "the load"
wait_for 10 "unload" anemone_unload || fail "unload"

# Read all the time while the module is loaded, unloaded, and fails to load.
: >"$SCRATCH/reading"
for reader in 1 2; do
    while [ -e "$SCRATCH/reading" ]; do
        for file in counters servers latency disk; do
            # The file may be gone, or about to go.
            { [ ! -e "$ANEMONE_DEBUG/$file" ] || cat "$ANEMONE_DEBUG/$file"; } >>"$SCRATCH/read$reader" 2>/dev/null
        done
    done &
done
round=0
while [ $round -lt "$(scaled 12 3)" ]; do
    anemone_load size_mib=64 || fail "load in round $round"
    wait_for 20 "rmmod between two readers" anemone_unload 2>/dev/null || fail "unload in round $round"
    insmod "$ANEMONE_MODULE" interface=nowhere0 servers=52:54:00:00:00:01 2>/dev/null && fail "loaded without an interface"
    round=$((round + 1))
done
rm "$SCRATCH/reading"
wait
grep -q "^pages_out " "$SCRATCH/read1" && grep -q "^pages_out " "$SCRATCH/read2" || fail "nothing was read"
nothing_left || fail "something is left"
