// SPDX-License-Identifier: GPL-2.0

//! Whether a request has ended as it may.

use super::{Kind, Oracle, Request, CALM_NS, SOON_NS};
use crate::content::{describe, Content};
use crate::scenario::MS;
use crate::server::Copy;

/// A server that a client counts as holding a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub server: usize,
    pub incarnation: u64,
}

/// What can be seen from outside.
pub trait Evidence {
    /// Copies of a page on any server, dead ones included.
    fn copies(&self, client: usize, page: u32, content: Content) -> Vec<Copy>;

    /// Whom the client counts as holding the page's newest version; `None` while it is being
    /// written.
    fn claims(&self, client: usize, page: u32) -> Option<Vec<Claim>>;

    /// Since when a server has been running and its link to the client has been good; `None` if
    /// it is not so.
    fn calm_since_ns(&self, client: usize, server: usize) -> Option<u64>;

    /// Servers that the client has known, and that have had room for it, since `since_ns`.
    fn usable_since(&self, client: usize, since_ns: u64) -> Vec<usize>;

    /// Whether a server has ended a session since then because its lease was over.
    fn lease_ended_since(&self, since_ns: u64) -> bool;
}

type Verdict = Result<(), String>;

impl Oracle {
    /// Exactly the bytes of the last completed page-out, or of one that overlapped.
    pub(super) fn judge_read(
        &mut self,
        now_ns: u64,
        request: &Request,
        bytes: &[u8],
        evidence: &impl Evidence,
    ) -> Verdict {
        let Kind::PageIn {
            allowed,
            overlapped,
            ..
        } = &request.kind
        else {
            return Ok(());
        };
        if !overlapped {
            self.judge_promptness(now_ns, request, evidence)?;
        }
        let Some(found) = allowed.iter().find(|content| content.is(bytes)) else {
            let allowed: Vec<String> = allowed.iter().map(Content::to_string).collect();
            return Err(format!(
                "wrong bytes: {}; allowed: {}",
                describe(bytes),
                allowed.join(" or ")
            ));
        };
        if !overlapped {
            let state = self.page(request.client, request.page);
            state.settle(request.began_step, *found);
        }
        Ok(())
    }

    /// A page-in ends soon if any of the servers that hold the page is well and has been.
    fn judge_promptness(
        &mut self,
        now_ns: u64,
        request: &Request,
        evidence: &impl Evidence,
    ) -> Verdict {
        if now_ns < request.began_ns + SOON_NS {
            return Ok(());
        }
        let since_ns = request.began_ns.saturating_sub(CALM_NS);
        let (client, page) = (request.client, request.page);
        let state = self.page(client, page);
        for claim in &state.holders {
            let calm = evidence.calm_since_ns(client, claim.server);
            if calm.is_some_and(|calm_ns| calm_ns <= since_ns) {
                let after_ms = (now_ns - request.began_ns) / MS;
                return Err(format!("{after_ms} ms, although {claim:?} was well"));
            }
        }
        Ok(())
    }

    /// An error, only when every copy is gone or none could be reached in time.
    pub(super) fn judge_read_error(
        &mut self,
        now_ns: u64,
        request: &Request,
        evidence: &impl Evidence,
    ) -> Verdict {
        let Kind::PageIn {
            overlapped,
            may_fail,
            ..
        } = &request.kind
        else {
            return Ok(());
        };
        let patience_ns = self.patience_ns;
        let state = self.page(request.client, request.page);
        if *may_fail || state.may_fail {
            return Ok(());
        }
        let waited = now_ns >= request.began_ns + patience_ns;
        if *overlapped && waited {
            return Ok(());
        }
        let Some(content) = state.content() else {
            return Ok(());
        };
        if content == Content::Zeros {
            return Err("an error for a page without contents".into());
        }
        let copies = evidence.copies(request.client, request.page, content);
        let counted: Vec<Copy> = copies
            .into_iter()
            .filter(|copy| {
                let claim = Claim {
                    server: copy.server,
                    incarnation: copy.incarnation,
                };
                copy.died_ns.is_none() && state.holders.contains(&claim)
            })
            .collect();
        for copy in &counted {
            if !waited {
                let after_ms = (now_ns - request.began_ns) / MS;
                return Err(format!(
                    "an error after {after_ms} ms, while there is {copy:?}"
                ));
            }
            let calm = evidence.calm_since_ns(request.client, copy.server);
            if calm.is_some_and(|since_ns| since_ns + CALM_NS <= now_ns) {
                return Err(format!("an error, while this could be reached: {copy:?}"));
            }
        }
        Ok(())
    }

    /// Copies on as many servers as are wanted and can be had, and never fewer than the least.
    pub(super) fn judge_written(&mut self, request: &Request, evidence: &impl Evidence) -> Verdict {
        let Kind::PageOut {
            contents,
            overlapped,
        } = &request.kind
        else {
            return Ok(());
        };
        let (client, page, began_ns) = (request.client, request.page, request.began_ns);
        let mut contents = contents.clone();
        let (replicas, min_copies) = (self.replicas, self.min_copies);
        let (began, step) = (request.began_step, self.step);
        let state = self.page(client, page);
        if *overlapped {
            state.write(began, step, &contents);
            state.holders.clear();
            return Ok(());
        }
        // The version that counts is the newest.
        let mut copies: Vec<(Content, Copy)> = Vec::new();
        for content in &contents {
            let found = evidence.copies(client, page, *content);
            copies.extend(found.into_iter().map(|copy| (*content, copy)));
        }
        copies.retain(|(_, copy)| copy.died_ns.is_none_or(|died_ns| died_ns >= began_ns));
        if !contents.contains(&Content::Blank) {
            // Nobody else writes this.
            let newest = copies.iter().map(|(_, copy)| copy.version).max();
            copies.retain(|(_, copy)| Some(copy.version) == newest);
        }
        if let Some((content, _)) = copies.first() {
            contents = vec![*content];
        }
        state.write(began, step, &contents);
        if evidence.lease_ended_since(began_ns) {
            state.holders.clear();
            return Ok(());
        }
        let mut servers: Vec<usize> = copies.iter().map(|(_, copy)| copy.server).collect();
        servers.sort_unstable();
        servers.dedup();
        if servers.len() < min_copies {
            return Err(format!("written with {} copies: {copies:?}", servers.len()));
        }
        let claims = evidence.claims(client, page);
        state.holders = claims.unwrap_or_default();
        for claim in &state.holders {
            let is_true = copies.iter().any(|(_, copy)| {
                (copy.server, copy.incarnation) == (claim.server, claim.incarnation)
            });
            if !is_true {
                return Err(format!("{claim:?} is counted, of {copies:?}"));
            }
        }
        if state.holders.len() < min_copies {
            return Err(format!("written, and only {:?} counted", state.holders));
        }
        let could = evidence.usable_since(client, began_ns.saturating_sub(CALM_NS));
        if state.holders.len() < replicas.min(could.len()) {
            return Err(format!(
                "written to {:?} only, while {could:?} could be used",
                state.holders
            ));
        }
        Ok(())
    }

    /// An error after the patience, and only if there were too few servers.
    pub(super) fn judge_write_error(
        &mut self,
        now_ns: u64,
        request: &Request,
        evidence: &impl Evidence,
    ) -> Verdict {
        let Kind::PageOut {
            contents,
            overlapped,
        } = &request.kind
        else {
            return Ok(());
        };
        let (patience_ns, min_copies, step) = (self.patience_ns, self.min_copies, self.step);
        let state = self.page(request.client, request.page);
        state.fail(step, contents);
        state.holders.clear();
        if contents.len() > 16 {
            // Its page was changed again and again.
            return Ok(());
        }
        if now_ns < request.began_ns + patience_ns {
            let after_ms = (now_ns - request.began_ns) / MS;
            return Err(format!("failed after {after_ms} ms"));
        }
        let could = evidence.usable_since(request.client, now_ns.saturating_sub(CALM_NS));
        if !overlapped && request.began_ns + CALM_NS <= now_ns && could.len() >= min_copies {
            return Err(format!("failed, while {could:?} could be used"));
        }
        Ok(())
    }
}
