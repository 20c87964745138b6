//! The one font: widths of text for the layout, letters for PNG and PDF.
//!
//! Arimo Regular, of Google, under the SIL Open Font License 1.1 (font/OFL.txt). Its letters are as wide as those of
//! Arial, Helvetica and Liberation Sans, which is why a label fits its box on any machine. The file is a subset (Latin,
//! Greek, Cyrillic, some signs), made with fonttools from Debian's fonts-croscore:
//!
//! ```text
//! pyftsubset Arimo-Regular.ttf --no-hinting --layout-features= --notdef-outline --name-IDs=0,1,2,3,4,5,6,13,14
//!   --unicodes=U+20-7E,U+A0-17F,U+384-3CE,U+400-45F,U+2010-2015,U+2018-201E,U+2020-2022,U+2026,U+2032-2033,U+20AC,
//!   U+2122,U+2190-2193,U+2202,U+2206,U+220F,U+2211,U+2212,U+221A,U+221E,U+2248,U+2260,U+2264,U+2265,U+25CF,U+FFFD
//! ```

use std::sync::LazyLock;

use ttf_parser::Face;

/// The font's file.
pub(crate) const FILE: &[u8] = include_bytes!("../font/Arimo-Regular-subset.ttf");

/// The family, and those whose letters are as wide.
pub(crate) const FAMILIES: &str = "Arimo, Liberation Sans, Arial, Helvetica, sans-serif";

/// Width of a line of text in a size.
pub(crate) fn width(text: &str, size: f64) -> f64 {
    let face = &*FACE;
    let letter = |letter| match face.glyph_index(letter).and_then(|glyph| face.glyph_hor_advance(glyph)) {
        Some(units) => f64::from(units) / f64::from(face.units_per_em()),
        // Letters of other fonts are at most about as wide as high.
        None => 1.0,
    };
    size * text.chars().map(letter).sum::<f64>()
}

/// As much of a text as fits a width, with an ellipsis where something is left out.
pub(crate) fn fit(text: &str, size: f64, room: f64) -> String {
    if width(text, size) <= room {
        return text.to_owned();
    }
    let mut kept: Vec<char> = text.chars().collect();
    let mut left = width(text, size) + width("…", size);
    while left > room {
        let Some(letter) = kept.pop() else { break };
        left -= width(&letter.to_string(), size);
    }
    kept.into_iter().chain(['…']).collect()
}

static FACE: LazyLock<Face<'static>> = LazyLock::new(|| Face::parse(FILE, 0).expect("a test reads the font"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_as_wide_as_arial_s() {
        // Arial's advances in 2048ths of the size: digits 1139, space 569, m 1706.
        assert_eq!(width("0", 2048.0).round(), 1139.0);
        assert_eq!(width("m 3", 2048.0).round(), 1706.0 + 569.0 + 1139.0);
        assert_eq!(width("", 8.0), 0.0);
    }

    #[test]
    fn what_does_not_fit_is_cut_with_an_ellipsis() {
        assert_eq!(fit("short", 8.0, 100.0), "short");
        let cut = fit(&"long ".repeat(50), 8.0, 100.0);
        assert!(cut.ends_with('…') && width(&cut, 8.0) <= 100.0 && width(&cut, 8.0) > 85.0, "{cut}");
        assert_eq!(fit("long", 8.0, 0.0), "…");
    }
}
