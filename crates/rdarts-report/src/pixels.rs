//! Pictures as PNG, still and animated.

use png::{BitDepth, BlendOp, ColorType, Encoder, EncodingError, PixelDimensions, Unit};
use rdarts_draw::{DrawError, Raster, raster};

/// Dots of an inch that print wants.
pub(crate) const PRINT: f64 = 300.0;

/// Dots of an inch of a screen, by which SVG measures.
const SCREEN: f64 = 96.0;

/// An SVG file on paper as PNG, with so many dots an inch.
pub(crate) fn still(svg: &str, dots: f64) -> Result<Vec<u8>, DrawError> {
    encoded(&raster(svg, dots / SCREEN)?, dots)
}

/// A picture on paper as PNG, with so many dots an inch.
pub(crate) fn encoded(picture: &Raster, dots: f64) -> Result<Vec<u8>, DrawError> {
    let per_meter = (dots / 0.0254).round() as u32;
    let encode = || {
        let mut out = Vec::new();
        let mut encoder = Encoder::new(&mut out, picture.width, picture.height);
        encoder.set_color(ColorType::Rgb);
        encoder.set_depth(BitDepth::Eight);
        encoder.set_pixel_dims(Some(PixelDimensions { xppu: per_meter, yppu: per_meter, unit: Unit::Meter }));
        let mut writer = encoder.write_header()?;
        // There is paper everywhere, so nothing shines through.
        writer.write_image_data(&picture.rgb())?;
        writer.finish()?;
        Ok(out)
    };
    encode().map_err(|e: EncodingError| DrawError::Render(e.to_string()))
}

/// SVG files of one size, on paper, as an animated PNG that begins again at its end. Each frame stays for `delay`
/// thousandths of a second, the last one for `last`.
///
/// # Errors
/// If there is no frame, or one cannot be drawn.
pub(crate) fn animated(frames: &[String], scale: f64, delay: u16, last: u16) -> Result<Vec<u8>, DrawError> {
    let failed = |e: EncodingError| DrawError::Render(e.to_string());
    let mut before = raster(frames.first().ok_or(DrawError::Nothing)?, scale)?;
    let mut out = Vec::new();
    let mut encoder = Encoder::new(&mut out, before.width, before.height);
    encoder.set_color(ColorType::Rgba);
    encoder.set_depth(BitDepth::Eight);
    if frames.len() > 1 {
        encoder.set_animated(frames.len() as u32, 0).map_err(failed)?;
        encoder.set_frame_delay(delay, 1000).map_err(failed)?;
    }
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(&before.rgba).map_err(failed)?;
    for (i, svg) in frames.iter().enumerate().skip(1) {
        let picture = raster(svg, scale)?;
        let change = picture.change_since(&before);
        let mut write = || {
            writer.set_frame_delay(if i + 1 == frames.len() { last } else { delay }, 1000)?;
            // A frame must lie inside of the picture at every moment.
            writer.reset_frame_position()?;
            writer.set_frame_dimension(change.size[0], change.size[1])?;
            writer.set_frame_position(change.corner[0], change.corner[1])?;
            writer.set_blend_op(BlendOp::Over)?;
            writer.write_image_data(&change.rgba)
        };
        write().map_err(failed)?;
        before = picture;
    }
    writer.finish().map_err(failed)?;
    Ok(out)
}
