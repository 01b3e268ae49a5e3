// SPDX-License-Identifier: GPL-2.0

//! I/O on its way to the disk: when it is submitted, and again if the disk has refused it.
//!
//! A disk whose queue is full refuses I/O that may not wait. Until it has accepted that I/O, no other is
//! submitted.

use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;
use super::{DiskIo, Io, Mirror};

/// The first and the longest wait before I/O that was refused is submitted again. The wait doubles each
/// time, and ends at once when other I/O of the disk ends.
const FIRST_RETRY_NS: u64 = 5_000_000;
const LAST_RETRY_NS: u64 = 80_000_000;

/// How often the disk may refuse an I/O, while it has none of ours, until submitting it may wait.
const REFUSALS: u32 = 3;

/// How long submitting may take, or the disk have I/O without ending any, before the disk counts as stuck.
const STUCK_NS: u64 = 500_000_000;

/// How far an I/O has come on its way to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Submission {
    /// It has not been submitted.
    #[default]
    Staged,
    /// The disk has it.
    Accepted,
    /// The disk has refused it. It is submitted again at this time.
    Refused(u64),
}

impl Submission {
    fn is_due(self, now_ns: u64) -> bool {
        matches!(self, Self::Refused(retry_ns) if retry_ns <= now_ns)
    }
}

/// All I/O on its way to the disk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Submissions {
    /// The I/O that is submitted next.
    staged: Option<usize>,
    /// Number of I/Os that are submitted again.
    refused: usize,
    /// Number of I/Os that the disk has.
    accepted: usize,
    /// When an I/O of the disk last ended, or was submitted to a disk without any.
    progress_ns: u64,
    /// Since when the caller has been submitting an I/O.
    submitting_since_ns: Option<u64>,
}

impl<S: Storage> Mirror<S> {
    /// Begins the next I/O if there is one, for [`Self::poll`]. Returns whether there is.
    pub fn stage_io(&mut self, now_ns: u64, device: &SwapDevice<S>) -> bool {
        if self.submissions.refused != 0 {
            return self.due_again(now_ns).is_some();
        }
        if self.submissions.staged.is_none() {
            self.submissions.staged = self.begin_next_io(now_ns, device);
        }
        self.submissions.staged.is_some()
    }

    /// Takes the next I/O for the disk; `None` if there is none now. The caller submits it, then calls
    /// [`Self::submitted`].
    pub fn poll(&mut self, now_ns: u64, device: &SwapDevice<S>) -> Option<DiskIo> {
        if !self.stage_io(now_ns, device) {
            return None;
        }
        let id = match self.submissions.refused {
            0 => self.submissions.staged.take(),
            _ => self.due_again(now_ns),
        }?;
        let submissions = &mut self.submissions;
        let io = self.ios.get_mut(id)?;
        let run = io.run?;
        if io.submission != Submission::Staged {
            submissions.refused = submissions.refused.saturating_sub(1);
        }
        io.submission = Submission::Accepted;
        let may_wait = io.refusals >= REFUSALS && submissions.accepted == 0;
        if submissions.accepted == 0 {
            submissions.progress_ns = now_ns;
        }
        submissions.accepted = submissions.accepted.saturating_add(1);
        submissions.submitting_since_ns = Some(now_ns);
        Some(DiskIo {
            id,
            is_write: io.is_write,
            may_wait,
            first: run.first,
            run,
        })
    }

    /// The caller is no longer submitting I/O.
    pub fn submitted(&mut self) {
        self.submissions.submitting_since_ns = None;
    }

    /// The caller cannot submit the I/O that [`Self::poll`] returned, because the client is being unloaded:
    /// nothing more is submitted.
    pub fn cannot_submit(&mut self, now_ns: u64, id: usize, device: &SwapDevice<S>) {
        self.begin_detach(now_ns, device);
        self.ended(now_ns, id, false, device);
        self.submitted();
    }

    /// The refused I/O that is due and began first: others may have begun before its refusal was known.
    fn due_again(&self, now_ns: u64) -> Option<usize> {
        let due = |(_, io): &(usize, &Io)| io.submission.is_due(now_ns);
        let ios = self.ios.iter().enumerate().filter(due);
        ios.min_by_key(|(_, io)| io.began_ns).map(|(id, _)| id)
    }

    /// The disk has not taken an I/O that [`Self::poll`] returned. It is submitted again, unless the disk is
    /// being detached.
    pub fn refused(&mut self, now_ns: u64, id: usize, device: &SwapDevice<S>) {
        if !self.is_attached {
            self.ended(now_ns, id, false, device);
            return;
        }
        let Some(io) = self.ios.get_mut(id).filter(|_| !mutated!(RefusalForgotten)) else {
            return;
        };
        let wait_ns = FIRST_RETRY_NS.wrapping_shl(io.refusals.min(8));
        let retry_ns = now_ns.saturating_add(wait_ns.min(LAST_RETRY_NS));
        io.refusals = io.refusals.saturating_add(1);
        io.submission = Submission::Refused(retry_ns);
        self.submissions.refused = self.submissions.refused.saturating_add(1);
        self.submissions.accepted = self.submissions.accepted.saturating_sub(1);
        self.note_deadline(retry_ns);
    }

    /// I/O that the disk has refused is not submitted again: the disk is being detached.
    pub(super) fn end_refused(&mut self, now_ns: u64, device: &SwapDevice<S>) {
        while let Some(id) = self.due_again(u64::MAX) {
            self.ended(now_ns, id, false, device);
        }
    }

    /// An I/O has ended, however far it had come.
    pub(super) fn submission_ended(&mut self, now_ns: u64, id: usize, submission: Submission) {
        let submissions = &mut self.submissions;
        match submission {
            Submission::Staged if submissions.staged == Some(id) => submissions.staged = None,
            Submission::Staged => {}
            Submission::Refused(_) => submissions.refused = submissions.refused.saturating_sub(1),
            Submission::Accepted => {
                submissions.accepted = submissions.accepted.saturating_sub(1);
                submissions.progress_ns = now_ns;
                if submissions.refused != 0 {
                    // There may be room for those now.
                    for io in self.ios.iter_mut() {
                        if let Submission::Refused(retry_ns) = &mut io.submission {
                            *retry_ns = now_ns;
                        }
                    }
                }
            }
        }
    }

    /// Notes when refused I/O is due, and when the disk counts as stuck.
    pub(super) fn note_submissions(&mut self, now_ns: u64) {
        let refused = self.ios.iter().filter_map(|io| match io.submission {
            Submission::Refused(retry_ns) => Some(retry_ns),
            _ => None,
        });
        // The caller submits what is due.
        let retry_ns = refused.filter(|retry_ns| *retry_ns > now_ns).min();
        let stuck_ns = Some(self.stuck_from_ns()).filter(|stuck_ns| *stuck_ns > now_ns);
        for deadline_ns in [retry_ns, stuck_ns].into_iter().flatten() {
            self.note_deadline(deadline_ns);
        }
    }

    /// Whether I/O is being submitted, or is about to be.
    pub fn is_submitting(&self) -> bool {
        self.submissions.staged.is_some() || self.submissions.submitting_since_ns.is_some()
    }

    /// When the disk becomes stuck, unless I/O ends before.
    fn stuck_from_ns(&self) -> u64 {
        let Submissions {
            accepted,
            progress_ns,
            submitting_since_ns,
            ..
        } = self.submissions;
        let idle_since_ns = match accepted {
            0 => u64::MAX,
            _ => progress_ns,
        };
        submitting_since_ns
            .unwrap_or(u64::MAX)
            .min(idle_since_ns)
            .saturating_add(STUCK_NS)
    }

    /// Whether submitting has taken so long, or the disk has had I/O for so long and completed none, that
    /// the disk cannot be detached.
    pub fn is_stuck(&self, now_ns: u64) -> bool {
        self.stuck_from_ns() <= now_ns
    }

    /// Whether the caller's pages and code must stay: the disk has I/O, which may never end, or is being
    /// passed some. I/O that it has refused does not count, even if that has timed out.
    pub fn must_stay(&self) -> bool {
        let has_io = self.submissions.accepted != 0;
        !mutated!(UnloadedWithDiskIo) && (self.is_submitting() || has_io)
    }
}
