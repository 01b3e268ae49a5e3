// SPDX-License-Identifier: GPL-2.0

//! Scripts in a network namespace of their own.

use std::io::Write;
use std::process::{Command, Output};

/// The memory server.
pub const SERVER: &str = env!("CARGO_BIN_EXE_anemone-server");
/// The administrator's tool.
pub const TOOL: &str = env!("CARGO_BIN_EXE_anemonectl");

/// The text in the output of a program.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Reports to `scripts/test` that this test cannot run here. cargo would count it as passed, so without
/// `scripts/test` the test fails.
pub fn skip(why: &str) {
    let thread = std::thread::current();
    let name = std::env::var("NEXTEST_TEST_NAME").ok();
    let name = name.as_deref().or(thread.name()).unwrap();
    let Ok(path) = std::env::var("ANEMONE_SKIPPED") else {
        panic!("this test cannot run here, and only scripts/test counts skipped tests: {why}");
    };
    // One write, because other tests append as well.
    let line = format!("{name}: {why}\n");
    let file = std::fs::File::options().append(true).open(path);
    file.unwrap().write_all(line.as_bytes()).unwrap();
}

/// For scripts: makes the Ethernet interfaces `v0` and `v1`, a veth pair.
pub const PREPARE: &str =
    "ip link add v0 type veth peer name v1 && ip link set v0 up && ip link set v1 up";

fn run(script: &str) -> std::io::Result<Output> {
    Command::new("unshare")
        .args(["--map-root-user", "--net", "sh", "-c", script])
        .env("NO_COLOR", "1")
        .env("SERVER", SERVER)
        .output()
}

/// Whether a network namespace with a veth pair can be made. If not, the test is skipped.
pub fn can_make_namespace() -> bool {
    let can = run(PREPARE).is_ok_and(|output| output.status.success());
    if !can {
        skip("no network namespace with a veth pair can be made here");
    }
    can
}

/// Runs a shell script in a network namespace with the Ethernet interfaces `v0` and `v1`. `None` if that is
/// not possible: the test is skipped.
pub fn in_namespace(script: &str) -> Option<Output> {
    can_make_namespace().then(|| run(&format!("{PREPARE} && {{ {script}\n}}")).unwrap())
}

/// For scripts: `begin INTERFACE` runs a server in the background, `await_log FILE TEXT` waits.
pub const FUNCTIONS: &str = "log=$(mktemp -d); trap 'rm -rf \"$log\"' EXIT
    begin() { \"$SERVER\" --interface $1 --capacity 4M --max-clients 2 >\"$log/$1\" 2>&1 & }
    await_log() {
        tries=0
        until grep -q -e \"$2\" \"$log/$1\"; do
            [ $tries -lt 300 ] || { echo \"no '$2' in:\"; cat \"$log/$1\"; return 1; }
            sleep 0.1
            tries=$((tries + 1))
        done
    }";
