// SPDX-License-Identifier: GPL-2.0

//! The frames of an op, allocated at load, so that sending allocates nothing.

use kernel::prelude::*;
use zerocopy::IntoBytes;

use super::{
    frame_keys::FrameKeys,
    storage::make_vec, //
};
use crate::{
    engine::client::{
        ids::MAX_REPLICAS,
        shard::{
            Send,
            SendPayload, //
        },
    },
    linux::{
        block::Block,
        mm::alloc::MAY_FAIL,
        net::{
            device::NetDevice,
            skb::{
                self,
                AllocCpu,
                FramePolicy,
                Payload, //
            },
        },
        sync::try_cell::TryCell, //
    },
    wire::{
        Flags,
        Header,
        MacAddress,
        Signature,
        FILL_LEN,
        HEADER_LEN,
        SIGNATURE_LEN, //
    },
};

/// The CPU that receives the answers to our frames.
pub(crate) static RECEIVING_CPU: AllocCpu = AllocCpu::new();

/// How our frames are sent.
pub(crate) struct Policy;

impl FramePolicy for Policy {
    /// More than `LL_MAX_HEADER` without tunnels, so that no device has to copy the frame to get room.
    const HEADROOM: usize = 128;

    /// The highest band of the default queueing discipline (`TC_PRIO_INTERACTIVE`).
    const PRIORITY: u32 = 6;

    #[inline]
    fn alloc_cpu() -> &'static AllocCpu {
        &RECEIVING_CPU
    }

    /// Frames to one station keep their order on a device with several queues.
    #[inline]
    fn hash([_, _, tail @ ..]: [u8; 6]) -> u32 {
        u32::from_ne_bytes(tail)
    }
}

/// A frame with a protocol header.
pub(crate) type TxFrame = skb::TxFrame<Policy, HEADER_LEN>;

/// Bytes that are copied behind a header: a signature, and the value that fills a page.
// CAST: 28 bytes.
const ROOM: u16 = SIGNATURE_LEN as u16 + FILL_LEN;

/// The frames of one transfer.
struct TransferFrames {
    frames: KVec<TxFrame>,
    /// Whether they may refer to pages of a request.
    has_pages: bool,
}

/// The frames of one op. Different CPUs may use those of its transfers at the same time.
pub(crate) struct OpFrames {
    transfers: KVec<TryCell<TransferFrames>>,
}

/// The result of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Handed over, or lost on the way, in which case the engine sends again.
    Done,
    /// Not sent: the page no longer has its checksum. The value is the current one.
    Changed(u32),
}

/// How many frames a transfer has. Transfers beyond the replicas only send READs.
fn frame_count(transfer: usize, replicas: usize, fragments: u8) -> u8 {
    if transfer < replicas {
        fragments
    } else {
        1
    }
}

impl OpFrames {
    /// Approximate size in bytes.
    pub(crate) fn bytes(replicas: usize, fragments: u8) -> usize {
        let frames: usize = (0..MAX_REPLICAS)
            .map(|transfer| usize::from(frame_count(transfer, replicas, fragments)))
            .sum();
        frames
            .saturating_mul(TxFrame::bytes(ROOM))
            .saturating_add(size_of::<Self>())
    }

    /// Frames for `replicas` transfers of pages cut into `fragments`. The other transfers only read.
    pub(crate) fn new(replicas: usize, fragments: u8) -> Result<Self> {
        let mut transfers = KVec::with_capacity(MAX_REPLICAS, MAY_FAIL)?;
        for transfer in 0..MAX_REPLICAS {
            let count = frame_count(transfer, replicas, fragments);
            let frames = TransferFrames {
                frames: make_vec(count.into(), || TxFrame::new(ROOM))?,
                has_pages: false,
            };
            transfers.push(TryCell::new(frames), MAY_FAIL)?;
        }
        Ok(Self { transfers })
    }

    /// Sends the engine's frames. `block` is the op's page, if a part of it is sent.
    pub(crate) fn send(&self, route: &Route<'_>, block: Option<Block<'_>>) -> Sent {
        let transfer = self.transfers.get(route.send.id.index());
        match transfer.and_then(TryCell::try_lock) {
            Some(mut frames) => frames.send(route, block),
            None => Sent::Done,
        }
    }

    /// The op has ended: releases its request's pages. Returns false if a frame is still queued in
    /// this host and has to keep them.
    pub(crate) fn release(&self) -> bool {
        self.transfers.iter().all(|transfer| {
            transfer
                .try_lock()
                .is_some_and(|mut frames| frames.release())
        })
    }
}

/// What the frames of one transfer are sent with.
pub(crate) struct Route<'a> {
    pub(crate) device: &'a NetDevice,
    pub(crate) ethertype: u16,
    pub(crate) send: &'a Send,
    /// If frames are signed.
    pub(crate) signer: Option<Signer<'a>>,
}

impl Route<'_> {
    /// Hands a frame to the network. If that fails, the frame is lost as on the wire, and sent again.
    #[inline]
    fn transmit(
        &self,
        frame: &mut TxFrame,
        fragment_index: u8,
        payload_len: u16,
        payload: Payload<'_>,
    ) {
        if self.send.force && frame.is_busy() {
            // Another user, such as a stopped sniffer, still holds the old buffer and keeps it.
            let _ = frame.renew();
        }
        let header = Header {
            fragment_index,
            ..self.send.header
        };
        if let Some(signer) = self.signer {
            self.transmit_signed(signer, frame, &header, payload_len, payload);
            return;
        }
        let _ = frame.send(
            self.device,
            self.send.destination.0,
            self.ethertype,
            |bytes| header.emit_to(bytes, payload_len, crate::crc::crc32c),
            &[],
            payload,
        );
    }

    /// The same, with a signature. Without keys the frame is lost as well.
    #[inline(never)]
    fn transmit_signed(
        &self,
        signer: Signer<'_>,
        frame: &mut TxFrame,
        header: &Header,
        payload_len: u16,
        payload: Payload<'_>,
    ) {
        let destination = self.send.destination;
        let signed = signer.sign(destination, header, payload_len, &payload);
        if let Some((head, signature)) = signed {
            let _ = frame.send(
                self.device,
                destination.0,
                self.ethertype,
                |bytes| *bytes = head,
                signature.as_bytes(),
                payload,
            );
        }
    }
}

/// With what frames are signed.
#[derive(Clone, Copy)]
pub(crate) struct Signer<'a> {
    pub(crate) keys: &'a FrameKeys,
    /// Whose counter is used.
    pub(crate) lane: usize,
}

impl Signer<'_> {
    /// The header's bytes, and the signature. `None` if there are no keys, or the frame cannot be signed now.
    #[inline]
    pub(super) fn sign(
        &self,
        server: MacAddress,
        header: &Header,
        payload_len: u16,
        payload: &Payload<'_>,
    ) -> Option<([u8; HEADER_LEN], Signature)> {
        let header = Header {
            flags: header.flags.union(Flags::SIGNED),
            ..*header
        };
        self.keys
            .sign(server, self.lane, &header, payload_len, payload)
    }
}

impl TransferFrames {
    fn send(&mut self, route: &Route<'_>, block: Option<Block<'_>>) -> Sent {
        let send = route.send;
        match send.payload {
            SendPayload::Nothing => {
                if let Some(frame) = self.frames.first_mut() {
                    route.transmit(frame, 0, 0, Payload::None);
                }
            }
            SendPayload::Fill(value) => {
                if let Some(frame) = self.frames.first_mut() {
                    let bytes = value.to_ne_bytes();
                    route.transmit(frame, 0, FILL_LEN, Payload::Bytes(&bytes));
                }
            }
            SendPayload::Page {
                fragments,
                cut,
                verify,
            } => {
                let Some(block) = block else {
                    return Sent::Done;
                };
                if verify {
                    let crc = block.crc32c();
                    if crc != send.header.payload_crc {
                        return Sent::Changed(crc);
                    }
                }
                self.has_pages = true;
                for index in fragments.iter() {
                    let Some((offset, len)) = cut.span(index) else {
                        continue;
                    };
                    // After the MTU has shrunk there are fewer frames than fragments. A frame that
                    // is still in use is left to the retransmission.
                    let place = usize::from(index)
                        .checked_rem(self.frames.len())
                        .unwrap_or(0);
                    let Some(frame) = self.frames.get_mut(place) else {
                        continue;
                    };
                    let payload = Payload::Block { block, offset, len };
                    route.transmit(frame, index, len, payload);
                }
            }
        }
        Sent::Done
    }

    fn release(&mut self) -> bool {
        if self.has_pages {
            let mut released = true;
            for frame in &mut self.frames {
                released &= frame.release();
            }
            self.has_pages = !released;
        }
        !self.has_pages
    }
}
