// SPDX-License-Identifier: GPL-2.0

//! Keys: how they are made, a server's file with them, and a server that takes signed frames only.

mod station;

use std::fs::{self, Permissions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anemone::engine::channel::PairKey;
use anemone::secret::Secret;
use anemone::wire::{Header, MacAddress, Opcode, Status};
use rustix::net::{socketpair, AddressFamily, SocketFlags, SocketType};

use crate::namespace::{can_make_namespace, skip, text, PREPARE, SERVER, TOOL};
use station::Station;

fn tool(arguments: &[&str]) -> Output {
    Command::new(TOOL).args(arguments).output().unwrap()
}

/// A directory with an administrator's key.
struct Keys {
    directory: tempfile::TempDir,
    master: String,
}

impl Keys {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let master = directory.path().join("master").display().to_string();
        let made = tool(&["keygen", "master", &master]);
        assert!(made.status.success(), "{}", text(&made.stderr));
        Self { directory, master }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What the server's file says.
    fn server(&self, clients: &[&str]) -> String {
        let clients = clients.iter().flat_map(|client| ["--client", client]);
        let first = [
            "keygen",
            "server",
            "--master",
            &self.master,
            "--name",
            "alpha",
        ];
        let output = tool(&first.into_iter().chain(clients).collect::<Vec<_>>());
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Writes the server's file.
    fn write(&self, text: &str) -> PathBuf {
        let path = self.path("alpha.toml");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn pair(&self, client: &str, generation: &str) -> PairKey {
        let output = tool(&[
            "keygen",
            "pair",
            "--master",
            &self.master,
            "--server",
            "alpha",
            "--client",
            client,
            "--generation",
            generation,
        ]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        PairKey::new(Secret::new(output.stdout.as_slice().try_into().unwrap())).unwrap()
    }
}

/// A server that ends because of its file. Returns its message and its status.
fn refusal(path: &Path, options: &[&str]) -> (String, Option<i32>) {
    let path = path.display().to_string();
    let output = Command::new(SERVER)
        .args([
            "--interface",
            "missing",
            "--capacity",
            "4M",
            "--keys",
            &path,
        ])
        .args(options)
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    (text(&output.stderr), output.status.code())
}

#[test]
fn a_wrong_file_ends_the_server() {
    let keys = Keys::new();
    let good = keys.server(&["web3", "db=2:1M"]);
    // This one is right: what is missing is the interface.
    let path = keys.write(&good);
    assert_eq!(refusal(&path, &[]).1, Some(3));
    for (wrong, why) in [
        (
            good.replace("key =", "kye ="),
            "alpha.toml, line 3: unknown field `kye`",
        ),
        (
            good.replace("key = \"", "key = \"x"),
            "alpha.toml, line 3: the key is not 64 hexadecimal digits",
        ),
        (
            good.replace("\"1M\"", "\"1\""),
            "alpha.toml, line 12: the quota '1' is wrong: less than a page",
        ),
        (
            good.replace("web3", "db"),
            "alpha.toml, line 10: there are two clients 'db'",
        ),
        (
            good.replace("= 2", "= 0"),
            "alpha.toml, line 11: the first generation is 1",
        ),
    ] {
        let (message, status) = refusal(&keys.write(&wrong), &[]);
        assert_eq!(status, Some(7), "{message}");
        assert!(
            message.contains("ERROR") && message.contains(why),
            "{message}"
        );
        assert_eq!(message.lines().count(), 1, "{message}");
    }
    let path = keys.write(&good);
    let (message, status) = refusal(&path, &["--max-clients", "1"]);
    assert_eq!(status, Some(7), "{message}");
    assert!(
        message.contains("has 2 clients, more than --max-clients 1"),
        "{message}"
    );
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    let (message, status) = refusal(&path, &[]);
    assert_eq!(status, Some(7), "{message}");
    assert!(message.contains("mode 0640): chmod 600"), "{message}");
    let (message, status) = refusal(&keys.path("missing"), &[]);
    assert_eq!(status, Some(7), "{message}");
    assert!(message.contains("cannot open"), "{message}");
}

#[test]
fn keys_are_not_written_where_others_can_read_them() {
    let keys = Keys::new();
    let path = keys.path("output");
    for (mode, is_right) in [(0o600, true), (0o644, false)] {
        let output = fs::File::create(&path).unwrap();
        output
            .set_permissions(Permissions::from_mode(mode))
            .unwrap();
        let made = Command::new(TOOL)
            .args([
                "keygen",
                "pair",
                "--master",
                &keys.master,
                "--server",
                "alpha",
                "--client",
                "a",
            ])
            .stdout(output)
            .output()
            .unwrap();
        assert_eq!(made.status.success(), is_right, "{}", text(&made.stderr));
        assert_eq!(
            fs::read(&path).unwrap().len(),
            if is_right { 32 } else { 0 }
        );
    }
    let again = tool(&["keygen", "master", &keys.master]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("exists and stays as it is"));
    fs::set_permissions(&keys.master, Permissions::from_mode(0o604)).unwrap();
    let readable = tool(&[
        "keygen",
        "server",
        "--master",
        &keys.master,
        "--name",
        "alpha",
    ]);
    assert_eq!(readable.status.code(), Some(1));
    assert!(text(&readable.stderr).contains("mode 0604): chmod 600"));
}

#[test]
fn a_key_gets_into_a_keyring() {
    let keys = Keys::new();
    fs::write(keys.path("key"), [7; 32]).unwrap();
    let add = |keyring: &str, file: &str| {
        Command::new(TOOL)
            .args([
                "keyring",
                "add",
                "02:00:00:00:00:0f",
                "--prefix",
                "anemone-test",
                "--keyring",
                keyring,
            ])
            .stdin(fs::File::open(keys.path(file)).unwrap())
            .output()
            .unwrap()
    };
    let added = add("session", "key");
    if text(&added.stderr).contains("CONFIG_KEYS") || text(&added.stderr).contains("not permitted")
    {
        return skip("keys cannot be added here");
    }
    assert!(added.status.success(), "{}", text(&added.stderr));
    fs::write(keys.path("short"), [7; 31]).unwrap();
    let short = add("session", "short");
    assert_eq!(short.status.code(), Some(1));
    assert!(text(&short.stderr).contains("has 31 bytes"));
}

/// A server with keys on `v0`, and a relay on `v1`. Both end with it.
struct Segment {
    link: Option<UnixDatagram>,
    script: Option<Child>,
    log: PathBuf,
    own: MacAddress,
}

const RELAY: &str = include_str!("keys/relay.py");

impl Segment {
    fn new(keys: &Keys, file: &Path) -> Option<Self> {
        if !Command::new("python3")
            .arg("--version")
            .output()
            .is_ok_and(|run| run.status.success())
        {
            skip("there is no python3");
            return None;
        }
        if !can_make_namespace() {
            return None;
        }
        let log = keys.path("log");
        fs::write(keys.path("relay.py"), RELAY).unwrap();
        fs::write(&log, "").unwrap();
        let kind = (
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
        );
        let (ours, theirs): (OwnedFd, OwnedFd) = socketpair(kind.0, kind.1, kind.2, None).unwrap();
        let script = format!(
            "{PREPARE} && ip link set v0 address 02:00:00:00:00:0a || exit
            cd \"$KEYS\" || exit
            \"$SERVER\" --interface v0 --capacity 4M --max-clients 8 --quota 2M --log-level debug \
                --keys \"$FILE\" </dev/null >log 2>&1 & server=$!
            echo $server >pid
            python3 relay.py v1 0x88b5
            kill -TERM $server; wait $server"
        );
        let script = Command::new("unshare")
            .args(["--map-root-user", "--net", "sh", "-c", &script])
            .env("NO_COLOR", "1")
            .env("SERVER", SERVER)
            .env("KEYS", keys.directory.path())
            .env("FILE", file)
            .stdin(Stdio::from(theirs))
            .spawn()
            .unwrap();
        let link = UnixDatagram::from(ours);
        let mut own = MacAddress::default();
        link.set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        assert_eq!(link.recv(&mut own.0).unwrap(), 6);
        let segment = Self {
            link: Some(link),
            script: Some(script),
            log,
            own,
        };
        segment.await_log(" ready ");
        Some(segment)
    }

    fn station(&self, server: u8, pair: PairKey) -> Station<'_> {
        let server = MacAddress([2, 0, 0, 0, 0, server]);
        Station::new(self.link.as_ref().unwrap(), self.own, server, pair)
    }

    fn run(&self, command: &str) {
        self.link
            .as_ref()
            .unwrap()
            .send(format!("!{command}").as_bytes())
            .unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn await_log(&self, wanted: &str) {
        for _ in 0..300 {
            if self.log().contains(wanted) {
                return;
            }
            sleep(Duration::from_millis(100));
        }
        panic!("no '{wanted}' in:\n{}", self.log());
    }

    /// Ends the server, and returns its log.
    fn end(mut self) -> String {
        self.link.take();
        assert!(self.script.take().unwrap().wait().unwrap().success());
        self.log()
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.link.take();
        if let Some(mut script) = self.script.take() {
            let _ = script.wait();
        }
    }
}

#[test]
fn only_signed_frames_are_taken_and_the_file_is_read_again() {
    let keys = Keys::new();
    let first = keys.server(&["web3:1M", "db"]);
    let file = keys.write(&first);
    let Some(segment) = Segment::new(&keys, &file) else {
        return;
    };
    let mut web = segment.station(0x0a, keys.pair("web3", "1"));
    let mut db = segment.station(0x0a, keys.pair("db", "1"));
    assert!(web.get_keys());
    assert!(db.get_keys());
    assert_eq!((web.open(), db.open()), (256, 512));
    assert!(web.is_served() && db.is_served());
    // Without a signature, and with keys of no client.
    db.send_unsigned(Header::new(Opcode::Ping), b"ping");
    let hint = db.answer().unwrap();
    assert_eq!(
        (hint.header.opcode, hint.header.status),
        (Opcode::Reject, Status::KeyWanted)
    );
    for (client, generation) in [("web3", "2"), ("mail", "1")] {
        assert!(!segment
            .station(0x0a, keys.pair(client, generation))
            .get_keys());
    }

    // A wrong file changes nothing.
    keys.write(&first.replace("generation = 1", "generation = 0"));
    segment.run("kill -HUP $(cat pid)");
    segment.await_log("ERROR the keys stay as they were, because their file is wrong now: ");
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    segment.run("kill -HUP $(cat pid)");
    segment.await_log("(mode 0644)");
    assert!(web.is_served() && db.is_served());

    // A right one does.
    keys.write(&keys.server(&["db=2", "mail"]));
    segment.run("kill -HUP $(cat pid)");
    segment
        .await_log("the keys were read again server=alpha clients=2 added=1 removed=1 changed=1");
    assert!(db.is_served());
    assert!(!web.is_served());
    assert!(segment.station(0x0a, keys.pair("mail", "1")).get_keys());
    // The old generation is good until the new one is used.
    assert!(segment.station(0x0a, keys.pair("db", "1")).get_keys());
    let mut renewed = segment.station(0x0a, keys.pair("db", "2"));
    assert!(renewed.get_keys() && renewed.is_answered());
    assert!(!segment.station(0x0a, keys.pair("db", "1")).get_keys());

    // The interface gets another address.
    segment.run("ip link set v0 down; ip link set v0 address 02:00:00:00:00:0b; ip link set v0 up");
    segment.await_log("has a new address");
    let mut moved = segment.station(0x0b, keys.pair("mail", "1"));
    assert!(moved.get_keys());
    assert_eq!(moved.open(), 512);

    let log = segment.end();
    assert!(
        log.contains("only frames that clients have signed are taken server=alpha clients=2"),
        "{log}"
    );
    assert!(log.contains(" unsigned: 1, "), "{log}");
    assert!(!log.contains("not authenticated"), "{log}");
    let key = first
        .lines()
        .find_map(|line| line.strip_prefix("key = "))
        .unwrap();
    assert!(!log.contains(key.trim_matches('"')), "{log}");
}
