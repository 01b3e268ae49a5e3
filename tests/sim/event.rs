// SPDX-License-Identifier: GPL-2.0

//! The events to come, in the order of the virtual clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;

use anemone::wire::MacAddress;

use crate::client::ClientEvent;
use crate::world::WorldEvent;

/// A frame on its way, without its Ethernet header.
#[derive(Clone, Debug)]
pub struct Wire {
    /// Its source address.
    pub source: MacAddress,
    /// Its destination address.
    pub destination: MacAddress,
    /// The bytes after the Ethernet header, shared by all copies of the frame.
    pub bytes: Rc<Vec<u8>>,
}

impl Wire {
    /// Its bytes, for changing this copy only.
    pub fn bytes_mut(&mut self) -> &mut Vec<u8> {
        Rc::make_mut(&mut self.bytes)
    }
}

/// A station.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    /// A client, by its number.
    Client(usize),
    /// A server, by its number.
    Server(usize),
}

/// An event.
#[derive(Debug)]
pub enum Event {
    /// A frame arrives.
    Deliver(Node, Wire),
    /// An event of a client.
    Client(usize, ClientEvent),
    /// A server's timer is due.
    ServerTimer(usize),
    /// A server sends the frames that it has kept.
    ServerFlush(usize),
    /// An event outside all stations.
    World(WorldEvent),
}

struct Entry {
    at_ns: u64,
    order: u64,
    /// The index at which the event is kept, because the heap moves its entries.
    place: usize,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at_ns, self.order) == (other.at_ns, other.order)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ns, self.order).cmp(&(other.at_ns, other.order))
    }
}

/// The events to come. Events of the same time happen in the order in which they were scheduled.
#[derive(Default)]
pub struct Queue {
    heap: BinaryHeap<Reverse<Entry>>,
    events: Vec<Option<Event>>,
    free: Vec<usize>,
    order: u64,
}

impl Queue {
    /// Schedules an event.
    pub fn put(&mut self, at_ns: u64, event: Event) {
        self.order += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() - 1
        });
        self.events[place] = Some(event);
        self.heap.push(Reverse(Entry {
            at_ns,
            order: self.order,
            place,
        }));
    }

    /// Removes the next event.
    pub fn take(&mut self) -> Option<(u64, Event)> {
        let Reverse(entry) = self.heap.pop()?;
        self.free.push(entry.place);
        Some((entry.at_ns, self.events[entry.place].take()?))
    }
}
