// SPDX-License-Identifier: GPL-2.0

//! What is going to happen, in the order of the virtual clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;

use anemone::wire::MacAddress;

use crate::client::ClientEvent;
use crate::world::WorldEvent;

/// A frame on its way, without its Ethernet header.
#[derive(Clone, Debug)]
pub struct Wire {
    /// From whom it says it is.
    pub source: MacAddress,
    /// To whom it says it is.
    pub destination: MacAddress,
    /// What follows the Ethernet header; shared by all its copies on their ways.
    pub bytes: Rc<Vec<u8>>,
}

impl Wire {
    /// Its bytes, to be changed in this copy only.
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

/// Something that happens.
#[derive(Debug)]
pub enum Event {
    /// A frame arrives.
    Deliver(Node, Wire),
    /// Something inside a client.
    Client(usize, ClientEvent),
    /// A server's timer is due.
    ServerTimer(usize),
    /// A server hands over what it has kept to send.
    ServerFlush(usize),
    /// Something around them all.
    World(WorldEvent),
}

struct Entry {
    at_ns: u64,
    order: u64,
    /// Where the event is kept: the heap moves its entries about.
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

/// The events to come. Those of the same time happen in the order in which they were put in.
#[derive(Default)]
pub struct Queue {
    heap: BinaryHeap<Reverse<Entry>>,
    events: Vec<Option<Event>>,
    free: Vec<usize>,
    order: u64,
}

impl Queue {
    /// Puts an event in.
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

    /// Takes the next.
    pub fn take(&mut self) -> Option<(u64, Event)> {
        let Reverse(entry) = self.heap.pop()?;
        self.free.push(entry.place);
        Some((entry.at_ns, self.events[entry.place].take()?))
    }
}
