//! The kernels, a file for each kind of stage as on the CPU, and for what lies between stages.
//!
//! A launch has cubes (tiles of pixels, row of the table). A tile is a stretch of the pixels of all images. The units of a
//! cube stand in lanes, each as long as there are channels: a unit keeps its channel, and takes the pixels of its lane.
//! Sizes of images are known when a kernel is compiled, since a card divides slowly.

use cubecl::prelude::*;

pub mod half;

pub mod factorized;

pub mod pool;

pub mod gather;

pub mod norm;

pub mod node;

pub mod stem;

pub mod head;

pub mod weights;

pub mod flat;

pub mod images;

pub mod layers;

/// Units of a cube: what every card has.
pub const UNITS: usize = 256;

/// The most parts that sums over all pixels are taken in.
pub const PARTS: usize = 128;

/// Values of such a part for each channel: count, mean, sum of squares; on the way back two sums.
pub const PART: usize = 3;
pub const PART_BACK: usize = 2;

/// The most parts of a weight gradient.
pub const WEIGHT_PARTS: usize = 128;

/// The most cubes of a launch along its first axis; there may be fewer than a card allows (65,535).
pub const ACROSS: usize = 1 << 15;

/// Which cube of a row this is: there may be more than fit along one axis.
#[cube]
pub fn cube() -> usize {
    CUBE_POS_Z as usize * CUBE_COUNT_X as usize + CUBE_POS_X as usize
}

/// Sizes of a stage that a kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Rows and columns of the depthwise window; 0 without one.
    pub k: usize,
    /// Distance of its taps.
    pub dilation: usize,
    /// Step from one output to the next.
    pub stride: usize,
    /// Rows and columns in.
    pub h: usize,
    pub wd: usize,
    /// Rows and columns out.
    pub ho: usize,
    pub wo: usize,
    /// Channels in.
    pub c_in: usize,
    /// Channels out.
    pub c_out: usize,
    /// Pixels of a tile.
    pub tile: usize,
    /// Whether the input is s0 or s1, not a buffer of the cell.
    pub from_input: bool,
    /// Whether weight gradients are wanted.
    pub weights: bool,
    /// Whether the gradient of the input is wanted.
    pub input: bool,
}
