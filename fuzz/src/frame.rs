// SPDX-License-Identifier: GPL-2.0

//! The parser of frames: what it accepts means the same when it is sent again.

use anemone::wire::{
    Ack, Announce, Frame, Hello, HelloAck, Inventory, InventoryReply, KeyReply, KeyRequest, Nonce,
    Opcode, PageVersion, Signature, Stats,
};
use zerocopy::{FromBytes, IntoBytes};

use crate::mutation::make_right;

/// Parses `data` as it is, and with its checksums right.
pub fn run(data: &[u8]) {
    check(data);
    let mut bytes = data.to_vec();
    make_right(&mut bytes);
    check(&bytes);
}

fn check(bytes: &[u8]) {
    let Ok(frame) = Frame::parse(bytes) else {
        return;
    };
    let (header, payload) = (frame.header, frame.payload);
    let len = u16::try_from(payload.len()).expect("a payload's length has 16 bits");
    let mut again = header.emit(len).to_vec();
    let signature = frame.signature(bytes);
    again.extend_from_slice(signature.map_or(&[], Signature::as_bytes));
    again.extend_from_slice(payload);
    assert_eq!(Frame::parse(&again), Ok(frame));
    assert_eq!(frame.signature(&again), signature);
    // Every prefix of it is refused.
    for len in [0, again.len() / 2, again.len() - 1] {
        assert!(Frame::parse(&again[..len]).is_err());
    }
    match header.opcode {
        Opcode::Hello => drop(Hello::read_from_bytes(payload)),
        Opcode::HelloAck => drop(HelloAck::read_from_bytes(payload)),
        Opcode::Announce => drop(Announce::read_from_bytes(payload)),
        Opcode::Challenge | Opcode::Alive => drop(Nonce::read_from_bytes(payload)),
        Opcode::KeyRequest => drop(KeyRequest::read_from_bytes(payload)),
        Opcode::KeyReply => drop(KeyReply::read_from_bytes(payload)),
        Opcode::Free => drop(<[PageVersion]>::ref_from_bytes(payload)),
        Opcode::Inventory => drop(Inventory::read_from_bytes(payload)),
        Opcode::InventoryReply => drop(InventoryReply::read_from_prefix(payload)),
        Opcode::StatsReply => drop(Stats::read_from_bytes(payload)),
        Opcode::WriteAcks => {
            let acks = <[Ack]>::ref_from_bytes(payload).unwrap_or_default();
            for one in acks.iter().filter_map(|ack| ack.header(&header)) {
                assert_eq!(one.opcode, Opcode::WriteAck);
                assert_eq!(one.session, header.session);
            }
        }
        _ => {}
    }
}
