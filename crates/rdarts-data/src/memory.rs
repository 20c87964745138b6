//! How much memory this process may still use.

/// Bytes, where the system tells: the smaller of free memory and what the control group leaves.
pub fn available() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find(|l| l.starts_with("MemAvailable:"))?;
    let free = line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024;
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let number = |path: &str| read(path)?.trim().parse::<u64>().ok();
    // Cached files count as used in a control group, but make way.
    let cached: u64 = read("/sys/fs/cgroup/memory.stat")
        .unwrap_or_default()
        .lines()
        .filter_map(|l| {
            l.strip_prefix("inactive_file ").or_else(|| l.strip_prefix("active_file "))?.parse::<u64>().ok()
        })
        .sum();
    let used = number("/sys/fs/cgroup/memory.current").map(|used| used.saturating_sub(cached));
    let group = number("/sys/fs/cgroup/memory.max").zip(used);
    Some(group.map_or(free, |(max, used)| free.min(max.saturating_sub(used))))
}
