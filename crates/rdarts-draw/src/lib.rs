//! Cells as pictures: a genotype, or a supernet with its mixing weights.
//!
//! A [`Drawing`] says what is drawn: plain data, made from a genotype or from a space. [`layout()`] says where it goes,
//! and [`svg()`], [`png()`] and [`dot()`] write it down; [`raster()`] makes pixels of any SVG:
//!
//! ```
//! use rdarts_draw::{Drawing, Form, Style, layout, svg};
//!
//! let genotype = rdarts_space::named("DARTS_V2")?;
//! let layout = layout(&Drawing::of_genotype(&genotype)?, &Form::COLUMN)?;
//! assert!(svg(&layout, &Style::COLUMN).contains("sep 3×3"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - [`kind`]: the one table of how an operation looks, for every other picture too
//! - [`picture`]: what is drawn
//! - [`path`]: points, boxes and lines
//! - [`mod@layout`]: where it goes
//!
//! Cells are read from left to right. dagre orders and places states and labels, each label a box that its edge goes
//! through; lines bend only between the columns of boxes, where no box is, so that none crosses a label. The same
//! drawing gives the same bytes. Whatever text comes from outside goes through `escape`. Nothing here reads a file or
//! looks for a font: PNG and the widths of labels use one font that the crate brings along.

pub mod kind;

mod escape;

mod font;

mod error;

pub mod picture;

pub mod path;

mod place;

pub mod layout;

mod svg;

mod dot;

mod png;

#[cfg(feature = "pdf")]
mod pdf;

pub use dot::dot;
pub use error::DrawError;
pub use kind::{KINDS, Kind, KindRow, short_name};
pub use layout::{
    ARROW_LENGTH, Arrange, COLUMN_WIDTH, CellLayout, EdgeLayout, Form, Labels, Layout, PAGE_WIDTH, layout,
};
#[cfg(feature = "pdf")]
pub use pdf::pdf;
pub use picture::{CellPicture, Drawing, Edge, MAX_DRAWN_NODES, state_name};
pub use png::{Change, Raster, png, raster};
pub use svg::{Colors, Style, Width, css, svg};
