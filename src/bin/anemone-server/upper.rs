// SPDX-License-Identifier: GPL-2.0

//! What stands above an interface and takes its frames, so that a server on it would hear nothing:
//! a bridge, a bond, a switch.

use std::fmt::{self, Display, Formatter};
use std::io;

use netlink_packet_route::link::{
    InfoData, InfoKind, InfoMacVlan, InfoMacVtap, LinkAttribute, LinkInfo, LinkMessage, MacVlanMode,
};

use crate::rtnetlink::{self, Changes, Heard};

/// An interface that takes the frames of the one below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upper {
    /// Its name.
    pub name: String,
    kind: Kind,
}

/// How it takes them.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// As one of its ports. With the word for the upper interface, if there is one.
    Port(Option<&'static str>),
    /// As a port of Open vSwitch, whose own interface cannot be served on.
    OpenVswitch,
    /// As the interface that a single macvlan has for itself.
    PassthroughMacvlan,
    /// As the processor's port of a switch, where frames have the switch's own tag.
    Switch,
}

impl Upper {
    /// The one that takes the frames of the interface of this index.
    pub fn find(links: &[LinkMessage], index: u32) -> Option<Self> {
        let ours = links.iter().find(|link| link.header.index == index)?;
        if let Some(controller) = controller(ours) {
            let upper = links.iter().find(|link| link.header.index == controller);
            if let Some(kind) = takes_as_port(upper.and_then(kind)) {
                let name = upper.map_or_else(|| format!("interface {controller}"), name);
                return Some(Self { name, kind });
            }
        }
        links.iter().find_map(|link| {
            let kind = takes_as_child(link, index)?;
            let name = name(link);
            Some(Self { name, kind })
        })
    }

    /// What is to be done about it.
    pub fn remedy(&self) -> String {
        match self.kind {
            Kind::OpenVswitch => {
                "serve on an internal port of the switch (ovs-vsctl add-port BRIDGE anemone0 -- set \
                 interface anemone0 type=internal), or take the interface out of it"
                    .to_owned()
            }
            _ => format!("serve on '{0}' (--interface {0})", self.name),
        }
    }
}

impl Display for Upper {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match self.kind {
            Kind::Port(Some(word)) => write!(f, "a port of the {word} '{name}'"),
            Kind::Port(None) => write!(f, "a port of '{name}'"),
            Kind::OpenVswitch => write!(f, "a port of Open vSwitch ('{name}')"),
            Kind::PassthroughMacvlan => write!(f, "below the macvlan '{name}' in passthru mode"),
            Kind::Switch => write!(f, "the processor's port of the switch of '{name}'"),
        }
    }
}

/// Keeps watch on what is above an interface.
pub struct Watch {
    index: u32,
    controller: Option<u32>,
    upper: Option<Upper>,
    is_ipvlan: bool,
    changes: Changes,
}

impl Watch {
    /// Watches the interface of this index.
    pub fn new(index: u32) -> io::Result<Self> {
        let mut watch = Self {
            index,
            controller: None,
            upper: None,
            is_ipvlan: false,
            // Before the list is asked for, so that nothing happens between the two.
            changes: Changes::new()?,
        };
        watch.list()?;
        Ok(watch)
    }

    /// What was above it when it was last looked at.
    pub fn upper(&self) -> Option<&Upper> {
        self.upper.as_ref()
    }

    /// Whether it is an ipvlan, to which its lower interface hands IP packets only.
    pub fn is_ipvlan(&self) -> bool {
        self.is_ipvlan
    }

    /// Looks again, if there is reason to.
    pub fn look(&mut self) -> io::Result<()> {
        // The list is not asked for each time: the kernel may be busy with another's interface.
        if match self.changes.take()? {
            Heard::TooMuch => true,
            Heard::Links(links) => links.iter().any(|link| self.concerns(link)),
        } {
            self.list()?;
        }
        Ok(())
    }

    fn concerns(&self, link: &LinkMessage) -> bool {
        if link.header.index == self.index {
            return controller(link) != self.controller;
        }
        takes_as_child(link, self.index).is_some()
            || self
                .upper
                .as_ref()
                .is_some_and(|upper| name(link) == upper.name)
    }

    fn list(&mut self) -> io::Result<()> {
        let links = rtnetlink::list()?;
        let ours = links.iter().find(|link| link.header.index == self.index);
        self.controller = ours.and_then(controller);
        self.is_ipvlan = ours.is_some_and(is_ipvlan);
        self.upper = Upper::find(&links, self.index);
        Ok(())
    }
}

/// How an interface of this kind takes the frames of its ports, if it does.
fn takes_as_port(kind: Option<&InfoKind>) -> Option<Kind> {
    match kind {
        Some(InfoKind::Bridge) => Some(Kind::Port(Some("bridge"))),
        Some(InfoKind::Bond) => Some(Kind::Port(Some("bond"))),
        Some(InfoKind::Team) => Some(Kind::Port(Some("team"))),
        Some(InfoKind::Other(other)) if other == "openvswitch" => Some(Kind::OpenVswitch),
        // These take IP packets, and frames of an EtherType of their own.
        Some(InfoKind::Vrf | InfoKind::BatAdv) => None,
        _ => Some(Kind::Port(None)),
    }
}

/// How `link` takes the frames of the interface of this index, if it stands on that one without
/// having it as a port.
fn takes_as_child(link: &LinkMessage, index: u32) -> Option<Kind> {
    let mut below = None;
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Link(index) => below = Some(*index),
            // The index is another namespace's.
            LinkAttribute::LinkNetNsId(_) => return None,
            _ => {}
        }
    }
    if below != Some(index) {
        return None;
    }
    match kind(link)? {
        InfoKind::MacVlan | InfoKind::MacVtap => info(link)
            .iter()
            .any(is_passthrough)
            .then_some(Kind::PassthroughMacvlan),
        InfoKind::Dsa => Some(Kind::Switch),
        _ => None,
    }
}

fn is_ipvlan(link: &LinkMessage) -> bool {
    matches!(kind(link), Some(InfoKind::IpVlan | InfoKind::IpVtap))
}

fn is_passthrough(part: &LinkInfo) -> bool {
    let mode = match part {
        LinkInfo::Data(InfoData::MacVlan(data)) => data.iter().find_map(|one| match one {
            InfoMacVlan::Mode(mode) => Some(mode),
            _ => None,
        }),
        LinkInfo::Data(InfoData::MacVtap(data)) => data.iter().find_map(|one| match one {
            InfoMacVtap::Mode(mode) => Some(mode),
            _ => None,
        }),
        _ => None,
    };
    mode == Some(&MacVlanMode::Passthrough)
}

fn controller(link: &LinkMessage) -> Option<u32> {
    link.attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::Controller(index) if *index != 0 => Some(*index),
            _ => None,
        })
}

/// Its name.
pub fn name(link: &LinkMessage) -> String {
    link.attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        })
        .unwrap_or_default()
}

fn info(link: &LinkMessage) -> &[LinkInfo] {
    link.attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::LinkInfo(info) => Some(&info[..]),
            _ => None,
        })
        .unwrap_or_default()
}

fn kind(link: &LinkMessage) -> Option<&InfoKind> {
    info(link).iter().find_map(|part| match part {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{socket, AddressFamily, SocketType};

    const OURS: u32 = 7;
    const UPPER: u32 = 9;

    fn link(index: u32, name: &str, attributes: Vec<LinkAttribute>) -> LinkMessage {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.attributes = vec![LinkAttribute::IfName(name.to_owned())];
        link.attributes.extend(attributes);
        link
    }

    fn of_kind(kind: InfoKind) -> LinkAttribute {
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)])
    }

    /// What is found where ours is a port of an interface of this kind.
    fn port_of(kind: Option<InfoKind>) -> Option<String> {
        let links = [
            link(UPPER, "up0", kind.map(of_kind).into_iter().collect()),
            link(8, "other", vec![LinkAttribute::Controller(5)]),
            link(OURS, "eth1", vec![LinkAttribute::Controller(UPPER)]),
        ];
        let upper = Upper::find(&links, OURS)?;
        assert_eq!(upper.name, "up0");
        Some(upper.to_string())
    }

    #[test]
    fn ports_are_found() {
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(
            port_of(Some(InfoKind::Bridge)),
            is("a port of the bridge 'up0'")
        );
        assert_eq!(
            port_of(Some(InfoKind::Bond)),
            is("a port of the bond 'up0'")
        );
        assert_eq!(
            port_of(Some(InfoKind::Team)),
            is("a port of the team 'up0'")
        );
        let ovs = InfoKind::Other("openvswitch".to_owned());
        assert_eq!(port_of(Some(ovs)), is("a port of Open vSwitch ('up0')"));
        // As Hyper-V's interface is above its virtual function.
        assert_eq!(port_of(None), is("a port of 'up0'"));
        assert_eq!(port_of(Some(InfoKind::Hsr)), is("a port of 'up0'"));
        assert_eq!(port_of(Some(InfoKind::Vrf)), None);
        assert_eq!(port_of(Some(InfoKind::BatAdv)), None);
    }

    #[test]
    fn an_upper_interface_that_is_not_seen_is_an_upper_interface() {
        let links = [link(OURS, "eth1", vec![LinkAttribute::Controller(UPPER)])];
        assert_eq!(Upper::find(&links, OURS).unwrap().name, "interface 9");
    }

    #[test]
    fn what_stands_on_it_without_taking_all_is_let_be() {
        let macvlan = |mode, more: &[LinkAttribute]| {
            let data = InfoData::MacVlan(vec![InfoMacVlan::Mode(mode)]);
            let info = vec![LinkInfo::Kind(InfoKind::MacVlan), LinkInfo::Data(data)];
            let mut attributes = vec![LinkAttribute::Link(OURS), LinkAttribute::LinkInfo(info)];
            attributes.extend_from_slice(more);
            let links = [link(OURS, "eth1", vec![]), link(UPPER, "up0", attributes)];
            Upper::find(&links, OURS).map(|upper| upper.to_string())
        };
        let taken = Some("below the macvlan 'up0' in passthru mode".to_owned());
        assert_eq!(macvlan(MacVlanMode::Passthrough, &[]), taken);
        assert_eq!(macvlan(MacVlanMode::Bridge, &[]), None);
        let elsewhere = [LinkAttribute::LinkNetNsId(0)];
        assert_eq!(macvlan(MacVlanMode::Passthrough, &elsewhere), None);

        let child = |kind| {
            let attributes = vec![LinkAttribute::Link(OURS), of_kind(kind)];
            let links = [link(OURS, "eth1", vec![]), link(UPPER, "up0", attributes)];
            Upper::find(&links, OURS).map(|upper| upper.to_string())
        };
        assert_eq!(child(InfoKind::Vlan), None);
        assert_eq!(child(InfoKind::Veth), None);
        let switch = Some("the processor's port of the switch of 'up0'".to_owned());
        assert_eq!(child(InfoKind::Dsa), switch);
    }

    #[test]
    fn an_ipvlan_is_told_from_a_macvlan() {
        assert!(is_ipvlan(&link(
            OURS,
            "eth1",
            vec![of_kind(InfoKind::IpVlan)]
        )));
        assert!(!is_ipvlan(&link(
            OURS,
            "eth1",
            vec![of_kind(InfoKind::MacVlan)]
        )));
        assert!(!is_ipvlan(&link(OURS, "eth1", vec![])));
    }

    #[test]
    fn the_kernel_is_understood() {
        let links = rtnetlink::list().unwrap();
        assert!(links.iter().any(|link| name(link) == "lo"));
        let any = socket(AddressFamily::UNIX, SocketType::DGRAM, None).unwrap();
        let lo = rustix::net::netdevice::name_to_index(&any, "lo").unwrap();
        let mut watch = Watch::new(lo).unwrap();
        watch.look().unwrap();
        assert_eq!(watch.upper(), None);
    }
}
