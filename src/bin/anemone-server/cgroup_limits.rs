// SPDX-License-Identifier: GPL-2.0

//! How much memory the control groups of this process allow it.
//!
//! Supports version 1, version 2, and both at once; nested groups; a control group namespace of its own and
//! the host's. Limits above the root of a namespace cannot be seen from inside it, unless the hierarchy above
//! is mounted there.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// What this process takes beside the requested memory: a fixed amount, and one byte of so many for page
/// tables.
const OWN: u64 = 8 << 20;
const TABLES_SHARE: u64 = 256;

/// What is left below the lowest limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes that can be requested.
    pub bytes: u64,
    /// The file that has the limit.
    pub limit: PathBuf,
}

/// The visible limits of this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The lowest, if one is set.
    pub room: Option<Room>,
    /// Whether the process is in a group that can limit memory and no part of it is mounted here.
    pub is_hidden: bool,
}

/// The limits of this process.
pub fn limits() -> Limits {
    limits_in(Path::new("/"), std::process::id())
}

/// The same in a file system below `top`, for the process with this number.
fn limits_in(top: &Path, pid: u32) -> Limits {
    let text = |file| fs::read_to_string(top.join(file)).unwrap_or_default();
    let (groups, mounts) = (text("proc/self/cgroup"), text("proc/self/mountinfo"));
    let mounts: Vec<_> = mounts.lines().filter_map(Mount::parse).collect();
    let groups: Vec<_> = groups.lines().filter_map(membership).collect();
    let mut rooms = Vec::new();
    let mut seen = Vec::new();
    for &(version, path) in &groups {
        for mount in mounts.iter().filter(|mount| mount.version == version) {
            let base = top.join(mount.point.strip_prefix("/").unwrap_or(&mount.point));
            let Some(group) = mount.find(&base, path, pid) else {
                continue;
            };
            seen.push(version);
            let up = group.ancestors().take_while(|dir| dir.starts_with(&base));
            rooms.extend(up.flat_map(|dir| version.rooms(dir)));
        }
    }
    // A controller is in one hierarchy: where version 1 has it, version 2 limits no memory.
    let is_old = |group: &&(Version, &Path)| group.0 == Version::One;
    let limiting = groups.iter().find(is_old).or(groups.first());
    Limits {
        room: rooms.into_iter().min_by_key(|room| room.bytes),
        is_hidden: limiting.is_some_and(|(version, _)| !seen.contains(version)),
    }
}

/// A version of control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The hierarchy that can limit memory, and the group's path in it, from a line of /proc/self/cgroup.
fn membership(line: &str) -> Option<(Version, &Path)> {
    let mut fields = line.splitn(3, ':');
    let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let version = match (id, controllers) {
        ("0", "") => Version::Two,
        _ if controllers.split(',').any(|one| one == "memory") => Version::One,
        _ => return None,
    };
    Some((version, Path::new(path)))
}

/// A mounted hierarchy.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    version: Version,
    /// The group that is its root here, seen from this process's namespace.
    root: PathBuf,
    point: PathBuf,
}

impl Mount {
    /// From a line of /proc/self/mountinfo.
    fn parse(line: &str) -> Option<Self> {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, point) = (place.next()?, place.next()?);
        let mut kind = kind.split(' ');
        let (kind, options) = (kind.next()?, kind.nth(1)?);
        let version = match kind {
            "cgroup2" => Version::Two,
            "cgroup" if options.split(',').any(|one| one == "memory") => Version::One,
            _ => return None,
        };
        Some(Self {
            version,
            root: unescaped(root),
            point: unescaped(point),
        })
    }

    /// The directory of the group `path`, which this process is in, if it is below this mount.
    fn find(&self, base: &Path, path: &Path, pid: u32) -> Option<PathBuf> {
        if let Ok(rest) = path.strip_prefix(&self.root) {
            if !rest.components().any(is_up) {
                // Not only `join`: joining an empty path would append a slash.
                return Some(base.components().chain(rest.components()).collect());
            }
        }
        // The mount begins above the namespace. The names between the two are unknown.
        let mounted: Vec<_> = self.root.components().skip(1).collect();
        let wanted: Vec<_> = path.components().skip(1).collect();
        let up = wanted.iter().take_while(|part| is_up(**part)).count();
        if !mounted.iter().all(|part| is_up(*part)) {
            return None;
        }
        let unknown = mounted.len().checked_sub(up)?;
        let rest: PathBuf = wanted.iter().skip(up).collect();
        search(base, unknown, &rest, pid)
    }
}

fn is_up(part: Component<'_>) -> bool {
    part == Component::ParentDir
}

/// The group with this process in it, among those so many levels below `dir` and then `rest`.
fn search(dir: &Path, levels: usize, rest: &Path, pid: u32) -> Option<PathBuf> {
    let Some(levels) = levels.checked_sub(1) else {
        let group: PathBuf = dir.components().chain(rest.components()).collect();
        let processes = fs::read_to_string(group.join("cgroup.procs")).ok()?;
        let is_in_it = processes.lines().any(|line| line.parse() == Ok(pid));
        return is_in_it.then_some(group);
    };
    fs::read_dir(dir)
        .ok()?
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .find_map(|entry| search(&entry.path(), levels, rest, pid))
}

/// A path of /proc/self/mountinfo, in which the kernel writes these four characters as octal numbers.
fn unescaped(text: &str) -> PathBuf {
    let text = text.replace(r"\040", " ").replace(r"\011", "\t");
    // The backslash last: digits behind it belong to the name.
    let text = text.replace(r"\012", "\n").replace(r"\134", r"\");
    text.into()
}

impl Version {
    /// What the limits of the group in `dir` leave. The root of the hierarchy has no limits.
    fn rooms(self, dir: &Path) -> Vec<Room> {
        let (limits, usage, cache): (&[_], _, _) = match self {
            // The kernel refuses nothing above `high`, but it cannot reclaim locked memory: the process
            // would almost stop.
            Self::Two => (
                &["memory.max", "memory.high"],
                "memory.current",
                "inactive_file",
            ),
            Self::One => (
                &["memory.limit_in_bytes"],
                "memory.usage_in_bytes",
                "total_inactive_file",
            ),
        };
        let text = |file: &str| fs::read_to_string(dir.join(file)).ok();
        let number = |file: &str| -> Option<u64> { text(file)?.trim().parse().ok() };
        let stat = text("memory.stat").unwrap_or_default();
        let in_stat = |wanted: &str| -> Option<u64> {
            let mut lines = stat.lines().filter_map(|line| line.split_once(' '));
            let (_, number) = lines.find(|(name, _)| *name == wanted)?;
            number.trim().parse().ok()
        };
        // The page cache is reclaimed on demand.
        let cached = in_stat(cache).unwrap_or(0);
        let used = number(usage).unwrap_or(0).saturating_sub(cached);
        let room = |file: &str, bytes: u64| {
            let left = bytes.saturating_sub(used);
            Room {
                bytes: left.saturating_sub(OWN + left / TABLES_SHARE),
                limit: dir.join(file),
            }
        };
        // The lowest limit of the groups above, which may be invisible. Version 2 does not report it.
        let above = in_stat("hierarchical_memory_limit").map(|bytes| room("memory.stat", bytes));
        let own = limits
            .iter()
            .filter_map(|file| Some(room(file, number(file)?)));
        own.chain(above).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    const PID: u32 = 4711;
    const MIB: u64 = 1 << 20;

    /// A file system of a test's own.
    struct Tree(TempDir);

    impl Tree {
        /// With these lines of /proc/self/cgroup, and mounts as `ROOT POINT TYPE OPTIONS`.
        fn new(groups: &[&str], mounts: &[&str]) -> Self {
            let tree = Self(TempDir::new().unwrap());
            tree.file("proc/self/cgroup", &(groups.join("\n") + "\n"));
            let mut lines = String::from("21 27 0:19 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n");
            for mount in mounts {
                let words: Vec<_> = mount.split(' ').collect();
                let [root, point, kind, options] = words[..] else {
                    panic!("{mount}");
                };
                lines += &format!("35 25 0:30 {root} {point} rw,nodev - {kind} {kind} {options}\n");
            }
            tree.file("proc/self/mountinfo", &lines);
            tree
        }

        fn file(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        /// A version 2 group with a limit in MiB.
        fn group(&self, dir: &str, max: Option<u64>, current: u64) {
            let max = max.map_or("max".to_owned(), |mib| (mib * MIB).to_string());
            self.file(&format!("{dir}/memory.max"), &(max + "\n"));
            let current = (current * MIB).to_string();
            self.file(&format!("{dir}/memory.current"), &(current + "\n"));
        }

        /// A version 1 group with a limit in bytes.
        fn old_group(&self, dir: &str, limit: u64) {
            self.file(
                &format!("{dir}/memory.limit_in_bytes"),
                &format!("{limit}\n"),
            );
            self.file(&format!("{dir}/memory.usage_in_bytes"), "0\n");
        }

        fn limits(&self) -> Limits {
            limits_in(self.0.path(), PID)
        }

        fn room(&self) -> Option<(u64, String)> {
            let room = self.limits().room?;
            let limit = room.limit.strip_prefix(self.0.path()).unwrap();
            Some((room.bytes, limit.to_str().unwrap().to_owned()))
        }
    }

    /// What is left of so many MiB, and where the limit is.
    fn left(mib: u64, limit: &str) -> Option<(u64, String)> {
        let bytes = mib * MIB;
        Some((bytes - bytes / TABLES_SHARE - OWN, limit.to_owned()))
    }

    const TWO: &str = "/ /sys/fs/cgroup cgroup2 rw,nsdelegate";
    const ONE: &str = "/ /sys/fs/cgroup/memory cgroup rw,memory";
    const NO_LIMIT: u64 = 0x7fff_ffff_ffff_f000;

    #[test]
    fn the_narrowest_of_nested_groups_counts() {
        let tree = Tree::new(&["0::/memory.slice/anemone.service"], &[TWO]);
        // The root of all has no such files.
        tree.file("sys/fs/cgroup/cgroup.procs", "1\n");
        tree.group("sys/fs/cgroup/memory.slice", None, 900);
        tree.group("sys/fs/cgroup/memory.slice/anemone.service", None, 1);
        assert_eq!(tree.room(), None);
        tree.group("sys/fs/cgroup/memory.slice", Some(1024), 900);
        let slice = left(124, "sys/fs/cgroup/memory.slice/memory.max");
        assert_eq!(tree.room(), slice);
        tree.group("sys/fs/cgroup/memory.slice/anemone.service", Some(256), 1);
        assert_eq!(tree.room(), slice);
        tree.group("sys/fs/cgroup/memory.slice/anemone.service", Some(64), 1);
        let service = "sys/fs/cgroup/memory.slice/anemone.service/memory.max";
        assert_eq!(tree.room(), left(63, service));
    }

    #[test]
    fn memory_high_counts() {
        let tree = Tree::new(&["0::/a"], &[TWO]);
        tree.group("sys/fs/cgroup/a", Some(512), 0);
        tree.file("sys/fs/cgroup/a/memory.high", &(128 * MIB).to_string());
        assert_eq!(tree.room(), left(128, "sys/fs/cgroup/a/memory.high"));
    }

    #[test]
    fn reclaimable_pages_count_as_free() {
        let tree = Tree::new(&["0::/a"], &[TWO]);
        tree.group("sys/fs/cgroup/a", Some(512), 500);
        let stat = format!("anon 1\ninactive_file {}\nactive_file 7\n", 400 * MIB);
        tree.file("sys/fs/cgroup/a/memory.stat", &stat);
        assert_eq!(tree.room(), left(412, "sys/fs/cgroup/a/memory.max"));
    }

    #[test]
    fn a_namespace_s_own_root_has_a_limit() {
        let tree = Tree::new(&["0::/"], &[TWO]);
        tree.group("sys/fs/cgroup", Some(512), 12);
        assert_eq!(tree.room(), left(500, "sys/fs/cgroup/memory.max"));
    }

    #[test]
    fn a_namespace_under_the_host_s_mount_is_found_by_its_process() {
        let mount = "/../.. /sys/fs/cgroup cgroup2 rw";
        for path in ["/", "/inner"] {
            let tree = Tree::new(&[&format!("0::{path}")], &[mount]);
            let rest = path.trim_end_matches('/');
            let procs = format!("sys/fs/cgroup/pod/one{rest}/cgroup.procs");
            tree.group("sys/fs/cgroup/pod", Some(512), 0);
            tree.group("sys/fs/cgroup/pod/one", Some(256), 0);
            tree.group("sys/fs/cgroup/pod/two", Some(64), 0);
            tree.file("sys/fs/cgroup/pod/two/cgroup.procs", "471\n");
            tree.file(&procs, "");
            assert_eq!(tree.room(), None, "{path}");
            tree.file(&procs, "12\n4711\n");
            let limit = "sys/fs/cgroup/pod/one/memory.max";
            assert_eq!(tree.room(), left(256, limit), "{path}");
        }
    }

    #[test]
    fn a_process_outside_its_namespace_s_root_is_not_mistaken() {
        let tree = Tree::new(&["0::/../other"], &[TWO]);
        tree.group("sys/fs/cgroup", Some(512), 0);
        assert_eq!(tree.room(), None);
        let tree = Tree::new(&["0::/../other"], &["/.. /sys/fs/cgroup cgroup2 rw"]);
        tree.group("sys/fs/cgroup/other", Some(512), 0);
        assert_eq!(tree.room(), left(512, "sys/fs/cgroup/other/memory.max"));
    }

    #[test]
    fn a_container_s_part_of_the_host_s_hierarchy_is_its_root() {
        let path = "/system.slice/docker-1.scope";
        let mount = format!("{path} /sys/fs/cgroup cgroup2 ro");
        let tree = Tree::new(&[&format!("0::{path}")], &[&mount]);
        tree.group("sys/fs/cgroup", Some(100), 0);
        assert_eq!(tree.room(), left(100, "sys/fs/cgroup/memory.max"));
        // A part that we are not in says nothing of us.
        let tree = Tree::new(&["0::/system.slice/docker-12.scope"], &[&mount]);
        tree.group("sys/fs/cgroup", Some(100), 0);
        assert_eq!(tree.room(), None);
    }

    #[test]
    fn version_1() {
        let groups = [
            "9:name=systemd:/x",
            "4:memory:/docker/1",
            "1:cpu,cpuacct:/y",
        ];
        let mounts = [ONE, "/ /sys/fs/cgroup/cpu cgroup rw,cpu,cpuacct"];
        let tree = Tree::new(&groups, &mounts);
        tree.old_group("sys/fs/cgroup/memory", NO_LIMIT);
        tree.old_group("sys/fs/cgroup/memory/docker", 512 * MIB);
        tree.old_group("sys/fs/cgroup/memory/docker/1", 256 * MIB);
        let limit = "sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes";
        assert_eq!(tree.room(), left(256, limit));
        // As the container itself sees it.
        let inside = "/docker/1 /sys/fs/cgroup/memory cgroup ro,memory";
        let tree = Tree::new(&groups, &[inside]);
        tree.old_group("sys/fs/cgroup/memory", 256 * MIB);
        let limit = "sys/fs/cgroup/memory/memory.limit_in_bytes";
        assert_eq!(tree.room(), left(256, limit));
    }

    #[test]
    fn a_version_1_group_reports_limits_above_that_are_not_seen() {
        let inside = "/docker/1 /sys/fs/cgroup/memory cgroup ro,memory";
        let tree = Tree::new(&["4:memory:/docker/1"], &[inside]);
        let stat = |mib: u64| {
            let (cached, limit) = (3 * MIB, mib * MIB);
            let text = format!(
                "cache 1\nhierarchical_memory_limit {limit}\nhierarchical_memsw_limit {NO_LIMIT}\n\
                 total_inactive_file {cached}\n"
            );
            tree.file("sys/fs/cgroup/memory/memory.stat", &text);
        };
        tree.old_group("sys/fs/cgroup/memory", NO_LIMIT);
        stat(512);
        let usage = (13 * MIB).to_string();
        tree.file("sys/fs/cgroup/memory/memory.usage_in_bytes", &usage);
        let above = left(502, "sys/fs/cgroup/memory/memory.stat");
        assert_eq!(tree.room(), above);
        tree.old_group("sys/fs/cgroup/memory", 256 * MIB);
        let own = left(256, "sys/fs/cgroup/memory/memory.limit_in_bytes");
        assert_eq!(tree.room(), own);
    }

    #[test]
    fn a_limit_that_cannot_be_seen_is_reported() {
        let is_hidden = |groups: &[&str], mounts: &[&str]| {
            let tree = Tree::new(groups, mounts);
            tree.file("sys/fs/cgroup/cgroup.procs", "1\n");
            tree.limits().is_hidden
        };
        let (two, one) = (["0::/"], ["4:memory:/docker/1", "0::/docker/1"]);
        assert!(!is_hidden(&two, &[TWO]));
        assert!(is_hidden(&two, &[]));
        assert!(!is_hidden(&one, &[ONE]));
        // What limits no memory does not help, and is not missed.
        let unified = "/ /sys/fs/cgroup/unified cgroup2 rw";
        assert!(is_hidden(&one, &[unified]));
        assert!(is_hidden(&one, &["/ /sys/fs/cgroup/cpu cgroup rw,cpu"]));
        // Another's part of the hierarchy.
        assert!(is_hidden(
            &one,
            &["/docker/2 /sys/fs/cgroup/memory cgroup ro,memory"]
        ));
        assert!(is_hidden(&["0::/../other"], &[TWO]));
        // Nothing that could limit it.
        assert!(!is_hidden(&[], &[]));
        assert!(!is_hidden(&["3:cpu:/docker/1"], &[]));
    }

    #[test]
    fn both_versions_at_once() {
        let unified = "/ /sys/fs/cgroup/unified cgroup2 rw";
        let groups = ["4:hugetlb,memory:/a", "0::/b"];
        let tree = Tree::new(
            &groups,
            &[unified, "/ /sys/fs/cgroup/m cgroup rw,hugetlb,memory"],
        );
        tree.old_group("sys/fs/cgroup/m/a", 256 * MIB);
        tree.file("sys/fs/cgroup/unified/b/cgroup.procs", "4711\n");
        let old = left(256, "sys/fs/cgroup/m/a/memory.limit_in_bytes");
        assert_eq!(tree.room(), old);
        tree.group("sys/fs/cgroup/unified/b", Some(64), 0);
        let new = left(64, "sys/fs/cgroup/unified/b/memory.max");
        assert_eq!(tree.room(), new);
    }

    #[test]
    fn a_limit_that_is_used_up_leaves_nothing() {
        let tree = Tree::new(&["0::/a"], &[TWO]);
        tree.group("sys/fs/cgroup/a", Some(64), 60);
        assert_eq!(tree.room().unwrap().0, 0);
    }

    #[test]
    fn odd_paths_are_read() {
        assert_eq!(unescaped(r"/a\040b\134\0"), Path::new(r"/a b\\0"));
        let mount = r"/ /my\040groups cgroup2 rw";
        let tree = Tree::new(&["0::/a:b"], &[mount, TWO]);
        tree.group("my groups/a:b", Some(64), 0);
        assert_eq!(tree.room(), left(64, "my groups/a:b/memory.max"));
    }

    #[test]
    fn without_control_groups_there_is_no_limit() {
        let nothing = TempDir::new().unwrap();
        assert_eq!(limits_in(nothing.path(), PID), Limits::default());
        assert_eq!(Tree::new(&["0::/a"], &[]).room(), None);
        assert_eq!(Tree::new(&[], &[TWO]).room(), None);
    }
}
