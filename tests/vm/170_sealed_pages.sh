#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a memory server never sees a page as it is, and whatever it returns instead of a page is noticed: another server has it, or it is an error; with encrypt=0 it reads and alters pages, and the options about older versions and same-filled pages do what they promise
# machine: segment
# vm: --disk 64
# bound: 180
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

needs_single
requires anemone-test anemonectl
SECRET=what-a-program-has-in-its-memory
PAGES=256
# Pages with the text at each place, of which every eighth is filled with 8 bytes of it.
awk -v pages=$PAGES -v text=$SECRET 'BEGIN {
    for (page = 0; page < pages; page++) {
        if (page % 8 == 5) for (n = 0; n < 512; n++) printf "%08d", page
        else for (n = 0; n < 64; n++) printf "%-54s%05d%05d", text, page, n
    }
}' >"$SCRATCH/pages"
[ "$(wc -c <"$SCRATCH/pages")" = $((PAGES * 4096)) ] || fail "the pages"
write() { dd if="$SCRATCH/pages" of="$ANEMONE_DEVICE" bs="${1:-4k}" oflag=direct conv=notrunc 2>"$SCRATCH/dd"; }
# Each page by itself: one that cannot be read does not hide the others.
survey() { anemone-test survey --pages $PAGES --count-other "$SCRATCH/pages"; }
is_right() { dd if="$ANEMONE_DEVICE" bs="${1:-4k}" count=$((PAGES * 4096 / ${2:-4096})) iflag=direct 2>"$SCRATCH/dd" | cmp - "$SCRATCH/pages"; }
server_is_gone() { ! kill -0 "$(cat /run/server3.pid)" 2>/dev/null; }

# rogue LIE: server 3's address belongs to a server that lies about each page that it returns.
rogue() {
    ip netns exec server3 anemone-test rogue --interface eth0 --look-for $SECRET --lie "$1" >"$SCRATCH/rogue" 2>&1 &
    ROGUE=$!
    wait_for 10 "the rogue server" grep -q ready "$SCRATCH/rogue" || fail "$(cat "$SCRATCH/rogue")"
}
rogue_end() { kill $ROGUE; wait $ROGUE 2>/dev/null || :; }
said() { grep -c "^$1" "$SCRATCH/rogue"; }

disturb kill 3 || fail "kill"
wait_for 10 "the end of server 3" server_is_gone || fail "server 3"
for mtu in 1500 9000; do
    set_mtu $mtu || fail "MTU"
    rogue alter
    anemone_load size_mib=64 || fail "load"
    dmesg | grep -q "anemone: pages are sealed with " || fail "not said: $(dmesg)"
    wait_for 20 "server 3" is_healthy 3 || fail "$(anemonectl status)"
    # Twice, and in large requests: so each page is held by the rogue server sooner or later.
    write && is_right || fail "MTU $mtu: $(cat "$SCRATCH/dd")"
    write 128k && is_right 128k 131072 || fail "MTU $mtu: $(cat "$SCRATCH/dd")"
    nothing_failed || fail "MTU $mtu: some pages failed"
    [ "$(said seen)" = 0 ] || fail "MTU $mtu: the server has seen $(said seen) frames with the text"
    [ "$(said filled)" -gt 0 ] || fail "MTU $mtu: no page was same-filled"
    anemonectl status --json --quick | anemone-test json device.cipher | grep -q . || fail "$(anemonectl status)"
    for how in 0 1 2 3; do
        awk -v how=$how '$1 == "altered" && $2 % 4 == how { found = 1 } END { exit !found }' "$SCRATCH/rogue" ||
            fail "MTU $mtu: no page was altered in way $how: $(cat "$SCRATCH/rogue")"
    done
    corrupt=$(counter corrupt_in)
    [ "$corrupt" -gt 0 ] || fail "MTU $mtu: it altered $(said altered) frames, and $corrupt pages are counted"
    say "MTU $mtu: $(said altered) frames altered, $corrupt pages found so"
    anemone_unload || fail "unload"
    rogue_end
done
set_mtu 1500 || fail "MTU"

# Nothing but altered pages: each is an error, none is wrong. The disk is right.
rogue alter
anemone_load servers="$(servers 3)" replicas=1 size_mib=64 io_timeout_s=2 || fail "load with server 3 alone"
write || fail "$(cat "$SCRATCH/dd")"
survey >"$SCRATCH/survey" || fail "$(cat "$SCRATCH/survey")"
say "$(cat "$SCRATCH/survey")"
grep -q "other 0" "$SCRATCH/survey" || fail "wrong pages were read: $(cat "$SCRATCH/survey")"
anemone_unload || fail "unload"
rogue_end
rogue alter
anemone_load servers="$(servers 3)" replicas=1 size_mib=64 local_device="$ANEMONE_DISK" || fail "load with a disk"
write && is_right || fail "with a disk: $(cat "$SCRATCH/dd")"
nothing_failed || fail "with a disk: some pages failed"
anemone_unload || fail "unload"
rogue_end

# The same server reads and alters pages that are not sealed: what is above proves something.
rogue alter
anemone_load encrypt=0 servers="$(servers 3)" replicas=1 size_mib=64 || fail "load"
dmesg | grep -q "anemone: encrypt=0: servers, and whoever sees the frames, can read the pages" || fail "not said: $(dmesg)"
write || fail "$(cat "$SCRATCH/dd")"
survey >"$SCRATCH/survey" || fail "$(cat "$SCRATCH/survey")"
say "encrypt=0: $(cat "$SCRATCH/survey"); $(said seen) frames seen"
[ "$(said seen)" -gt $((PAGES / 2)) ] || fail "it has seen $(said seen) frames"
grep -q "other 0" "$SCRATCH/survey" && fail "nothing was altered: $(cat "$SCRATCH/survey")"
anemone_unload || fail "unload"
rogue_end

# Each of 256 pages gets two versions whose low 8 bits are equal. The server returns the first.
tr '[:lower:]' '[:upper:]' <"$SCRATCH/pages" >"$SCRATCH/second"
tr 0-9 1-90 <"$SCRATCH/pages" >"$SCRATCH/first"
for detect in 0 1; do
    rogue roll-back
    anemone_load detect_rollback=$detect servers="$(servers 3)" replicas=1 size_mib=64 io_timeout_s=2 || fail "load"
    for version in first second; do
        dd if="$SCRATCH/$version" of="$ANEMONE_DEVICE" bs=4k oflag=direct conv=notrunc 2>"$SCRATCH/dd" || fail "$(cat "$SCRATCH/dd")"
    done
    anemone-test survey --pages $PAGES --count-other "$SCRATCH/second" >"$SCRATCH/survey" || fail "$(cat "$SCRATCH/survey")"
    say "detect_rollback=$detect: $(cat "$SCRATCH/survey"); $(counter outdated_in) counted"
    case $detect in
    0) grep -q "equal 0 errors 0 other $PAGES" "$SCRATCH/survey" || fail "nothing was rolled back" ;;
    1) grep -q "equal 0 errors $PAGES other 0" "$SCRATCH/survey" && [ "$(counter outdated_in)" -gt 0 ] || fail "it was not noticed" ;;
    esac
    anemone_unload || fail "unload"
    rogue_end
done

# With the option the server does not learn which pages are same-filled.
rogue alter
anemone_load hide_filled=1 servers="$(servers 3)" replicas=1 size_mib=64 || fail "load"
write || fail "$(cat "$SCRATCH/dd")"
[ "$(said filled)" = 0 ] || fail "it has learned of $(said filled) same-filled pages"
anemone_unload || fail "unload"
rogue_end
refused EINVAL "hide_filled=1 protects nothing with encrypt=0" interface=eth0 servers="$(servers 1)" size_mib=64 encrypt=0 hide_filled=1
refused EINVAL "detect_rollback=1 protects nothing with encrypt=0" interface=eth0 servers="$(servers 1)" size_mib=64 encrypt=0 detect_rollback=1
