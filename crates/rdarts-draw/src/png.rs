//! Pixels and PNG, drawn by resvg with the crate's own font.

use std::sync::{Arc, LazyLock};

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{ImageHrefResolver, Options, Tree, fontdb::Database};

use crate::error::DrawError;
use crate::font;
use crate::layout::Layout;
use crate::svg::{Colors, Style, svg};

/// The most pixels of a picture: 256 MiB of them.
const MAX_PIXELS: u32 = 1 << 26;

/// A picture as pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raster {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Red, green, blue and alpha of each pixel, row after row; the colors are not multiplied by alpha.
    pub rgba: Vec<u8>,
}

/// What of a picture is not as in the one before: the rectangle around it, of one pixel at least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Column and row of its first pixel.
    pub corner: [u32; 2],
    /// Width and height.
    pub size: [u32; 2],
    /// Its pixels as in [`Raster`], all zeros where both pictures are alike.
    pub rgba: Vec<u8>,
}

impl Raster {
    /// Red, green and blue of each pixel, row after row.
    pub fn rgb(&self) -> Vec<u8> {
        self.rgba.chunks_exact(4).flat_map(|pixel| &pixel[..3]).copied().collect()
    }

    /// What is not as in `before`, a picture of the same size.
    pub fn change_since(&self, before: &Raster) -> Change {
        let width = self.width as usize;
        let is_changed = |i: usize| before.rgba.get(4 * i..4 * i + 4) != Some(&self.rgba[4 * i..4 * i + 4]);
        let (mut low, mut high) = ([usize::MAX; 2], [0; 2]);
        for i in (0..self.rgba.len() / 4).filter(|&i| is_changed(i)) {
            for (side, at) in [i % width, i / width].into_iter().enumerate() {
                (low[side], high[side]) = (low[side].min(at), high[side].max(at + 1));
            }
        }
        if low[0] == usize::MAX {
            return Change { corner: [0, 0], size: [1, 1], rgba: vec![0; 4] };
        }
        let pixels = (low[1]..high[1]).flat_map(|y| (low[0]..high[0]).map(move |x| y * width + x));
        let pixel = |i: usize| -> &[u8] { if is_changed(i) { &self.rgba[4 * i..4 * i + 4] } else { &[0; 4] } };
        Change {
            corner: low.map(|at| at as u32),
            size: [(high[0] - low[0]) as u32, (high[1] - low[1]) as u32],
            rgba: pixels.flat_map(pixel).copied().collect(),
        }
    }
}

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
    let pixels = pixels(&svg(layout, &Style { colors, ..*style }), scale)?;
    pixels.encode_png().map_err(|e| DrawError::Render(e.to_string()))
}

/// Any SVG as pixels, with `scale` of them for each pixel of a screen, of which an inch has 96.
///
/// All its text is written in the crate's font, whatever it asks for, and pictures outside of it are left out.
///
/// # Errors
/// If it is no SVG, or would have no pixels, or far too many.
pub fn raster(svg: &str, scale: f64) -> Result<Raster, DrawError> {
    let pixels = pixels(svg, scale)?;
    Ok(Raster { width: pixels.width(), height: pixels.height(), rgba: pixels.take_demultiplied() })
}

/// An SVG as shapes, its letters from the crate's font.
pub(crate) fn parse(svg: &str) -> Result<Tree, String> {
    let no_files = ImageHrefResolver {
        resolve_data: ImageHrefResolver::default_data_resolver(),
        resolve_string: Box::new(|_, _| None),
    };
    let options = Options { fontdb: FONTS.clone(), image_href_resolver: no_files, ..Options::default() };
    Tree::from_str(svg, &options).map_err(|e| e.to_string())
}

fn pixels(svg: &str, scale: f64) -> Result<Pixmap, DrawError> {
    let tree = parse(svg).map_err(DrawError::Render)?;
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
    Ok(pixels)
}

static FONTS: LazyLock<Arc<Database>> = LazyLock::new(|| {
    let mut fonts = Database::new();
    fonts.load_font_data(font::FILE.to_vec());
    // A text whose families are all unknown falls back to the serif one, and vanishes if that is unknown too.
    let families: Vec<String> = fonts.faces().flat_map(|face| face.families.iter().map(|f| f.0.clone())).collect();
    for family in families {
        fonts.set_sans_serif_family(&family);
        fonts.set_serif_family(&family);
    }
    Arc::new(fonts)
});
