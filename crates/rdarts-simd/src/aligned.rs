//! Memory whose first value lies at the start of a cache line.
//!
//! A register of 16 floats is one cache line. An allocator promises 16 bytes, so that every load and store of such a
//! register would touch two lines, which costs twice the time in the first cache level.

use std::ops::{Deref, DerefMut};

/// One cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// A vector of floats that starts at a cache line.
#[derive(Debug, Default)]
pub struct Aligned {
    lines: Vec<Line>,
    len: usize,
}

impl Aligned {
    /// An empty one that can become `len` values long without being moved.
    pub fn with_room(len: usize) -> Self {
        Self { lines: Vec::with_capacity(len.div_ceil(16)), len: 0 }
    }

    /// Changes the length; what is new is zero or, where the vector was longer before, unspecified.
    pub fn resize(&mut self, len: usize) {
        let lines = len.div_ceil(16);
        if self.lines.len() < lines {
            self.lines.resize(lines, Line([0.0; 16]));
        }
        self.len = len;
    }

    /// Values it can hold without being moved.
    pub fn room(&self) -> usize {
        self.lines.capacity() * 16
    }

    /// Values it has held at most.
    pub fn held(&self) -> usize {
        self.lines.len() * 16
    }
}

impl Deref for Aligned {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // SAFETY: a line is 16 floats without padding, and `resize` keeps len at most 16 times the lines.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}
