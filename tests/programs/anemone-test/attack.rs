// SPDX-License-Identifier: GPL-2.0

//! A host on the segment that sees all frames and has no key: it repeats, changes and forges them.

use std::error::Error;

use anemone::crc::crc32c;
use anemone::wire::{
    Flags, Frame, Header, Opcode, Status, ETHERNET_LEN, HEADER_LEN, SIGNATURE_LEN,
};

use crate::frames::ETHERTYPE;
use crate::random::Random;
use crate::sys::PacketSocket;

/// `ETH_P_ALL`: also what a bridge forwards.
const ALL: u16 = 3;
/// Frames that are kept to be repeated.
const KEPT: usize = 512;

/// Options of `attack`.
#[derive(clap::Args)]
pub struct Options {
    /// The ports of a switch: frames are seen on the first, and sent on all
    #[arg(long, value_delimiter = ',', required = true)]
    ports: Vec<String>,
    /// Ends after so many frames of its own
    #[arg(long)]
    count: u64,
    /// What the choices follow from
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What is done with a frame, and the name of that.
type Kind = (&'static str, fn(&mut Attacker, Vec<u8>) -> Option<Vec<u8>>);

const KINDS: [Kind; 12] = [
    ("repeated", |_, frame| Some(frame)),
    ("old", |attacker, _| attacker.old()),
    ("header", Attacker::change_header),
    ("tail", Attacker::change_tail),
    ("signature", Attacker::exchange_signature),
    ("payload", Attacker::exchange_payload),
    ("stripped", Attacker::strip),
    ("source", Attacker::change_source),
    ("bye", |attacker, frame| attacker.say(&frame, Opcode::Bye)),
    ("low-water", |attacker, frame| {
        attacker.say(&frame, Opcode::Ping)
    }),
    ("hello", |attacker, frame| {
        attacker.say(&frame, Opcode::Hello)
    }),
    ("answer", Attacker::answer),
];

struct Attacker {
    random: Random,
    kept: Vec<Vec<u8>>,
}

/// Attacks until as many frames have been sent.
pub fn run(options: &Options) -> Result<String, Box<dyn Error>> {
    let open = |name: &String| PacketSocket::new(name, ALL);
    let ports = options
        .ports
        .iter()
        .map(open)
        .collect::<Result<Vec<_>, _>>()?;
    let first = ports.first().ok_or("no port")?;
    let mut attacker = Attacker {
        random: Random::new(options.seed),
        kept: Vec::new(),
    };
    let mut counts = [0_u64; KINDS.len()];
    let mut bytes = [0; 1 << 16];
    println!("attacking");
    while counts.iter().sum::<u64>() < options.count {
        let len = first.receive(&mut bytes)?;
        let frame = bytes[..len].to_vec();
        if frame.get(12..14) != Some(&ETHERTYPE.to_be_bytes()) {
            continue;
        }
        attacker.keep(frame.clone());
        // Its own frames are seen as well: it must not answer each.
        if attacker.random.below(4) != 0 {
            continue;
        }
        let kind = attacker.random.below(KINDS.len());
        let (_, attack) = KINDS[kind];
        let Some(mut forged) = attack(&mut attacker, frame) else {
            continue;
        };
        mend(&mut forged);
        for port in &ports {
            // A frame that the port does not take is lost.
            let _ = port.send(&forged);
        }
        counts[kind] += 1;
    }
    let said: Vec<String> = KINDS
        .iter()
        .zip(counts)
        .map(|((name, _), count)| format!("{name} {count}"))
        .collect();
    Ok(format!("attack: {}", said.join(" ")))
}

impl Attacker {
    fn keep(&mut self, frame: Vec<u8>) {
        if self.kept.len() < KEPT {
            self.kept.push(frame);
        } else {
            let place = self.random.below(KEPT);
            self.kept[place] = frame;
        }
    }

    fn old(&mut self) -> Option<Vec<u8>> {
        let place = self.random.below(self.kept.len());
        self.kept.get(place).cloned()
    }

    fn change_header(&mut self, mut frame: Vec<u8>) -> Option<Vec<u8>> {
        let at = ETHERNET_LEN + self.random.below(HEADER_LEN);
        *frame.get_mut(at)? = self.random.below(256) as u8;
        Some(frame)
    }

    fn change_tail(&mut self, mut frame: Vec<u8>) -> Option<Vec<u8>> {
        let head = ETHERNET_LEN + HEADER_LEN;
        let tail = frame.len().checked_sub(head).filter(|tail| *tail > 0)?;
        let at = head + self.random.below(tail);
        frame[at] ^= 1 << self.random.below(8);
        Some(frame)
    }

    fn exchange_signature(&mut self, frame: Vec<u8>) -> Option<Vec<u8>> {
        let head = ETHERNET_LEN + HEADER_LEN;
        self.exchange(frame, head, head + SIGNATURE_LEN)
    }

    fn exchange_payload(&mut self, frame: Vec<u8>) -> Option<Vec<u8>> {
        let (from, len) = (ETHERNET_LEN + HEADER_LEN + SIGNATURE_LEN, frame.len());
        self.exchange(frame, from, len)
    }

    /// Takes a part of another frame.
    fn exchange(&mut self, mut frame: Vec<u8>, from: usize, to: usize) -> Option<Vec<u8>> {
        let other = self.old()?;
        let part = other.get(from..to)?;
        frame.get_mut(from..to)?.copy_from_slice(part);
        Some(frame)
    }

    /// Without a signature.
    fn strip(&mut self, frame: Vec<u8>) -> Option<Vec<u8>> {
        let (ethernet, rest) = frame.split_at_checked(ETHERNET_LEN)?;
        let parsed = Frame::parse(rest).ok()?;
        let flags = parsed.header.flags.without(Flags::SIGNED);
        let flags = flags.without(Flags::HEADER_ONLY);
        let header = Header {
            flags,
            ..parsed.header
        };
        let head = header.emit(parsed.payload.len() as u16);
        Some([ethernet, &head, parsed.payload].concat())
    }

    fn change_source(&mut self, mut frame: Vec<u8>) -> Option<Vec<u8>> {
        let source = self.old()?.get(6..12)?.to_vec();
        frame.get_mut(6..12)?.copy_from_slice(&source);
        Some(frame)
    }

    /// A request in the name of a client, without a signature.
    fn say(&mut self, frame: &[u8], opcode: Opcode) -> Option<Vec<u8>> {
        let (ethernet, rest) = frame.split_at_checked(ETHERNET_LEN)?;
        let seen = Frame::parse(rest).ok()?.header;
        if seen.opcode.is_from_server() {
            return None;
        }
        let payload = match opcode {
            Opcode::Hello => vec![self.random.below(256) as u8; 56],
            _ => Vec::new(),
        };
        let header = Header {
            session: seen.session,
            incarnation: seen.incarnation,
            low_water: u64::MAX,
            ..Header::new(opcode)
        };
        let head = header.emit(payload.len() as u16);
        Some([ethernet, &head, &payload].concat())
    }

    /// What a server might answer that has forgotten everything, or has another page.
    fn answer(&mut self, frame: Vec<u8>) -> Option<Vec<u8>> {
        let (ethernet, rest) = frame.split_at_checked(ETHERNET_LEN)?;
        let seen = Frame::parse(rest).ok()?.header;
        if seen.opcode.is_from_server() {
            return None;
        }
        let (opcode, status, payload) = match (seen.opcode, self.random.below(2)) {
            (Opcode::Read, 0) => (Opcode::ReadReply, Status::Ok, vec![0xee; 8]),
            (Opcode::Read, _) => (Opcode::ReadReply, Status::Missing, Vec::new()),
            (Opcode::Write, 0) => (Opcode::WriteAck, Status::NoSpace, Vec::new()),
            _ => (Opcode::Reject, Status::NoSession, Vec::new()),
        };
        let mut header = seen.answer(opcode, status);
        if !payload.is_empty() {
            header.flags = Flags::SAME_FILLED;
            header.fragment_index = 0;
            header.fragment_count = 1;
            header.payload_crc = crc32c(&payload);
        }
        let head = header.emit(payload.len() as u16);
        let (to, from, kind) = (&ethernet[6..12], &ethernet[..6], &ethernet[12..]);
        Some([to, from, kind, &head, &payload].concat())
    }
}

/// Makes the checksums right.
fn mend(frame: &mut [u8]) {
    let Some(bytes) = frame.get_mut(ETHERNET_LEN..) else {
        return;
    };
    let Some(head) = bytes.first_chunk::<HEADER_LEN>() else {
        return;
    };
    let [_, opcode, flags, ..] = *head;
    let carries_page = opcode == Opcode::Write as u8 || opcode == Opcode::ReadReply as u8;
    if !carries_page {
        let len = usize::from(u16::from_be_bytes([head[16], head[17]]));
        let start = HEADER_LEN + if flags & 2 != 0 { SIGNATURE_LEN } else { 0 };
        let payload = bytes.get(start..start + len).unwrap_or_default();
        let crc = crc32c(payload).to_be_bytes();
        bytes[20..24].copy_from_slice(&crc);
    }
    let crc = crc32c(&bytes[..HEADER_LEN - 4]).to_be_bytes();
    bytes[HEADER_LEN - 4..HEADER_LEN].copy_from_slice(&crc);
}
