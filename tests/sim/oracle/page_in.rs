// SPDX-License-Identifier: GPL-2.0

//! Checks whether the ending of a page-in is allowed.

use super::evidence::{Claim, Evidence, Verdict};
use super::silence::is_too_long;
use super::{Kind, Oracle, Request, CALM_NS, SOON_IN_NS};
use crate::content::{describe, Content};
use crate::scenario::MS;

impl Oracle {
    /// Checks that the bytes are exactly those of the last completed page-out, or of one that overlapped.
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
            return Err("ended as something else".into());
        };
        self.judge_promptness(now_ns, request, evidence)?;
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
        Ok("read")
    }

    /// Checks that a page-in ends soon if any server that holds the page is healthy and has been for a while,
    /// once the page is not being written.
    fn judge_promptness(
        &mut self,
        now_ns: u64,
        request: &Request,
        evidence: &impl Evidence,
    ) -> Result<(), String> {
        let (client, page) = (request.client, request.page);
        let is_outdated = matches!(request.kind, Kind::PageIn { outdated: true, .. });
        let is_written = self.is_written(client, page);
        let [one_ns, all_ns] = match is_outdated {
            true => [SOON_IN_NS; 2],
            false => self.soon_ns,
        };
        let state = self.page(client, page);
        let from_ns = request.began_ns.max(state.written_ns);
        // A server whose lease has expired has dropped the pages. The disk may still have them.
        let may_be_gone = evidence.lease_ended_since(state.written_ns);
        if is_written || may_be_gone || now_ns < from_ns + all_ns {
            return Ok(());
        }
        let since_ns = from_ns.saturating_sub(CALM_NS);
        let is_well = |claim: &&Claim| {
            if state.has_joined(claim, from_ns) {
                // A page-in that waits may be notified in time, but this is not guaranteed.
                return false;
            }
            if evidence.was_put_back(claim.server) {
                // The server answers that it lacks the page, and another one is asked.
                return false;
            }
            if evidence.incarnation(claim.server) != Some(claim.incarnation) {
                return false;
            }
            let calm = evidence.calm_since_ns(client, claim.server);
            calm.is_some_and(|calm_ns| calm_ns <= since_ns)
        };
        let well = state.holders.iter().filter(is_well).count();
        let limit_ns = match well == state.holders.len() {
            true => all_ns,
            false => one_ns,
        };
        if well == 0 || now_ns < from_ns + limit_ns {
            return Ok(());
        }
        let after_ms = (now_ns - from_ns) / MS;
        let holders = &state.holders;
        Err(format!(
            "after {after_ms} ms, although {well} of {holders:?} were well"
        ))
    }

    /// Checks that every copy is gone, or that none could be reached in time.
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
            return Err("ended as something else".into());
        };
        let io_timeout_ns = self.io_timeout_least();
        let state = self.page(request.client, request.page);
        if *may_fail || state.failed_ns.is_some() {
            return Ok("an error after a failed page-out, or about a discard");
        }
        let waited = now_ns >= request.out_ns(io_timeout_ns) + request.stopped_ns;
        if *overlapped && waited {
            self.judge_promptness(now_ns, request, evidence)?;
            return Ok("an error after waiting for a page-out");
        }
        let contents = state.contents();
        if contents[..] == [Content::Zeros] {
            return Err("an error for a page without contents".into());
        }
        // The disk may have the page only since its page-out ended.
        let block = evidence.on_disk(request.client, request.page);
        if state.on_disk && block.is_none() && !evidence.is_disk_taken(request.client) {
            return Err("an error, while the page must be on the disk".into());
        }
        if block.is_some() {
            let well = evidence.disk_well_since_ns(request.client);
            if well.is_some_and(|since_ns| since_ns + CALM_NS <= request.began_ns) {
                return Err("an error, although the disk has the page and is well".into());
            }
            let is_overdue =
                !waited && !evidence.disk_was_faulty_since(request.client, request.began_ns);
            if is_overdue {
                return Err("an error, and the disk has been asked in vain for nothing".into());
            }
        } else if state.holders.is_empty() {
            return Ok("an error of which nothing is known");
        }
        let holders = state.holders.clone();
        let mut is_left = false;
        for content in contents {
            for copy in evidence.copies(request.client, request.page, content) {
                let claim = Claim {
                    server: copy.server,
                    incarnation: copy.incarnation,
                };
                if copy.died_ns.is_some() || !holders.contains(&claim) {
                    continue;
                }
                is_left = true;
                let (client, server) = (request.client, copy.server);
                let silence = &self.silence;
                let lately_ns = self.io_timeout_lately(now_ns);
                if !waited && !silence.may_give_up(now_ns, client, server, lately_ns) {
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
        }
        if block.is_some() {
            return Ok("an error, the disk having failed");
        }
        let mut gone_ns = Some(0);
        for claim in holders {
            let since_ns = evidence.gone_since_ns(request.client, claim.server, claim.incarnation);
            gone_ns = gone_ns.zip(since_ns).map(|(one, other)| one.max(other));
        }
        if let Some(gone_ns) = gone_ns.filter(|_| self.is_swift && !*overlapped) {
            if is_too_long(now_ns, request.began_ns, self.out_ns(gone_ns)) {
                let after_ms = (now_ns - request.began_ns) / MS;
                return Err(format!(
                    "an error after {after_ms} ms, while no server could be reached for longer"
                ));
            }
        }
        Ok(match is_left {
            true if !waited => "an error at once, every copy long out of reach",
            true => "an error, every copy out of reach",
            false => "an error, every copy lost",
        })
    }
}
