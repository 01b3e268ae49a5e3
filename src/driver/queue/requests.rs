// SPDX-License-Identifier: GPL-2.0

//! Block-layer requests of a queue: each page is an op of the shard.

use kernel::{
    prelude::*,
    sync::ArcBorrow, //
};

use super::{
    Page,
    Queue,
    MAX_REQUEST_PAGES, //
};
use crate::{
    driver::{
        core::Core,
        disk::Disk,
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
        block::mq::{
            Block,
            Request, //
        },
        time::hrtimer::now_ns, //
    },
    wire::PAGE_SIZE, //
};

/// What a page-out writes.
#[derive(Clone, Copy)]
pub(crate) struct PageOut {
    pub(crate) block: Block,
    pub(crate) fill: Option<u64>,
    pub(crate) crc: u32,
}

fn page_number(first: PageIndex, index: usize) -> PageIndex {
    // CAST: a request has a few pages.
    PageIndex(first.0.wrapping_add(index as u32))
}

impl Queue {
    /// Accepts a request that writes pages from `first` on, at most [`MAX_REQUEST_PAGES`]. Its work
    /// is done now, or by [`Self::resume`] if not `at_once`.
    #[inline]
    pub(crate) fn page_out(
        &self,
        core: ArcBorrow<'_, Core>,
        request: Request<Disk>,
        first: PageIndex,
        mut pages: impl ExactSizeIterator<Item = PageOut>,
        at_once: bool,
    ) {
        // Before the lock is taken, because this is most of the work.
        if pages.len() == 1 {
            let pages = [pages.next()];
            self.start_page_outs(core, request, first, &pages, at_once);
        } else {
            let pages: [_; MAX_REQUEST_PAGES] = core::array::from_fn(|_| pages.next());
            self.start_page_outs(core, request, first, &pages, at_once);
        }
    }

    #[inline]
    fn start_page_outs(
        &self,
        core: ArcBorrow<'_, Core>,
        request: Request<Disk>,
        first: PageIndex,
        pages: &[Option<PageOut>],
        at_once: bool,
    ) {
        let pages = pages.iter().map_while(|page| *page);
        self.start(
            core,
            request,
            pages,
            at_once,
            |shard, op, index, now_ns, page| {
                let number = page_number(first, index);
                let started =
                    shard.start_page_out(now_ns, op, number, page.fill, page.crc, &core.device);
                (page.block, started)
            },
        );
    }

    /// Accepts a request that reads pages from `first` on, at most [`MAX_REQUEST_PAGES`]. Its work
    /// is done now, or by [`Self::resume`] if not `at_once`.
    #[inline]
    pub(crate) fn page_in(
        &self,
        core: ArcBorrow<'_, Core>,
        request: Request<Disk>,
        first: PageIndex,
        blocks: impl Iterator<Item = Block>,
        at_once: bool,
    ) {
        self.start(
            core,
            request,
            blocks,
            at_once,
            |shard, op, index, now_ns, block| {
                let number = page_number(first, index);
                let started = shard.start_page_in(now_ns, op, number, &core.device);
                (block, started)
            },
        );
    }

    /// Does the work of requests that were accepted without `at_once`.
    pub(crate) fn resume(&self, core: ArcBorrow<'_, Core>) {
        self.drive(core, |_, _| {});
    }

    #[inline]
    fn start<T>(
        &self,
        core: ArcBorrow<'_, Core>,
        request: Request<Disk>,
        pages: impl Iterator<Item = T>,
        at_once: bool,
        mut start: impl FnMut(
            &mut Shard<KernelStorage>,
            usize,
            usize,
            u64,
            T,
        ) -> (Block, Result<(), OpInUse>),
    ) {
        let count = request.bytes() as usize / PAGE_SIZE;
        let first_op = (request.tag() as usize).wrapping_mul(MAX_REQUEST_PAGES);
        // CAST: a few. Parts that are left when this returns end with an error.
        let mut parts = request.into_parts(count as u32);
        let now_ns = now_ns();
        let mut guard = self.state.lock();
        let state = &mut *guard;
        for (index, page) in pages.enumerate() {
            let op = first_op.wrapping_add(index);
            let Some(place) = state.pages.get_mut(op) else {
                break;
            };
            let (block, started) = start(&mut state.shard, op, index, now_ns, page);
            if started.is_err() {
                break;
            }
            let part = parts.next();
            *place = part.is_some().then_some(Page { block, part });
        }
        if at_once {
            self.run(core, guard, now_ns);
        }
    }
}
