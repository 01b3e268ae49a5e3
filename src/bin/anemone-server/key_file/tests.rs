// SPDX-License-Identifier: GPL-2.0

//! Key files, right and wrong.

use super::*;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

const KEY: &str = "9b1d5d40270c4855509c76cc196d9d115dc840f390e0fc7e17a72ef9e9194d8d";

fn text(clients: &str) -> String {
    format!("server = \"alpha\"\nkey = \"{KEY}\"\n{clients}")
}

fn parsed(clients: &str) -> KeyFile {
    KeyFile::parse(&text(clients)).unwrap()
}

fn server_key() -> ServerKey {
    let mut bytes = [0; 32];
    base16ct::mixed::decode(KEY, &mut bytes).unwrap();
    ServerKey::new(Secret::new(&bytes))
}

#[test]
fn a_client_has_its_keys_and_its_quota() {
    let file = parsed(
        "[[client]]\nname = \"web3\"\n\
         [[client]]\nname = \"db\"\ngeneration = 3\nquota = \"16G\"\n\
         [[client]]\nname = \"old\"\ngeneration = 2\naccept_previous = false\n",
    );
    assert_eq!(
        (file.server.to_string(), file.len()),
        ("alpha".to_owned(), 3)
    );
    let keys = |name: &str, generations: [u32; 2]| {
        let name = name.parse().unwrap();
        let key = |generation| (generation != 0).then(|| server_key().pair_key(&name, generation));
        (client_identity(&name), generations.map(key))
    };
    let found: Vec<_> = file
        .keyed_clients()
        .into_iter()
        .map(|one| (one.identity, one.keys))
        .collect();
    assert_eq!(
        found,
        [
            keys("web3", [1, 0]),
            keys("db", [3, 2]),
            keys("old", [2, 0])
        ]
    );
    let quota = (client_identity(&"db".parse().unwrap()), (16 << 30) / 4096);
    assert_eq!(file.quotas().into_iter().collect::<Vec<_>>(), [quota]);
}

#[test]
fn a_server_may_have_no_client_yet() {
    assert_eq!(parsed("").len(), 0);
    let upper = text("").replace(KEY, &KEY.to_uppercase());
    assert_eq!(KeyFile::parse(&upper).unwrap().len(), 0);
}

#[test]
fn wrong_files_are_refused_and_the_line_named() {
    let long = "x".repeat(65);
    let server = text("");
    let of_server = |from: &str, to: &str| server.replace(from, to);
    let client = |fields: &str| text(&format!("[[client]]\n{fields}\n"));
    for (text, line, why) in [
        (String::new(), 1, "missing field `server`"),
        (
            of_server("key", "kye"),
            2,
            "unknown field `kye`, expected one of `server`, `key`, `client`",
        ),
        (
            of_server("key", &"ab".repeat(32)),
            2,
            "unknown field `... , expected one of",
        ),
        (
            of_server("server = \"alpha\"\n", ""),
            1,
            "missing field `server`",
        ),
        (
            of_server("alpha", "al pha"),
            1,
            "a name has 1 to 64 characters",
        ),
        (
            of_server("alpha", &long),
            1,
            "a name has 1 to 64 characters",
        ),
        (
            of_server("d8d", "d8"),
            2,
            "the key is not 64 hexadecimal digits",
        ),
        (
            of_server("d8d", "d8g"),
            2,
            "the key is not 64 hexadecimal digits",
        ),
        (
            of_server("d8d", "d8d00"),
            2,
            "the key is not 64 hexadecimal digits",
        ),
        (of_server("d8d\"", "d8d"), 2, "invalid basic string"),
        (of_server("server = ", "server "), 1, "key with no value"),
        (client(""), 3, "missing field `name`"),
        (client("name = \"\""), 4, "a name has 1 to 64 characters"),
        (
            client("name = 7"),
            4,
            "invalid type: integer `7`, expected a string",
        ),
        (
            client("name = \"a\"\nquotas = \"1G\""),
            5,
            "unknown field `quotas`",
        ),
        (
            client("name = \"a\"\ngeneration = 0"),
            5,
            "the first generation is 1, not 0",
        ),
        (client("name = \"a\"\ngeneration = -1"), 5, "expected u32"),
        (
            client("name = \"a\"\ngeneration = 4294967296"),
            5,
            "expected u32",
        ),
        (
            client("name = \"a\"\nquota = \"16\""),
            5,
            "'16' is wrong: less than a page",
        ),
        (
            client("name = \"a\"\nquota = \"1Q\""),
            5,
            "'1Q' is wrong: unknown unit",
        ),
        (client("name = \"a\"\nquota = 4096"), 5, "expected a string"),
        (
            client("name = \"a\"\naccept_previous = 1"),
            5,
            "expected a boolean",
        ),
        (client("name = \"a\"\nname = \"b\""), 5, "duplicate key"),
        (
            client("name = \"a\"\n[[client]]\nname = \"b\"\n[[client]]\nname = \"a\""),
            8,
            "there are two clients 'a': remove one",
        ),
    ] {
        let wrong = KeyFile::parse(&text).err().unwrap();
        assert!(wrong.why.contains(why), "{text}: {}", wrong.why);
        assert_eq!(line_at(text.as_bytes(), wrong.at), line, "{text}");
        assert!(!wrong.why.contains("9b1d"), "{}", wrong.why);
    }
}

#[test]
fn no_message_shows_a_key_that_is_in_the_wrong_place() {
    for text in [
        format!("server = \"a\"\nkey = {KEY}\n"),
        format!("server = \"{KEY}0\"\nkey = \"{KEY}\"\n"),
        format!("server = \"a\"\nkey = \"{KEY}\"\nclient = \"{KEY}\"\n"),
        text(&format!(
            "[[client]]\nname = \"a\"\ngeneration = \"{KEY}\"\n"
        )),
        text(&format!(
            "[[client]]\nname = \"a\"\naccept_previous = \"{KEY}, expected a boolean\"\n"
        )),
    ] {
        let wrong = KeyFile::parse(&text).err().unwrap();
        assert!(!wrong.why.contains("9b1d"), "{}", wrong.why);
    }
}

#[test]
fn changes_are_counted() {
    let before =
        parsed("[[client]]\nname = \"a\"\n[[client]]\nname = \"b\"\n[[client]]\nname = \"c\"\n");
    let changes = |clients: &str| {
        let Changes {
            added,
            removed,
            changed,
        } = parsed(clients).changes_since(&before);
        (added, removed, changed)
    };
    assert_eq!(changes(""), (0, 3, 0));
    assert_eq!(
        changes("[[client]]\nname = \"c\"\n[[client]]\nname = \"a\"\n"),
        (0, 1, 0)
    );
    assert_eq!(changes("[[client]]\nname = \"d\"\n"), (1, 3, 0));
    assert_eq!(
        changes(
            "[[client]]\nname = \"a\"\ngeneration = 2\n[[client]]\nname = \"b\"\nquota = \"1G\"\n"
        ),
        (0, 1, 2)
    );
    assert_eq!(before.changes_since(&before), Changes::default());
}

#[test]
fn the_number_of_clients_is_limited_and_the_owner_matters() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys");
    fs::write(
        &path,
        text("[[client]]\nname = \"a\"\n[[client]]\nname = \"b\"\n"),
    )
    .unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(KeyFile::read(&path, 2).unwrap().len(), 2);
    let error = KeyFile::read(&path, 1).err().unwrap();
    assert!(
        error.contains("has 2 clients, more than --max-clients 1"),
        "{error}"
    );
    fs::write(&path, b"server = \"a\"\nkey = \"\xff\"\n").unwrap();
    let error = KeyFile::read(&path, 1).err().unwrap();
    assert!(error.ends_with("keys, line 2: not UTF-8 text"), "{error}");
    // Only root can give a file away.
    if std::os::unix::fs::chown(&path, Some(12345), None).is_ok() {
        let error = KeyFile::read(&path, 2).err().unwrap();
        assert!(
            error.contains("belongs to user 12345, who could change it: chown "),
            "{error}"
        );
    }
}
