//! Large buffers that outlive a step: taken from a shelf, returned to it when dropped.
//!
//! A search step needs the same buffers as the step before it. Taking them from the system each time would cost
//! a page fault for every 4 KiB, which was half of the time of other tools (see LOG.md). The contents of a
//! buffer are whatever its last user left: whoever takes one overwrites it.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::simd::aligned::Aligned;

/// Buffers that nobody uses, by the number of values they can hold.
type Shelf<T> = Mutex<BTreeMap<usize, Vec<T>>>;

static BUFFERS: Shelf<Aligned> = Mutex::new(BTreeMap::new());
/// Those of [`Buffer::scratch`], apart: they have the sizes of whatever needed most.
static SCRATCH: Shelf<Aligned> = Mutex::new(BTreeMap::new());
static VECTORS: Shelf<Vec<f32>> = Mutex::new(BTreeMap::new());

/// The longest buffer and vector so far. A pass on its way back comes to the larger cells last: what it takes first gets
/// room to become as long as those that the way forward has needed, of which it touches no more than it uses. Moved to a
/// new place instead, it would leave a hole for good.
static LONGEST: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];

/// Idle vectors of one size that are kept: more than a pass over 20 cells has at once. Burn allocates vectors too, and
/// those that are given back here but never taken again must not pile up.
const MOST_VECTORS: usize = 64;

/// The smallest that fits, if it does not waste more than half of `len`.
fn find<T>(shelf: &Shelf<T>, len: usize) -> Option<T> {
    let mut shelf = shelf.lock().expect("no one panics while holding the shelf");
    let fit = shelf.range_mut(len..=len + len / 2 + 16).find(|(_, stack)| !stack.is_empty());
    fit.and_then(|(_, stack)| stack.pop())
}

/// The smallest that fits or else the largest of all, for its user to lengthen.
fn find_any<T>(shelf: &Shelf<T>, len: usize) -> Option<T> {
    let mut shelf = shelf.lock().expect("no one panics while holding the shelf");
    let is_any = |(_, stack): &(&usize, &mut Vec<T>)| !stack.is_empty();
    if let Some((_, stack)) = shelf.range_mut(len..).find(is_any) {
        return stack.pop();
    }
    shelf.range_mut(..len).rev().find(is_any).and_then(|(_, stack)| stack.pop())
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
pub struct Buffer {
    values: Aligned,
    is_scratch: bool,
}

impl Buffer {
    /// `len` values with unspecified contents.
    pub fn take(len: usize) -> Self {
        LONGEST[0].fetch_max(len, Relaxed);
        Self { values: find(&BUFFERS, len).unwrap_or_default(), is_scratch: false }.of_len(len)
    }

    /// The same for the short time of one pass: of any size, so that the passes over large and small cells share.
    pub fn scratch(len: usize) -> Self {
        if len == 0 {
            return Self::default();
        }
        let new = || Aligned::with_room(LONGEST[0].load(Relaxed));
        Self { values: find_any(&SCRATCH, len).unwrap_or_else(new), is_scratch: true }.of_len(len)
    }

    fn of_len(mut self, len: usize) -> Self {
        self.values.resize(len);
        if cfg!(test) {
            // Whoever reads what nobody has written finds out.
            self.values.fill(f32::NAN);
        }
        self
    }

    /// [`Buffer::scratch`] of zeros.
    pub fn scratch_zeros(len: usize) -> Self {
        let mut buffer = Self::scratch(len);
        buffer.fill(0.0);
        buffer
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.values);
        // Only this file makes them, so their number is that of a step.
        put_back(if self.is_scratch { &SCRATCH } else { &BUFFERS }, buffer.capacity(), buffer, usize::MAX);
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
    LONGEST[1].fetch_max(len, Relaxed);
    let mut vec = find(&VECTORS, len).unwrap_or_default();
    vec.resize(len, 0.0);
    if cfg!(test) {
        vec.fill(f32::NAN);
    }
    vec
}

/// The same for a gradient on its way to the next cell: of any capacity, so that those of large and small cells share.
pub fn take_gradient(len: usize) -> Vec<f32> {
    let mut vec = find_any(&VECTORS, len).unwrap_or_default();
    if vec.capacity() < len {
        // Nothing of it is worth moving.
        vec = Vec::with_capacity(LONGEST[1].load(Relaxed).max(len));
    }
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
    LONGEST.iter().for_each(|longest| longest.store(0, Relaxed));
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
