// SPDX-License-Identifier: GPL-2.0

//! The module's parameters, and their ranges, in one table.

use kernel::{
    bindings,
    cpu::nr_cpu_ids,
    prelude::*,
    str::CString, //
};

use crate::{
    engine::client::{
        config::{
            Config,
            NS_PER_S, //
        },
        ids::SERVER_SLOTS,
        mirror::{
            Config as MirrorConfig,
            Policy, //
        },
    },
    linux::module_param::{
        module_params,
        READ,
        READ_WRITE, //
    },
    wire::{
        ClientId,
        ClusterName,
        MacAddress,
        PAGE_SIZE, //
    },
};

module_params! {
    text interface, "Network device of the segment with the memory servers; required";
    text servers, "Hardware addresses of the memory servers, with commas between them";
    text local_device, "Path of a block device to mirror pages on; opened and checked";
    choice mirror = 0 of MIRROR_WORDS, READ_WRITE, "When pages that servers hold are written to the local device too: lag (when there is room, otherwise later), strict (always, at the device's speed) or off (only pages that too few servers hold); default lag";
    number mirror_pool_mib = 4 in 1..=1024, READ, "MiB of buffers for pages that are being written to the local device";
    number disk_timeout_s = 10 in 1..=3600, READ_WRITE, "Seconds without an answer after which the local device is not written to";
    text cluster, "Name of the cluster, at most 32 bytes; empty is the unnamed cluster";
    text keys, "Before the colon of the descriptions of logon keys in the keyring, one for each server: keys=anemone takes anemone:52:54:00:12:34:56; empty is without keys: then any station on the segment can pose as a server, or as this client";
    text client_id, "Identity of this client, 32 hexadecimal digits; empty derives it from the machine's UUID or the interface's address";
    number size_mib = 1024 in 1..=16777215, READ, "Size of the device in MiB";
    number replicas = 2 in 1..=3, READ, "Copies wanted of each page, on different servers";
    number min_copies = 1 in 1..=3, READ, "Copies that a page-out needs to complete; at most replicas";
    number io_timeout_s = 60 in 1..=86400, READ_WRITE, "Seconds that a request waits for a copy that may still return";
    number hedge_percent = 5 in 0..=100, READ_WRITE, "Percentage of page-ins that may read from a second server when the first is slow";
    number loss_timeout_s = 30 in 1..=86400, READ_WRITE, "Seconds for which a server is suspected before its pages are copied to others";
    number repair_pages_per_s = 10000 in 0..=10000000, READ_WRITE, "Maximum number of pages that repair copies a second; 0 for none";
    number overcommit = 0 in 0..=1, READ, "1 accepts a device that is larger than the capacity of its servers; 0 refuses it";
    number encrypt = 1 in 0..=1, READ, "1 seals pages, so that servers can neither read nor change them; 0 sends them as they are";
    number detect_rollback = 0 in 0..=1, READ, "1 notices that a server returns an older version of a page, for 4 bytes of memory a page more";
    number hide_filled = 0 in 0..=1, READ, "1 sends pages that are filled with one value as whole pages, so that servers do not learn which are";
    number connect_ms = 3000 in 100..=60000, READ, "Milliseconds that loading waits for all servers to answer";
    number wait = 0 in 0..=86400, READ, "Seconds that loading waits, beyond connect_ms, until as many servers answer as there are replicas; 0 refuses the load if none does";
    number hw_queues = 0 in 0..=64, READ, "Hardware queues; 0 is one for each CPU, at most 8";
    number queue_depth = 32 in 1..=256, READ, "Requests under way in each hardware queue";
    number ethertype = 34997 in 1536..=65535, READ, "EtherType of the frames; 34997 is 0x88b5";
}

/// Pages of a MiB.
const PAGES_OF_MIB: usize = (1 << 20) / PAGE_SIZE;

/// The mirror policies.
const MIRROR_WORDS: [&CStr; 3] = [c"lag", c"strict", c"off"];

/// The checked parameters.
pub(crate) struct Params {
    pub(crate) interface: CString,
    pub(crate) servers: KVec<MacAddress>,
    pub(crate) local_device: Option<CString>,
    pub(crate) cluster: ClusterName,
    pub(crate) pages: usize,
    pub(crate) config: Config,
    pub(crate) overcommit: bool,
    pub(crate) encrypt: bool,
    pub(crate) detect_rollback: bool,
    pub(crate) hide_filled: bool,
    pub(crate) client_id: Option<ClientId>,
    pub(crate) keys: Option<CString>,
    pub(crate) connect_ms: u32,
    pub(crate) wait_s: u32,
    pub(crate) hw_queues: u16,
    pub(crate) queue_depth: usize,
    pub(crate) ethertype: u16,
    pub(crate) mirror_pool_pages: usize,
}

/// The most hardware queues by default, however many CPUs there are.
const MAX_DEFAULT_QUEUES: u64 = 8;

impl Params {
    /// Reads and checks all parameters. Errors are logged.
    pub(crate) fn read() -> Result<Self> {
        check_parameters()?;
        let name = interface.value();
        if name.is_empty() {
            pr_err!("interface= is missing; give the network device that reaches the servers\n");
            return Err(EINVAL);
        }
        if name.to_bytes().len() >= bindings::IFNAMSIZ as usize {
            pr_err!("interface={name} is too long for a network device's name\n");
            return Err(EINVAL);
        }
        let (wanted, least) = (narrow(replicas.value()), narrow(min_copies.value()));
        if least > wanted {
            pr_err!("min_copies={least} is more than replicas={wanted}\n");
            return Err(EINVAL);
        }
        let config =
            Config::new(wanted, least, narrow(io_timeout_s.value())).map_err(|_| EINVAL)?;
        for (name, option) in [
            ("detect_rollback", &detect_rollback),
            ("hide_filled", &hide_filled),
        ] {
            if option.value() == 1 && encrypt.value() == 0 {
                pr_err!("{name}=1 protects nothing with encrypt=0\n");
                return Err(EINVAL);
            }
        }
        let local = local_device.value();
        let wanted_queues = match hw_queues.value() {
            0 => u64::from(nr_cpu_ids()).min(MAX_DEFAULT_QUEUES),
            wanted => wanted,
        };
        Ok(Self {
            interface: name.try_into()?,
            servers: read_servers()?,
            local_device: (!local.is_empty()).then(|| local.try_into()).transpose()?,
            cluster: read_cluster()?,
            // PANIC: none; the range's end is far below overflow.
            pages: (size_mib.value() as usize).wrapping_mul(PAGES_OF_MIB),
            config,
            overcommit: overcommit.value() == 1,
            encrypt: encrypt.value() == 1,
            detect_rollback: detect_rollback.value() == 1,
            hide_filled: hide_filled.value() == 1,
            client_id: read_client_id()?,
            keys: read_keys()?,
            connect_ms: narrow(connect_ms.value()),
            wait_s: narrow(wait.value()),
            // CAST: the ranges say that they fit.
            hw_queues: wanted_queues as u16,
            queue_depth: queue_depth.value() as usize,
            ethertype: ethertype.value() as u16,
            mirror_pool_pages: (mirror_pool_mib.value() as usize).wrapping_mul(PAGES_OF_MIB),
        })
    }

    /// The size of the device in MiB.
    pub(crate) fn size_mib(&self) -> usize {
        self.pages / PAGES_OF_MIB
    }
}

/// The current I/O timeout.
pub(crate) fn io_timeout_ns() -> u64 {
    io_timeout_s.value().saturating_mul(NS_PER_S)
}

/// The current percentage of page-ins that may be hedged.
pub(crate) fn hedged_percent() -> u32 {
    narrow(hedge_percent.value())
}

/// The current settings of the mirror.
pub(crate) fn mirror_config() -> MirrorConfig {
    MirrorConfig {
        policy: match mirror.value() {
            0 => Policy::Lag,
            1 => Policy::Strict,
            _ => Policy::Off,
        },
        disk_timeout_ns: disk_timeout_s.value().saturating_mul(NS_PER_S),
        ..MirrorConfig::default()
    }
}

/// The current loss timeout.
pub(crate) fn loss_timeout_ns() -> u64 {
    loss_timeout_s.value().saturating_mul(NS_PER_S)
}

/// The current rate of repair, in pages a second.
pub(crate) fn repair_rate() -> u32 {
    narrow(repair_pages_per_s.value())
}

/// The number, or the largest that fits.
pub(super) fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn read_cluster() -> Result<ClusterName> {
    let name = cluster.value();
    ClusterName::new(name.to_bytes()).ok_or_else(|| {
        pr_err!("cluster={name} is longer than 32 bytes\n");
        EINVAL
    })
}

fn read_keys() -> Result<Option<CString>> {
    let text = keys.value();
    if text.is_empty() {
        return Ok(None);
    }
    let is_good = |byte: &u8| byte.is_ascii_graphic() && *byte != b':';
    if text.to_bytes().len() > 32 || !text.to_bytes().iter().all(is_good) {
        pr_err!("keys={text}: not a prefix of at most 32 printing characters without a colon\n");
        return Err(EINVAL);
    }
    Ok(Some(text.try_into()?))
}

fn read_client_id() -> Result<Option<ClientId>> {
    let text = client_id.value();
    if text.is_empty() {
        return Ok(None);
    }
    let id = text.to_str().ok().and_then(|text| text.parse().ok());
    id.map(Some).ok_or_else(|| {
        pr_err!("client_id={}: not 32 hexadecimal digits\n", text);
        EINVAL
    })
}

fn read_servers() -> Result<KVec<MacAddress>> {
    let mut found = KVec::new();
    let text = servers.value();
    if text.is_empty() {
        return Ok(found);
    }
    let text = text.to_str().map_err(|_| {
        pr_err!("servers= is not UTF-8 text\n");
        EINVAL
    })?;
    for name in text.split(',') {
        let mac = name
            .parse::<MacAddress>()
            .ok()
            .filter(|mac| mac.is_unicast())
            .ok_or_else(|| {
                pr_err!(
                    "servers=: '{name}' is not a unicast hardware address, such as 52:54:00:12:34:56\n"
                );
                EINVAL
            })?;
        if found.contains(&mac) {
            pr_err!("servers=: {mac} is listed twice\n");
            return Err(EINVAL);
        }
        if found.len() >= SERVER_SLOTS {
            pr_err!("servers=: more than {SERVER_SLOTS} servers\n");
            return Err(EINVAL);
        }
        found.push(mac, GFP_KERNEL)?;
    }
    Ok(found)
}
