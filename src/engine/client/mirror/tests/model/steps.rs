// SPDX-License-Identifier: GPL-2.0

//! What may happen to a mirror, by chance.

use std::vec::Vec;

use proptest::prelude::*;

use super::PAGES;

/// Something that happens; numbers are taken modulo what there is.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// A page-out begins, maybe with a version of the same generation as the page has.
    Begin {
        page: u32,
        urgent: bool,
        collide: bool,
    },
    /// Its page has changed: it takes another version.
    Restart {
        page: u32,
    },
    /// It waits for the disk after all.
    Want {
        page: u32,
    },
    /// It ends.
    End {
        page: u32,
        ok: bool,
    },
    /// The mirror is notified of one that has ended.
    Settle {
        which: usize,
    },
    /// A page-in begins.
    Read {
        page: u32,
        buffers_only: bool,
    },
    /// A copy from a buffer has ended.
    Release {
        which: usize,
    },
    /// A page is freed.
    Free {
        page: u32,
    },
    /// Repair brings a page that is out of sync to the disk.
    Copy {
        page: u32,
    },
    /// It has been copied to a buffer, or could not be.
    CopyPut {
        page: u32,
        ok: bool,
    },
    /// The disk gets what there is for it.
    Submit,
    /// The disk refuses an I/O.
    Refused {
        which: usize,
    },
    /// The disk ends an I/O, not the oldest one.
    Ended {
        which: usize,
        ok: bool,
    },
    /// Time passes.
    Wait {
        ms: u64,
    },
    ReAdd,
    Detach,
    CancelDetach,
    Attach,
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let page = 0..PAGES;
    let step = prop_oneof![
        6 => (page.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(page, urgent, collide)| Step::Begin { page, urgent, collide }),
        1 => page.clone().prop_map(|page| Step::Restart { page }),
        2 => page.clone().prop_map(|page| Step::Want { page }),
        8 => (page.clone(), prop::bool::weighted(0.9))
            .prop_map(|(page, ok)| Step::End { page, ok }),
        7 => any::<usize>().prop_map(|which| Step::Settle { which }),
        7 => (page.clone(), any::<bool>())
            .prop_map(|(page, buffers_only)| Step::Read { page, buffers_only }),
        4 => any::<usize>().prop_map(|which| Step::Release { which }),
        1 => page.clone().prop_map(|page| Step::Free { page }),
        3 => page.clone().prop_map(|page| Step::Copy { page }),
        4 => (page, prop::bool::weighted(0.9)).prop_map(|(page, ok)| Step::CopyPut { page, ok }),
        6 => Just(Step::Submit),
        2 => any::<usize>().prop_map(|which| Step::Refused { which }),
        6 => (any::<usize>(), prop::bool::weighted(0.8))
            .prop_map(|(which, ok)| Step::Ended { which, ok }),
        4 => (0..60_u64).prop_map(|ms| Step::Wait { ms }),
        1 => (0..1200_u64).prop_map(|ms| Step::Wait { ms }),
        1 => Just(Step::ReAdd),
        1 => Just(Step::Detach),
        1 => Just(Step::CancelDetach),
        2 => Just(Step::Attach),
    ];
    prop::collection::vec(step, 1..300)
}
