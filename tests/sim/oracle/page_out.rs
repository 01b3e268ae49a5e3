// SPDX-License-Identifier: GPL-2.0

//! Checks whether the ending of a page-out or discard is allowed.

use super::evidence::{Claim, Evidence, Verdict};
use super::page::PageState;
use super::silence::is_too_long;
use super::{Oracle, Request, CALM_NS, SOON_OUT_NS};
use crate::content::{describe, Content};
use crate::scenario::MS;
use crate::server::Copy;

impl Oracle {
    /// Checks that there are copies on as many servers as are wanted and possible, and never fewer than the
    /// minimum.
    pub(super) fn judge_written(
        &mut self,
        now_ns: u64,
        request: &Request,
        evidence: &impl Evidence,
    ) -> Verdict {
        let (contents, overlapped) = request.page_out()?;
        let (client, page, began_ns) = (request.client, request.page, request.began_ns);
        let (replicas, min_copies) = (self.replicas, self.min_copies);
        let io_timeout_ns = self.io_timeout_least();
        let (began, step) = (request.began_step, self.step);
        let is_written = self.is_written(client, page);
        let mut contents = contents.to_vec();
        let block = evidence.on_disk(client, page);
        let on_disk = block.is_some();
        if let Some(block) = block.filter(|_| !is_written) {
            // The disk has one version. Servers with another one do not count.
            let is_there = |content: &&Content| content.is(&block[..]);
            let there: Vec<Content> = contents.iter().filter(is_there).copied().collect();
            if !there.is_empty() {
                contents = there;
            } else if !overlapped {
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
        if overlapped {
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
        let (contents, overlapped) = request.page_out()?;
        let (io_timeout_ns, min_copies, step) =
            (self.io_timeout_least(), self.min_copies, self.step);
        let state = self.page(request.client, request.page);
        state.fail(now_ns, step, contents);
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
        if let Some(gone_ns) = gone_ns.filter(|_| self.is_swift && !overlapped && !has_disk) {
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
        let (contents, overlapped) = request.page_out()?;
        let (min_copies, step, client) = (self.min_copies, self.step, request.client);
        let state = self.page(client, request.page);
        state.fail(now_ns, step, contents);
        state.forget_copies();
        // A client that continues may refuse at once, because of what it knew before it was stopped.
        let began_ns = request.began_ns.saturating_sub(CALM_NS);
        let began_ns = self.known_since_ns(client, began_ns);
        if !evidence.any_full_since(client, began_ns) {
            return Err("refused for lack of room, and no server was full".into());
        }
        if let Some(server) = evidence.keeps_dead() {
            return Err(format!(
                "refused for lack of room, and {server} keeps the pages of a dead client"
            ));
        }
        let could = evidence.usable_since(client, began_ns);
        if !overlapped && could.len() >= min_copies {
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
        if let Some(server) = may_come.filter(|_| !overlapped) {
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
