// SPDX-License-Identifier: GPL-2.0

//! A copy that servers no longer need to keep: of a freed page, or of a version that a newer one has
//! replaced.

use super::ids::{PageIndex, SlotSet, Version};

/// Copies of one page that servers may drop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StaleCopy {
    /// The page.
    pub page: PageIndex,
    /// Servers that may hold such a copy.
    pub slots: SlotSet,
    /// Versions below this one are to be freed.
    pub below: Version,
}
