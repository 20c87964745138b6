//! Names in sentences: shown so that they do nothing but be read, and "did you mean".
//!
//! ```
//! assert_eq!(rdarts_text::nearest("SepConv3x3", &["skip_connect", "sep_conv_3x3"]), Some("sep_conv_3x3"));
//! assert_eq!(rdarts_text::escaped("two\nlines"), "two\\nlines");
//! ```

mod names;
mod nearest;

pub use names::{escaped, shown};
pub use nearest::{did_you_mean, nearest, quote};
