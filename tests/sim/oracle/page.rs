// SPDX-License-Identifier: GPL-2.0

//! What is known of one page.

use super::{Claim, Step};
use crate::content::Content;

/// A page.
#[derive(Clone, Debug)]
pub(super) struct PageState {
    /// What it may contain, each with when the operation ended that put it there.
    contents: Vec<(Content, Step)>,
    /// A page-out has failed since the last one that succeeded: an error is right.
    pub may_fail: bool,
    /// When a page-out of it last ended.
    pub written_ns: u64,
    /// Where its newest version was when its page-out ended; empty if that is not known, or
    /// there is none.
    pub holders: Vec<Claim>,
    /// Those of them that repair has made so, and when.
    pub joined: Vec<(Claim, u64)>,
    /// Whether its newest version was on the disk when its page-out ended.
    pub on_disk: bool,
}

impl Default for PageState {
    fn default() -> Self {
        Self {
            contents: vec![(Content::Zeros, 0)],
            may_fail: false,
            written_ns: 0,
            holders: Vec::new(),
            joined: Vec::new(),
            on_disk: false,
        }
    }
}

impl PageState {
    /// What it may contain.
    pub fn contents(&self) -> Vec<Content> {
        self.contents.iter().map(|(content, _)| *content).collect()
    }

    /// A page-out from `began` to `ended` has succeeded: what was there before is gone, but
    /// for what came from operations that overlapped it.
    pub fn write(&mut self, began: Step, ended: Step, contents: &[Content]) {
        self.contents.retain(|(_, put)| *put > began);
        self.add(ended, contents);
        self.may_fail = false;
    }

    /// A page-out has failed: the page may be what it was, or the new one, or an error.
    pub fn fail(&mut self, ended: Step, contents: &[Content]) {
        self.add(ended, contents);
        self.may_fail = true;
    }

    fn add(&mut self, ended: Step, contents: &[Content]) {
        for content in contents {
            self.contents.retain(|(other, _)| other != content);
            self.contents.push((*content, ended));
        }
    }

    /// The page is free.
    pub fn discard(&mut self, now: Step) {
        self.contents = vec![(Content::Zeros, now)];
        self.may_fail = false;
        self.forget_copies();
    }

    /// It has these holders now, by repair.
    pub fn repair(&mut self, now_ns: u64, holders: Vec<Claim>) {
        let known = &self.holders;
        let new = holders.iter().filter(|claim| !known.contains(claim));
        self.joined.extend(new.map(|claim| (*claim, now_ns)));
        self.holders = holders;
    }

    /// Whether repair has made it a holder since then.
    pub fn has_joined(&self, claim: &Claim, since_ns: u64) -> bool {
        let mut joined = self.joined.iter();
        joined.any(|(other, at_ns)| other == claim && *at_ns > since_ns)
    }

    /// Nothing is known of where it is.
    pub fn forget_copies(&mut self) {
        self.holders.clear();
        self.joined.clear();
        self.on_disk = false;
    }

    /// A page-in that began at `began`, with no page-out under way since, has found `content`.
    pub fn settle(&mut self, began: Step, content: Content) {
        if self.contents.iter().all(|(_, put)| *put <= began) {
            self.contents.retain(|(other, _)| other.reads_as(content));
        }
    }
}
