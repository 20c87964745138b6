//! PNG, drawn by resvg with the crate's own font.

use std::sync::{Arc, LazyLock};

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb::Database};

use crate::error::DrawError;
use crate::font;
use crate::layout::Layout;
use crate::svg::{Colors, Style, svg};

/// The most pixels of a picture: 256 MiB of them.
const MAX_PIXELS: u32 = 1 << 26;

/// The picture as PNG, with `scale` pixels for each pixel of a screen, of which an inch has 96: 3.125 makes 300 dots an
/// inch.
///
/// Colors that a page would choose are those of white paper.
///
/// # Errors
/// If the picture would have no pixels, or far too many.
pub fn png(layout: &Layout, style: &Style, scale: f64) -> Result<Vec<u8>, DrawError> {
    let colors = match style.colors {
        Colors::Page | Colors::PageStyle | Colors::Light => Colors::Light,
        Colors::Dark => Colors::Dark,
    };
    let render = |text: String| DrawError::Render(text);
    let tree = parse(&svg(layout, &Style { colors, ..*style })).map_err(render)?;
    let [width, height] = [tree.size().width(), tree.size().height()].map(|side| (f64::from(side) * scale).round());
    if !(width >= 1.0 && height >= 1.0 && width * height <= f64::from(MAX_PIXELS)) {
        return Err(DrawError::Size { width, height, max: MAX_PIXELS });
    }
    let mut pixels =
        Pixmap::new(width as u32, height as u32).ok_or(DrawError::Size { width, height, max: MAX_PIXELS })?;
    let transform = Transform::from_scale(
        (width / f64::from(tree.size().width())) as f32,
        (height / f64::from(tree.size().height())) as f32,
    );
    resvg::render(&tree, transform, &mut pixels.as_mut());
    pixels.encode_png().map_err(|e| render(e.to_string()))
}

/// An SVG of ours as shapes, its letters from the crate's font.
pub(crate) fn parse(svg: &str) -> Result<Tree, String> {
    let options = Options { fontdb: FONTS.clone(), ..Options::default() };
    Tree::from_str(svg, &options).map_err(|e| e.to_string())
}

static FONTS: LazyLock<Arc<Database>> = LazyLock::new(|| {
    let mut fonts = Database::new();
    fonts.load_font_data(font::FILE.to_vec());
    Arc::new(fonts)
});
