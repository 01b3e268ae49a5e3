// SPDX-License-Identifier: GPL-2.0

//! The keys of one session, and what has been received under them.

use kernel::{
    prelude::*,
    sync::{
        atomic::Atomic,
        SpinLockIrq, //
    }, //
};

use super::mail::Mail;
use crate::{
    engine::channel::{
        budget::Tokens,
        replay_window::ReplayWindow, //
    },
    linux::{
        crypto::aead::Aead,
        sync::rcu_cell::RcuCell, //
    },
    wire::Signature,
};

/// A key and its number in its session.
pub(in crate::driver) struct NumberedKey {
    pub(in crate::driver) number: u8,
    pub(in crate::driver) key: Aead,
}

/// What has been received under a key.
#[derive(Default)]
struct Received {
    number: u8,
    window: ReplayWindow,
}

/// What has been received in a session.
struct Receiving {
    /// By whether the numbers of the keys are odd.
    halves: [Received; 2],
    /// For frames that are verified in vain.
    reserve: Tokens,
}

/// The keys of one session.
#[pin_data]
pub(super) struct ChannelKeys {
    pub(super) mac: Atomic<u64>,
    /// 0: none.
    pub(super) session: Atomic<u64>,
    pub(super) incarnation: Atomic<u64>,
    /// No hint is noted before that.
    pub(super) hint_ns: Atomic<u64>,
    pub(super) transmit: RcuCell<NumberedKey>,
    /// The current key and the one before, by whether their numbers are odd.
    pub(super) receive: [RcuCell<NumberedKey>; 2],
    pub(super) until_ns: [Atomic<u64>; 2],
    #[pin]
    received: SpinLockIrq<Receiving>,
    /// A KEY_REPLY that waits for the worker.
    #[pin]
    pub(super) mail: SpinLockIrq<Mail>,
}

impl ChannelKeys {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            mac: Atomic::<u64>::new(0),
            session: Atomic::<u64>::new(0),
            incarnation: Atomic::<u64>::new(0),
            hint_ns: Atomic::<u64>::new(0),
            transmit: RcuCell::new(None),
            receive: [RcuCell::new(None), RcuCell::new(None)],
            until_ns: [Atomic::<u64>::new(0), Atomic::<u64>::new(0)],
            received <- kernel::new_spinlock_irq!(Receiving::new(), "anemone_received"),
            mail <- kernel::new_spinlock_irq!(Mail::default(), "anemone_mail"),
        })
    }

    /// From now on the frames of this half are of another key, none of which has been received.
    pub(super) fn begin(&self, half: usize, number: u8) {
        if let Some(received) = self.received.lock().halves.get_mut(half) {
            *received = Received {
                number,
                window: ReplayWindow::default(),
            };
        }
    }

    /// Whether the session's reserve is left.
    #[cold]
    pub(super) fn has_reserve(&self, now_ns: u64) -> bool {
        self.received.lock().reserve.has_any(now_ns)
    }

    /// A frame of this length was verified in vain, at the cost of the session's reserve.
    #[cold]
    pub(super) fn note_vain(&self, len: usize) {
        self.received.lock().reserve.take_frame(len);
    }

    #[inline]
    pub(super) fn may_accept(&self, half: usize, signature: &Signature) -> bool {
        let received = self.received.lock();
        received.halves.get(half).is_some_and(|received| {
            let is_it = received.number == signature.key && signature.lane == 0;
            is_it && received.window.may_accept(signature.counter())
        })
    }

    #[inline]
    pub(super) fn accept(&self, half: usize, signature: &Signature) -> bool {
        let mut received = self.received.lock();
        received.halves.get_mut(half).is_some_and(|received| {
            received.number == signature.key && received.window.accept(signature.counter())
        })
    }
}

impl Receiving {
    fn new() -> Self {
        Self {
            halves: Default::default(),
            reserve: Tokens::for_session(),
        }
    }
}
