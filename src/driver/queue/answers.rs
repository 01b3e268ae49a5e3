// SPDX-License-Identifier: GPL-2.0

//! Passes the servers' answers to the queue's shard, and copies their bytes into pages without the lock.

use super::{
    OpPage,
    Queue, //
};
use crate::{
    driver::shared::Shared,
    linux::{
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
    pub(crate) fn receive(
        &self,
        shared: &Shared,
        frame: &RxFrame<'_>,
        header: &Header,
        fill: Option<u64>,
    ) {
        let now_ns = now_ns();
        let source = MacAddress(frame.source());
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let receive = state
            .shard
            .handle_frame(now_ns, source, header, fill, &shared.device);
        let Some(receive) = receive else {
            self.run(shared, guard, now_ns);
            return;
        };
        let page = self.page_of(state, receive.id.op);
        drop(guard);

        // The claim pins the op until it is returned.
        let mut crc = None;
        let mut copied = false;
        if let Some(writer) = page.as_ref().and_then(OpPage::writer) {
            copied = frame
                .copy_to_block(HEADER_LEN, &writer, receive.offset, receive.len)
                .is_some();
            if copied && receive.completes {
                crc = Some(writer.crc32c());
            }
        }
        drop(page);

        let mut guard = self.state.lock();
        guard
            .shard
            .received(now_ns, &receive, copied, crc, &shared.device);
        self.run(shared, guard, now_ns);
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
                    .handle_frame(now_ns, source, &header, None, &shared.device);
            }
        }
        self.run(shared, guard, now_ns);
    }
}
