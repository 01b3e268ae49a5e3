// SPDX-License-Identifier: GPL-2.0

//! Passes the servers' answers to the queue's shard, and copies their bytes into pages without the lock.

use super::{
    OpPage,
    Queue, //
};
use crate::{
    crc::crc32c,
    driver::shared::Shared,
    engine::client::shard::{
        Receive,
        Received, //
    },
    linux::{
        block::BlockWriter,
        net::skb::RxFrame,
        time::hrtimer::now_ns, //
    },
    wire::{
        Ack,
        Header,
        MacAddress, //
    },
};

/// The payload of a frame.
#[derive(Clone, Copy)]
pub(crate) enum Content<'a> {
    /// In the frame, from there on.
    In(&'a RxFrame<'a>, usize),
    /// These bytes, which have been verified.
    Bytes(&'a [u8]),
}

impl Content<'_> {
    /// Copies it into a block. `None` if it has another length.
    #[inline]
    fn copy_to(&self, writer: &BlockWriter<'_>, offset: u16, len: u16) -> Option<()> {
        match self {
            Self::In(frame, at) => frame.copy_to_block(*at, writer, offset, len),
            Self::Bytes(bytes) => {
                writer.copy_from(offset, bytes.get(..usize::from(len))?);
                Some(())
            }
        }
    }

    fn value(&self) -> Option<[u8; 8]> {
        match self {
            Self::In(frame, at) => {
                let mut bytes = [0; 8];
                frame.copy_bytes(*at, &mut bytes)?;
                Some(bytes)
            }
            Self::Bytes(bytes) => bytes.first_chunk().copied(),
        }
    }
}

impl Queue {
    /// Handles a frame with a page's bytes, or an acknowledgement.
    #[inline]
    pub(crate) fn receive(
        &self,
        shared: &Shared,
        source: MacAddress,
        header: &Header,
        content: Content<'_>,
    ) {
        let now_ns = now_ns();
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let receive = state
            .shard
            .handle_frame(now_ns, source, header, &shared.device);
        let Some(receive) = receive else {
            self.run(shared, guard, now_ns);
            return;
        };
        let page = self.page_of(state, receive.id.op);
        drop(guard);

        // The claim pins the op until it is returned.
        let received = match page.as_ref().and_then(OpPage::writer) {
            Some(_) if receive.filled => self.take_value(shared, content, &receive),
            Some(writer) => self.take_fragment(shared, content, &receive, &writer),
            None => Received::Lost,
        };
        drop(page);

        let mut guard = self.state.lock();
        guard
            .shard
            .received(now_ns, &receive, received, &shared.device);
        self.run(shared, guard, now_ns);
    }

    /// Copies a fragment to the op's page, and verifies or opens the page if it is complete.
    #[inline]
    fn take_fragment(
        &self,
        shared: &Shared,
        content: Content<'_>,
        receive: &Receive,
        writer: &BlockWriter<'_>,
    ) -> Received {
        if content
            .copy_to(writer, receive.offset, receive.len)
            .is_none()
        {
            return Received::Lost;
        }
        let Some(verify) = &receive.verify else {
            return Received::Copied;
        };
        match self.sealing(shared, receive.id.op) {
            Some((sealer, own)) => own.open(sealer, verify, writer),
            None => verify.compare(writer.crc32c(), None),
        }
    }

    /// Takes the value that fills the op's page.
    #[cold]
    fn take_value(&self, shared: &Shared, content: Content<'_>, receive: &Receive) -> Received {
        let (Some(bytes), Some(verify)) = (content.value(), receive.verify.as_ref()) else {
            return Received::Lost;
        };
        match self.sealing(shared, receive.id.op) {
            Some((sealer, own)) => own.open_value(sealer, verify, bytes),
            None => verify.compare(crc32c(&bytes), Some(u64::from_ne_bytes(bytes))),
        }
    }

    /// Handles a frame of acknowledgements, with its `header`.
    pub(crate) fn acknowledged(
        &self,
        shared: &Shared,
        source: MacAddress,
        header: &Header,
        acks: &[Ack],
    ) {
        let now_ns = now_ns();
        let mut guard = self.state.lock();
        for ack in acks {
            if let Some(header) = ack.header(header) {
                // An acknowledgement has nothing to copy.
                let _ = guard
                    .shard
                    .handle_frame(now_ns, source, &header, &shared.device);
            }
        }
        self.run(shared, guard, now_ns);
    }
}
