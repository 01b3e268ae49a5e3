// SPDX-License-Identifier: GPL-2.0

//! The events that are logged for the administrator: each once, when it happens.

use super::super::cluster::Changes;
use super::super::ids::{ServerSlot, SlotSet};
use super::super::log_once::LogOnce;
use super::super::storage::Storage;
use super::super::swap_device::SwapDevice;

/// Something to be logged. The server table still has the address of a slot that is named here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A server keeps reporting page-outs that this machine never made, and is no longer used.
    Distrusted(ServerSlot),
    /// A server lacks a page that it should have: it, or this machine, was rolled back.
    LacksPage(ServerSlot),
    /// Servers know of page-outs that this machine does not.
    Forgotten,
    /// The versions have jumped.
    Jumped,
    /// A server refuses the session, for a reason that has not been reported.
    Refused(ServerSlot),
    /// A server has been silent for the loss timeout: its copies no longer count, and are replaced.
    Lost(ServerSlot),
    /// The same, but it answers frames that are shorter than the shortest fragments.
    TooNarrow(ServerSlot),
    /// After that it answers again, and has its copies.
    Back(ServerSlot),
    /// A server has restarted, or dropped the session: its copies are lost.
    Restarted(ServerSlot),
    /// No server has answered for the I/O timeout: requests that need one fail at once.
    Alone,
    /// After that, a server answers again.
    Answered,
    /// The servers are full and refuse page-outs.
    Full,
}

/// What has been logged.
#[derive(Default)]
pub(super) struct EventLog {
    distrusted: SlotSet,
    lacking: SlotSet,
    lost: SlotSet,
    /// How many jumps caused by servers.
    unannounced: u32,
    is_alone: bool,
    refusing: LogOnce,
    no_space: u64,
}

impl EventLog {
    /// Passes what has happened since the last call to `log`. `no_space` is the number of page-outs that
    /// have been refused for lack of room.
    pub(super) fn update<S: Storage>(
        &mut self,
        now_ns: u64,
        device: &SwapDevice<S>,
        changes: &Changes,
        has_jumped: bool,
        no_space: u64,
        log: &mut impl FnMut(Event),
    ) {
        let servers = &device.servers;
        let mut each = |slots: SlotSet, event: fn(ServerSlot) -> Event| {
            slots.iter().for_each(|slot| log(event(slot)));
        };
        let mut fresh = |logged: &mut SlotSet, now: SlotSet, event| {
            each(now.without(core::mem::replace(logged, now)), event);
        };
        fresh(
            &mut self.distrusted,
            servers.distrusted(),
            Event::Distrusted,
        );
        fresh(&mut self.lacking, servers.lacking(), Event::LacksPage);
        each(changes.refused, Event::Refused);
        let restarted = changes.to_sweep.intersection(changes.copies_lost);
        each(restarted, Event::Restarted);
        let lost = servers.lost();
        let was_lost = core::mem::replace(&mut self.lost, lost);
        let newly_lost = lost.without(was_lost);
        each(newly_lost.without(changes.too_narrow), Event::Lost);
        each(
            newly_lost.intersection(changes.too_narrow),
            Event::TooNarrow,
        );
        let usable = was_lost.without(lost).intersection(servers.usable());
        each(usable.without(restarted), Event::Back);
        if has_jumped {
            let unannounced = device.versions().unannounced_jumps();
            if core::mem::replace(&mut self.unannounced, unannounced) != unannounced {
                log(Event::Forgotten);
            }
            log(Event::Jumped);
        }
        let is_alone = servers.expected() == 0 && !servers.valid().is_empty();
        if is_alone && !self.is_alone {
            log(Event::Alone);
        } else if self.is_alone && !servers.usable().is_empty() {
            log(Event::Answered);
        }
        self.is_alone = is_alone;
        // While a machine swaps to full servers, they change between full and not full many times a second.
        let is_full = !servers.full().is_empty();
        let is_refused = core::mem::replace(&mut self.no_space, no_space) != no_space;
        if self.refusing.should_log(now_ns, is_full, is_refused) {
            log(Event::Full);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::client::bench::slot;
    use crate::engine::client::config::Config;
    use crate::engine::client::ids::Version;
    use crate::engine::client::server_table::Address;
    use crate::engine::client::storage::heap::{words, Heap};
    use crate::engine::client::versions::Reporter;
    use crate::wire::{Fragmentation, MacAddress};

    use std::vec::Vec;

    const SLOTS: [usize; 2] = [0, 1];

    fn device() -> SwapDevice<Heap> {
        let device = SwapDevice::new(words(4), Config::new(2, 1, 30).unwrap(), 1);
        for number in SLOTS {
            let address = Address {
                mac: MacAddress([2, 0, 0, 0, 0, number as u8]),
                session: 1,
                incarnation: 1,
            };
            let cut = Fragmentation::WHOLE;
            device.servers.open(slot(number), address, cut);
            device.servers.set_usable(slot(number), true);
        }
        device.servers.set_expected(SLOTS.len());
        device
    }

    #[derive(Default)]
    struct Bench {
        log: EventLog,
        changes: Changes,
        has_jumped: bool,
        no_space: u64,
    }

    impl Bench {
        fn events(&mut self, device: &SwapDevice<Heap>) -> Vec<Event> {
            let mut events = Vec::new();
            self.log.update(
                1_000_000_000_000,
                device,
                &core::mem::take(&mut self.changes),
                core::mem::take(&mut self.has_jumped),
                self.no_space,
                &mut |event| events.push(event),
            );
            events
        }
    }

    #[test]
    fn silence_is_logged_at_its_beginning_and_its_end() {
        let (device, mut bench) = (device(), Bench::default());
        assert_eq!(bench.events(&device), []);
        device.servers.set_expected(0);
        for number in SLOTS {
            device.servers.set_usable(slot(number), false);
        }
        assert_eq!(bench.events(&device), [Event::Alone]);
        assert_eq!(bench.events(&device), []);
        device.servers.set_expected(1);
        device.servers.set_usable(slot(1), true);
        assert_eq!(bench.events(&device), [Event::Answered]);
        assert_eq!(bench.events(&device), []);
    }

    #[test]
    fn a_jump_that_only_a_server_announces_is_logged_as_such() {
        let (device, mut bench) = (device(), Bench::default());
        device.versions().jump(7);
        bench.has_jumped = true;
        assert_eq!(bench.events(&device), [Event::Jumped]);
        let (slot, high) = (slot(0), Version(device.next_version().0 + 1));
        let reporter = Reporter {
            slot,
            incarnation: 1,
        };
        assert!(device.note_high_water(reporter, high));
        bench.has_jumped = true;
        assert_eq!(bench.events(&device), [Event::Forgotten, Event::Jumped]);
    }

    #[test]
    fn a_lost_server_is_logged_and_so_is_its_return() {
        let (device, mut bench) = (device(), Bench::default());
        let set_lost = |number, lost: bool| {
            device.servers.set_usable(slot(number), !lost);
            device.servers.set_lost(slot(number), lost);
        };
        set_lost(0, true);
        set_lost(1, true);
        let both = [Event::Lost(slot(0)), Event::Lost(slot(1))];
        assert_eq!(bench.events(&device), both);
        assert_eq!(bench.events(&device), []);
        // One of them has restarted: it has no copies.
        set_lost(0, false);
        set_lost(1, false);
        bench.changes.to_sweep = SlotSet::one(slot(1));
        bench.changes.copies_lost = SlotSet::one(slot(1));
        let both = [Event::Restarted(slot(1)), Event::Back(slot(0))];
        assert_eq!(bench.events(&device), both);
        // One that is removed does not return.
        set_lost(0, true);
        assert_eq!(bench.events(&device), [Event::Lost(slot(0))]);
        device.servers.set_lost(slot(0), false);
        assert_eq!(bench.events(&device), []);
        // Short frames cross the path to one of two.
        set_lost(0, true);
        set_lost(1, true);
        bench.changes.too_narrow = SlotSet::one(slot(1));
        let both = [Event::Lost(slot(0)), Event::TooNarrow(slot(1))];
        assert_eq!(bench.events(&device), both);
    }

    #[test]
    fn a_server_is_named_once_for_each_time() {
        let (device, mut bench) = (device(), Bench::default());
        device.servers.note_missing(slot(1));
        device.servers.distrust(slot(0));
        let both = [Event::Distrusted(slot(0)), Event::LacksPage(slot(1))];
        assert_eq!(bench.events(&device), both);
        assert_eq!(bench.events(&device), []);
        // A server that is removed has not restarted.
        bench.changes.to_sweep = SlotSet::from_bits(0b11);
        bench.changes.copies_lost = SlotSet::one(slot(0));
        bench.changes.refused = SlotSet::one(slot(1));
        let both = [Event::Refused(slot(1)), Event::Restarted(slot(0))];
        assert_eq!(bench.events(&device), both);
        assert_eq!(bench.events(&device), []);
    }

    #[test]
    fn full_servers_are_logged_once_they_refuse() {
        let (device, mut bench) = (device(), Bench::default());
        device.servers.set_full(slot(0), true);
        assert_eq!(bench.events(&device), []);
        bench.no_space = 3;
        assert_eq!(bench.events(&device), [Event::Full]);
        bench.no_space = 4;
        assert_eq!(bench.events(&device), []);
    }
}
