// SPDX-License-Identifier: GPL-2.0

//! Requests of a client's programs: page-outs, page-ins and discards, at random.

use anemone::crc::crc32c;
use anemone::engine::client::counters::Counters;
use anemone::engine::client::ids::PageIndex;
use anemone::engine::client::shard::Outcome;
use rand::Rng;

use super::{Client, ClientEvent};
use crate::content::{zeros, Bytes, Content};
use crate::context::Context;
use crate::faults::Fault;
use crate::oracle::RequestId;
use crate::scenario::{MS, S};

/// A request for one page.
pub(super) struct Request {
    pub id: RequestId,
    pub page: u32,
    pub is_page_out: bool,
    /// The program's page.
    pub bytes: Bytes,
    /// What servers get, if pages are sealed.
    pub sealed: Bytes,
    began_ns: u64,
    /// How many frames it has sent.
    sends: u64,
    /// How many frames have been received for it.
    answers: u64,
}

impl Request {
    pub(super) fn new(
        now_ns: u64,
        id: RequestId,
        page: u32,
        is_page_out: bool,
        bytes: Bytes,
    ) -> Self {
        Self {
            id,
            page,
            is_page_out,
            bytes,
            sealed: zeros(),
            began_ns: now_ns,
            sends: 0,
            answers: 0,
        }
    }

    /// The number of frames sent is bounded by the time, because the waits grow, and by the answers.
    fn check_sends(&self, now_ns: u64) -> Result<(), String> {
        let waited_s = (now_ns - self.began_ns) / S;
        let servers = 3;
        let most = servers * (25 + 20 * waited_s) + 2 * self.answers;
        // Even with many answers it does not loop.
        let most = most.min(servers * 300 * (1 + waited_s));
        match self.sends <= most {
            true => Ok(()),
            false => Err(format!(
                "request {} sent {} times in {waited_s} s, {} frames having come for it",
                self.id, self.sends, self.answers
            )),
        }
    }
}

/// A request that has ended.
pub struct Done {
    pub id: RequestId,
    pub is_page_out: bool,
    /// The bytes that were read; `None` for an error.
    pub bytes: Option<Bytes>,
    /// Whether the error was for lack of room.
    pub is_refused: bool,
}

impl Client {
    /// Programs begin a request now, and another one later.
    pub(super) fn load(&mut self, ctx: &mut Context) {
        if !self.is_loaded {
            return;
        }
        let gap_ns = ctx.scenario.gap_ns;
        let delay_ns = match ctx.rng.random_range(0..10) {
            // Bursts, and pauses that compensate for them.
            0..5 => 0,
            _ => ctx.rng.random_range(0..4 * gap_ns),
        };
        self.after(ctx, delay_ns, ClientEvent::Load);
        let pages = ctx.scenario.pages;
        let page = match ctx.rng.random_bool(0.3) {
            true => ctx.rng.random_range(0..pages.min(4)),
            false => ctx.rng.random_range(0..pages),
        };
        let kind = ctx.rng.random_range(0..100);
        let (page_outs, discards) = (ctx.scenario.page_outs, ctx.scenario.discards);
        if kind < page_outs {
            self.page_out(ctx, page);
        } else if kind < page_outs + discards {
            self.discard(ctx, page);
        } else {
            self.page_in(ctx, page);
        }
    }

    /// A free op of some shard.
    fn free_op(&self, ctx: &mut Context) -> Option<(usize, usize)> {
        let shards = self.repair_shard();
        let first = ctx.rng.random_range(0..shards);
        (0..shards).find_map(|offset| {
            let shard = (first + offset) % shards;
            let op = self.requests[shard].iter().position(Option::is_none)?;
            Some((shard, op))
        })
    }

    fn content(&mut self, ctx: &mut Context, page: u32) -> Content {
        // A page of one value does not name its client.
        if ctx.rng.random_bool(0.02) && ctx.scenario.clients == 1 && !ctx.scenario.enabled.rebirth {
            return Content::Blank;
        }
        self.next_write += 1;
        let filled = ctx.rng.random_range(0..100) < ctx.scenario.filled;
        Content::new(self.number, page, self.next_write, filled)
    }

    /// The pages of the page-outs under way, also of those that wait and have no version yet.
    pub fn pages_going_out(&self) -> impl Iterator<Item = u32> + '_ {
        let requests = self.requests.iter().flatten().flatten();
        requests
            .filter(|request| request.is_page_out)
            .map(|request| request.page)
    }

    /// Pages a page out, if an op is free.
    pub fn page_out(&mut self, ctx: &mut Context, page: u32) {
        let Some((shard, op)) = self.free_op(ctx) else {
            return;
        };
        self.hibernation.note_page_out(page);
        let id = ctx.next_request();
        let content = self.content(ctx, page);
        let fill = content.fill();
        let bytes = content.bytes();
        let crc = match fill {
            Some(value) => Some(crc32c(&value.to_be_bytes())),
            None => (!self.device.seals()).then(|| crc32c(&bytes[..])),
        };
        ctx.note(|| format!("client {} request {id}: out {content}", self.number));
        ctx.oracle
            .begin_page_out(ctx.now_ns, id, self.number, page, content);
        self.requests[shard][op] = Some(Request::new(ctx.now_ns, id, page, true, bytes));
        let (page, clock_ns) = (PageIndex(page), self.clock_ns(ctx));
        let started =
            self.shards[shard].start_page_out(clock_ns, op, page, fill, crc, &self.device);
        if started.is_err() {
            ctx.oracle.fail(|| format!("op {op} is not free"));
        }
        if ctx.scenario.enabled.change_page && fill.is_none() && ctx.rng.random_bool(0.2) {
            self.change_later(ctx, shard, op, id);
        }
        self.pump(ctx, shard);
    }

    fn change_later(&mut self, ctx: &mut Context, shard: usize, op: usize, id: RequestId) {
        let latency_ns = ctx.scenario.latency_ns;
        let delay_ns = match ctx.rng.random_bool(0.7) {
            true => ctx.rng.random_range(0..4 * latency_ns),
            false => ctx.rng.random_range(0..50 * MS),
        };
        self.after(ctx, delay_ns, ClientEvent::ChangePage(shard, op, id));
    }

    pub(super) fn change_page(
        &mut self,
        ctx: &mut Context,
        shard: usize,
        op: usize,
        id: RequestId,
    ) {
        self.next_write += 1;
        let (client, write) = (self.number, self.next_write);
        let request = self.requests[shard][op].as_mut();
        let Some(request) = request.filter(|request| request.id == id) else {
            return;
        };
        ctx.counts.fault(Fault::PageChanged);
        let content = Content::new(client, request.page, write, false);
        ctx.trace.note(ctx.now_ns, || {
            format!("client {client} request {id}: changed to {content}")
        });
        request.bytes = content.bytes();
        ctx.oracle.add_content(id, content);
        if ctx.rng.random_bool(0.5) {
            self.change_later(ctx, shard, op, id);
        }
    }

    /// Pages a page in, if an op is free; returns whether one was.
    pub fn page_in(&mut self, ctx: &mut Context, page: u32) -> bool {
        let Some((shard, op)) = self.free_op(ctx) else {
            return false;
        };
        let id = ctx.next_request();
        ctx.note(|| format!("client {} request {id}: in page {page}", self.number));
        let is_busy = self.device.map.load(PageIndex(page)).is_busy();
        ctx.oracle
            .begin_page_in(ctx.now_ns, id, self.number, page, is_busy);
        let mut bytes = zeros();
        // The page's old contents must not be read.
        bytes.fill(0xee);
        self.requests[shard][op] = Some(Request::new(ctx.now_ns, id, page, false, bytes));
        let (page, clock_ns) = (PageIndex(page), self.clock_ns(ctx));
        if self.shards[shard]
            .start_page_in(clock_ns, op, page, &self.device)
            .is_err()
        {
            ctx.oracle.fail(|| format!("op {op} is not free"));
        }
        self.pump(ctx, shard);
        true
    }

    fn discard(&mut self, ctx: &mut Context, page: u32) {
        ctx.note(|| format!("client {}: discard page {page}", self.number));
        ctx.counts.discards += 1;
        if let Some(delay_ns) = self.device.note_free(PageIndex(page), &self.chunks) {
            // The worker notifies servers soon.
            let due_ns = self.clock_ns(ctx) + delay_ns;
            self.set_worker_timer(ctx, due_ns);
        }
        ctx.oracle.discard(self.number, page);
    }

    /// Discards three pages of four.
    pub(super) fn discard_most(&mut self, ctx: &mut Context) {
        if self.is_loaded {
            for page in (0..ctx.scenario.pages).filter(|page| page % 4 != 0) {
                self.discard(ctx, page);
            }
        }
    }

    /// Counts a frame that a request sends.
    pub(super) fn note_send(&mut self, shard: usize, op: usize) {
        if let Some(request) = &mut self.requests[shard][op] {
            request.sends += 1;
        }
    }

    /// Counts a received frame that may be for the request with this tag.
    pub(super) fn note_answer(&mut self, shard: usize, tag: u32) {
        let op = (tag & 0xffff) as usize;
        if let Some(Some(request)) = self.requests[shard].get_mut(op) {
            request.answers += 1;
        }
    }

    /// Checks that the engine's counters match the requests.
    pub fn check_counters(&self, ctx: &Context) -> Result<(), String> {
        let mut counted = Counters::default();
        for shard in &self.shards {
            counted.merge(shard.counters());
        }
        let counts = [
            [counted.pages_in, counted.pages_in_failed],
            [counted.pages_out, counted.pages_out_failed],
        ];
        let all = self.ended[0][0] + self.ended[0][1];
        let hedges = all / 20 + 20 * self.shards.len() as u64;
        if counted.hedges > hedges || counted.hedges_won > counted.hedges {
            return Err(format!(
                "client {}: {} hedges, {} won, for {all} page-ins",
                self.number, counted.hedges, counted.hedges_won
            ));
        }
        if counted.corrupt_in > 0 && !ctx.scenario.damages() {
            return Err(format!(
                "client {}: {} pages came damaged, and nothing damages them",
                self.number, counted.corrupt_in
            ));
        }
        match counts == self.ended {
            true => Ok(()),
            false => Err(format!(
                "client {} counts {counts:?} page-ins and page-outs, with and without success, of {:?}",
                self.number, self.ended
            )),
        }
    }

    /// A shard reports that an op has ended.
    pub(super) fn complete(
        &mut self,
        ctx: &mut Context,
        shard: usize,
        op: usize,
        outcome: Outcome,
    ) {
        let Some(mut request) = self.requests[shard][op].take() else {
            ctx.oracle.fail(|| format!("op {op} ended twice"));
            return;
        };
        let id = request.id;
        ctx.note(|| format!("client {} request {id}: {outcome:?}", self.number));
        if let Err(why) = request.check_sends(ctx.now_ns) {
            ctx.oracle.fail(|| why);
        }
        let failed = matches!(outcome, Outcome::Failed | Outcome::NoSpace);
        self.ended[usize::from(request.is_page_out)][usize::from(failed)] += 1;
        match outcome {
            Outcome::Zeros => request.bytes = zeros(),
            Outcome::Filled(value) => {
                for chunk in request.bytes.chunks_exact_mut(8) {
                    chunk.copy_from_slice(&value.to_be_bytes());
                }
            }
            Outcome::Done | Outcome::Failed | Outcome::NoSpace => {}
        }
        self.done.push(Done {
            id,
            is_page_out: request.is_page_out,
            bytes: (!failed).then_some(request.bytes),
            is_refused: outcome == Outcome::NoSpace,
        });
    }
}
