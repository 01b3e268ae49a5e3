// SPDX-License-Identifier: GPL-2.0

//! Follows the events of network devices: binds the interface when one of its name exists, and unbinds it
//! when it goes away.

use kernel::{
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc, //
    },
};

use crate::{
    driver::client::Client,
    linux::net::{
        device::{
            NetDevice,
            Rtnl, //
        },
        notifier::{
            Event,
            NotifierCallback, //
        }, //
    },
};

/// Follows the interface's events.
pub(crate) struct LinkWatch {
    client: Arc<Client>,
    /// The network namespace of the process that loaded the module, in which names are looked up.
    namespace: u64,
}

impl LinkWatch {
    /// Watches for `client`'s interface in the network namespace with this cookie.
    pub(crate) fn new(client: Arc<Client>, namespace: u64) -> Self {
        Self { client, namespace }
    }

    /// Binds `device`, which has the interface's name, if it is suitable.
    fn bind(&self, device: &NetDevice, rtnl: &Rtnl) {
        if device.namespace(rtnl) != self.namespace || !device.is_ethernet() {
            return;
        }
        let client = &self.client;
        let name = client.shared.link.name();
        match client.shared.link.bind(client, device.into(), rtnl) {
            Ok(()) => pr_info!("interface {name}: bound\n"),
            Err(error) => pr_err!(
                "interface {name}: cannot be used: {error:?}; bring it down and up to try again\n"
            ),
        }
        client.cluster.mtu_changed(&client.shared);
        client.cluster.address_changed(&client.shared);
        client.shared.kick();
    }
}

impl NotifierCallback for LinkWatch {
    fn event(&self, event: Event, device: &NetDevice, rtnl: &Rtnl) {
        let client = &self.client;
        let link = &client.shared.link;
        if !link.followed.load(Relaxed) {
            return;
        }
        match event {
            Event::Unregister => {
                link.forget(device, rtnl);
                if link.is_bound_to(device) && link.unbind(rtnl) {
                    let name = link.name();
                    pr_warn!("interface {name}: gone; requests wait until it is back\n");
                    client.shared.kick();
                    // Another device may have got the name while this one had another.
                    let other = NetDevice::by_name_in(self.namespace, name, rtnl);
                    if let Some(other) = other.filter(|other| link.is_called(other, rtnl)) {
                        self.bind(&other, rtnl);
                    }
                }
            }
            Event::Register | Event::Up | Event::ChangeName => {
                if link.is_bound() {
                    link.restacked(rtnl);
                    client.shared.kick();
                } else if link.is_called(device, rtnl) {
                    self.bind(device, rtnl);
                }
            }
            Event::ChangeMtu if link.is_bound_to(device) => {
                client.cluster.mtu_changed(&client.shared);
                client.shared.kick();
            }
            Event::ChangeAddress if link.is_bound_to(device) => {
                client.cluster.address_changed(&client.shared);
                client.shared.kick();
            }
            Event::ChangeUpper | Event::ChangeFeatures => link.restacked(rtnl),
            Event::Change if link.is_bound_to(device) => client.shared.kick(),
            _ => {}
        }
    }
}
