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
        MacAddress,
        HEADER_LEN, //
    },
};

impl Queue {
    /// Handles a frame with a page's bytes, or an acknowledgement.
    #[inline]
    pub(crate) fn receive(&self, shared: &Shared, frame: &RxFrame<'_>, header: &Header) {
        let now_ns = now_ns();
        let source = MacAddress(frame.source());
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
            Some(_) if receive.filled => self.take_value(shared, frame, &receive),
            Some(writer) => self.take_fragment(shared, frame, &receive, &writer),
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
        frame: &RxFrame<'_>,
        receive: &Receive,
        writer: &BlockWriter<'_>,
    ) -> Received {
        if frame
            .copy_to_block(HEADER_LEN, writer, receive.offset, receive.len)
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
    fn take_value(&self, shared: &Shared, frame: &RxFrame<'_>, receive: &Receive) -> Received {
        let mut bytes = [0; 8];
        let (Some(()), Some(verify)) = (
            frame.copy_bytes(HEADER_LEN, &mut bytes),
            receive.verify.as_ref(),
        ) else {
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
