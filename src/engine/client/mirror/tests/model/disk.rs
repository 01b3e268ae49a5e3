// SPDX-License-Identifier: GPL-2.0

//! The model's disk: it is attached, and gets, refuses and ends I/O.

use std::vec::Vec;

use super::super::super::PageIndex;
use super::{World, PAGES};

impl World {
    pub(super) fn attach(&mut self) {
        if self.mirror.is_attached() {
            return;
        }
        if self.device.disk.load().is_tracked() {
            if !self.mirror.is_idle() {
                return;
            }
            // Every page-out has been notified, and the disk's copies no longer count.
            for out in self.page_outs.values_mut() {
                out.written = false;
            }
            for page in 0..PAGES {
                self.device.map.forget_disk(PageIndex(page));
            }
            self.mirror.finish_detach(&self.device).unwrap();
            self.blocks.clear();
        }
        self.mirror.attach(&self.device).unwrap();
    }

    pub(super) fn submit(&mut self) {
        while let Some(io) = self.mirror.poll(self.now_ns, &self.device) {
            let pages = io.first.0..io.first.0 + io.buffers().len() as u32;
            for (other, _) in &self.under_way {
                let others = other.first.0..other.first.0 + other.buffers().len() as u32;
                assert!(
                    pages.end <= others.start || others.end <= pages.start,
                    "two I/Os of a page"
                );
            }
            let contents = io.buffers().iter();
            let contents: Vec<_> = contents.map(|id| self.buffers[id.index()]).collect();
            if io.is_write {
                for (page, content) in pages.zip(&contents) {
                    assert!(content.is_some());
                    let entry = self.device.map.load(PageIndex(page));
                    assert!(!entry.is_on_disk() || self.blocks[&page] == *content);
                    // From now on until its end it may be either.
                    self.blocks.insert(page, None);
                }
            }
            self.under_way.push((io, contents));
        }
    }

    pub(super) fn io_ended(&mut self, which: usize, ok: bool) {
        if self.under_way.is_empty() {
            return;
        }
        let which = which % self.under_way.len();
        let (io, contents) = self.under_way.swap_remove(which);
        for (offset, (id, content)) in (0..).zip(io.buffers().iter().zip(contents)) {
            let page = io.first.0 + offset;
            let buffer = &mut self.buffers[id.index()];
            if io.is_write {
                assert_eq!(*buffer, content, "the buffer was used for something else");
                self.blocks.insert(page, content.filter(|_| ok));
            } else if ok {
                *buffer = self.blocks.get(&page).copied().flatten();
            }
        }
        self.mirror.ended(self.now_ns, io.id, ok, &self.device);
    }

    /// The disk refuses an I/O, and keeps nothing of it.
    pub(super) fn io_refused(&mut self, which: usize) {
        if self.under_way.is_empty() {
            return;
        }
        let which = which % self.under_way.len();
        let (io, _) = self.under_way.swap_remove(which);
        self.mirror.refused(self.now_ns, io.id, &self.device);
    }
}
