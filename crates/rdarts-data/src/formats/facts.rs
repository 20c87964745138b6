//! What is known of the values of one picture: how many there are, and whether they hold a shape.

use image::DynamicImage;

/// What is known of a picture's values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The least and the largest value, from 0 to 255.
    pub range: (u8, u8),
    /// Whether all pixels have the same colour.
    pub is_flat: bool,
    /// Whether they differ in transparency.
    pub is_veiled: bool,
    /// The largest value as it is stored with 16 bits; `None` if it has 8.
    pub peak: Option<u16>,
}

impl Facts {
    /// Of a picture as it was decoded.
    pub fn of(picture: &DynamicImage) -> Self {
        use DynamicImage::*;

        let small = |samples: &[u8], channels, has_alpha| of_samples(samples, channels, has_alpha, |value| value);
        // As 16 bits are made 8.
        let reduce = |value: u16| ((u32::from(value) + 128) / 257) as u8;
        let deep = |samples: &[u16], channels: usize, has_alpha: bool| {
            let colours =
                || samples.chunks_exact(channels).flat_map(|pixel| &pixel[..channels - usize::from(has_alpha)]);
            Self { peak: colours().max().copied(), ..of_samples(samples, channels, has_alpha, reduce) }
        };
        match picture {
            ImageLuma8(image) => small(image, 1, false),
            ImageLumaA8(image) => small(image, 2, true),
            ImageRgb8(image) => small(image, 3, false),
            ImageRgba8(image) => small(image, 4, true),
            ImageLuma16(image) => deep(image, 1, false),
            ImageLumaA16(image) => deep(image, 2, true),
            ImageRgb16(image) => deep(image, 3, false),
            ImageRgba16(image) => deep(image, 4, true),
            // None of the formats that are read has these.
            other => small(&other.to_rgb8(), 3, false),
        }
    }

    /// In eight bytes.
    pub fn to_bytes(self) -> [u8; 8] {
        let flags = u8::from(self.is_flat) | u8::from(self.is_veiled) << 1 | u8::from(self.peak.is_some()) << 2;
        let [low, high] = self.peak.unwrap_or(0).to_le_bytes();
        [self.range.0, self.range.1, flags, low, high, 0, 0, 0]
    }

    /// From these.
    pub fn from_bytes([least, most, flags, low, high, ..]: [u8; 8]) -> Self {
        let has = |bit: u8| flags >> bit & 1 == 1;
        let peak = has(2).then_some(u16::from_le_bytes([low, high]));
        Self { range: (least, most), is_flat: has(0), is_veiled: has(1), peak }
    }
}

fn of_samples<T: Copy + PartialEq>(samples: &[T], channels: usize, has_alpha: bool, small: impl Fn(T) -> u8) -> Facts {
    let n_colours = channels - usize::from(has_alpha);
    let Some(first) = samples.get(..channels) else { return Facts::default() };
    let (mut range, mut is_flat, mut is_veiled) = ((u8::MAX, 0), true, false);
    for pixel in samples.chunks_exact(channels) {
        for (&value, &first) in pixel[..n_colours].iter().zip(first) {
            let value = small(value);
            range = (range.0.min(value), range.1.max(value));
            is_flat &= value == small(first);
        }
        is_veiled |= has_alpha && pixel[n_colours] != first[n_colours];
    }
    Facts { range, is_flat, is_veiled, peak: None }
}

#[cfg(test)]
mod tests {
    use image::{ImageBuffer, Luma, LumaA, Rgba};

    use super::*;

    #[test]
    fn facts_are_told_of_every_kind_of_pixel_and_kept_in_bytes() {
        let flat = DynamicImage::from(ImageBuffer::from_pixel(3, 3, Luma([7u8])));
        let veiled = DynamicImage::from(ImageBuffer::from_fn(3, 3, |x, _| LumaA([7u8, x as u8])));
        let dark = DynamicImage::from(ImageBuffer::from_fn(3, 3, |x, y| Luma([(x * 2000 + y) as u16])));
        let lost = DynamicImage::from(ImageBuffer::from_fn(3, 3, |x, y| Luma([(x * 20 + y) as u16])));
        let full = DynamicImage::from(ImageBuffer::from_fn(3, 3, |x, y| Rgba([x as u8 * 99, y as u8, 3, 255])));
        let facts = |range, is_flat, is_veiled, peak| Facts { range, is_flat, is_veiled, peak };
        for (picture, expected) in [
            (flat, facts((7, 7), true, false, None)),
            (veiled, facts((7, 7), true, true, None)),
            (dark, facts((0, 16), false, false, Some(4002))),
            (lost, facts((0, 0), true, false, Some(42))),
            (full, facts((0, 198), false, false, None)),
        ] {
            assert_eq!(Facts::of(&picture), expected);
            assert_eq!(Facts::from_bytes(expected.to_bytes()), expected);
        }
    }
}
