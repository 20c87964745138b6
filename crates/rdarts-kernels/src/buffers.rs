//! Large buffers that outlive a step: taken from a shelf, returned to it when dropped.
//!
//! A search step needs the same buffers as the step before it. Taking them from the system each time would cost
//! a page fault for every 4 KiB, which was half of the time of other tools (see LOG.md). The contents of a
//! buffer are whatever its last user left: whoever takes one overwrites it.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::Mutex;

use crate::simd::aligned::Aligned;

/// Buffers that nobody uses, by the number of values they can hold.
type Shelf<T> = Mutex<BTreeMap<usize, Vec<T>>>;

static BUFFERS: Shelf<Aligned> = Mutex::new(BTreeMap::new());
static VECTORS: Shelf<Vec<f32>> = Mutex::new(BTreeMap::new());

/// Idle vectors of one size that are kept: more than a pass over 20 cells has at once. Burn allocates vectors too, and
/// those that are given back here but never taken again must not pile up.
const MOST_VECTORS: usize = 64;

/// The smallest that fits, if it does not waste more than half of `len`.
fn find<T>(shelf: &Shelf<T>, len: usize) -> Option<T> {
    let mut shelf = shelf.lock().expect("no one panics while holding the shelf");
    let fit = shelf.range_mut(len..=len + len / 2 + 16).find(|(_, stack)| !stack.is_empty());
    fit.and_then(|(_, stack)| stack.pop())
}

fn put_back<T>(shelf: &Shelf<T>, capacity: usize, item: T, most: usize) {
    if capacity >= 1024 {
        let mut shelf = shelf.lock().expect("no one panics while holding the shelf");
        let stack = shelf.entry(capacity).or_default();
        if stack.len() < most {
            stack.push(item);
        }
    }
}

/// A buffer on loan, aligned to cache lines.
#[derive(Debug, Default)]
pub struct Buffer(Aligned);

impl Buffer {
    /// `len` values with unspecified contents.
    pub fn take(len: usize) -> Self {
        let mut found = find(&BUFFERS, len).unwrap_or_default();
        found.resize(len);
        if cfg!(test) {
            // Whoever reads what nobody has written finds out.
            found.fill(f32::NAN);
        }
        Self(found)
    }

    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        let mut buffer = Self::take(len);
        buffer.fill(0.0);
        buffer
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        // Only this file makes them, so their number is that of a step.
        put_back(&BUFFERS, buffer.capacity(), buffer, usize::MAX);
    }
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

/// `len` values with unspecified contents, as a vector that may leave for good.
pub fn take_vec(len: usize) -> Vec<f32> {
    let mut vec = find(&VECTORS, len).unwrap_or_default();
    vec.resize(len, 0.0);
    if cfg!(test) {
        vec.fill(f32::NAN);
    }
    vec
}

/// Returns a vector to the shelf, whoever made it.
pub fn give_back(vec: Vec<f32>) {
    put_back(&VECTORS, vec.capacity(), vec, MOST_VECTORS);
}

/// Number of values that lie idle on the shelf.
pub fn idle() -> usize {
    let count = |sizes: &mut dyn Iterator<Item = (usize, usize)>| sizes.map(|(size, n)| size * n).sum::<usize>();
    let buffers = BUFFERS.lock().expect("no one panics while holding the shelf");
    let vectors = VECTORS.lock().expect("no one panics while holding the shelf");
    count(&mut buffers.iter().map(|(size, stack)| (*size, stack.len())))
        + count(&mut vectors.iter().map(|(size, stack)| (*size, stack.len())))
}

/// Frees everything on the shelf.
pub fn clear() {
    BUFFERS.lock().expect("no one panics while holding the shelf").clear();
    VECTORS.lock().expect("no one panics while holding the shelf").clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_taken_again() {
        let mut first = Buffer::take(123_457);
        first[0] = 42.0;
        let address = first.as_ptr();
        drop(first);
        let second = Buffer::take(123_456);
        assert_eq!(second.as_ptr(), address);
        assert_eq!(second.len(), 123_456);
        assert!(Buffer::zeros(5000).iter().all(|v| *v == 0.0));
    }
}
