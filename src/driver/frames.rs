// SPDX-License-Identifier: GPL-2.0

//! The frames that an op sends with: made at load, so that sending allocates nothing.

use kernel::prelude::*;

use crate::{
    engine::client::{
        ids::MAX_REPLICAS,
        shard::{
            Send,
            SendPayload, //
        },
    },
    linux::{
        block::mq::Block,
        mm::alloc::MAY_FAIL,
        net::{
            device::NetDevice,
            skb::{
                self,
                Payload, //
            },
        },
        sync::try_cell::TryCell, //
    },
    wire::{
        Header,
        HEADER_LEN, //
    },
};

/// A frame with a header of ours.
pub(crate) type TxFrame = skb::TxFrame<HEADER_LEN>;

/// Room for what a SAME_FILLED frame carries.
const FILL_LEN: u16 = 8;

/// The frames of one transfer.
struct TransferFrames {
    frames: KVec<TxFrame>,
    /// Whether they may refer to pages of a request.
    has_pages: bool,
}

/// The frames of one op: those of each of its transfers may be used at once, by different CPUs.
pub(crate) struct OpFrames {
    transfers: KVec<TryCell<TransferFrames>>,
}

/// What came of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Handed over, or lost on the way: the engine sends again.
    Done,
    /// Not sent: the page is not what its checksum was computed from. Its checksum now.
    Changed(u32),
}

/// How many frames a transfer has. Those past the replicas only ever ask for pages.
fn frame_count(transfer: usize, replicas: usize, fragments: u8) -> u8 {
    if transfer < replicas {
        fragments
    } else {
        1
    }
}

impl OpFrames {
    /// About how many bytes they take.
    pub(crate) fn bytes(replicas: usize, fragments: u8) -> usize {
        let frames: usize = (0..MAX_REPLICAS)
            .map(|transfer| usize::from(frame_count(transfer, replicas, fragments)))
            .sum();
        frames
            .saturating_mul(TxFrame::bytes(FILL_LEN))
            .saturating_add(size_of::<Self>())
    }

    /// Frames for `replicas` transfers of pages cut into `fragments`, and for one page-in more
    /// at a time.
    pub(crate) fn new(replicas: usize, fragments: u8) -> Result<Self> {
        let mut transfers = KVec::with_capacity(MAX_REPLICAS, MAY_FAIL)?;
        for transfer in 0..MAX_REPLICAS {
            let count = frame_count(transfer, replicas, fragments);
            let mut frames = KVec::with_capacity(usize::from(count), MAY_FAIL)?;
            for _ in 0..count {
                frames.push(TxFrame::new(FILL_LEN)?, MAY_FAIL)?;
            }
            let frames = TransferFrames {
                frames,
                has_pages: false,
            };
            transfers.push(TryCell::new(frames), MAY_FAIL)?;
        }
        Ok(Self { transfers })
    }

    /// Sends what the engine wants sent. `block` is the op's page.
    pub(crate) fn send(
        &self,
        device: &NetDevice,
        ethertype: u16,
        send: &Send,
        block: &Block,
    ) -> Sent {
        let Some(mut frames) = self
            .transfers
            .get(send.id.transfer)
            .and_then(|transfer| transfer.try_lock())
        else {
            return Sent::Done;
        };
        frames.send(device, ethertype, send, block)
    }

    /// The op has ended: lets go of its request's pages. Returns false if some frame is still on
    /// its way out of this host and has to keep them.
    pub(crate) fn release(&self) -> bool {
        self.transfers.iter().all(|transfer| {
            transfer
                .try_lock()
                .is_some_and(|mut frames| frames.release())
        })
    }
}

/// Where a transfer's frames go, and what they are.
struct Route<'a> {
    device: &'a NetDevice,
    ethertype: u16,
    send: &'a Send,
}

impl Route<'_> {
    /// Hands a frame to the network. It is lost if that cannot be done, as on the wire: it is sent
    /// again.
    #[inline]
    fn transmit(
        &self,
        frame: &mut TxFrame,
        fragment_index: u8,
        payload_len: u16,
        payload: Payload<'_>,
    ) {
        if self.send.force && frame.is_busy() {
            // Somebody keeps the old one, a sniffer that was stopped, say: leave it to him.
            let _ = frame.renew();
        }
        let header = Header {
            fragment_index,
            ..self.send.header
        };
        let _ = frame.send(
            self.device,
            self.send.destination.0,
            self.ethertype,
            |bytes| header.emit_to(bytes, payload_len, crate::crc::crc32c),
            payload,
        );
    }
}

impl TransferFrames {
    fn send(&mut self, device: &NetDevice, ethertype: u16, send: &Send, block: &Block) -> Sent {
        let route = Route {
            device,
            ethertype,
            send,
        };
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
                    // After the MTU has shrunk there are fewer frames than fragments: one that is
                    // still in use is left to the retransmission.
                    let place = usize::from(index)
                        .checked_rem(self.frames.len())
                        .unwrap_or(0);
                    let Some(frame) = self.frames.get_mut(place) else {
                        continue;
                    };
                    let payload = Payload::Block {
                        block: *block,
                        offset,
                        len,
                    };
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
