// SPDX-License-Identifier: GPL-2.0

//! Knows what every page may contain, and checks what the servers hold. It shares no code with the engine.
//!
//! A page is a register: page-outs and page-ins that overlap may take effect in any order between
//! their beginnings and their ends (Herlihy and Wing, 1990). What a page may contain is the set
//! of all contents that some order leaves there.

mod evidence;
mod page;
mod page_in;
mod page_out;
mod silence;
mod time;

use std::collections::BTreeMap;

pub use evidence::{Claim, Evidence};
use page::PageState;
use silence::Silence;

use crate::content::Content;
use crate::context::{DRIFT_MAX, HOST_DELAY_MAX_NS};
use crate::scenario::{Scenario, MS, S};

/// Counts the events that the oracle has recorded: the order of events at the same time.
type Step = u64;

/// A request of a client, for one page; never the same number twice.
pub type RequestId = u64;

/// The result of a request.
#[derive(Clone, Copy, Debug)]
pub enum Ending<'a> {
    /// A page-out without an error.
    Written,
    /// A page-in without an error, and its bytes.
    Read(&'a [u8]),
    /// An I/O error.
    Error,
    /// The error for lack of room.
    NoSpace,
}

/// A request under way.
#[derive(Clone, Debug)]
struct Request {
    client: usize,
    page: u32,
    began_ns: u64,
    began_step: Step,
    /// When it must have ended.
    until_ns: u64,
    /// How long its client was stopped meanwhile. That time does not count for its I/O timeout.
    stopped_ns: u64,
    /// The sum of its client's clock steps, which may count for its I/O timeout.
    ahead_ns: u64,
    kind: Kind,
}

impl Request {
    /// The earliest time at which an I/O timeout of `io_timeout_ns` may have expired.
    fn out_ns(&self, io_timeout_ns: u64) -> u64 {
        (self.began_ns + io_timeout_ns).saturating_sub(self.ahead_ns)
    }

    /// What a page-out writes, and whether others overlapped with it.
    fn page_out(&self) -> Result<(&[Content], bool), String> {
        match &self.kind {
            Kind::PageOut {
                contents,
                overlapped,
            } => Ok((contents, *overlapped)),
            Kind::PageIn { .. } => Err("ended as something else".into()),
        }
    }
}

#[derive(Clone, Debug)]
enum Kind {
    PageIn {
        /// The contents that may be read.
        allowed: Vec<Content>,
        /// Whether a page-out or a discard overlapped with it.
        overlapped: bool,
        /// Whether an error is allowed at any time.
        may_fail: bool,
        /// Whether a page-out has begun since, or had begun and not reached the map: it may be asking for a
        /// version that is gone.
        outdated: bool,
    },
    PageOut {
        /// The contents that it writes: several if its page was changed meanwhile.
        contents: Vec<Content>,
        /// Whether another page-out or a discard of the page overlapped with it.
        overlapped: bool,
    },
}

/// How long a request may take beyond the I/O timeout: delays inside the host, and late timers.
const MARGIN_NS: u64 = 12 * HOST_DELAY_MAX_NS + 50 * MS;

/// How much of a stop a client may count as running time. It does not notice a short stop, and does not
/// know when a stop began.
const UNNOTICED_NS: u64 = 500 * MS;

/// How often a client checks how long its servers have been silent.
const CHECK_EVERY_NS: u64 = S;

/// How long everything must have been healthy before an error of the engine counts as wrong.
const CALM_NS: u64 = 6 * S;

/// The longest page-out while as many servers are healthy as copies are wanted.
const SOON_OUT_NS: u64 = 4 * S;

/// The longest page-in while a server that holds the page is healthy.
const SOON_IN_NS: u64 = 4 * S;

/// The same, if no frame and no client was ever delayed: the longest page-in from a server that crashes
/// while another one has the page.
const AT_ONCE_NS: u64 = 100 * MS;

/// The same, if all servers that hold the page are healthy: less than the engine's longest timers.
const UNDISTURBED_NS: u64 = 50 * MS;

/// When a client was stopped: several stops soon after each other are one.
#[derive(Clone, Copy)]
struct Stop {
    since_ns: u64,
    until_ns: u64,
}

/// The oracle.
pub struct Oracle {
    pages: BTreeMap<(usize, u32), PageState>,
    /// By client, page and number, so that the requests of a page are adjacent.
    requests: BTreeMap<(usize, u32, RequestId), Request>,
    /// The client and page of each request.
    places: BTreeMap<RequestId, (usize, u32)>,
    step: Step,
    /// When each client was last stopped.
    stops: BTreeMap<usize, Stop>,
    io_timeout_ns: u64,
    /// By how many parts in a million a client's seconds may be shorter than the simulator's.
    fast: u64,
    /// A shorter I/O timeout that was set recently, and until when it counts.
    shorter: (u64, u64),
    /// When the I/O timeout was last reduced.
    cut_ns: u64,
    replicas: usize,
    min_copies: usize,
    /// The longest page-in while one server that holds the page is healthy, and while all are.
    soon_ns: [u64; 2],
    /// Whether no frame and no client is ever delayed.
    is_swift: bool,
    silence: Silence,
    failure: Option<String>,
    /// How often each kind of ending was allowed.
    pub grounds: BTreeMap<&'static str, u64>,
}

impl Oracle {
    /// The oracle of a run in which no page has been written.
    pub fn new(scenario: &Scenario) -> Self {
        Self {
            pages: BTreeMap::new(),
            requests: BTreeMap::new(),
            places: BTreeMap::new(),
            step: 0,
            stops: BTreeMap::new(),
            io_timeout_ns: u64::from(scenario.io_timeout_s) * S,
            fast: match scenario.enabled.clock_rates {
                true => DRIFT_MAX.unsigned_abs(),
                false => 0,
            },
            shorter: (u64::MAX, 0),
            cut_ns: 0,
            replicas: scenario.replicas as usize,
            min_copies: scenario.min_copies as usize,
            soon_ns: match scenario.is_swift() {
                true => [AT_ONCE_NS, UNDISTURBED_NS],
                false => [SOON_IN_NS; 2],
            },
            is_swift: scenario.is_swift(),
            silence: Silence::default(),
            failure: None,
            grounds: BTreeMap::new(),
        }
    }

    /// Records that the contract is broken. Only the first time counts.
    pub fn fail(&mut self, why: impl FnOnce() -> String) {
        if self.failure.is_none() {
            self.failure = Some(why());
        }
    }

    /// How the contract was broken, if it was.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Pages of a client that were ever written.
    pub fn written_pages(&self, client: usize) -> Vec<u32> {
        let pages = self.pages.range((client, 0)..=(client, u32::MAX));
        pages.map(|((_, page), _)| *page).collect()
    }

    /// Requests under way.
    pub fn under_way(&self) -> usize {
        self.requests.len()
    }

    fn page(&mut self, client: usize, page: u32) -> &mut PageState {
        self.pages.entry((client, page)).or_default()
    }

    /// What a page may contain now, as far as it is known.
    pub fn possible(&mut self, client: usize, page: u32) -> Vec<Content> {
        let mut possible = self.page(client, page).contents();
        for request in self.requests_of(client, page) {
            if let Kind::PageOut { contents, .. } = &request.kind {
                possible.extend(contents);
            }
        }
        possible
    }

    /// A client's disk has been detached.
    pub fn forget_disk(&mut self, client: usize) {
        let pages = self.pages.range_mut((client, 0)..=(client, u32::MAX));
        for (_, state) in pages {
            state.on_disk = false;
        }
    }

    /// A client gives up the copies of these pages at `place`. At `asked_ns` or later it began to ask the
    /// other servers whether they have their pages. A server that had lost a page before that does not count.
    pub fn give_up(
        &mut self,
        asked_ns: u64,
        client: usize,
        pages: &[u32],
        place: &str,
        evidence: &impl Evidence,
    ) {
        for &page in pages {
            let claims = evidence.claims(client, page).unwrap_or_default();
            let state = self.page(client, page);
            let contents = state.contents();
            let is_held = claims.iter().any(|claim| {
                let mut copies = contents
                    .iter()
                    .flat_map(|content| evidence.copies(client, page, *content));
                copies.any(|copy| {
                    (copy.server, copy.incarnation) == (claim.server, claim.incarnation)
                        && copy.died_ns.is_none_or(|died_ns| died_ns >= asked_ns)
                })
            });
            if !is_held && state.failed_ns.is_none() {
                self.fail(|| {
                    format!("client {client} page {page}: only {place} has it, and is given up")
                });
            }
        }
    }

    /// Whether a page-out of the page has failed since then, so that the page may be gone.
    pub fn has_failed_since(&mut self, client: usize, page: u32, since_ns: u64) -> bool {
        self.page(client, page).failed_ns >= Some(since_ns)
    }

    /// Whether a page-out of the page is under way.
    fn is_written(&mut self, client: usize, page: u32) -> bool {
        self.requests_of(client, page)
            .any(|request| matches!(request.kind, Kind::PageOut { .. }))
    }

    /// All requests under way for a page.
    fn requests_of(&mut self, client: usize, page: u32) -> impl Iterator<Item = &mut Request> {
        let of_page = (client, page, 0)..=(client, page, RequestId::MAX);
        self.requests.range_mut(of_page).map(|(_, request)| request)
    }

    /// A page-in begins. `is_busy`: whether the map says that the page is being written.
    pub fn begin_page_in(
        &mut self,
        now_ns: u64,
        id: RequestId,
        client: usize,
        page: u32,
        is_busy: bool,
    ) {
        let state = self.page(client, page);
        let mut allowed = state.contents();
        let may_fail = state.failed_ns.is_some();
        let mut page_outs = 0;
        for request in self.requests_of(client, page) {
            if let Kind::PageOut { contents, .. } = &request.kind {
                allowed.extend(contents);
                page_outs += 1;
            }
        }
        let kind = Kind::PageIn {
            allowed,
            overlapped: page_outs > 0,
            may_fail,
            // One of them has reached the map, if any has.
            outdated: page_outs > usize::from(is_busy),
        };
        self.insert(now_ns, id, client, page, kind);
    }

    /// A page-out begins.
    pub fn begin_page_out(
        &mut self,
        now_ns: u64,
        id: RequestId,
        client: usize,
        page: u32,
        content: Content,
    ) {
        let mut overlapped = false;
        for request in self.requests_of(client, page) {
            match &mut request.kind {
                Kind::PageOut {
                    overlapped: other, ..
                } => {
                    *other = true;
                    overlapped = true;
                }
                Kind::PageIn { outdated, .. } => *outdated = true,
            }
        }
        let kind = Kind::PageOut {
            contents: Vec::new(),
            overlapped,
        };
        self.page(client, page).forget_copies();
        self.insert(now_ns, id, client, page, kind);
        self.add_content(id, content);
    }

    /// The page of a page-out has been changed to `content` under it.
    pub fn add_content(&mut self, id: RequestId, content: Content) {
        let Some((client, page)) = self.places.get(&id).copied() else {
            return;
        };
        let Some(request) = self.requests.get_mut(&(client, page, id)) else {
            return;
        };
        if let Kind::PageOut { contents, .. } = &mut request.kind {
            contents.push(content);
        }
        for request in self.requests_of(client, page) {
            if let Kind::PageIn {
                allowed,
                overlapped,
                ..
            } = &mut request.kind
            {
                allowed.push(content);
                *overlapped = true;
            }
        }
    }

    /// A page is discarded at this moment.
    pub fn discard(&mut self, client: usize, page: u32) {
        self.step += 1;
        let step = self.step;
        for request in self.requests_of(client, page) {
            match &mut request.kind {
                Kind::PageIn {
                    allowed,
                    overlapped,
                    may_fail,
                    ..
                } => {
                    allowed.push(Content::Zeros);
                    *overlapped = true;
                    // The copies may have been lost before that.
                    *may_fail = true;
                }
                Kind::PageOut { overlapped, .. } => *overlapped = true,
            }
        }
        self.page(client, page).discard(step);
    }

    fn insert(&mut self, now_ns: u64, id: RequestId, client: usize, page: u32, kind: Kind) {
        self.step += 1;
        let request = Request {
            client,
            page,
            began_ns: now_ns,
            began_step: self.step,
            until_ns: now_ns + self.io_timeout_ns + MARGIN_NS,
            stopped_ns: 0,
            ahead_ns: 0,
            kind,
        };
        self.places.insert(id, (client, page));
        self.requests.insert((client, page, id), request);
    }

    /// Repair has changed the holders of pages. A server may be removed where as many others as are wanted
    /// hold the page, and a server that holds it may be added.
    pub fn look_again(&mut self, now_ns: u64, client: usize, evidence: &impl Evidence) {
        let replicas = self.replicas;
        for page in self.written_pages(client) {
            let Some(claims) = evidence.claims(client, page) else {
                continue;
            };
            let state = self.page(client, page);
            if state.holders.is_empty() || state.holders == claims {
                continue;
            }
            let contents = state.contents();
            let holds = |claim: &Claim| {
                let mut copies = contents
                    .iter()
                    .flat_map(|content| evidence.copies(client, page, *content));
                copies.any(|copy| {
                    (copy.server, copy.incarnation) == (claim.server, claim.incarnation)
                        && copy.died_ns.is_none()
                })
            };
            let held = claims.iter().filter(|claim| holds(claim)).count();
            if held >= replicas {
                state.repair(now_ns, claims);
            } else {
                let mut holders = state.holders.clone();
                let new = claims.into_iter().filter(|claim| !holders.contains(claim));
                let new: Vec<Claim> = new.filter(holds).collect();
                holders.extend(new);
                state.repair(now_ns, holders);
            }
        }
    }

    /// A client has closed its session with a server, which drops the client's pages.
    pub fn close(&mut self, client: usize, closed: Claim, evidence: &impl Evidence) {
        for page in self.written_pages(client) {
            let state = self.page(client, page);
            if state.holders.contains(&closed) {
                state.holders = evidence.claims(client, page).unwrap_or_default();
            }
        }
    }

    /// A client's power has failed: the contents of its pages are gone.
    pub fn forget_client(&mut self, client: usize) {
        self.requests.retain(|(of, ..), _| *of != client);
        self.places.retain(|_, (of, _)| *of != client);
        self.pages.retain(|(of, _), _| *of != client);
    }

    /// A request has ended.
    pub fn end(
        &mut self,
        now_ns: u64,
        id: RequestId,
        ending: Ending<'_>,
        evidence: &impl Evidence,
    ) {
        self.step += 1;
        let place = self.places.remove(&id);
        let request = place.and_then(|(client, page)| self.requests.remove(&(client, page, id)));
        let Some(request) = request else {
            self.fail(|| format!("request {id} ended, but was not under way"));
            return;
        };
        if now_ns > request.until_ns {
            let waited_ms = (now_ns - request.began_ns) / MS;
            self.fail(|| format!("request {id} took {waited_ms} ms: {request:?}"));
        }
        if let Kind::PageOut { .. } = request.kind {
            self.page(request.client, request.page).written_ns = now_ns;
        }
        let min_copies = self.min_copies;
        self.silence
            .look(now_ns, request.client, min_copies, evidence);
        let verdict = match (&request.kind, ending) {
            (Kind::PageIn { .. }, Ending::Read(bytes)) => {
                self.judge_read(now_ns, &request, bytes, evidence)
            }
            (Kind::PageIn { .. }, Ending::Error) => {
                self.judge_read_error(now_ns, &request, evidence)
            }
            (Kind::PageOut { .. }, Ending::Written) => {
                self.judge_written(now_ns, &request, evidence)
            }
            (Kind::PageOut { .. }, Ending::Error) => {
                self.judge_write_error(now_ns, &request, evidence)
            }
            (Kind::PageOut { .. }, Ending::NoSpace) => {
                self.judge_refusal(now_ns, &request, evidence)
            }
            _ => Err("ended as something else".into()),
        };
        if let Ok(grounds) = verdict {
            *self.grounds.entry(grounds).or_default() += 1;
        } else if let Err(why) = verdict {
            let (client, page) = (request.client, request.page);
            let state = self.page(client, page).clone();
            self.fail(|| {
                format!(
                    "client {client} page {page}, request {id}: {why}\n  {request:?}\n  {state:?}"
                )
            });
        }
    }
}
