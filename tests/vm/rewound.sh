# shellcheck shell=sh disable=SC2015
# SPDX-License-Identifier: GPL-2.0
# A machine that is rolled back while its servers continue. Sourced after common.sh.

needs_machines
requires anemone-test

# Pages of a part of the device, as many as there are generations. If a part is written once more, page by page,
# each page has the generation again that it had before, and that READ carries.
PART=256
# write PART FILE
write_part() { dd if="$2" of="$ANEMONE_DEVICE" bs=4k seek=$(($1 * PART)) oflag=direct conv=notrunc 2>"$SCRATCH/dd"; }
read_part() { dd if="$ANEMONE_DEVICE" bs=4k skip=$(($1 * PART)) count=$PART iflag=direct 2>/dev/null; }

# rewound: writes, and is rolled back to a state with two parts written, of which the rolled-back interval
# has written the second one again.
rewound() {
    for name in kept lost again; do head -c $((PART * 4096)) /dev/urandom >"$SCRATCH/$name"; done
    cat "$SCRATCH/kept" "$SCRATCH/lost" >"$SCRATCH/both"
    anemone_load size_mib=16 min_copies=2 "$@" || fail "load"
    write_part 0 "$SCRATCH/kept" && write_part 1 "$SCRATCH/lost" || fail "writing: $(cat "$SCRATCH/dd")"
    out=$(counter pages_out)
    echo snapshot >"$ANEMONE_HOST"
    IFS= read -r life <"$ANEMONE_HOST"
    case $life in
    ok)
        write_part 1 "$SCRATCH/again" && write_part 2 "$SCRATCH/again" || fail "the life to be rolled back: $(cat "$SCRATCH/dd")"
        [ "$(counter pages_out)" = $((out + 2 * PART)) ] || fail "not one version a page"
        echo rewind >"$ANEMONE_HOST"
        IFS= read -r life <"$ANEMONE_HOST"
        fail "still there: $life"
        ;;
    rewound) ;;
    *) fail "$life" ;;
    esac
    [ "$(counter pages_out)" = "$out" ] || fail "nothing was rolled back"
}

# continues: existing pages are right or errors, and new ones are kept.
continues() {
    found=$(anemone-test survey --pages $((2 * PART)) "$SCRATCH/both") || fail "a page of the rolled-back interval was read: $found"
    say "$found"
    [ "$found" = "equal $PART errors $PART other 0" ] || fail "$found"
    head -c $((PART * 4096)) /dev/urandom >"$SCRATCH/new"
    for part in 1 3; do
        write_part $part "$SCRATCH/new" || fail "writing part $part: $(cat "$SCRATCH/dd")"
        read_part $part | cmp - "$SCRATCH/new" || fail "part $part"
    done
    read_part 0 | cmp - "$SCRATCH/kept" || fail "part 0"
    [ "$(counter pages_out_failed)" = 0 ] || fail "$(counter pages_out_failed) page-outs failed"
    say "$(counter versions_renewed) page-outs took another version"
    version=$(dmesg | sed -n 's/.*anemone: rollback handled: page versions now start at \([0-9]*\)$/\1/p' | head -n 1)
    [ "$version" ] && [ "$version" -gt $((1 << 40)) ] || fail "the versions did not jump: ${version:-nothing was said}"
    [ "$(counter pages_in_failed)" -eq $PART ] || fail "$(counter pages_in_failed) page-ins failed"
}
