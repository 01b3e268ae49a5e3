// SPDX-License-Identifier: GPL-2.0

//! Interfaces that are above another one and take its frames, so that a server on that one would receive
//! nothing: a bridge, a bond, a switch.

use std::fmt::{self, Display, Formatter};
use std::io;

use crate::rtnetlink::{self, Changes, Interface};

/// An interface that takes the frames of the one below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upper {
    /// Its name.
    pub name: String,
    kind: Kind,
}

/// How it takes the frames.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// The lower interface is a port. With the word for the upper interface, if there is one.
    Port(Option<&'static str>),
    /// The lower interface is a port of Open vSwitch, on whose own interface a server cannot serve.
    OpenVswitch,
    /// The upper interface has the lower one for itself: its sort and its mode.
    Below(&'static str, &'static str),
    /// The same, and a server cannot serve on the upper interface.
    OutOfReach(&'static str, &'static str),
    /// The lower interface is the processor's port of a switch, where frames have the switch's own tag.
    Switch,
}

impl Upper {
    /// Finds the interface that takes the frames of the one with this index.
    pub fn find(interfaces: &[Interface], index: u32) -> Option<Self> {
        let at = |index: u32| interfaces.iter().find(|one| one.index == index);
        if let Some(controller) = at(index)?.controller {
            let upper = at(controller);
            if let Some(kind) = takes_as_port(upper.map_or("", |upper| &upper.kind)) {
                let name = upper.map(|upper| upper.name.clone());
                return Some(Self {
                    name: name.unwrap_or_else(|| format!("interface {controller}")),
                    kind,
                });
            }
        }
        interfaces.iter().find_map(|one| {
            Some(Self {
                kind: takes_as_child(one, index)?,
                name: one.name.clone(),
            })
        })
    }

    /// What the administrator should do.
    pub fn remedy(&self) -> String {
        match self.kind {
            Kind::OpenVswitch => {
                "serve on an internal port of the switch (ovs-vsctl add-port BRIDGE anemone0 -- set \
                 interface anemone0 type=internal), or take the interface out of it"
                    .to_owned()
            }
            Kind::OutOfReach(..) => format!(
                "serve on another interface, or delete '{0}' (ip link del {0})",
                self.name
            ),
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
            Kind::Below(word, mode) | Kind::OutOfReach(word, mode) => {
                write!(f, "below the {word} '{name}'{mode}")
            }
            Kind::Switch => write!(f, "the processor's port of the switch of '{name}'"),
        }
    }
}

/// Watches which interface is above another.
pub struct Watch {
    index: u32,
    controller: Option<u32>,
    /// The interface above it at the last check.
    pub upper: Option<Upper>,
    /// If it never passes received frames up: what it is, and what the administrator should do.
    pub unsuitable: Option<&'static str>,
    changes: Changes,
}

impl Watch {
    /// Watches the interface with this index.
    pub fn new(index: u32) -> io::Result<Self> {
        let mut watch = Self {
            index,
            controller: None,
            upper: None,
            unsuitable: None,
            // Before the list is read, so no change between the two is missed.
            changes: Changes::new()?,
        };
        watch.list()?;
        Ok(watch)
    }

    /// Checks again, if anything has changed.
    pub fn look(&mut self) -> io::Result<()> {
        // The list is read only after a relevant change: other interfaces may change often.
        let changed = self.changes.take()?;
        if changed.is_none_or(|those| those.iter().any(|one| self.concerns(one))) {
            self.list()?;
        }
        Ok(())
    }

    fn concerns(&self, one: &Interface) -> bool {
        if one.index == self.index {
            return one.controller != self.controller;
        }
        let is_upper = |upper: &Upper| upper.name == one.name;
        takes_as_child(one, self.index).is_some() || self.upper.as_ref().is_some_and(is_upper)
    }

    fn list(&mut self) -> io::Result<()> {
        let interfaces = rtnetlink::list()?;
        let ours = interfaces.iter().find(|one| one.index == self.index);
        self.controller = ours.and_then(|ours| ours.controller);
        self.unsuitable = ours.and_then(|ours| unsuitable(&ours.kind));
        self.upper = Upper::find(&interfaces, self.index);
        Ok(())
    }
}

/// How an interface of this kind takes the frames of its ports, if it does.
fn takes_as_port(kind: &str) -> Option<Kind> {
    match kind {
        "bridge" => Some(Kind::Port(Some("bridge"))),
        "bond" => Some(Kind::Port(Some("bond"))),
        "team" => Some(Kind::Port(Some("team"))),
        "openvswitch" => Some(Kind::OpenVswitch),
        // These take IP packets, and frames of an EtherType of their own.
        "vrf" | "batadv" => None,
        _ => Some(Kind::Port(None)),
    }
}

/// How `one` takes the frames of the interface with this index, if it is above that one and does not
/// have it as a port.
fn takes_as_child(one: &Interface, index: u32) -> Option<Kind> {
    if one.below != Some(index) {
        return None;
    }
    match &one.kind[..] {
        "macvlan" if one.is_passthru => Some(Kind::Below("macvlan", " in passthru mode")),
        "macvtap" if one.is_passthru => Some(Kind::OutOfReach("macvtap", " in passthru mode")),
        "virt_wifi" => Some(Kind::Below("virtual wireless interface", "")),
        "rmnet" => Some(Kind::OutOfReach("rmnet interface", "")),
        "dsa" => Some(Kind::Switch),
        _ => None,
    }
}

/// If an interface of this kind hands no frames of ours up: what it is, and what the administrator should do.
fn unsuitable(kind: &str) -> Option<&'static str> {
    let text = match kind {
        "ipvlan" => "an ipvlan, which is handed IP packets only: serve on a macvlan instead",
        "vrf" => "a VRF, which is handed IP packets only: serve on one of its ports instead",
        "ipvtap" => {
            "an ipvtap, whose packets go to the program that has it open: serve on a macvlan instead"
        }
        "macvtap" => {
            "a macvtap, whose frames go to the program that has it open: serve on a macvlan instead, or on \
             the interface below"
        }
        "ifb" => {
            "an ifb, which puts every frame back to where it came from: serve on the interface that it \
             shapes"
        }
        _ => return None,
    };
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{socket, AddressFamily, SocketType};

    const OURS: u32 = 7;
    const UPPER: u32 = 9;

    fn interface(index: u32, name: &str, kind: &str) -> Interface {
        Interface {
            index,
            name: name.to_owned(),
            kind: kind.to_owned(),
            ..Interface::default()
        }
    }

    fn port(index: u32, name: &str, controller: u32) -> Interface {
        Interface {
            controller: Some(controller),
            ..interface(index, name, "")
        }
    }

    /// What is found where ours is a port of an interface of this kind.
    fn port_of(kind: &str) -> Option<String> {
        let interfaces = [
            interface(UPPER, "up0", kind),
            port(8, "other", 5),
            port(OURS, "eth1", UPPER),
        ];
        let upper = Upper::find(&interfaces, OURS)?;
        assert_eq!(upper.name, "up0");
        Some(upper.to_string())
    }

    #[test]
    fn ports_are_found() {
        for (kind, expected) in [
            ("bridge", Some("a port of the bridge 'up0'")),
            ("bond", Some("a port of the bond 'up0'")),
            ("team", Some("a port of the team 'up0'")),
            ("openvswitch", Some("a port of Open vSwitch ('up0')")),
            // As Hyper-V's interface is above its virtual function.
            ("", Some("a port of 'up0'")),
            ("hsr", Some("a port of 'up0'")),
            ("vrf", None),
            ("batadv", None),
        ] {
            assert_eq!(port_of(kind).as_deref(), expected, "{kind}");
        }
    }

    #[test]
    fn an_upper_interface_that_is_not_seen_is_an_upper_interface() {
        let interfaces = [port(OURS, "eth1", UPPER)];
        assert_eq!(Upper::find(&interfaces, OURS).unwrap().name, "interface 9");
    }

    #[test]
    fn an_upper_interface_that_leaves_frames_to_us_is_ignored() {
        let child = |kind, below, is_passthru| {
            let upper = Interface {
                below,
                is_passthru,
                ..interface(UPPER, "up0", kind)
            };
            let interfaces = [interface(OURS, "eth1", ""), upper];
            let upper = Upper::find(&interfaces, OURS)?;
            Some(format!("{upper}: {}", upper.remedy()))
        };
        let serve = |what| Some(format!("{what}: serve on 'up0' (--interface up0)"));
        let delete = |what| {
            let remedy = "serve on another interface, or delete 'up0' (ip link del up0)";
            Some(format!("{what}: {remedy}"))
        };
        let macvlan = serve("below the macvlan 'up0' in passthru mode");
        let switch = serve("the processor's port of the switch of 'up0'");
        assert_eq!(child("macvlan", Some(OURS), true), macvlan);
        assert_eq!(child("macvlan", Some(OURS), false), None);
        assert_eq!(child("macvlan", Some(8), true), None);
        assert_eq!(child("macvlan", None, true), None);
        assert_eq!(child("vlan", Some(OURS), false), None);
        assert_eq!(child("dsa", Some(OURS), false), switch);
        let macvtap = delete("below the macvtap 'up0' in passthru mode");
        assert_eq!(child("macvtap", Some(OURS), true), macvtap);
        assert_eq!(child("macvtap", Some(OURS), false), None);
        let wireless = serve("below the virtual wireless interface 'up0'");
        assert_eq!(child("virt_wifi", Some(OURS), false), wireless);
        let rmnet = delete("below the rmnet interface 'up0'");
        assert_eq!(child("rmnet", Some(OURS), false), rmnet);
        // These pass on what is not theirs.
        assert_eq!(child("macsec", Some(OURS), false), None);
        assert_eq!(child("ipvlan", Some(OURS), false), None);
        assert_eq!(child("ipvtap", Some(OURS), false), None);
    }

    #[test]
    fn interfaces_that_hand_no_frames_up_are_recognised() {
        for kind in ["ipvlan", "ipvtap", "macvtap", "vrf", "ifb"] {
            assert!(unsuitable(kind).unwrap().contains(": serve on "), "{kind}");
        }
        for kind in ["", "macvlan", "vlan", "veth", "bridge", "bond", "batadv"] {
            assert_eq!(unsuitable(kind), None, "{kind}");
        }
    }

    #[test]
    fn an_interface_is_watched() {
        let any = socket(AddressFamily::UNIX, SocketType::DGRAM, None).unwrap();
        let lo = rustix::net::netdevice::name_to_index(&any, "lo").unwrap();
        let mut watch = Watch::new(lo).unwrap();
        watch.look().unwrap();
        assert_eq!(watch.upper, None);
    }
}
