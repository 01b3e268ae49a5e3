// SPDX-License-Identifier: GPL-2.0

//! The mirror against a model that remembers everything: for every page its versions, for every
//! block of the disk what was last written to it, or torn.

use std::collections::BTreeMap;
use std::vec::Vec;

use proptest::prelude::*;

use super::super::super::config;
use super::super::super::ids::{Generation, SlotSet, Version};
use super::super::super::page_map::Entry;
use super::super::super::storage::heap::{words, Heap};
use super::super::super::swap_device::SwapDevice;
use super::super::*;
use steps::{steps, Step};

mod disk;
mod steps;

const PAGES: u32 = 4;
const BUFFERS: usize = 8;
const MS: u64 = 1_000_000;
const DISK_TIMEOUT_NS: u64 = 1000 * MS;

/// A page-out under way.
#[derive(Clone, Copy)]
struct PageOut {
    begun: Entry,
    version: Version,
    /// Its version in a buffer.
    put: Option<Version>,
    /// The token with which it waits.
    token: Option<Token>,
    written: bool,
}

/// A page on its way to the disk that no page-out brings.
#[derive(Clone, Copy)]
struct Copying {
    /// What the mirror knows it by, and what it is.
    version: Version,
    newest: Version,
    /// The token with which it waits.
    token: Option<Token>,
    /// A page-out of the page has begun since.
    is_cancelled: bool,
}

/// A page-in that waits for the disk, or copies from a buffer.
struct Reader {
    page: u32,
    /// The page's versions since it began; any may be read.
    versions: Vec<Version>,
}

struct World {
    now_ns: u64,
    device: SwapDevice<Heap>,
    mirror: Mirror<Heap>,
    /// What each buffer holds; `None` for garbage.
    buffers: Vec<Option<Version>>,
    /// What each block holds; `None` for garbage.
    blocks: BTreeMap<u32, Option<Version>>,
    under_way: Vec<(DiskIo, Vec<Option<Version>>)>,
    /// The newest version of each page that has contents.
    newest: BTreeMap<u32, Version>,
    page_outs: BTreeMap<u32, PageOut>,
    /// Page-outs that have ended, of which the mirror has not been notified: whether with success.
    unsettled: Vec<(u32, Version, bool)>,
    copies: BTreeMap<u32, Copying>,
    readers: BTreeMap<u32, Reader>,
    /// Buffers that readers copy from.
    lent: Vec<(BufferId, u32)>,
    next_token: u32,
}

impl World {
    fn new(policy: Policy) -> Self {
        let map = words(PAGES as usize);
        let device = SwapDevice::new(map, config::Config::new(2, 1, 60).unwrap(), 1);
        let config = Config {
            policy,
            disk_timeout_ns: DISK_TIMEOUT_NS,
            retries: 1,
            errors_max: 8,
            gather_ns: 2 * MS,
        };
        let mirror = Mirror::new(
            config,
            Parts {
                buffers: std::vec![Buffer::default(); BUFFERS],
                heads: std::vec![Head::default(); 5],
                ios: std::vec![Io::default(); 4],
            },
        );
        Self {
            now_ns: 0,
            device,
            mirror,
            buffers: std::vec![None; BUFFERS],
            blocks: BTreeMap::new(),
            under_way: Vec::new(),
            newest: BTreeMap::new(),
            page_outs: BTreeMap::new(),
            unsettled: Vec::new(),
            copies: BTreeMap::new(),
            readers: BTreeMap::new(),
            lent: Vec::new(),
            next_token: 0,
        }
    }

    fn token(&mut self) -> Token {
        self.next_token += 1;
        Token {
            tag: self.next_token,
            attempt: 1,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Begin {
                page,
                urgent,
                collide,
            } => self.begin(page, urgent, collide),
            Step::Restart { page } => {
                if let Some(mut out) = self.page_outs.remove(&page) {
                    out.version = self.device.take_version();
                    out.token = None;
                    out.written = false;
                    self.put(page, out, true);
                }
            }
            Step::Want { page } => self.want(page),
            Step::End { page, ok } => self.end(page, ok),
            Step::Settle { which } => {
                if !self.unsettled.is_empty() {
                    self.settle(which % self.unsettled.len());
                }
            }
            Step::Read { page, buffers_only } => self.read(page, buffers_only),
            Step::Release { which } => {
                if !self.lent.is_empty() {
                    let (id, reader) = self.lent.swap_remove(which % self.lent.len());
                    self.check_read(id, reader);
                    self.mirror.release(id);
                }
            }
            Step::Free { page } => {
                let index = PageIndex(page);
                self.device.map.set_free_pending(index);
                let device = &self.device;
                let freed = device.map.take_free(index, || device.take_version());
                if freed.is_some() {
                    self.newest.remove(&page);
                }
            }
            Step::Copy { page } => self.copy(page),
            Step::CopyPut { page, ok } => self.copy_put(page, ok),
            Step::Submit => self.submit(),
            Step::Refused { which } => self.io_refused(which),
            Step::Ended { which, ok } => self.io_ended(which, ok),
            Step::Wait { ms } => {
                self.now_ns += ms * MS;
                self.mirror.handle_timeout(self.now_ns, &self.device);
            }
            Step::ReAdd => {
                let is_timed_out = self.mirror.has_timed_out();
                let is_added = self.mirror.re_add(&self.device).is_ok();
                assert_ne!(is_added, is_timed_out);
            }
            Step::Detach => {
                if self.mirror.is_attached() {
                    self.mirror.begin_detach(self.now_ns, &self.device);
                }
            }
            Step::CancelDetach => {
                if self.device.disk.load().is_tracked() {
                    self.mirror.cancel_detach(&self.device);
                }
            }
            Step::Attach => self.attach(),
        }
        self.notify();
        self.check();
    }

    fn begin(&mut self, page: u32, urgent: bool, collide: bool) {
        let Some(begun) = self.device.map.begin_write(PageIndex(page)) else {
            return;
        };
        if let Some(copy) = self.copies.get_mut(&page) {
            copy.is_cancelled = true;
        }
        let mut version = self.device.take_version();
        while collide && version.generation() != begun.generation() {
            version = self.device.take_version();
        }
        let out = PageOut {
            begun,
            version,
            put: None,
            token: None,
            written: false,
        };
        self.put(page, out, urgent);
    }

    fn put(&mut self, page: u32, mut out: PageOut, urgent: bool) {
        let (index, version) = (PageIndex(page), out.version);
        let replaces = out.put.take();
        let write = Write {
            page: index,
            version,
            is_urgent: urgent,
            replaces,
            shard: 0,
        };
        let put = self.mirror.begin_write(&write, &self.device);
        if let Put::Buffer(id) = put {
            self.buffers[id.index()] = Some(version);
            out.put = Some(version);
        }
        self.page_outs.insert(page, out);
        if urgent {
            self.want(page);
        }
    }

    fn want(&mut self, page: u32) {
        let token = self.token();
        let Some(out) = self.page_outs.get_mut(&page) else {
            return;
        };
        let Some(version) = out.put.filter(|_| out.token.is_none()) else {
            return;
        };
        if self
            .mirror
            .want(self.now_ns, PageIndex(page), version, token)
        {
            out.token = Some(token);
        } else {
            out.put = None;
        }
    }

    fn end(&mut self, page: u32, ok: bool) {
        let Some(out) = self.page_outs.remove(&page) else {
            return;
        };
        let index = PageIndex(page);
        if ok {
            let servers = SlotSet::from_bits(3);
            let freed =
                self.device
                    .map
                    .finish_write(index, out.begun, out.version, servers, out.written);
            self.newest.insert(page, out.version);
            assert!(!freed || self.device.map.load(index).is_free_pending());
            for reader in self.readers.values_mut() {
                if reader.page == page {
                    reader.versions.push(out.version);
                }
            }
        } else {
            self.device.map.abandon_write(index);
        }
        if let Some(version) = out.put {
            self.unsettled
                .push((page, version, ok && version == out.version));
        }
    }

    fn settle(&mut self, which: usize) {
        let (page, version, ok) = self.unsettled.swap_remove(which);
        self.mirror
            .settle(self.now_ns, PageIndex(page), version, ok, &self.device);
    }

    fn read(&mut self, page: u32, buffers_only: bool) {
        let entry = self.device.map.load(PageIndex(page));
        if entry.is_busy() || !entry.is_written() {
            let get = self.begin_read(page, entry.generation(), Token::default(), buffers_only);
            assert_eq!(get, Get::Changed);
            return;
        }
        let token = self.token();
        let get = self.begin_read(page, entry.generation(), token, buffers_only);
        let reader = Reader {
            page,
            versions: self.newest.get(&page).copied().into_iter().collect(),
        };
        match get {
            Get::Buffered(id) => {
                self.readers.insert(token.tag, reader);
                self.lent.push((id, token.tag));
            }
            Get::Queued => {
                assert!(!buffers_only && entry.is_on_disk());
                self.readers.insert(token.tag, reader);
            }
            Get::Absent => assert!(
                buffers_only || !entry.is_on_disk() || !self.mirror.is_attached(),
                "it is on the disk"
            ),
            Get::Full | Get::TimedOut => assert!(!buffers_only),
            Get::Changed => panic!("nothing has changed"),
        }
    }

    fn begin_read(
        &mut self,
        page: u32,
        generation: Generation,
        token: Token,
        buffers_only: bool,
    ) -> Get {
        self.mirror.begin_read(
            PageIndex(page),
            generation,
            token,
            buffers_only,
            &self.device,
        )
    }

    /// A reader gets contents that the page has had since the read began.
    fn check_read(&mut self, id: BufferId, reader: u32) {
        let reader = self.readers.remove(&reader).unwrap();
        let found = self.buffers[id.index()].expect("garbage is read");
        assert!(
            reader.versions.contains(&found),
            "{found:?} of {:?} is read",
            reader.versions
        );
    }

    fn copy(&mut self, page: u32) {
        let (Some(&newest), false) = (self.newest.get(&page), self.copies.contains_key(&page))
        else {
            return;
        };
        let version = self.device.take_version_of(newest.generation());
        let put = self
            .mirror
            .begin_copy(PageIndex(page), version, &self.device);
        if let Put::Buffer(id) = put {
            assert!(!self.page_outs.contains_key(&page));
            // Its page is copied there only later.
            self.buffers[id.index()] = Some(newest);
            let copying = Copying {
                version,
                newest,
                token: None,
                is_cancelled: false,
            };
            self.copies.insert(page, copying);
        }
    }

    fn copy_put(&mut self, page: u32, ok: bool) {
        let token = self.token();
        let Some(copy) = self.copies.get_mut(&page) else {
            return;
        };
        if copy.token.is_some() {
            return;
        }
        let (index, version) = (PageIndex(page), copy.version);
        copy.token = Some(token);
        if !ok {
            self.mirror
                .settle(self.now_ns, index, version, false, &self.device);
        }
        if !ok || !self.mirror.want(self.now_ns, index, version, token) {
            self.copies.remove(&page);
        }
    }

    /// Notifies the copy that brought a page to the disk.
    fn copied(&mut self, token: Token, ok: bool) -> bool {
        let found = self
            .copies
            .iter()
            .find(|(_, copy)| copy.token == Some(token));
        let Some((&page, &copy)) = found else {
            return false;
        };
        self.copies.remove(&page);
        let index = PageIndex(page);
        let generation = copy.version.generation();
        if !ok || self.device.map.begin_commit(index, generation).is_none() {
            return true;
        }
        let is_true = !copy.is_cancelled && self.device.disk.load().is_attached();
        assert!(!is_true || self.blocks[&page] == Some(copy.newest));
        let none = SlotSet::EMPTY;
        self.device.map.end_commit(index, none, is_true, none);
        true
    }

    fn notify(&mut self) {
        while let Some(event) = self.mirror.poll_event() {
            match event {
                Event::Written(token, ok) => {
                    if self.copied(token, ok) {
                        continue;
                    }
                    let found = self.page_outs.iter_mut();
                    for (page, out) in found.filter(|(_, out)| out.token == Some(token)) {
                        assert!(!ok || self.blocks[page] == Some(out.version));
                        out.written = ok;
                        out.put = None;
                        out.token = None;
                    }
                }
                Event::Read(token, Ok(id)) => self.lent.push((id, token.tag)),
                Event::Read(token, Err(_)) => {
                    self.readers.remove(&token.tag).expect("notified once");
                }
                Event::StateChanged => {}
                Event::Granted(shard, direction) => self.mirror.return_grant(shard, direction),
            }
        }
        let state = self.device.disk.load();
        if !state.is_attached() {
            for (page, out) in &mut self.page_outs {
                out.written = false;
                if let Some(version) = out.put.take() {
                    let page = PageIndex(*page);
                    self.mirror
                        .settle(self.now_ns, page, version, false, &self.device);
                    out.token = None;
                }
            }
        }
    }

    fn check(&self) {
        let state = self.device.disk.load();
        assert_eq!(state.is_usable(), self.mirror.is_usable());
        for page in 0..PAGES {
            let entry = self.device.map.load(PageIndex(page));
            if entry.is_on_disk() && entry.is_written() && !entry.is_busy() && state.is_attached() {
                let block = self.blocks.get(&page).copied().flatten();
                assert_eq!(block, self.newest.get(&page).copied(), "page {page}");
            }
        }
    }

    /// Everything ends: then nothing is in use.
    fn finish(&mut self) {
        for page in 0..PAGES {
            self.end(page, true);
        }
        while !self.unsettled.is_empty() {
            self.settle(0);
        }
        for page in 0..PAGES {
            self.copy_put(page, true);
        }
        for _ in 0..1000 {
            self.step(Step::Submit);
            self.step(Step::Ended { which: 0, ok: true });
            self.step(Step::Release { which: 0 });
            self.step(Step::Wait { ms: 10 });
        }
        assert!(self.mirror.is_idle(), "{} in use", self.mirror.buffered());
        assert_eq!(self.mirror.re_add(&self.device), Ok(()));
        assert!(self.readers.is_empty() && self.under_way.is_empty());
        assert!(self.copies.is_empty(), "a copy was not notified");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_disk_bits_are_true(steps in steps(), policy in 0..2) {
        let policy = if policy == 0 { Policy::Lag } else { Policy::Off };
        let mut world = World::new(policy);
        world.attach();
        for step in steps {
            world.step(step);
        }
        world.finish();
    }
}
