// SPDX-License-Identifier: GPL-2.0

//! The test vectors of `docs/protocol.md`, read from there. Encoding the fields must give the bytes, and
//! decoding the bytes must give the fields.

use std::collections::BTreeMap;

use anemone::aead::{Cipher, Key};
use anemone::crc::crc32c;
use anemone::engine::channel::{Direction, FrameKeySeed, PairKey};
use anemone::engine::client::ids::{PageIndex, Version};
use anemone::engine::client::page_keys::page_nonce;
use anemone::secret::Secret;
use anemone::wire::{
    Announce, Flags, FragmentMask, Frame, FrameError, Header, Hello, HelloAck, Inventory,
    InventoryReply, KeyReply, KeyRequest, MacAddress, Nonce, Opcode, PageTag, PageVersion,
    Signature, Stats, Status, HEADER_LEN, PAGE_SIZE,
};
use zerocopy::FromBytes;

/// One vector: its fields by name.
type Vector = BTreeMap<String, String>;

/// The vectors of the document, by name.
fn vectors() -> BTreeMap<String, Vector> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/protocol.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut all = BTreeMap::new();
    for block in text.split("```vector\n").skip(1) {
        let block = block.split("```").next().unwrap();
        let mut vector = Vector::new();
        let mut field = String::new();
        for line in block.lines() {
            if let Some(more) = line.strip_prefix("  ") {
                vector.get_mut(&field).unwrap().push_str(more);
                continue;
            }
            let (name, value) = line.split_once(':').unwrap();
            field = name.to_owned();
            let before = vector.insert(field.clone(), value.trim().to_owned());
            assert_eq!(before, None, "{block}");
        }
        let name = vector["name"].clone();
        assert!(all.insert(name.clone(), vector).is_none(), "{name} twice");
    }
    all
}

/// The page of the document.
fn page() -> Vec<u8> {
    (0..PAGE_SIZE)
        .map(|at| ((7 * at + 3) % 251) as u8)
        .collect()
}

/// The page sealed, as the document does, and its tag.
fn sealed_page() -> (Vec<u8>, [u8; 16]) {
    let mut bytes = page();
    let tag = sealing_key().seal(&page_nonce(PageIndex(77), Version(5001)), &mut bytes);
    (bytes, tag)
}

/// The key of the document.
fn sealing_key() -> Key {
    Key::new(&std::array::from_fn(|at| at as u8))
}

fn hex(text: &str) -> Vec<u8> {
    assert_eq!(text.len() % 2, 0, "{text}");
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn number(vector: &Vector, field: &str) -> u64 {
    let Some(text) = vector.get(field) else {
        return 0;
    };
    let (digits, radix) = match text.split_at_checked(2) {
        Some(("0x", digits)) => (digits, 16),
        Some(("0b", digits)) => (digits, 2),
        _ => (text.as_str(), 10),
    };
    u64::from_str_radix(digits, radix).unwrap()
}

fn payload(vector: &Vector) -> Vec<u8> {
    let text = vector.get("payload").map_or("", String::as_str);
    let Some((name, range)) = text.split_once('[') else {
        return hex(text);
    };
    let bytes = match name {
        "page" => page(),
        "sealed" => sealed_page().0,
        _ => panic!("{name}"),
    };
    let (from, to) = range.strip_suffix(']').unwrap().split_once("..").unwrap();
    bytes[from.parse().unwrap()..to.parse().unwrap()].to_vec()
}

fn opcode(name: &str) -> Opcode {
    match name {
        "HELLO" => Opcode::Hello,
        "HELLO_ACK" => Opcode::HelloAck,
        "ANNOUNCE" => Opcode::Announce,
        "WRITE" => Opcode::Write,
        "WRITE_ACK" => Opcode::WriteAck,
        "WRITE_ACKS" => Opcode::WriteAcks,
        "READ" => Opcode::Read,
        "READ_REPLY" => Opcode::ReadReply,
        "FREE" => Opcode::Free,
        "FREE_ACK" => Opcode::FreeAck,
        "PING" => Opcode::Ping,
        "PONG" => Opcode::Pong,
        "STATS" => Opcode::Stats,
        "STATS_REPLY" => Opcode::StatsReply,
        "BYE" => Opcode::Bye,
        "BYE_ACK" => Opcode::ByeAck,
        "INVENTORY" => Opcode::Inventory,
        "INVENTORY_REPLY" => Opcode::InventoryReply,
        "REJECT" => Opcode::Reject,
        "ALIVE" => Opcode::Alive,
        "CHALLENGE" => Opcode::Challenge,
        "KEY_REQUEST" => Opcode::KeyRequest,
        "KEY_REPLY" => Opcode::KeyReply,
        _ => panic!("{name}"),
    }
}

fn status(name: &str) -> Status {
    match name {
        "OK" => Status::Ok,
        "INCOMPLETE" => Status::Incomplete,
        "NO_SPACE" => Status::NoSpace,
        "QUOTA" => Status::Quota,
        "STALE" => Status::Stale,
        "CORRUPT" => Status::Corrupt,
        "MISSING" => Status::Missing,
        "NO_SESSION" => Status::NoSession,
        "COOKIE" => Status::Cookie,
        "NOT_ADMITTED" => Status::NotAdmitted,
        "TOO_MANY_CLIENTS" => Status::TooManyClients,
        "UNKNOWN_VERSION" => Status::UnknownVersion,
        "IN_USE" => Status::InUse,
        "WAIT" => Status::Wait,
        "KEY_WANTED" => Status::KeyWanted,
        "NO_KEYS" => Status::NoKeys,
        _ => panic!("{name}"),
    }
}

/// The header that a vector describes.
fn header(vector: &Vector) -> Header {
    let known = [
        "name",
        "opcode",
        "status",
        "flags",
        "tag",
        "attempt",
        "fragment",
        "mask",
        "utilisation",
        "session",
        "incarnation",
        "page",
        "version",
        "low_water",
        "page_tag",
        "payload_crc",
        "payload",
        "header",
    ];
    for field in vector.keys() {
        assert!(known.contains(&field.as_str()), "{field}");
    }
    let mut header = Header::new(opcode(&vector["opcode"]));
    if let Some(name) = vector.get("status") {
        header.status = status(name);
    }
    if let Some(flags) = vector.get("flags") {
        assert_eq!(flags, "SAME_FILLED");
        header.flags = Flags::SAME_FILLED;
    }
    if let Some(fragment) = vector.get("fragment") {
        let (index, count) = fragment.split_once(" of ").unwrap();
        header.fragment_index = index.parse().unwrap();
        header.fragment_count = count.parse().unwrap();
    }
    header.tag = number(vector, "tag") as u32;
    header.attempt = number(vector, "attempt") as u32;
    header.fragment_mask = FragmentMask::from_bits(number(vector, "mask") as u8);
    header.utilisation = number(vector, "utilisation") as u16;
    header.payload_crc = number(vector, "payload_crc") as u32;
    header.session = number(vector, "session");
    header.incarnation = number(vector, "incarnation");
    header.page = number(vector, "page");
    header.version = number(vector, "version");
    header.low_water = number(vector, "low_water");
    if let Some(tag) = vector.get("page_tag") {
        header.page_tag = PageTag(hex(tag).try_into().unwrap());
    }
    header
}

#[test]
fn sealed_pages_match_the_document() {
    let (sealed, tag) = sealed_page();
    let all = vectors();
    for name in ["write-sealed", "read-reply-sealed"] {
        let header = header(&all[name]);
        assert_eq!(header.page_tag.0, tag, "{name}");
        assert_eq!(header.payload_crc, crc32c(&sealed), "{name}");
    }
    let filled = &all["write-sealed-same-filled"];
    let (header, mut value) = (header(filled), payload(filled));
    assert_eq!(header.payload_crc, crc32c(&value));
    let nonce = page_nonce(PageIndex(78), Version(5002));
    assert!(sealing_key().open(&nonce, &header.page_tag.0, &mut value));
    assert_eq!(value, hex("deadbeefcafef00d"));
}

/// The key that the document's client and server share.
fn pair() -> PairKey {
    PairKey::new(Secret::new(&std::array::from_fn(|at| at as u8))).unwrap()
}

#[test]
fn key_exchange_matches_the_document() {
    let all = vectors();
    let client: MacAddress = "52:54:00:00:00:10".parse().unwrap();
    let server: MacAddress = "52:54:00:00:00:01".parse().unwrap();
    for name in ["key-request", "key-request-cookie"] {
        let (header, payload) = (header(&all[name]), payload(&all[name]));
        let request = KeyRequest::read_from_bytes(&payload).unwrap();
        assert_eq!(request.pair, pair().id(), "{name}");
        let proof = pair().prove_request(&header, &request, client, server);
        assert_eq!(proof, Some(request.proof), "{name}");
    }
    for name in ["key-reply-cookie", "key-reply-ok"] {
        let (header, payload) = (header(&all[name]), payload(&all[name]));
        let reply = KeyReply::read_from_bytes(&payload).unwrap();
        let proof = pair().prove_reply(&header, &reply, server, client);
        assert_eq!(proof, Some(reply.proof), "{name}");
    }
}

#[test]
fn signatures_match_the_document() {
    let all = vectors();
    let reply = payload(&all["key-reply-ok"]);
    let reply = KeyReply::read_from_bytes(&reply).unwrap();
    let answer = header(&all["key-reply-ok"]);
    let seed = FrameKeySeed {
        cipher: Cipher::AesGcm,
        session: answer.session,
        incarnation: answer.incarnation,
        key: reply.key,
        nonce: reply.nonce,
        cookie: reply.cookie,
    };
    let key = pair().frame_key(&seed, Direction::ToServer).unwrap();
    let key = Key::new(key.bytes());
    let bytes = hex(&all["signed-ping"]["frame"]);
    let frame = Frame::parse(&bytes).unwrap();
    let signature = frame.signature(&bytes).unwrap();
    assert_eq!(
        (frame.header.opcode, frame.payload),
        (Opcode::Ping, &b"hello"[..])
    );
    assert_eq!(
        (signature.key, signature.lane, signature.counter()),
        (reply.key, 0, 7)
    );
    let head = Signature::head(bytes.first_chunk().unwrap());
    let text = [&head[..], frame.payload].concat();
    assert!(key.verify_mac(&signature.nonce(), &signature.tag, &text));
}

#[test]
fn whole_frames_match_the_document() {
    let mut opcodes = Vec::new();
    for (name, vector) in vectors() {
        if !vector.contains_key("header") {
            continue;
        }
        let header = header(&vector);
        let payload = payload(&vector);
        let bytes = hex(&vector["header"]);
        assert_eq!(bytes.len(), HEADER_LEN, "{name}");
        let emitted = header.emit(payload.len() as u16);
        assert_eq!(emitted[..], bytes[..], "{name}");
        let frame = [&bytes[..], &payload, &[0; 9]].concat();
        let expected = Frame {
            header,
            payload: &payload,
        };
        assert_eq!(Frame::parse(&frame), Ok(expected), "{name}");
        opcodes.push(header.opcode as u8);
    }
    let missing: Vec<_> = (0..=u8::MAX)
        .filter_map(Opcode::from_u8)
        .filter(|&opcode| !opcodes.contains(&(opcode as u8)))
        .collect();
    assert_eq!(missing, [], "opcodes without a vector");
}

#[test]
fn bad_frames_are_refused_for_the_documented_reason() {
    let mut reasons = Vec::new();
    for (name, vector) in vectors() {
        let Some(reason) = vector.get("error") else {
            continue;
        };
        let expected = match reason.as_str() {
            "short" => FrameError::Short,
            "checksum" => FrameError::Checksum,
            "malformed" => FrameError::Malformed,
            "version 1" => FrameError::Version(1),
            _ => panic!("{reason}"),
        };
        assert_eq!(
            Frame::parse(&hex(&vector["frame"])),
            Err(expected),
            "{name}"
        );
        reasons.push(reason.clone());
    }
    reasons.sort();
    reasons.dedup();
    assert_eq!(reasons, ["checksum", "malformed", "short", "version 1"]);
}

#[test]
fn checksums_are_the_documented_ones() {
    let vectors = vectors();
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    let whole = number(&vectors["write-whole"], "payload_crc") as u32;
    assert_eq!(crc32c(&page()), whole);
    let text = include_str!("../docs/protocol.md");
    assert!(text.contains(&format!("its CRC32C is `{whole:#010x}`")));
    let filled = &vectors["write-same-filled"];
    assert_eq!(
        u64::from(crc32c(&payload(filled))),
        number(filled, "payload_crc")
    );
}

#[test]
fn payloads_match_the_document() {
    let vectors = vectors();
    let payload = |name: &str| payload(&vectors[name]);
    let mut cluster = [0; 32];
    cluster[..3].copy_from_slice(b"lab");

    let hello = Hello::read_from_bytes(&payload("hello-with-cookie")).unwrap();
    assert_eq!(
        hello.client.0,
        *b"\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f"
    );
    assert_eq!(hello.cookie.get(), 0x0123_4567_89ab_cdef);
    assert_eq!(hello.cluster.0, cluster);

    let ack = HelloAck::read_from_bytes(&payload("hello-ack-cookie")).unwrap();
    assert_eq!(ack.cookie, hello.cookie);
    assert_eq!(ack.quota_pages.get(), 1000);
    assert_eq!(ack.held_pages.get(), 0);
    assert_eq!(ack.lease_s.get(), 86_400);

    let ack = HelloAck::read_from_bytes(&payload("hello-ack-wait")).unwrap();
    assert_eq!((ack.cookie.get(), ack.lease_s.get()), (0, 60));
    let [asked, answered] = ["challenge", "alive"].map(|name| {
        let nonce = Nonce::read_from_bytes(&payload(name)).unwrap();
        nonce.nonce.get()
    });
    assert_eq!((asked, answered), (0x5eed_5eed_1234_5678, asked));

    let announce = Announce::read_from_bytes(&payload("announce")).unwrap();
    assert_eq!(announce.cluster.0, cluster);
    assert_eq!(announce.capacity_pages.get(), 131_072);
    assert_eq!(announce.free_pages.get(), 98_304);
    assert_eq!(announce.frames_per_s.get(), 1500);

    let bytes = payload("free");
    let batch = <[PageVersion]>::ref_from_bytes(&bytes).unwrap();
    let batch: Vec<_> = batch
        .iter()
        .map(|one| (one.page.get(), one.version.get()))
        .collect();
    assert_eq!(batch, [(77, 5010), (78, 5011)]);

    let question = Inventory::read_from_bytes(&payload("inventory")).unwrap();
    assert_eq!((question.cursor.get(), question.max_pages.get()), (0, 30));
    let bytes = payload("inventory-reply");
    let (reply, listed) = InventoryReply::read_from_prefix(&bytes).unwrap();
    assert_eq!(reply.cursor.get(), 4096);
    let listed: Vec<_> = <[PageVersion]>::ref_from_bytes(listed)
        .unwrap()
        .iter()
        .map(|one| (one.page.get(), one.version.get()))
        .collect();
    assert_eq!(listed, [(77, 5009), (80, 5003)]);

    let stats = Stats::read_from_bytes(&payload("stats-reply")).unwrap();
    let Stats {
        capacity_pages,
        free_pages,
        held_pages,
        pages_written,
        pages_read,
        pages_freed,
        frames_bad,
        frames_dropped,
    } = stats;
    let numbers = [
        capacity_pages,
        free_pages,
        held_pages,
        pages_written,
        pages_read,
        pages_freed,
        frames_bad,
        frames_dropped,
    ];
    let numbers = numbers.map(|number| number.get());
    assert_eq!(numbers, [131_072, 98_304, 200, 310, 295, 40, 2, 1]);
}

#[test]
fn the_fragmentations_are_the_documented_ones() {
    use anemone::wire::Fragmentation;
    let text = include_str!("../docs/protocol.md");
    for count in 1..=8 {
        let cut = Fragmentation::from_count(count).unwrap();
        let (_, stride) = cut.span(0).unwrap();
        let (_, last) = cut.span(count - 1).unwrap();
        let mtu = usize::from(stride) + HEADER_LEN;
        let row = format!("| {count} | {stride} | {last} | {mtu} |");
        assert!(text.contains(&row), "{row}");
    }
}
