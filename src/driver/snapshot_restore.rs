// SPDX-License-Identifier: GPL-2.0

//! Detects that the machine was rolled back: hibernation, or a virtual machine's snapshot.
//!
//! The engine decides what that means: for versions ([`crate::engine::client::versions`]), and for the worker
//! while the machine hibernates ([`crate::engine::client::maintenance::round`]).

use kernel::{
    prelude::*,
    sync::Arc, //
};

use super::client::Client;
use crate::linux::{
    random::{
        fresh_u64,
        vmfork::VmforkCallback, //
    },
    suspend::{
        PmCallback,
        PmEvent, //
    },
};

/// Power management notifier.
pub(crate) struct OnHibernation(pub(crate) Arc<Client>);

impl PmCallback for OnHibernation {
    fn event(&self, event: PmEvent) {
        let client = &self.0;
        match event {
            PmEvent::HibernationPrepare => {
                // It is open already, so no check was made at its opening.
                if client.shared.local.is_own_below_another() {
                    pr_warn!(
                        "the machine hibernates, and another disk is made of /dev/anemone; an image on that disk cannot be read back: use another device (resume=)\n"
                    );
                }
                client.shared.device.begin_hibernation();
                // Waits for a round that has not seen it.
                client.cluster.look(|_| ());
            }
            PmEvent::PostHibernation => {
                // The jump first, because it waits for nothing: after it this instance's versions differ.
                client.shared.device.end_hibernation(fresh_u64());
                client.note_rollback();
            }
        }
    }
}

/// The random generator's fork notifier.
pub(crate) struct OnVmFork(pub(crate) Arc<Client>);

impl VmforkCallback for OnVmFork {
    fn forked(&self) {
        let client = &self.0;
        client.shared.device.versions().jump(fresh_u64());
        client.note_rollback();
        pr_warn!(
            "this virtual machine was rolled back or copied; pages that were paged out since then are lost\n"
        );
    }
}

impl Client {
    /// The versions have jumped: no frame is signed any more with a key that this machine has, and the worker
    /// takes other keys for pages and frames. Any context.
    fn note_rollback(&self) {
        if let Some(keys) = &self.shared.keys {
            keys.stop();
        }
        self.shared.kick();
    }
}
