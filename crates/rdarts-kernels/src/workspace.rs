//! Large buffers that outlive a step: taken from a shelf, returned to it when dropped.
//!
//! A search step needs the same buffers as the step before it. Taking them from the system each time would cost
//! a page fault for every 4 KiB, which was half of the time of other tools (see LOG.md). The contents of a
//! buffer are whatever its last user left: whoever takes one overwrites it.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut, RangeBounds, RangeInclusive};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::cell::ThreadBuffers;
use rdarts_simd::aligned::Aligned;

/// Idle vectors of one size that are kept: more than a pass over 20 cells has at once. Burn allocates vectors too, and
/// those that are given back here but never taken again must not pile up.
const MOST_VECTORS: usize = 64;

/// Values that are worth keeping.
const LEAST: usize = 1024;

/// The memory that calls of the kernels use again, for as long as anyone holds this or a buffer from here.
#[derive(Default)]
pub struct Workspace {
    buffers: Shelf<Aligned>,
    /// Those of [`Workspace::scratch`], apart: they have the sizes of whatever needed most.
    scratch: Shelf<Aligned>,
    vectors: Shelf<Vec<f32>>,
    /// The lengths of scratch and of gradients that have been announced.
    room: [AtomicUsize; 2],
    /// What each thread of the pool works with, while it does not.
    threads: Mutex<Vec<ThreadBuffers>>,
}

impl Workspace {
    /// A buffer of `len` values with unspecified contents.
    pub fn buffer(self: &Arc<Self>, len: usize) -> Buffer {
        if len == 0 {
            return Buffer::default();
        }
        let values = self.buffers.find(about(len)).unwrap_or_default();
        Buffer { values, home: Some(self.clone()), is_scratch: false }.of_len(len)
    }

    /// The same for the short time of one pass: of any size, so that the passes over large and small cells share.
    pub fn scratch(self: &Arc<Self>, len: usize) -> Buffer {
        if len == 0 {
            return Buffer::default();
        }
        let found = self.scratch.find(len..).or_else(|| self.scratch.find_largest());
        let new = || Aligned::with_room(self.room[0].load(Relaxed).max(len));
        let values = found.filter(|found| found.room() >= len).unwrap_or_else(new);
        Buffer { values, home: Some(self.clone()), is_scratch: true }.of_len(len)
    }

    /// `len` values with unspecified contents, as a vector that may leave for good.
    pub fn take_vec(&self, len: usize) -> Vec<f32> {
        of_len(self.vectors.find(about(len)).unwrap_or_default(), len)
    }

    /// The same for a gradient on its way to the next cell: of any capacity, so that those of large and small cells share.
    pub fn take_gradient(&self, len: usize) -> Vec<f32> {
        let new = || Vec::with_capacity(self.room[1].load(Relaxed).max(len));
        of_len(self.vectors.find(len..).unwrap_or_else(new), len)
    }

    /// Puts a vector on the shelf, whoever made it.
    pub fn give_back(&self, vec: Vec<f32>) {
        if vec.capacity() >= LEAST {
            self.vectors.put_back(vec.capacity(), vec, MOST_VECTORS);
        }
    }

    /// Says how long the longest scratch buffer and the longest gradient of the way back will be. That way comes to the
    /// larger cells last: what it takes first gets room to become so long, of which it touches no more than it uses. Moved
    /// to a new place instead, it would leave a hole for good.
    pub fn announce(&self, scratch: usize, gradient: usize) {
        self.room[0].fetch_max(scratch, Relaxed);
        self.room[1].fetch_max(gradient, Relaxed);
    }

    /// Number of values that lie idle on the shelf: of scratch what it has held, of vectors what they can hold.
    pub fn idle(&self) -> usize {
        self.buffers.idle() + self.scratch.idle() + self.vectors.idle()
    }

    /// Calls f with what this thread works with: the same every time, so that it is in the thread's caches.
    pub(crate) fn with_work<R>(&self, f: impl FnOnce(&mut ThreadBuffers) -> R) -> R {
        let threads = || self.threads.lock().expect("no one panics while holding the lock");
        let at = rayon::current_thread_index().unwrap_or(0);
        let mut work = threads().get_mut(at).map(std::mem::take).unwrap_or_default();
        let result = f(&mut work);
        let mut threads = threads();
        if threads.len() <= at {
            threads.resize_with(at + 1, ThreadBuffers::default);
        }
        threads[at] = work;
        result
    }
}

impl fmt::Debug for Workspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Workspace({} values idle)", self.idle())
    }
}

/// What nobody uses, by the number of values it can hold; scratch by the number it has held.
struct Shelf<T>(Mutex<BTreeMap<usize, Vec<T>>>);

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Shelf<T> {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Vec<T>>> {
        self.0.lock().expect("no one panics while holding the shelf")
    }

    /// The smallest of these sizes.
    fn find(&self, sizes: impl RangeBounds<usize>) -> Option<T> {
        let mut shelf = self.lock();
        let fit = shelf.range_mut(sizes).find(|(_, stack)| !stack.is_empty());
        fit.and_then(|(_, stack)| stack.pop())
    }

    fn find_largest(&self) -> Option<T> {
        let mut shelf = self.lock();
        let largest = shelf.iter_mut().rev().find(|(_, stack)| !stack.is_empty());
        largest.and_then(|(_, stack)| stack.pop())
    }

    fn put_back(&self, size: usize, item: T, most: usize) {
        let mut shelf = self.lock();
        let stack = shelf.entry(size).or_default();
        if stack.len() < most {
            stack.push(item);
        }
    }

    fn idle(&self) -> usize {
        self.lock().iter().map(|(size, stack)| size * stack.len()).sum()
    }
}

/// The sizes that waste no more than half of `len`.
fn about(len: usize) -> RangeInclusive<usize> {
    len..=len + len / 2 + 16
}

fn of_len(mut vec: Vec<f32>, len: usize) -> Vec<f32> {
    vec.resize(len, 0.0);
    if cfg!(test) {
        vec.fill(f32::NAN);
    }
    vec
}

/// A buffer on loan, aligned to cache lines.
#[derive(Debug, Default)]
pub struct Buffer {
    values: Aligned,
    /// Where it goes when it is dropped; an empty one has none.
    home: Option<Arc<Workspace>>,
    is_scratch: bool,
}

impl Buffer {
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
        let Some(home) = self.home.take() else { return };
        let buffer = std::mem::take(&mut self.values);
        // Only this file makes them, so their number is that of a step.
        if self.is_scratch {
            home.scratch.put_back(buffer.held(), buffer, usize::MAX);
        } else if buffer.held() >= LEAST {
            home.buffers.put_back(buffer.held(), buffer, usize::MAX);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_taken_again() {
        let workspace = Arc::new(Workspace::default());
        let mut first = workspace.buffer(123_457);
        first[0] = 42.0;
        let address = first.as_ptr();
        drop(first);
        let second = workspace.buffer(123_456);
        assert_eq!(second.as_ptr(), address);
        assert_eq!(second.len(), 123_456);
    }

    #[test]
    fn a_thread_finds_what_it_has_worked_with() {
        let workspace = Workspace::default();
        workspace.with_work(|work| work.sums.push(1.0));
        assert_eq!(workspace.with_work(|work| work.sums.len()), 1);
    }
}
