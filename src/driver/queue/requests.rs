// SPDX-License-Identifier: GPL-2.0

//! Block-layer requests of a queue: each page is an op of the shard.

use kernel::prelude::*;

use super::{
    page_content::PageContent,
    Queue, //
};
use crate::{
    driver::{
        block_device::AnemoneDevice,
        request_part::{
            RequestPart,
            MAX_REQUEST_PAGES, //
        },
        shared::Shared,
        storage::KernelStorage, //
    },
    engine::client::{
        ids::PageIndex,
        shard::{
            OpInUse,
            Shard, //
        },
    },
    linux::{
        block::mq::Request,
        time::hrtimer::now_ns, //
    },
    wire::PAGE_SIZE,
};

impl Queue {
    /// Accepts a request that writes pages from `first` on, at most [`MAX_REQUEST_PAGES`]. Its work
    /// is done now, or by [`Self::resume`] if not `at_once`.
    #[inline]
    pub(crate) fn page_out(
        &self,
        shared: &Shared,
        request: Request<AnemoneDevice>,
        first: PageIndex,
        at_once: bool,
    ) {
        if request.bytes() as usize > PAGE_SIZE {
            self.page_out_many(shared, request, first, at_once);
            return;
        }
        let tag = request.tag();
        // Before the lock is taken, because this is most of the work.
        let part = RequestPart::divide(request).next().map(|part| {
            let page = PageContent::new(part.block().block(), shared);
            (page, part)
        });
        self.start_page_outs(shared, tag, first, part, at_once);
    }

    // Never inlined: the caller's stack frame would have room for all pages, for each request.
    #[inline(never)]
    fn page_out_many(
        &self,
        shared: &Shared,
        request: Request<AnemoneDevice>,
        first: PageIndex,
        at_once: bool,
    ) {
        let tag = request.tag();
        let mut blocks = request
            .blocks()
            .map(|block| PageContent::new(block, shared));
        let pages: [_; MAX_REQUEST_PAGES] = core::array::from_fn(|_| blocks.next());
        drop(blocks);
        let pages = pages.into_iter().flatten();
        let parts = pages.zip(RequestPart::divide(request));
        self.start_page_outs(shared, tag, first, parts, at_once);
    }

    #[inline]
    fn start_page_outs(
        &self,
        shared: &Shared,
        tag: u32,
        first: PageIndex,
        parts: impl IntoIterator<Item = (PageContent, RequestPart)>,
        at_once: bool,
    ) {
        let start = |shard: &mut Shard<_>, op, page, now_ns, content: PageContent| {
            shard.start_page_out(now_ns, op, page, content.fill, content.crc, &shared.device)
        };
        self.start(shared, tag, first, parts, at_once, start);
    }

    /// Accepts a request that reads pages from `first` on, at most [`MAX_REQUEST_PAGES`]. Its work
    /// is done now, or by [`Self::resume`] if not `at_once`.
    #[inline]
    pub(crate) fn page_in(
        &self,
        shared: &Shared,
        request: Request<AnemoneDevice>,
        first: PageIndex,
        at_once: bool,
    ) {
        let tag = request.tag();
        let parts = RequestPart::divide(request).map(|part| ((), part));
        let start = |shard: &mut Shard<_>, op, page, now_ns, ()| {
            shard.start_page_in(now_ns, op, page, &shared.device)
        };
        self.start(shared, tag, first, parts, at_once, start);
    }

    /// Does the work of requests that were accepted without `at_once`.
    pub(crate) fn resume(&self, shared: &Shared) {
        self.drive_shard(shared, |_, _| {});
    }

    /// Begins an op for each part. A part whose op does not begin ends with an error.
    #[inline]
    fn start<T>(
        &self,
        shared: &Shared,
        tag: u32,
        first: PageIndex,
        parts: impl IntoIterator<Item = (T, RequestPart)>,
        at_once: bool,
        start: impl Fn(&mut Shard<KernelStorage>, usize, PageIndex, u64, T) -> Result<(), OpInUse>,
    ) {
        let first_op = (tag as usize).wrapping_mul(MAX_REQUEST_PAGES);
        let mut refused = None;
        let mut parts = parts.into_iter();
        let now_ns = now_ns();
        let mut guard = self.state.lock();
        let state = &mut *guard;
        for (index, (content, part)) in parts.by_ref().enumerate() {
            let op = first_op.wrapping_add(index);
            // CAST: a request has a few pages.
            let page = PageIndex(first.0.wrapping_add(index as u32));
            match state.parts.get_mut(op) {
                Some(place) if start(&mut state.shard, op, page, now_ns, content).is_ok() => {
                    *place = Some(part);
                }
                _ => {
                    refused = Some(part);
                    break;
                }
            }
        }
        match at_once {
            true => self.run(shared, guard, now_ns),
            false => drop(guard),
        }
        if let Some(part) = refused {
            // The request may end with them, so without the lock. Each of them must end: a page
            // without a part would count as done.
            drop(part);
            parts.for_each(drop);
        }
    }
}
