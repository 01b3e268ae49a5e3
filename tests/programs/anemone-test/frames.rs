// SPDX-License-Identifier: GPL-2.0

//! Frames of the EtherType as any program on the machine receives and sends them: a program that counts
//! them, one that is no server and sends what only servers may, and a client that is alive and does nothing
//! else.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;

use anemone::crc::crc32c;
use anemone::wire::{Frame, Header, MacAddress, Opcode, Status, ETHERNET_LEN};

use crate::sys::PacketSocket;

/// The module's default EtherType.
pub const ETHERTYPE: u16 = 0x88b5;

/// Options of `listen`.
#[derive(clap::Args)]
pub struct Listen {
    /// The interface
    #[arg(long)]
    interface: String,
    /// Ends when so many frames of each of these opcodes have arrived: announce=3,write=50
    #[arg(long, value_delimiter = ',', value_parser = wanted)]
    until: Vec<(String, u64)>,
}

/// Options of `forge`.
#[derive(clap::Args)]
pub struct Forge {
    /// The interface
    #[arg(long)]
    interface: String,
    /// The receiver's address
    #[arg(long, value_parser = station)]
    to: MacAddress,
    /// How many frames of each kind
    #[arg(long)]
    count: u64,
}

/// Options of `alive`.
#[derive(clap::Args)]
pub struct Alive {
    /// The interface, which has the address of the client's session
    #[arg(long)]
    interface: String,
}

fn wanted(text: &str) -> Result<(String, u64), String> {
    let (name, count) = text.split_once('=').ok_or("NAME=COUNT")?;
    Ok((
        name.to_owned(),
        count.parse().map_err(|error| format!("{count}: {error}"))?,
    ))
}

fn station(text: &str) -> Result<MacAddress, String> {
    text.parse()
        .map_err(|_| format!("{text} is no hardware address"))
}

/// `WriteAck` is `write_ack`.
fn name(opcode: Opcode) -> String {
    let mut name = String::new();
    for letter in format!("{opcode:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// Counts the frames that arrive until there are enough, and reports the counts.
pub fn listen(options: &Listen) -> Result<String, Box<dyn Error>> {
    let socket = PacketSocket::new(&options.interface, ETHERTYPE)?;
    println!("listening");
    let mut counts = BTreeMap::<String, u64>::new();
    let mut bytes = [0; 1 << 16];
    let has = |counts: &BTreeMap<String, u64>, (name, count): &(String, u64)| {
        counts.get(name).is_some_and(|seen| seen >= count)
    };
    while !options.until.iter().all(|wanted| has(&counts, wanted)) {
        let len = socket.receive(&mut bytes)?;
        let frame = bytes.get(ETHERNET_LEN..len).unwrap_or(&[]);
        let name = match Frame::parse(frame) {
            Ok(frame) => name(frame.header.opcode),
            Err(_) => "bad".into(),
        };
        *counts.entry(name).or_default() += 1;
    }
    let mut said = String::from("listen:");
    for (name, count) in &counts {
        write!(said, " {name} {count}")?;
    }
    Ok(said)
}

/// Sends what a server would, without being one that the receiver knows.
pub fn forge(options: &Forge) -> Result<String, Box<dyn Error>> {
    let socket = PacketSocket::new(&options.interface, ETHERTYPE)?;
    let mut reject = Header::new(Opcode::Reject);
    reject.status = Status::NoSession;
    reject.incarnation = 7;
    let mut announce = Header::new(Opcode::Announce);
    announce.incarnation = 7;
    let payload = [0; 56];
    announce.payload_crc = crc32c(&payload);
    for number in 0..options.count {
        reject.session = 0x5555_0000_0000_0000 | number;
        reject.tag = u32::try_from(number)?;
        for (header, payload) in [(&reject, &[][..]), (&announce, &payload[..])] {
            send(&socket, options.to, header, payload)?;
        }
    }
    Ok(format!("forge: {} frames", 2 * options.count))
}

fn send(
    socket: &PacketSocket,
    to: MacAddress,
    header: &Header,
    payload: &[u8],
) -> Result<(), Box<dyn Error>> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&to.0);
    bytes.extend_from_slice(&socket.address()?);
    bytes.extend_from_slice(&ETHERTYPE.to_be_bytes());
    bytes.extend_from_slice(&header.emit(u16::try_from(payload.len())?));
    bytes.extend_from_slice(payload);
    Ok(socket.send(&bytes)?)
}

/// Answers each CHALLENGE, as the machine with the older session would. A signal ends it.
pub fn alive(options: &Alive) -> Result<String, Box<dyn Error>> {
    let socket = PacketSocket::new(&options.interface, ETHERTYPE)?;
    println!("alive");
    let mut bytes = [0; 1 << 16];
    loop {
        let len = socket.receive(&mut bytes)?;
        let Some((ethernet, frame)) = bytes[..len].split_at_checked(ETHERNET_LEN) else {
            continue;
        };
        let (Ok(frame), Some(source)) = (Frame::parse(frame), ethernet.get(6..12)) else {
            continue;
        };
        if frame.header.opcode != Opcode::Challenge {
            continue;
        }
        let mut answer = Header::new(Opcode::Alive);
        answer.session = frame.header.session;
        answer.incarnation = frame.header.incarnation;
        answer.payload_crc = crc32c(frame.payload);
        send(
            &socket,
            MacAddress(source.try_into()?),
            &answer,
            frame.payload,
        )?;
        println!("answered");
    }
}
