// SPDX-License-Identifier: GPL-2.0

//! The memory server from its administrator's view: messages, exit statuses, signals.
//!
//! Tests that need an interface run in a network namespace of their own, made by `unshare` (as root, or in a
//! user namespace). If that is not allowed they are skipped.

mod keys;
mod namespace;

use std::process::{Command, Output};

use namespace::{in_namespace, skip, text, FUNCTIONS, SERVER, TOOL};

fn server(arguments: &[&str]) -> Output {
    Command::new(SERVER)
        .args(arguments)
        .env("NO_COLOR", "1")
        .output()
        .unwrap()
}

#[test]
fn help_and_version() {
    let help = server(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let help = text(&help.stdout);
    for option in ["--interface", "--capacity", "--log-level", "Exit status:"] {
        assert!(help.contains(option), "{help}");
    }
    let version = server(&["--version"]);
    assert_eq!(version.status.code(), Some(0));
    let expected = format!("anemone-server {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(text(&version.stdout), expected);
}

#[test]
fn wrong_command_lines() {
    for arguments in [
        &[][..],
        &["--interface"],
        &["--interface", "x", "--capacity", "12Q"],
        &["--interface", "x", "--capacity", "0"],
        &["--interface", "x", "--log-level", "loud"],
        &["--interface", "x", "--lease", "0"],
        &["--interface", "x", "--ethertype", "0x10"],
        &["--interface", "x", "--allow", "me"],
        &["--interface", "x", "--max-clients", "0"],
        &["--interface", "x", "--quota", "4"],
        &["--interfaces", "x"],
        &["--interface", "x", "--keys"],
        &[
            "--interface",
            "x",
            "--keys",
            "x",
            "--allow",
            "02:00:00:00:00:01",
        ],
    ] {
        let output = server(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains("error:"), "{arguments:?}");
    }
}

#[test]
fn failures_are_one_line_and_a_status() {
    let Some(output) = in_namespace(
        "try() { \"$SERVER\" \"$@\" 2>&1; echo \"status $?\"; }
        try --interface missing --capacity 4M
        try --interface a-name-that-is-longer-than-any --capacity 4M
        try --interface lo --capacity 4M
        ip link set v0 mtu 500; try --interface v0 --capacity 4M; ip link set v0 mtu 1500
        try --interface v0 --capacity 100K
        try --interface v0 --capacity 4000T
        (ulimit -l 64; try --interface v0 --capacity 4M)
        setpriv --bounding-set -net_raw --inh-caps -net_raw \
            \"$SERVER\" --interface v0 --capacity 4M 2>&1; echo \"status $?\"",
    ) else {
        return;
    };
    let lines = text(&output.stdout);
    let lines: Vec<_> = lines.lines().collect();
    assert_eq!(lines.len(), 16, "{lines:#?}");
    for (pair, (message, status)) in lines.chunks(2).zip([
        (
            "there is no network interface 'missing'; there are: v0, v1",
            3,
        ),
        (
            "there is no network interface 'a-name-that-is-longer-than-any'; there are: v0, v1",
            3,
        ),
        ("network interface 'lo' is not an Ethernet interface", 3),
        ("the MTU of network interface 'v0' is 500: ", 3),
        ("too little memory", 5),
        ("too little memory", 5),
        (
            "raise the limit of locked memory (ulimit -l, LimitMEMLOCK=; it is 64 KiB)",
            5,
        ),
        ("CAP_NET_RAW", 4),
    ]) {
        assert!(
            pair[0].contains("ERROR") && pair[0].contains(message),
            "{pair:?}"
        );
        assert_eq!(pair[1], format!("status {status}"), "{pair:?}");
    }
}

#[test]
fn one_server_serves_an_interface_and_a_signal_ends_it() {
    let Some(output) = in_namespace(
        "log=$(mktemp -d); trap 'rm -rf \"$log\"' EXIT
        begin() { \"$SERVER\" --interface $1 --capacity 4M --max-clients 2 >\"$log/$1\" 2>&1 & }
        await() {
            tries=0
            until grep -q ready \"$log/$1\" || [ $tries -ge 300 ]; do
                sleep 0.1
                tries=$((tries + 1))
            done
        }
        begin v0; first=$!; await v0
        begin v1; other=$!; await v1
        \"$SERVER\" --interface v0 --capacity 4M --max-clients 2 2>&1; echo \"second $?\"
        echo \"set $(cat /proc/$first/oom_score_adj)\"
        kill -TERM $first; wait $first; echo \"first $?\"
        kill -INT $other; wait $other; echo \"other $?\"
        cat \"$log/v0\"",
    ) else {
        return;
    };
    let all = text(&output.stdout);
    assert!(all.contains("another server serves on 'v0'"), "{all}");
    for line in ["second 6", "first 0", "other 0"] {
        assert!(all.lines().any(|one| one == line), "{line}: {all}");
    }
    let ready: Vec<_> = all.lines().filter(|line| line.contains("ready")).collect();
    assert_eq!(ready.len(), 1, "{all}");
    for part in ["INFO", "interface=\"v0\"", "mac=", "pages=", "incarnation="] {
        assert!(ready[0].contains(part), "{part}: {}", ready[0]);
    }
    assert!(all.contains("ended by a signal"), "{all}");
    // It may not be set from a user namespace, and may be set already.
    let is_warned_of = all.contains("the kernel kills this process early");
    let is_set = ready[0].contains("oom_score_adj=-");
    assert_ne!(is_set, is_warned_of, "{all}");
    let set = all.lines().find_map(|line| line.strip_prefix("set "));
    let set: i32 = set.unwrap().parse().unwrap();
    assert_eq!(set <= -900, is_set, "{all}");
}

#[test]
fn a_log_that_cannot_be_written_does_not_end_the_server() {
    let Some(output) = in_namespace(&format!(
        "{FUNCTIONS}
        [ -c /dev/full ] || {{ echo no-full; exit; }}
        \"$SERVER\" --interface missing --capacity 4M 2>/dev/full; echo \"missing $?\"
        \"$SERVER\" --interface v0 --capacity 4M --max-clients 2 2>/dev/full & server=$!
        # It sees what becomes of v0 as this one sees it of v1, and this one's log can be read.
        begin v1; other=$!; await_log v1 ready
        tries=0
        until grep -q ' 88b5 ' /proc/net/packet && [ $(grep -c ' 88b5 ' /proc/net/packet) -eq 2 ]; do
            [ $tries -lt 300 ] || {{ echo not-serving; break; }}
            sleep 0.1
            tries=$((tries + 1))
        done
        ip link set v1 down; await_log v1 'the interface is down'
        ip link set v1 up; await_log v1 'carries frames again'
        ip link set v0 down; await_log v1 'no carrier'
        ip link set v0 up
        kill -TERM $server; wait $server; echo \"ended $?\"
        kill $other; wait"
    )) else {
        return;
    };
    let all = text(&output.stdout);
    if all.contains("no-full") {
        skip("there is no /dev/full");
        return;
    }
    assert_eq!(all, "missing 3\nended 0\n", "{}", text(&output.stderr));
}

#[test]
fn the_tools_status_shows_that_it_could_not_write() {
    let Ok(full) = std::fs::File::options().write(true).open("/dev/full") else {
        skip("there is no /dev/full");
        return;
    };
    let run = |arguments: &[&str], is_out: bool| {
        let mut command = Command::new(TOOL);
        let full = full.try_clone().unwrap();
        match is_out {
            true => command.stdout(full),
            false => command.stderr(full),
        };
        command.args(arguments).output().unwrap()
    };
    let missing = ["--device", "/nonexistent/anemone", "status"];
    assert_eq!(run(&missing, false).status.code(), Some(3));
    let unwritten = run(&["man"], true);
    assert_eq!(unwritten.status.code(), Some(1));
    assert!(text(&unwritten.stderr).contains("cannot write"));
}

#[test]
fn a_port_of_a_bridge_is_refused_and_noticed_later() {
    let Some(output) = in_namespace(&format!(
        "{FUNCTIONS}
        ip link add br0 type bridge || {{ echo no-bridge; exit; }}
        ip link set v1 master br0
        \"$SERVER\" --interface v1 --capacity 4M 2>&1; echo \"port $?\"
        begin br0; bridge=$!; await_log br0 ready && echo bridge-serves
        begin v0; other=$!; await_log v0 ready
        ip link add br1 type bridge; ip link set v0 master br1
        await_log v0 'is now a port of the bridge .br1.' && echo noticed
        ip link set v0 nomaster
        await_log v0 'is no longer a port of the bridge .br1.' && echo unnoticed
        kill $bridge $other; wait; cat \"$log/v0\""
    )) else {
        return;
    };
    let all = text(&output.stdout);
    if all.contains("no-bridge") {
        skip("this kernel has no bridges");
        return;
    }
    let refusal = "network interface 'v1' is a port of the bridge 'br0', which takes its frames: \
                   serve on 'br0' (--interface br0)";
    assert!(all.contains(refusal), "{all}");
    for line in ["port 3", "bridge-serves", "noticed", "unnoticed"] {
        assert!(all.lines().any(|one| one == line), "{line}: {all}");
    }
}

#[test]
fn the_log_names_why_an_interface_carries_no_frames() {
    let Some(output) = in_namespace(&format!(
        "{FUNCTIONS}
        ip link set v0 down
        begin v0; first=$!; await_log v0 ready
        await_log v0 'WARN.*the interface is down: .*ip link set v0 up' && echo down
        ip link set v1 down; ip link set v0 up
        begin v1; other=$!; await_log v1 'WARN.*the interface is down'
        ip link set v0 mtu 500; await_log v0 'WARN.*MTU is too small' && echo mtu
        ip link set v1 up
        await_log v0 'the interface carries frames again' && echo again
        ip link set v1 down
        await_log v0 'WARN.*the interface has no carrier' && echo carrier
        kill $first $other; wait"
    )) else {
        return;
    };
    let all = text(&output.stdout);
    assert_eq!(
        all.lines().collect::<Vec<_>>(),
        ["down", "mtu", "again", "carrier"]
    );
}

#[test]
fn a_signal_ends_a_server_that_is_taking_memory() {
    let Some(output) = in_namespace(&format!(
        "{FUNCTIONS}
        mkfifo \"$log/pipe\" || exit
        exec 3<>\"$log/pipe\"
        # The log pipe is full: the server blocks on its message before it takes memory.
        dd if=/dev/zero of=\"$log/pipe\" bs=4096 count=1024 oflag=nonblock 2>/dev/null
        \"$SERVER\" --interface v0 --capacity 4M --max-clients 2 --log-level debug 2>&3 & server=$!
        is_ready_for_signals() {{
            caught=0x$(sed -n 's/^SigCgt:[[:space:]]*//p' /proc/$server/status)
            [ $((caught & 0x4000)) -ne 0 ]
        }}
        tries=0
        until is_ready_for_signals || [ $tries -ge 300 ]; do
            sleep 0.05
            tries=$((tries + 1))
        done
        kill -TERM $server
        {{ cat \"$log/pipe\" | tr -d '\\000' >\"$log/v0\"; }} 3<&- &
        wait $server; echo \"ended $?\"
        exec 3<&-
        wait; cat \"$log/v0\"",
    )) else {
        return;
    };
    let all = text(&output.stdout);
    assert!(all.starts_with("ended 0\n"), "{all}");
    assert!(
        all.contains("ended by a signal while memory was being taken"),
        "{all}"
    );
    assert!(!all.contains("ready"), "{all}");
}

#[test]
fn a_server_follows_its_interface_to_another_name() {
    let Some(output) = in_namespace(&format!(
        "{FUNCTIONS}
        rename() {{ ip link set $1 down; ip link set $1 name $2; ip link set $2 up; }}
        begin v0; server=$!; await_log v0 ready
        rename v0 spare; rename v1 v0; rename spare v1
        await_log v0 'the interface has a new name interface=.v1.'
        ip link set v0 mtu 9000; ip link set v1 mtu 9000
        await_log v0 'serving on the interface again interface=.v1.' && echo same
        kill $server; wait"
    )) else {
        return;
    };
    assert_eq!(text(&output.stdout), "same\n", "{}", text(&output.stderr));
}

#[test]
fn an_interface_that_was_away_between_two_checks_is_served() {
    let Some(output) = in_namespace(&format!(
        "{FUNCTIONS}
        mkfifo \"$log/there\" \"$log/back\" || exit
        begin v0; server=$!; await_log v0 ready
        index() {{ ip -o link show v0 | cut -d: -f1; }}
        before=$(index)
        unshare --net sh -c '
            echo $$ >$1/there; read -r parent <$1/back; ip link set v0 netns $parent
        ' - \"$log\" &
        mover=$!
        read -r elsewhere <\"$log/there\"
        # It does not look meanwhile.
        kill -STOP $server
        ip link set v0 netns $elsewhere
        echo $$ >\"$log/back\"; wait $mover
        ip link set v0 up
        [ $before = $(index) ] || echo other-index
        kill -CONT $server
        await_log v0 'serving on the interface again interface=.v0.' && echo again
        grep -q \" 88b5  *$before \" /proc/net/packet && echo bound
        kill $server; wait"
    )) else {
        return;
    };
    assert_eq!(
        text(&output.stdout),
        "again\nbound\n",
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn one_of_several_servers_that_begin_together_serves() {
    let Some(output) = in_namespace(
        "log=$(mktemp -d); trap 'rm -rf \"$log\"' EXIT
        for round in 1 2 3 4 5 6 7 8; do
            pids=
            rm -f \"$log\"/*
            for one in a b c; do
                \"$SERVER\" --interface v0 --capacity 4M --max-clients 2 >\"$log/$one\" 2>&1 &
                pids=\"$pids $!\"
            done
            tries=0
            until [ \"$(cat \"$log\"/* | grep -c -e ready -e ERROR)\" -eq 3 ] || [ $tries -ge 300 ]; do
                sleep 0.05
                tries=$((tries + 1))
            done
            kill $pids 2>/dev/null
            busy=0
            for pid in $pids; do
                wait $pid
                [ $? -ne 6 ] || busy=$((busy + 1))
            done
            echo \"$(cat \"$log\"/* | grep -c ready) $busy\"
        done",
    ) else {
        return;
    };
    let all = text(&output.stdout);
    assert_eq!(all.lines().collect::<Vec<_>>(), ["1 2"; 8], "{all}");
}

/// An interface of this kind hands nothing up, and is refused for that reason.
fn kind_is_refused(kind: &str, options: &str, reason: &str) {
    let Some(output) = in_namespace(&format!(
        "ip link add link0 {options} type {kind} 2>/dev/null || {{ echo no-kind; exit; }}
        ip link set link0 up
        timeout 20 \"$SERVER\" --interface link0 --capacity 4M 2>&1; echo \"status $?\""
    )) else {
        return;
    };
    let all = text(&output.stdout);
    if all == "no-kind\n" {
        return skip(&format!("this kernel has no {kind}"));
    }
    let refusal = format!("network interface 'link0' is {reason}");
    assert!(all.contains(&refusal), "{all}");
    assert!(all.ends_with("status 3\n"), "{all}");
}

#[test]
fn a_macvtap_is_refused() {
    let reason = "a macvtap, whose frames go to the program that has it open: serve on a macvlan";
    kind_is_refused("macvtap", "link v0", reason);
}

#[test]
fn an_ipvlan_is_refused() {
    let reason = "an ipvlan, which is handed IP packets only: serve on a macvlan instead";
    kind_is_refused("ipvlan", "link v0", reason);
}

#[test]
fn an_ifb_is_refused() {
    kind_is_refused("ifb", "", "an ifb, which puts every frame back");
}

#[test]
fn an_unprivileged_user_cannot_block_a_server() {
    // All that such a user can have of the network: names and ports.
    let Some(output) = in_namespace(&format!(
        "{FUNCTIONS}
        command -v python3 >/dev/null || {{ echo no-python3; exit; }}
        export REAL=\"$SERVER\" SERVER=\"$log/holding\"
        cat >\"$SERVER\" <<'END'
#!/usr/bin/env python3
import os, socket, sys
index = socket.if_nametoindex('v0')
for kind in socket.SOCK_DGRAM, socket.SOCK_STREAM:
    held = socket.socket(socket.AF_UNIX, kind)
    held.bind('\\0anemone-server/%d/88b5' % index)
    os.set_inheritable(held.detach(), True)
os.execv(os.environ['REAL'], sys.argv)
END
        chmod +x \"$SERVER\"
        begin v0; await_log v0 ready && echo serves; kill $!; wait"
    )) else {
        return;
    };
    let all = text(&output.stdout);
    if all.contains("no-python3") {
        skip("there is no python3");
        return;
    }
    assert_eq!(all, "serves\n", "{}", text(&output.stderr));
}
