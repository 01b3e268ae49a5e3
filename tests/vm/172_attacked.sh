#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a host that sees all frames and sends any of its own, but has no key, changes nothing: every page is right, no request fails, no session ends; without keys the same attack does
# machine: segment
# vm: --servers 3 --client-mem 320 --file tests/vm/keyed.sh
# bound: 300
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh source=keyed.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/keyed.sh"

needs_single
requires anemonectl anemone-test
[ "$ANEMONE_SERVER" ] || skip "there is no memory server"
all_healthy() { for number in $(server_numbers); do is_healthy "$number" || return 1; done; }
# attack FRAMES SEED: from the switch, until so many frames have been sent.
attack() {
    ip netns exec switch anemone-test attack --ports client,s1,s2,s3 --count "$1" --seed "$2" >"$SCRATCH/attack" 2>&1 &
    ATTACK=$!
    wait_for 10 "the attacker" grep -q attacking "$SCRATCH/attack" || fail "$(cat "$SCRATCH/attack")"
}
attacking() { kill -0 $ATTACK 2>/dev/null; }
load() { fio_job --rw=randwrite --size=8M --bs="$1" --verify=crc32c --do_verify=1 --iodepth=16; }
keyed_servers

for mtu in 1500 9000; do
    set_mtu $mtu || fail "MTU"
    for encrypt in 1 0; do
        anemone_load keys=anemone size_mib=32 encrypt=$encrypt || fail "load"
        wait_for 20 "the servers" all_healthy || fail "$(anemonectl status)"
        attack "$(scaled 3000)" $((mtu + encrypt))
        rounds=0
        while attacking; do
            load 4k || fail "MTU $mtu, encrypt=$encrypt: $(cat "$SCRATCH/fio" "$SCRATCH/attack")"
            load 64k || fail "MTU $mtu, encrypt=$encrypt: $(cat "$SCRATCH/fio" "$SCRATCH/attack")"
            rounds=$((rounds + 1))
        done
        wait $ATTACK || fail "$(cat "$SCRATCH/attack")"
        nothing_failed || fail "MTU $mtu, encrypt=$encrypt: some pages failed"
        all_healthy || fail "$(anemonectl status)"
        dmesg | grep -q "anemone: server .*restarted" && fail "a server counts as restarted: $(dmesg | tail)"
        unverified=$(counter frames_unverified)
        [ "$unverified" -gt "$(scaled 100)" ] || fail "the client dropped only $unverified frames: $(cat "$SCRATCH/attack")"
        say "MTU $mtu, encrypt=$encrypt: $rounds rounds, $unverified frames dropped; $(tail -n 1 "$SCRATCH/attack")"
        anemone_unload || fail "unload"
    done
done
set_mtu 1500 || fail "MTU"
for number in $(server_numbers); do
    kill -TERM "$(keyed_pid "$number")"
    wait "$(keyed_pid "$number")" || fail "server $number: $(cat "$SCRATCH/log$number")"
    say "server $number: $(tail -n 2 "$SCRATCH/log$number")"
    grep -q 'sessions_expired: 0,' "$SCRATCH/log$number" || fail "server $number ended a session: $(cat "$SCRATCH/log$number")"
done

# What the attacker does is an attack: without keys it destroys pages or has requests fail.
for number in $(server_numbers); do
    host start "$number" || fail "start $number"
done
anemone_load size_mib=32 io_timeout_s=2 || fail "load without keys"
wait_for 20 "the servers" all_healthy || fail "$(anemonectl status)"
attack "$(scaled 3000)" 7
harmless=yes
while attacking; do
    load 4k && nothing_failed 2>/dev/null || harmless=
    [ "$harmless" ] || kill $ATTACK
done
wait $ATTACK
[ -z "$harmless" ] || fail "the same attack does nothing without keys: $(cat "$SCRATCH/attack")"
anemone_unload || fail "unload"
