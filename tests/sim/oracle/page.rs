// SPDX-License-Identifier: GPL-2.0

//! The oracle's knowledge of one page.

use super::{Claim, Step};
use crate::content::Content;

/// A page.
#[derive(Clone, Debug)]
pub(super) struct PageState {
    /// The contents that it may have, each with the end of the operation that wrote it.
    contents: Vec<(Content, Step)>,
    /// When a page-out last failed, if none has succeeded since: an error is allowed.
    pub failed_ns: Option<u64>,
    /// When a page-out of it last ended.
    pub written_ns: u64,
    /// The holders of its newest version when its page-out ended; empty if they are not known, or if there is
    /// no version.
    pub holders: Vec<Claim>,
    /// The holders that repair has added, and when.
    pub joined: Vec<(Claim, u64)>,
    /// Whether its newest version was on the disk when its page-out ended.
    pub on_disk: bool,
}

impl Default for PageState {
    fn default() -> Self {
        Self {
            contents: vec![(Content::Zeros, 0)],
            failed_ns: None,
            written_ns: 0,
            holders: Vec::new(),
            joined: Vec::new(),
            on_disk: false,
        }
    }
}

impl PageState {
    /// The contents that it may have.
    pub fn contents(&self) -> Vec<Content> {
        self.contents.iter().map(|(content, _)| *content).collect()
    }

    /// A page-out from `began` to `ended` has succeeded: the contents before it are gone, except for those of
    /// operations that overlapped it.
    pub fn write(&mut self, began: Step, ended: Step, contents: &[Content]) {
        self.contents.retain(|(_, put)| *put > began);
        self.add(ended, contents);
        self.failed_ns = None;
    }

    /// A page-out has failed: a page-in may return the old contents, the new ones, or an error.
    pub fn fail(&mut self, now_ns: u64, ended: Step, contents: &[Content]) {
        self.add(ended, contents);
        self.failed_ns = Some(now_ns);
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
        self.failed_ns = None;
        self.forget_copies();
    }

    /// Repair has set these holders.
    pub fn repair(&mut self, now_ns: u64, holders: Vec<Claim>) {
        let known = &self.holders;
        let new = holders.iter().filter(|claim| !known.contains(claim));
        self.joined.extend(new.map(|claim| (*claim, now_ns)));
        self.holders = holders;
    }

    /// Whether repair has added this holder since then.
    pub fn has_joined(&self, claim: &Claim, since_ns: u64) -> bool {
        let mut joined = self.joined.iter();
        joined.any(|(other, at_ns)| other == claim && *at_ns > since_ns)
    }

    /// Forgets the holders: they are not known any more.
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
