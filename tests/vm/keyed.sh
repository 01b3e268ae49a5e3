# shellcheck shell=sh disable=SC2015
# SPDX-License-Identifier: GPL-2.0
# Servers and a client with keys, in one virtual machine. Sourced after common.sh.

KEYS=$SCRATCH/keys
CLIENT=web3

# keyed_make: an administrator's key.
keyed_make() {
    mkdir -p "$KEYS" && anemonectl keygen master "$KEYS/master" || fail "keygen master"
}

# keyed_file N [GENERATION]: the key file of server N, for the client of this generation.
keyed_file() {
    (umask 077 && anemonectl keygen server --master "$KEYS/master" --name "server$1" --client "$CLIENT=${2:-1}" >"$KEYS/server$1") ||
        fail "keygen server"
}

# keyed_give N [GENERATION]: the client's key for server N comes into the keyring.
keyed_give() {
    anemonectl keygen pair --master "$KEYS/master" --server "server$1" --client $CLIENT --generation "${2:-1}" |
        anemonectl keyring add "$(servers "$1")" || fail "keyring"
}

# keyed_serve N: a server with keys in place of the usual one.
keyed_serve() {
    ip netns exec "server$1" "$ANEMONE_SERVER" --interface eth0 --capacity 32M --keys "$KEYS/server$1" \
        --log-level debug >"$SCRATCH/log$1" 2>&1 &
    eval "SERVER$1=$!"
    wait_for 20 "server $1" grep -q ' ready ' "$SCRATCH/log$1" || fail "$(cat "$SCRATCH/log$1")"
}

# keyed_given: how many keys all servers have given out since they started.
keyed_given() {
    keyed_sum=0
    for keyed_number in $(server_numbers); do
        keyed_count=$(sed -n 's/.* keys: \([0-9]*\) .*/\1/p' "$SCRATCH/log$keyed_number" | tail -n 1)
        keyed_sum=$((keyed_sum + ${keyed_count:-0}))
    done
    echo $keyed_sum
}

# keyed_pid N
keyed_pid() { eval "echo \$SERVER$1"; }

# keyed_servers: all of them.
keyed_servers() {
    keyed_make
    for keyed_number in $(server_numbers); do
        disturb kill "$keyed_number" || fail "kill $keyed_number"
        keyed_file "$keyed_number"
        keyed_give "$keyed_number"
        keyed_serve "$keyed_number"
    done
}
