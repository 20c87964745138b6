//! Large buffers that outlive a step: taken from a shelf, returned to it when dropped.
//!
//! A search step needs the same buffers as the step before it. Taking them from the system each time would cost
//! a page fault for every 4 KiB, which was half of the time of other tools (see LOG.md). The contents of a
//! buffer are whatever its last user left: whoever takes one overwrites it.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut, RangeBounds, RangeInclusive};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::simd::aligned::Aligned;

/// Those that nobody uses, by the number of values they can hold; scratch by the number it has held.
type Shelf<T> = Mutex<BTreeMap<usize, Vec<T>>>;

static BUFFERS: Shelf<Aligned> = Mutex::new(BTreeMap::new());
/// Those of [`Buffer::scratch`], apart: they have the sizes of whatever needed most.
static SCRATCH: Shelf<Aligned> = Mutex::new(BTreeMap::new());
static VECTORS: Shelf<Vec<f32>> = Mutex::new(BTreeMap::new());

/// The lengths of scratch and of gradients that have been announced.
static ROOM: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];

/// Idle vectors of one size that are kept: more than a pass over 20 cells has at once. Burn allocates vectors too, and
/// those that are given back here but never taken again must not pile up.
const MOST_VECTORS: usize = 64;

/// Values that are worth keeping.
const LEAST: usize = 1024;

/// The smallest of these sizes.
fn find<T>(shelf: &Shelf<T>, sizes: impl RangeBounds<usize>) -> Option<T> {
    let mut shelf = shelf.lock().expect("no one panics while holding the shelf");
    let fit = shelf.range_mut(sizes).find(|(_, stack)| !stack.is_empty());
    fit.and_then(|(_, stack)| stack.pop())
}

/// The sizes that waste no more than half of `len`.
fn about(len: usize) -> RangeInclusive<usize> {
    len..=len + len / 2 + 16
}

fn find_largest<T>(shelf: &Shelf<T>) -> Option<T> {
    let mut shelf = shelf.lock().expect("no one panics while holding the shelf");
    let largest = shelf.iter_mut().rev().find(|(_, stack)| !stack.is_empty());
    largest.and_then(|(_, stack)| stack.pop())
}

fn put_back<T>(shelf: &Shelf<T>, size: usize, item: T, most: usize) {
    let mut shelf = shelf.lock().expect("no one panics while holding the shelf");
    let stack = shelf.entry(size).or_default();
    if stack.len() < most {
        stack.push(item);
    }
}

/// Says how long the longest scratch buffer and the longest gradient of the way back will be. That way comes to the
/// larger cells last: what it takes first gets room to become so long, of which it touches no more than it uses. Moved to a
/// new place instead, it would leave a hole for good.
pub fn announce(scratch: usize, gradient: usize) {
    ROOM[0].fetch_max(scratch, Relaxed);
    ROOM[1].fetch_max(gradient, Relaxed);
}

/// A buffer on loan, aligned to cache lines.
#[derive(Debug, Default)]
pub struct Buffer {
    values: Aligned,
    is_scratch: bool,
}

impl Buffer {
    /// `len` values with unspecified contents.
    pub fn take(len: usize) -> Self {
        Self { values: find(&BUFFERS, about(len)).unwrap_or_default(), is_scratch: false }.of_len(len)
    }

    /// The same for the short time of one pass: of any size, so that the passes over large and small cells share.
    pub fn scratch(len: usize) -> Self {
        if len == 0 {
            return Self::default();
        }
        let found = find(&SCRATCH, len..).or_else(|| find_largest(&SCRATCH)).filter(|found| found.room() >= len);
        let new = || Aligned::with_room(ROOM[0].load(Relaxed).max(len));
        Self { values: found.unwrap_or_else(new), is_scratch: true }.of_len(len)
    }

    fn of_len(mut self, len: usize) -> Self {
        self.values.resize(len);
        if cfg!(test) {
            // Whoever reads what nobody has written finds out.
            self.values.fill(f32::NAN);
        }
        self
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.values);
        // Only this file makes them, so their number is that of a step.
        if self.is_scratch {
            put_back(&SCRATCH, buffer.held(), buffer, usize::MAX);
        } else if buffer.held() >= LEAST {
            put_back(&BUFFERS, buffer.held(), buffer, usize::MAX);
        }
    }
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.values
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }
}

/// `len` values with unspecified contents, as a vector that may leave for good.
pub fn take_vec(len: usize) -> Vec<f32> {
    of_len(find(&VECTORS, about(len)).unwrap_or_default(), len)
}

/// The same for a gradient on its way to the next cell: of any capacity, so that those of large and small cells share.
pub fn take_gradient(len: usize) -> Vec<f32> {
    let new = || Vec::with_capacity(ROOM[1].load(Relaxed).max(len));
    of_len(find(&VECTORS, len..).unwrap_or_else(new), len)
}

fn of_len(mut vec: Vec<f32>, len: usize) -> Vec<f32> {
    vec.resize(len, 0.0);
    if cfg!(test) {
        vec.fill(f32::NAN);
    }
    vec
}

/// Returns a vector to the shelf, whoever made it.
pub fn give_back(vec: Vec<f32>) {
    if vec.capacity() >= LEAST {
        put_back(&VECTORS, vec.capacity(), vec, MOST_VECTORS);
    }
}

/// Number of values that lie idle on the shelf: of scratch what it has held, of vectors what they can hold.
pub fn idle() -> usize {
    fn count<T>(shelf: &Shelf<T>) -> usize {
        let shelf = shelf.lock().expect("no one panics while holding the shelf");
        shelf.iter().map(|(size, stack)| size * stack.len()).sum()
    }
    count(&BUFFERS) + count(&SCRATCH) + count(&VECTORS)
}

/// Frees everything on the shelf.
pub fn clear() {
    fn clear<T>(shelf: &Shelf<T>) {
        shelf.lock().expect("no one panics while holding the shelf").clear();
    }
    clear(&BUFFERS);
    clear(&SCRATCH);
    clear(&VECTORS);
    ROOM.iter().for_each(|room| room.store(0, Relaxed));
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
    }
}
