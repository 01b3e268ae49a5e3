// SPDX-License-Identifier: GPL-2.0

//! Checks whether the ending of a request is allowed.

use super::page::PageState;
use super::silence::is_too_long;
use super::{Kind, Oracle, Request, CALM_NS, SOON_IN_NS, SOON_OUT_NS};
use crate::content::{describe, Bytes, Content};
use crate::scenario::MS;
use crate::server::Copy;

/// A server that a client counts as holding a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub server: usize,
    pub incarnation: u64,
}

/// What can be observed from outside the engine.
pub trait Evidence {
    /// Copies of a page on any server, including those of earlier starts.
    fn copies(&self, client: usize, page: u32, content: Content) -> Vec<Copy>;

    /// The servers that the client counts as holding the page's newest version; `None` while the page is
    /// being written.
    fn claims(&self, client: usize, page: u32) -> Option<Vec<Claim>>;

    /// Whether a server has been put back to an earlier state, in which it may lack pages that it had.
    fn was_put_back(&self, server: usize) -> bool;

    /// Since when a server has been running with an undisturbed link to the client; `None` if one of these is
    /// not true now.
    fn calm_since_ns(&self, client: usize, server: usize) -> Option<u64>;

    /// The servers for which that has been true since `since_ns`.
    fn calm_since(&self, client: usize, since_ns: u64) -> Vec<usize>;

    /// Since when no frame of this start of a server can have reached a client; `None` if frames can.
    fn gone_since_ns(&self, client: usize, server: usize, incarnation: u64) -> Option<u64>;

    /// The same for all servers.
    fn all_gone_since_ns(&self, client: usize) -> Option<u64>;

    /// Whether some server has had no room for the client since then.
    fn any_full_since(&self, client: usize, since_ns: u64) -> bool;

    /// The number of a server's current start.
    fn incarnation(&self, server: usize) -> Option<u64>;

    /// Servers that the client has known since `since_ns`, and that have had room for it since then.
    fn usable_since(&self, client: usize, since_ns: u64) -> Vec<usize>;

    /// Whether the client has known a server, running or not, since `since_ns`, and whether the server has
    /// had room for it whenever it ran.
    fn has_had_room_since(&self, client: usize, server: usize, since_ns: u64) -> bool;

    /// How many servers there are.
    fn servers(&self) -> usize;

    /// The block of a page on a client's disk, if the client counts the page as being there.
    fn on_disk(&self, client: usize, page: u32) -> Option<Bytes>;

    /// Since when a client's disk has been healthy and has answered; `None` if it does not now.
    fn disk_well_since_ns(&self, client: usize) -> Option<u64>;

    /// Since when it has also accepted pages.
    fn disk_usable_since_ns(&self, client: usize) -> Option<u64>;

    /// Whether it has failed, or has not answered, since then, or is not attached.
    fn disk_was_faulty_since(&self, client: usize, since_ns: u64) -> bool;

    /// Whether the client's disk has been detached since then.
    fn disk_gone_since(&self, client: usize, since_ns: u64) -> bool;

    /// Whether there was no buffer for a page for the disk since then.
    fn disk_full_since(&self, client: usize, since_ns: u64) -> bool;

    /// Whether the client's page-outs may wait for its disk although the servers have the pages.
    fn is_held_back(&self, client: usize) -> bool;

    /// Whether a server has ended a session since then because its lease had expired.
    fn lease_ended_since(&self, since_ns: u64) -> bool;
}

/// The reason why an ending is allowed, or why it is wrong.
type Verdict = Result<&'static str, String>;

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
        if *may_fail || state.may_fail {
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
        if state.on_disk && block.is_none() {
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

    /// Checks that there are copies on as many servers as are wanted and possible, and never fewer than the
    /// minimum.
    pub(super) fn judge_written(
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
            return Err("ended as something else".into());
        };
        let (client, page, began_ns) = (request.client, request.page, request.began_ns);
        let (replicas, min_copies) = (self.replicas, self.min_copies);
        let io_timeout_ns = self.io_timeout_least();
        let (began, step) = (request.began_step, self.step);
        let is_written = self.is_written(client, page);
        let mut contents = contents.clone();
        let block = evidence.on_disk(client, page);
        let on_disk = block.is_some();
        if let Some(block) = block.filter(|_| !is_written) {
            // The disk has one version. Servers with another one do not count.
            let is_there = |content: &&Content| content.is(&block[..]);
            let there: Vec<Content> = contents.iter().filter(is_there).copied().collect();
            if !there.is_empty() {
                contents = there;
            } else if !*overlapped {
                return Err(format!("the disk has {}", describe(&block[..])));
            }
        }
        let claims = evidence.claims(client, page).unwrap_or_default();
        let copies = newest_copies(request, &contents, evidence);
        let is_counted = |(_, copy): &&(Content, Copy)| {
            let held = (copy.server, copy.incarnation);
            claims
                .iter()
                .any(|one| (one.server, one.incarnation) == held)
        };
        // A server that does not count may have an earlier one of several versions.
        if let Some((content, _)) = copies.iter().find(is_counted) {
            contents = vec![*content];
        }
        let state = self.page(client, page);
        state.write(began, step, &contents);
        state.forget_copies();
        if is_written {
            return Ok("written, and being written again");
        }
        if evidence.lease_ended_since(began_ns) {
            return Ok("written, and a lease has ended");
        }
        if *overlapped {
            return judge_overlapped(state, request, claims, evidence);
        }
        let mut servers: Vec<usize> = copies.iter().map(|(_, copy)| copy.server).collect();
        servers.sort_unstable();
        servers.dedup();
        let disk_copies = usize::from(on_disk);
        state.on_disk = on_disk;
        if servers.len() + disk_copies < min_copies && evidence.disk_gone_since(client, began_ns) {
            return Ok("written, and the disk has been taken away");
        }
        if servers.len() + disk_copies < min_copies {
            return Err(format!("written with {} copies: {copies:?}", servers.len()));
        }
        state.holders = claims;
        for claim in &state.holders {
            let is_true = copies.iter().any(|(_, copy)| {
                (copy.server, copy.incarnation) == (claim.server, claim.incarnation)
            });
            if !is_true {
                return Err(format!("{claim:?} is counted, of {copies:?}"));
            }
        }
        // A page-out whose I/O timeout has expired ends with the copies that it has, and may be delayed
        // after that.
        let lost = match now_ns >= request.out_ns(io_timeout_ns) {
            true => copies
                .iter()
                .filter(|(_, copy)| copy.died_ns.is_some())
                .count(),
            false => 0,
        };
        if state.holders.len() + disk_copies + lost < min_copies {
            return Err(format!("written, and only {:?} counted", state.holders));
        }
        let could = evidence.usable_since(client, began_ns.saturating_sub(CALM_NS));
        let disk = evidence.disk_usable_since_ns(client);
        let since_ns = began_ns.saturating_sub(CALM_NS);
        let is_disk_well = disk.is_some_and(|usable_ns| usable_ns <= since_ns);
        // Requests that wait for a buffer of a healthy disk get one in turn.
        let held_back = evidence.is_held_back(client) && !is_disk_well;
        if now_ns >= began_ns + SOON_OUT_NS && could.len() >= replicas && !held_back {
            let after_ms = (now_ns - began_ns) / MS;
            return Err(format!("{after_ms} ms, although {could:?} were well"));
        }
        if state.holders.len() < replicas.min(could.len()) {
            return Err(format!(
                "written to {:?} only, while {could:?} could be used",
                state.holders
            ));
        }
        if state.holders.len() < replicas && is_disk_well {
            if !on_disk && now_ns < request.out_ns(io_timeout_ns) {
                return Err("written to too few servers, and not to the disk".into());
            }
            return Ok(match on_disk {
                true => "written to fewer than wanted, and to the disk",
                false => "written to fewer than wanted, the I/O timeout being out",
            });
        }
        Ok(match state.holders.len() < replicas {
            true => "written to fewer than wanted",
            false => "written to as many as wanted",
        })
    }

    /// Checks that the I/O timeout has expired, and that there were too few servers.
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
            return Err("ended as something else".into());
        };
        let (io_timeout_ns, min_copies, step) =
            (self.io_timeout_least(), self.min_copies, self.step);
        let state = self.page(request.client, request.page);
        state.fail(step, contents);
        state.forget_copies();
        if contents.len() > 16 {
            return Ok("an error, the page changed again and again");
        }
        let client = request.client;
        let after_ms = (now_ns - request.began_ns) / MS;
        let waited = now_ns >= request.out_ns(io_timeout_ns) + request.stopped_ns;
        if !waited
            && !self
                .silence
                .may_give_up_all(now_ns, client, self.io_timeout_lately(now_ns))
        {
            return Err(format!("failed after {after_ms} ms"));
        }
        let gone_ns = evidence.all_gone_since_ns(client);
        let has_disk = evidence.disk_well_since_ns(client).is_some()
            || evidence.disk_was_faulty_since(client, 0);
        if let Some(gone_ns) = gone_ns.filter(|_| self.is_swift && !*overlapped && !has_disk) {
            if is_too_long(now_ns, request.began_ns, self.out_ns(gone_ns)) {
                return Err(format!(
                    "failed after {after_ms} ms, while no server could be reached for longer"
                ));
            }
        }
        let could = evidence.usable_since(request.client, now_ns.saturating_sub(CALM_NS));
        if !overlapped && request.began_ns + CALM_NS <= now_ns && could.len() >= min_copies {
            return Err(format!("failed, while {could:?} could be used"));
        }
        let disk = evidence.disk_usable_since_ns(request.client);
        let since_ns = request.began_ns.saturating_sub(CALM_NS);
        let disk_copies = usize::from(disk.is_some_and(|usable_ns| usable_ns <= since_ns));
        // A lack of buffers for the disk does not allow the error, because requests that wait get one in
        // turn. A closed window and a reduced I/O timeout allow it for a while.
        let waited = request.began_ns + CALM_NS <= now_ns;
        if !overlapped && waited && could.len() + disk_copies >= min_copies && disk_copies > 0 {
            return Err("failed, while the disk could be used".into());
        }
        Ok(match waited {
            true => "an error, too few servers",
            false => "an error at once, too few servers for long",
        })
    }

    /// Checks an error for lack of room. It is allowed at any time if no reachable server has room, and if no
    /// server that is temporarily out of reach might have room.
    pub(super) fn judge_refusal(
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
            return Err("ended as something else".into());
        };
        let (min_copies, step, client) = (self.min_copies, self.step, request.client);
        let state = self.page(client, request.page);
        state.fail(step, contents);
        state.forget_copies();
        // A client that continues may refuse at once, because of what it knew before it was stopped.
        let began_ns = request.began_ns.saturating_sub(CALM_NS);
        let began_ns = self.known_since_ns(client, began_ns);
        if !evidence.any_full_since(client, began_ns) {
            return Err("refused for lack of room, and no server was full".into());
        }
        let could = evidence.usable_since(client, began_ns);
        if !*overlapped && could.len() >= min_copies {
            return Err(format!(
                "refused for lack of room, while {could:?} had some"
            ));
        }
        let io_timeout_ns = self.io_timeout_lately(now_ns);
        let holds = |server: usize| {
            let mut copies = contents
                .iter()
                .flat_map(|content| evidence.copies(client, request.page, *content));
            copies.any(|copy| copy.server == server)
        };
        let may_come = (0..evidence.servers()).find(|&server| {
            let silence = &self.silence;
            let well_ns = silence.not_given_up(now_ns, client, server, io_timeout_ns);
            well_ns.is_some_and(|well_ns| {
                let since_ns = began_ns.min(well_ns.saturating_sub(CALM_NS));
                evidence.has_had_room_since(client, server, since_ns) && !holds(server)
            })
        });
        if let Some(server) = may_come.filter(|_| !*overlapped) {
            return Err(format!(
                "refused for lack of room, while {server} had some and might have come back"
            ));
        }
        let disk = evidence.disk_usable_since_ns(client);
        let is_usable = disk.is_some_and(|usable_ns| usable_ns <= began_ns);
        if is_usable && min_copies == 1 && !evidence.disk_full_since(client, began_ns) {
            return Err("refused for lack of room, while the disk had some".into());
        }
        Ok("refused for lack of room")
    }
}

/// The copies of a page-out's newest version, including those that were lost since it began.
fn newest_copies(
    request: &Request,
    contents: &[Content],
    evidence: &impl Evidence,
) -> Vec<(Content, Copy)> {
    let mut copies: Vec<(Content, Copy)> = Vec::new();
    for content in contents {
        let found = evidence.copies(request.client, request.page, *content);
        copies.extend(found.into_iter().map(|copy| (*content, copy)));
    }
    copies.retain(|(_, copy)| {
        copy.died_ns
            .is_none_or(|died_ns| died_ns >= request.began_ns)
    });
    if !contents.contains(&Content::Blank) {
        // Only repair writes this too: it copies the page in newer versions of one generation.
        let newest = copies.iter().max_by_key(|(_, copy)| copy.version).copied();
        copies.retain(|(content, copy)| {
            newest.is_some_and(|(same, newest)| {
                *content == same && copy.version as u8 == newest.version as u8
            })
        });
    }
    copies
}

/// Other page-outs or discards overlapped: each server that counts must hold what one of them wrote.
fn judge_overlapped(
    state: &mut PageState,
    request: &Request,
    claims: Vec<Claim>,
    evidence: &impl Evidence,
) -> Verdict {
    let mut copies = Vec::new();
    for content in state.contents() {
        copies.extend(evidence.copies(request.client, request.page, content));
    }
    for claim in &claims {
        let is_true = copies
            .iter()
            .any(|copy| (copy.server, copy.incarnation) == (claim.server, claim.incarnation));
        if !is_true {
            return Err(format!("{claim:?} is counted, of {copies:?}"));
        }
    }
    state.holders = claims;
    Ok("written, with others between")
}
