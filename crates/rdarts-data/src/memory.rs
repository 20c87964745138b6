//! How much memory this process may still use: the least of what the machine has free, what every control group above
//! the process leaves (versions 1 and 2), and what its own limits leave (`ulimit -v`, `ulimit -d`).
//!
//! Each of these is left out where the system does not tell it; the others count all the same. A control group is found
//! by its path in `/proc/self/cgroup` below the mounts of `/proc/self/mountinfo`, and all groups from there up to the
//! mount count, since each limits those below it.

use std::path::{Path, PathBuf};

/// Bytes; `None` where the system tells nothing.
pub fn available() -> Option<u64> {
    available_below(Path::new("/"))
}

/// Like [`available`], of a machine whose `/proc` and `/sys` lie below `root`.
fn available_below(root: &Path) -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    let mut left = Vec::new();
    left.extend(free(&read("proc/meminfo")));
    left.extend(left_by_limits(&read("proc/self/limits"), &read("proc/self/status")));
    for group in groups(&read("proc/self/cgroup"), &read("proc/self/mountinfo")) {
        for dir in group.levels() {
            left.extend(group.version.left(&root.join(dir.strip_prefix("/").unwrap_or(&dir))));
        }
    }
    left.into_iter().min()
}

/// What the machine has free.
fn free(meminfo: &str) -> Option<u64> {
    let kib = |name: &str| -> Option<u64> { field(meminfo, name)?.split_whitespace().next()?.parse().ok() };
    let bytes = |kib: u64| kib.saturating_mul(1024);
    // Kernels before 3.14 do not add it up themselves.
    let summed = || Some(kib("MemFree:")? + kib("Buffers:").unwrap_or(0) + kib("Cached:").unwrap_or(0));
    kib("MemAvailable:").or_else(summed).map(bytes)
}

/// What the limits of address space and of data leave.
fn left_by_limits(limits: &str, status: &str) -> impl Iterator<Item = u64> {
    let used = |name: &str| -> u64 {
        let kib = field(status, name).and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or(0).saturating_mul(1024)
    };
    // The soft limit comes first; it is `unlimited` or a number of bytes.
    let limit = |name: &str| -> Option<u64> { field(limits, name)?.split_whitespace().next()?.parse().ok() };
    [("Max address space", "VmSize:"), ("Max data size", "VmData:")]
        .map(|(name, of)| limit(name).map(|limit| limit.saturating_sub(used(of))))
        .into_iter()
        .flatten()
}

/// What follows `name` on the line that begins with it.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name))
}

/// The two generations of control groups.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Version {
    V1,
    V2,
}

impl Version {
    /// What the group of this directory leaves.
    fn left(self, dir: &Path) -> Option<u64> {
        let read = |name: &str| std::fs::read_to_string(dir.join(name)).ok();
        let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
        let stat = read("memory.stat").unwrap_or_default();
        let counted = |names: &[&str]| -> u64 {
            let values = names.iter().filter_map(|name| field(&stat, name)?.trim().parse::<u64>().ok());
            values.fold(0, u64::saturating_add)
        };
        let (limit, used, cached) = match self {
            // `max` is no number, and no limit.
            Version::V2 => (
                number("memory.max")?,
                number("memory.current"),
                counted(&["inactive_file ", "active_file ", "slab_reclaimable "]),
            ),
            Version::V1 => {
                // The second knows also of groups above that are not mounted here.
                let above = field(&stat, "hierarchical_memory_limit ").and_then(|text| text.trim().parse().ok());
                let limit = number("memory.limit_in_bytes").into_iter().chain(above).min()?;
                let cached = counted(&["total_inactive_file ", "total_active_file "]);
                (limit, number("memory.usage_in_bytes"), cached)
            }
        };
        // Cached files count as used, but make way.
        Some(limit.saturating_sub(used.unwrap_or(0).saturating_sub(cached)))
    }
}

/// A control group of this process, where it is mounted.
#[derive(Debug, PartialEq)]
struct Group {
    version: Version,
    mount: PathBuf,
    /// From the mount down.
    below: PathBuf,
}

impl Group {
    /// Its directory and all above it, up to the mount.
    fn levels(&self) -> Vec<PathBuf> {
        let levels = self.below.ancestors().map(|below| self.mount.join(below));
        levels.collect()
    }
}

/// The groups that limit the memory of this process.
fn groups(cgroup: &str, mountinfo: &str) -> Vec<Group> {
    let mut mounts: Vec<Mount> = mountinfo.lines().filter_map(Mount::parse).collect();
    // Where they usually are, should the list of mounts be hidden or those of another process.
    let usual = [(Version::V2, "/sys/fs/cgroup"), (Version::V1, "/sys/fs/cgroup/memory")];
    mounts.extend(usual.map(|(version, at)| Mount { version, root: "/".into(), at: at.into() }));
    let mut groups = Vec::new();
    for line in cgroup.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let version = match controllers {
            "" => Version::V2,
            names if names.split(',').any(|name| name == "memory") => Version::V1,
            _ => continue,
        };
        for mount in mounts.iter().filter(|mount| mount.version == version) {
            let group = Group { version, mount: mount.at.clone(), below: mount.below(Path::new(path)) };
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
    }
    groups
}

/// A hierarchy of groups in the tree of files.
struct Mount {
    version: Version,
    /// The group that is seen at its top.
    root: PathBuf,
    at: PathBuf,
}

impl Mount {
    /// From a line of `mountinfo`: number, parent, device, root, place, options ..., `-`, type, source, options.
    fn parse(line: &str) -> Option<Mount> {
        let (place, kind) = line.split_once(" - ")?;
        let mut kind = kind.split(' ');
        let version = match kind.next()? {
            "cgroup2" => Version::V2,
            "cgroup" if kind.nth(1)?.split(',').any(|option| option == "memory") => Version::V1,
            _ => return None,
        };
        let mut place = place.split(' ').skip(3);
        Some(Mount { version, root: unescaped(place.next()?).into(), at: unescaped(place.next()?).into() })
    }

    /// The way down from the mount to a group; a group that does not lie below it is seen as its top, as in a container
    /// to which only its own group is shown.
    fn below(&self, group: &Path) -> PathBuf {
        let is_plain = |path: &&Path| path.components().all(|part| part != std::path::Component::ParentDir);
        group.strip_prefix(&self.root).ok().filter(is_plain).unwrap_or(Path::new("")).to_path_buf()
    }
}

/// The kernel writes spaces and the like as three octal digits after a backslash.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend(&part.as_bytes()[3..]);
            }
            None => bytes.extend([b"\\", part.as_bytes()].concat()),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const MEMINFO: &str = "MemTotal: 8388608 kB\nMemFree: 1024 kB\nMemAvailable:    4194304 kB\nCached: 5 kB\n";
    /// As systemd mounts version 2.
    const V2: &str = "24 1 0:22 / /proc rw shared:1 - proc proc rw\n\
                      31 23 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                      33 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n\
                      35 31 0:32 / /sys/fs/cgroup/memory rw shared:1 - cgroup cgroup rw,memory\n";

    #[track_caller]
    fn check(files: &[(&str, &str)], expected: Option<u64>) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        assert_eq!(available_below(root.path()), expected);
    }

    #[test]
    fn without_groups_and_limits_it_is_what_the_machine_has_free() {
        check(&[("proc/meminfo", MEMINFO)], Some(4096 * MIB));
        check(&[("proc/meminfo", "MemFree: 1000 kB\nBuffers: 20 kB\nCached: 4 kB\n")], Some(1024 * 1024));
        check(&[("proc/meminfo", "nonsense\n")], None);
        check(&[], None);
    }

    #[test]
    fn a_group_of_version_2_counts_and_its_cached_files_make_way() {
        let group = "sys/fs/cgroup/system.slice/job 7";
        let path = |name: &str| format!("{group}/{name}");
        let (max, current, stat) = (path("memory.max"), path("memory.current"), path("memory.stat"));
        let process = [
            ("proc/meminfo", MEMINFO),
            ("proc/self/cgroup", "0::/system.slice/job 7\n"),
            ("proc/self/mountinfo", V2),
            (max.as_str(), "536870912\n"),
        ];
        let with = |more: &[(&'static str, &'static str)]| -> Vec<(&str, &str)> {
            let name = |name: &str| if name == "memory.current" { current.as_str() } else { stat.as_str() };
            process.into_iter().chain(more.iter().map(|(file, text)| (name(file), *text))).collect()
        };
        check(&with(&[]), Some(512 * MIB));
        check(&with(&[("memory.current", "104857600\n")]), Some(412 * MIB));
        let stat = "anon 5\nfile 9\ninactive_file 41943040\nactive_file 10485760\n";
        check(&with(&[("memory.current", "104857600\n"), ("memory.stat", stat)]), Some(462 * MIB));
        // More is used than there may be.
        check(&with(&[("memory.current", "1048576000\n")]), Some(0));
    }

    #[test]
    fn all_groups_above_count_and_max_is_no_limit() {
        let files = |own: &'static str, middle: &'static str, top: &'static str| {
            [
                ("proc/meminfo", MEMINFO),
                ("proc/self/cgroup", "0::/a/b/c\n"),
                ("proc/self/mountinfo", V2),
                ("sys/fs/cgroup/a/b/c/memory.max", own),
                ("sys/fs/cgroup/a/b/c/memory.current", "1048576\n"),
                ("sys/fs/cgroup/a/b/memory.max", middle),
                ("sys/fs/cgroup/a/b/memory.current", "2097152\n"),
                ("sys/fs/cgroup/a/memory.max", top),
                ("sys/fs/cgroup/a/memory.current", "3145728\n"),
            ]
        };
        check(&files("max\n", "max\n", "max\n"), Some(4096 * MIB));
        check(&files("10485760\n", "max\n", "max\n"), Some(9 * MIB));
        check(&files("10485760\n", "8388608\n", "max\n"), Some(6 * MIB));
        check(&files("max\n", "max\n", "8388608\n"), Some(5 * MIB));
        // A group that is gone limits nothing, those above it do.
        check(&files("max\n", "max\n", "8388608\n")[..3], Some(4096 * MIB));
        check(&[&files("max\n", "max\n", "8388608\n")[..3], &files("", "", "8388608\n")[7..]].concat(), Some(5 * MIB));
    }

    #[test]
    fn groups_of_version_1_count_and_the_limit_of_all_above_them() {
        let group = "9:name=systemd:/\n4:memory:/slurm/job_7\n3:cpuset:/elsewhere\n0::/\n";
        let unlimited = "9223372036854771712\n";
        let files = |own: &'static str, above: &'static str, stat: &'static str| {
            [
                ("proc/meminfo", MEMINFO),
                ("proc/self/cgroup", group),
                ("proc/self/mountinfo", V1),
                ("sys/fs/cgroup/memory/slurm/job_7/memory.limit_in_bytes", own),
                ("sys/fs/cgroup/memory/slurm/job_7/memory.usage_in_bytes", "20971520\n"),
                ("sys/fs/cgroup/memory/slurm/job_7/memory.stat", stat),
                ("sys/fs/cgroup/memory/slurm/memory.limit_in_bytes", above),
                ("sys/fs/cgroup/memory/slurm/memory.usage_in_bytes", "31457280\n"),
                ("sys/fs/cgroup/memory/elsewhere/memory.limit_in_bytes", "1\n"),
            ]
        };
        check(&files(unlimited, unlimited, ""), Some(4096 * MIB));
        check(&files("104857600\n", unlimited, ""), Some(80 * MIB));
        check(&files("104857600\n", unlimited, "inactive_file 1\ntotal_inactive_file 10485760\n"), Some(90 * MIB));
        check(&files("104857600\n", "83886080\n", ""), Some(50 * MIB));
        check(&files(unlimited, unlimited, "hierarchical_memory_limit 52428800\n"), Some(30 * MIB));
    }

    #[test]
    fn in_a_hybrid_both_hierarchies_count() {
        let mounts = format!("{V1}41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
        for (path, text, expected) in [
            ("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "10485760\n", 10 * MIB),
            ("sys/fs/cgroup/unified/user/memory.max", "5242880\n", 5 * MIB),
        ] {
            let files = [
                ("proc/meminfo", MEMINFO),
                ("proc/self/cgroup", "4:cpu,memory:/job\n0::/user\n"),
                ("proc/self/mountinfo", mounts.as_str()),
                (path, text),
            ];
            check(&files, Some(expected));
        }
    }

    #[test]
    fn in_a_container_the_group_that_is_shown_counts() {
        let limit = ("sys/fs/cgroup/memory.max", "7340032\n");
        // A namespace of its own: the group is called the top.
        check(&[("proc/self/cgroup", "0::/\n"), ("proc/self/mountinfo", V2), limit], Some(7 * MIB));
        // Moved out of it.
        check(&[("proc/self/cgroup", "0::/../../x\n"), ("proc/self/mountinfo", V2), limit], Some(7 * MIB));
        // A part of the hierarchy is mounted, at a place with a space in it.
        let bound = "35 31 0:32 /docker/0123 /my\\040groups rw - cgroup cgroup rw,memory\n";
        for (path, place) in [
            ("/docker/0123", "my groups/memory.limit_in_bytes"),
            ("/docker/0123/child", "my groups/child/memory.limit_in_bytes"),
            ("/docker/0123/child", "my groups/memory.limit_in_bytes"),
            ("/", "my groups/memory.limit_in_bytes"),
        ] {
            let group = format!("4:memory:{path}\n");
            check(&[("proc/self/cgroup", &group), ("proc/self/mountinfo", bound), (place, "3145728\n")], Some(3 * MIB));
        }
    }

    #[test]
    fn what_is_known_counts_when_the_rest_cannot_be_read() {
        let group = ("sys/fs/cgroup/job/memory.max", "1048576\n");
        let path = ("proc/self/cgroup", "0::/job\n");
        // No list of mounts: the usual places.
        check(&[("proc/meminfo", MEMINFO), path, group], Some(MIB));
        // No free memory of the machine.
        check(&[path, ("proc/self/mountinfo", V2), group], Some(MIB));
        check(&[path, ("proc/self/mountinfo", V2)], None);
    }

    #[test]
    fn limits_of_the_process_count() {
        let limits = |space: &str, data: &str| {
            format!(
                "Limit                     Soft Limit           Hard Limit           Units     \n\
                 Max data size             {data}            unlimited            bytes     \n\
                 Max address space         {space}            unlimited            bytes     \n"
            )
        };
        let status = "Name:\trdarts\nVmPeak:\t  99999 kB\nVmSize:\t   20480 kB\nVmData:\t   10240 kB\n";
        for (space, data, status, expected) in [
            ("unlimited", "unlimited", status, 4096 * MIB),
            ("104857600", "unlimited", status, 80 * MIB),
            ("unlimited", "52428800", status, 40 * MIB),
            ("104857600", "94371840", status, 80 * MIB),
            ("1024", "unlimited", status, 0),
            ("104857600", "unlimited", "", 100 * MIB),
        ] {
            let limits = limits(space, data);
            let files =
                [("proc/meminfo", MEMINFO), ("proc/self/limits", limits.as_str()), ("proc/self/status", status)];
            check(&files, Some(expected));
        }
        check(&[("proc/self/limits", &limits("1048576", "unlimited"))], Some(MIB));
    }

    #[test]
    fn this_machine_tells() {
        if cfg!(target_os = "linux") {
            assert!(available().unwrap() > 0);
        }
    }
}
