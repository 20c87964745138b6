//! Fetching what comes next while something else is computed.
//!
//! The tensors of a batch lie in memory or, with luck, in the third cache level, and a pass that only moves values
//! waits for them: the products in between use no memory at all. So they are given a list of what their successor
//! will read, and ask for a part of it after every few rows.

/// What will be needed soon.
#[derive(Default)]
pub(crate) struct Ahead {
    /// (address of the first value, number of values).
    ranges: [(usize, usize); 16],
    len: usize,
    /// Share of it that has been asked for, in steps of `1 / STEPS`.
    done: usize,
}

/// Finest share.
const STEPS: usize = 64;

impl Ahead {
    /// Forgets what was there and takes a list: what will be read, or written to after a first look.
    pub fn set<'a>(&mut self, list: impl Iterator<Item = &'a [f32]>) {
        (self.len, self.done) = (0, 0);
        for (range, values) in self.ranges.iter_mut().zip(list) {
            *range = (values.as_ptr() as usize, values.len());
            self.len += 1;
        }
    }

    /// Asks for everything up to the share `part / whole`.
    #[inline]
    pub fn reach(&mut self, part: usize, whole: usize) {
        let to = (part * STEPS / whole).min(STEPS);
        for (address, len) in &self.ranges[..self.len] {
            let (from, to) = (self.done * len / STEPS, to * len / STEPS);
            for line in (from..to).step_by(16) {
                fetch(address + line * size_of::<f32>());
            }
        }
        self.done = self.done.max(to);
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn fetch(address: usize) {
    use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
    // SAFETY: fetching ahead reads nothing and never faults, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(std::ptr::without_provenance(address)) }
}

#[cfg(not(target_arch = "x86_64"))]
fn fetch(_: usize) {}
