//! PDF, with text that can be selected.

use krilla::Document;
use krilla::geom::Size;
use krilla::page::PageSettings;
use krilla_svg::{SurfaceExt, SvgSettings};

use crate::error::DrawError;
use crate::layout::Layout;
use crate::png::parse;
use crate::svg::{Colors, Style, Width, svg};

/// The picture as a PDF of one page, which is as large as the picture. Colors are those of white paper unless they are
/// [`Colors::Dark`].
///
/// # Errors
/// If the picture has a size that no page has.
pub fn pdf(layout: &Layout, style: &Style) -> Result<Vec<u8>, DrawError> {
    let colors = if style.colors == Colors::Dark { Colors::Dark } else { Colors::Light };
    // Points of print are units of PDF, and pixels are what the reader of SVG takes them for.
    let points = style.width.points(layout.width);
    let text = svg(layout, &Style { colors, width: Width::Points(points) });
    let tree = parse(&text).map_err(DrawError::Render)?;
    let [width, height] = [tree.size().width() * 0.75, tree.size().height() * 0.75];
    let none = || DrawError::Render(format!("no page is {width} points wide and {height} high"));
    let size = Size::from_wh(width, height).ok_or_else(none)?;
    let mut document = Document::new();
    let settings = PageSettings::from_wh(width, height).ok_or_else(none)?;
    let mut page = document.start_page_with(settings);
    let mut surface = page.surface();
    surface.draw_svg(&tree, size, SvgSettings::default());
    surface.finish();
    page.finish();
    document.finish().map_err(|e| DrawError::Render(format!("{e:?}")))
}
