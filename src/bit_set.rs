// SPDX-License-Identifier: GPL-2.0

//! Sets of small numbers, as the bits of a word.

/// Gives a tuple struct of one unsigned word what all sets of bits have. What depends on the elements
/// (membership, iteration) is the type's own.
macro_rules! bit_set {
    ($Set:ident($Word:ty)) => {
        impl $Set {
            /// The empty set.
            pub const EMPTY: Self = Self(0);

            /// The set as bits, element 0 lowest.
            pub const fn bits(self) -> $Word {
                self.0
            }

            /// Whether the set is empty.
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// The number of elements.
            pub const fn len(self) -> usize {
                self.0.count_ones() as usize
            }

            /// The elements of both sets.
            #[must_use]
            pub const fn intersection(self, other: Self) -> Self {
                Self(self.0 & other.0)
            }

            /// The elements of either set.
            #[must_use]
            pub const fn union(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// The elements of this set that are not in `other`.
            #[must_use]
            pub const fn without(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }
        }
    };
}
