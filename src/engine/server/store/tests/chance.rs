// SPDX-License-Identifier: GPL-2.0

//! Random steps: the store behaves like a simple model.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

/// One step of the property test.
#[derive(Clone, Debug)]
enum Step {
    Whole {
        owner: usize,
        page: u64,
        version: u64,
        seed: u64,
        damaged: bool,
    },
    Filled {
        owner: usize,
        page: u64,
        version: u64,
        value: u64,
    },
    Part {
        owner: usize,
        page: u64,
        version: u64,
        attempt: u32,
        index: u8,
        seed: u64,
    },
    Free {
        owner: usize,
        page: u64,
        version: u64,
    },
    Read {
        owner: usize,
        page: u64,
    },
    Reopen {
        owner: usize,
    },
    Sweep {
        steps: u32,
    },
    Settle,
}

fn steps() -> impl Strategy<Value = Step> {
    let at = || (0..2_usize, 0..6_u64, 1..12_u64);
    prop_oneof![
        4 => (at(), 0..3_u64, prop::bool::weighted(0.1)).prop_map(
            |((owner, page, version), seed, damaged)| Step::Whole { owner, page, version, seed, damaged }
        ),
        2 => (at(), 0..3_u64).prop_map(
            |((owner, page, version), value)| Step::Filled { owner, page, version, value }
        ),
        12 => (at(), 0..3_u32, 0..3_u8, 0..2_u64).prop_map(
            |((owner, page, version), attempt, index, seed)| Step::Part {
                owner, page, version, attempt, index, seed
            }
        ),
        3 => at().prop_map(|(owner, page, version)| Step::Free { owner, page, version }),
        6 => (0..2_usize, 0..6_u64).prop_map(|(owner, page)| Step::Read { owner, page }),
        1 => (0..2_usize).prop_map(|owner| Step::Reopen { owner }),
        1 => (0..9_u32).prop_map(|steps| Step::Sweep { steps }),
        1 => Just(Step::Settle),
    ]
}

/// What a client would see: the newest whole page of each number.
#[derive(Default)]
struct Model {
    pages: HashMap<(usize, u64), (u64, Vec<u8>)>,
    /// Incomplete pages, oldest first.
    parts: [Vec<Part>; 2],
}

/// Page, version, content, attempt, fragments.
type Part = (u64, u64, u64, u32, u8);

impl Model {
    /// The result of a write that needs no more fragments or may not begin; `None` if it may continue.
    fn refusal(
        &self,
        capacity: usize,
        quota: usize,
        at: (usize, u64),
        version: u64,
        bytes: &[u8],
    ) -> Option<Written> {
        match self.pages.get(&at) {
            Some((held, old)) if *held == version && old == bytes => Some(Written::Held),
            Some((held, _)) if *held >= version => Some(Written::Stale),
            Some(_) => None,
            None if self.count(at.0) >= quota => Some(Written::Quota),
            None if self.pages.len() >= capacity => Some(Written::NoSpace),
            None => None,
        }
    }

    fn count(&self, owner: usize) -> usize {
        self.pages.keys().filter(|key| key.0 == owner).count()
    }

    fn store(&mut self, at: (usize, u64), version: u64, bytes: Vec<u8>) {
        self.pages.insert(at, (version, bytes));
        self.parts[at.0].retain(|part| part.0 != at.1 || part.1 > version);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_the_model(
        capacity in 3..9_u32,
        quota in 2..7_usize,
        steps in prop::collection::vec(steps(), 1..150),
    ) {
        let layout = small(capacity);
        let mut store = Store::<Heap>::new(arrays(&layout), &layout, 7).unwrap();
        let mut owners = [store.open().unwrap(), store.open().unwrap()];
        let mut model = Model::default();
        // Answers not yet sent: their bytes must stay until the store is settled.
        let mut sent: Vec<(PageSlice, Vec<u8>)> = Vec::new();
        macro_rules! settle { () => {
            for (slice, bytes) in sent.drain(..) {
                prop_assert_eq!(slice.bytes(store.arena()), &bytes[..]);
            }
            store.settle();
        } }
        for step in steps {
            if matches!(step, Step::Whole { .. } | Step::Filled { .. } | Step::Part { .. })
                && !store.is_ready()
            {
                settle!();
                prop_assert!(store.is_ready());
            }
            let cap = capacity as usize;
            match step {
                Step::Whole { owner, page, version, seed, damaged } => {
                    let bytes = content(seed);
                    let mut fragment = whole(page, version, &bytes);
                    if damaged {
                        fragment.sum.crc ^= 1;
                    }
                    let got = store.write(owners[owner], &fragment, quota as u64);
                    let at = (owner, page);
                    let expected = match model.refusal(cap, quota, at, version, &bytes) {
                        Some(Written::Held) if damaged => Written::Stale,
                        Some(refusal) => refusal,
                        None if damaged => Written::Corrupt,
                        None => {
                            model.store(at, version, bytes.clone());
                            Written::Stored
                        }
                    };
                    prop_assert_eq!(got, expected);
                }
                Step::Filled { owner, page, version, value } => {
                    let bytes = value.to_be_bytes();
                    let fragment = Fragment { filled: true, ..whole(page, version, &bytes) };
                    let got = store.write(owners[owner], &fragment, quota as u64);
                    let at = (owner, page);
                    let expected = model.refusal(cap, quota, at, version, &bytes)
                        .unwrap_or_else(|| {
                            model.store(at, version, bytes.to_vec());
                            Written::Stored
                        });
                    prop_assert_eq!(got, expected);
                }
                Step::Part { owner, page, version, attempt, index, seed } => {
                    let bytes = content(seed);
                    let fragment = part(page, version, attempt, index, &bytes);
                    let got = store.write(owners[owner], &fragment, quota as u64);
                    let at = (owner, page);
                    if let Some(refusal) = model.refusal(cap, quota, at, version, &bytes) {
                        prop_assert_eq!(got, refusal);
                        continue;
                    }
                    let parts = &mut model.parts[owner];
                    let found = parts.iter().position(|part| part.0 == page && part.1 == version);
                    let found = found.unwrap_or_else(|| {
                        if parts.len() == 2 {
                            parts.remove(0);
                        }
                        parts.push((page, version, seed, attempt, 0));
                        parts.len() - 1
                    });
                    let one = &mut parts[found];
                    if one.2 != seed && one.3 >= attempt {
                        prop_assert_eq!(got, Written::Pending);
                        continue;
                    }
                    if one.2 != seed {
                        one.2 = seed;
                        one.4 = 0;
                    }
                    one.3 = one.3.max(attempt);
                    one.4 |= 1 << index;
                    let held = mask(one.4);
                    if one.4 == 0b111 {
                        prop_assert_eq!(got, Written::Stored);
                        model.store(at, version, bytes);
                    } else {
                        prop_assert!(got == Written::Pending || got == Written::Incomplete(held));
                    }
                }
                Step::Free { owner, page, version } => {
                    let held = model.pages.get(&(owner, page)).is_some_and(|held| held.0 < version);
                    if held {
                        model.pages.remove(&(owner, page));
                    }
                    model.parts[owner].retain(|part| part.0 != page || part.1 >= version);
                    prop_assert_eq!(store.free(owners[owner], page, version), held);
                }
                Step::Read { owner, page } => {
                    let got = bytes(&store, owners[owner], page);
                    prop_assert_eq!(got.as_ref(), model.pages.get(&(owner, page)));
                    if let Some((held, (_, bytes))) = store.get(owners[owner], page).zip(got) {
                        let slice = PageSlice { at: held.at, offset: 0, len: bytes.len() as u16 };
                        sent.push((slice, bytes));
                    }
                }
                Step::Reopen { owner } => {
                    store.close(owners[owner]);
                    let next = store.open().or_else(|| {
                        // All owners but ours are being dropped.
                        store.sweep(u32::MAX);
                        store.open()
                    });
                    owners[owner] = next.unwrap();
                    model.pages.retain(|key, _| key.0 != owner);
                    model.parts[owner].clear();
                }
                Step::Sweep { steps } => store.sweep(steps),
                Step::Settle => { settle!(); }
            }
            for (index, &owner) in owners.iter().enumerate() {
                prop_assert_eq!(store.held_pages(owner), model.count(index) as u64);
            }
            prop_assert_eq!(store.free_pages(), (cap - model.pages.len()) as u64);
        }
        settle!();
        for (index, &owner) in owners.iter().enumerate() {
            for page in 0..6 {
                let got = bytes(&store, owner, page);
                prop_assert_eq!(got.as_ref(), model.pages.get(&(index, page)));
            }
        }
    }
}
