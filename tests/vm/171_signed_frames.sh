#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: with keys, frames are signed on both sides and nothing else is taken; keys are found in the keyring, changed while pages are written and read, and got again from a server that restarts
# machine: segment
# vm: --servers 3 --client-mem 320 --file tests/vm/keyed.sh
# bound: 240
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh source=keyed.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/keyed.sh"

needs_single
requires anemonectl anemone-test
[ "$ANEMONE_SERVER" ] || skip "there is no memory server"
writes() { fio_job --rw=randwrite --size=8M --bs=4k --verify=crc32c --do_verify=1 --iodepth=16 "$@" || fail "fio: $(cat "$SCRATCH/fio")"; }
all_healthy() { for number in $(server_numbers); do is_healthy "$number" || return 1; done; }
keyed_servers

# Without its key in the keyring a server is not used, and nothing is done without it.
refused ENOKEY "keys=other: key other:$(servers 1) of type logon: there is none" interface=eth0 servers="$ANEMONE_SERVERS" size_mib=32 keys=other
refused EINVAL "keys=a:b: not a prefix" interface=eth0 servers="$ANEMONE_SERVERS" size_mib=32 keys=a:b
# A client without keys is refused, and says why.
anemone_load size_mib=32 connect_ms=1000 2>/dev/null && fail "a client without keys was served"
dmesg | grep -q "server $(servers 1): it takes only signed frames; load the module with keys=" || fail "not said: $(dmesg | tail)"

for mtu in 1500 9000; do
    set_mtu $mtu || fail "MTU"
    for encrypt in 1 0; do
        anemone_load keys=anemone size_mib=32 encrypt=$encrypt || fail "load"
        dmesg | grep -q "anemone: frames are signed with " || fail "not said: $(dmesg)"
        wait_for 20 "the servers" all_healthy || fail "$(anemonectl status)"
        writes
        writes --bs=128k
        nothing_failed || fail "MTU $mtu: some pages failed"
        [ "$(counter frames_unverified)" = 0 ] || fail "MTU $mtu: $(counter frames_unverified) frames were not verified"
        anemone_unload || fail "unload"
    done
done
set_mtu 1500 || fail "MTU"

# A server that restarts has no keys of the session, and gives others.
anemone_load keys=anemone size_mib=32 || fail "load"
wait_for 20 "the servers" all_healthy || fail "$(anemonectl status)"
fio_job --rw=randwrite --size=8M --bs=4k --verify=crc32c --do_verify=1 --iodepth=16 --loops=3 &
load=$!
kill -KILL "$(keyed_pid 2)"
wait "$(keyed_pid 2)" 2>/dev/null
keyed_serve 2
wait_for 30 "server 2" is_healthy 2 || fail "$(anemonectl status; dmesg | tail)"
wait $load || fail "fio: $(cat "$SCRATCH/fio")"

# The next generation of the client's keys: servers get it first, and take both until it is used.
fio_job --rw=randwrite --size=8M --bs=4k --verify=crc32c --do_verify=1 --iodepth=16 --loops=3 &
load=$!
for number in $(server_numbers); do
    keyed_file "$number" 2
    kill -HUP "$(keyed_pid "$number")"
    keyed_give "$number" 2
done
anemonectl rekey || fail "rekey"
wait $load || fail "fio: $(cat "$SCRATCH/fio")"
nothing_failed || fail "rekey: some pages failed"
all_healthy || fail "$(anemonectl status)"

# A machine that may have been put back signs nothing with the keys that it had: it gets others, and goes on.
if [ -e /sys/power/pm_test ]; then
    given=$(keyed_given)
    echo 1 >/sys/module/suspend/parameters/pm_test_delay
    echo freezer >/sys/power/pm_test || fail "pm_test"
    # The debug kernel has no memory left for the image. Drivers hear of the attempt all the same.
    echo disk 2>/dev/null >/sys/power/state || [ "$DEBUG_KERNEL" ] || fail "hibernation: $(dmesg | tail)"
    echo none >/sys/power/pm_test
    has_others() { [ "$(keyed_given)" -ge $((given + 3)) ]; }
    wait_for 20 "other keys" has_others || fail "no other keys: $given, now $(keyed_given)"
    writes
    nothing_failed || fail "after hibernation: some pages failed"
    wait_for 20 "the servers" all_healthy || fail "$(anemonectl status)"
    say "note: a test of hibernation: $given keys before, $(keyed_given) after"
fi
anemone_unload || fail "unload"
# The one before is of no use any more.
keyed_give 1 1
anemone_load keys=anemone size_mib=32 servers="$(servers 1)" replicas=1 connect_ms=1000 2>/dev/null && fail "an old key was taken"
keyed_give 1 2
anemone_load keys=anemone size_mib=32 || fail "load"
writes
anemone_unload || fail "unload"
