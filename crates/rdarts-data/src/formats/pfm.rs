//! PFM: maps of floats, as FlyingThings3D and Middlebury store disparities.
//!
//! ```text
//! Pf                one value a pixel; PF: three
//! WIDTH HEIGHT
//! SCALE             below 0: the bytes of each value from the lowest on, above: from the highest; its size means nothing
//! values            float32, the lowest row first
//! ```
//!
//! Writers put blanks behind the words of a line. What is not known is infinite.

use std::io::{BufRead, Read, Write};

use crate::error::DataError;

/// A map of floats, rows from the top down.
#[derive(Clone, Debug, PartialEq)]
pub struct Pfm {
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// 1 or 3.
    pub channels: usize,
    /// (height, width, channels)
    pub values: Vec<f32>,
}

/// The most bytes of a header: four words.
const MAX_HEADER: usize = 256;

/// The most pixels of a map.
pub const MAX_PIXELS: u64 = 1 << 26;

/// Reads a file to its end.
pub fn read(reader: &mut impl BufRead, file: &str) -> Result<Pfm, DataError> {
    let wrong = |problem: String| DataError::StereoFile { file: file.to_owned(), problem };
    let (words, n_head) = header(reader, file)?;
    let [kind, width, height, scale] = &words[..] else {
        return Err(wrong(format!("is no PFM file: {HEADER}, and it ends after {} of these words", words.len())));
    };
    let channels = match kind.as_str() {
        "Pf" => 1,
        "PF" => 3,
        _ => return Err(wrong(format!("is no PFM file: {HEADER}, and it begins with '{}'", rdarts_text::shown(kind)))),
    };
    let side = |text: &str| text.parse::<u32>().ok().filter(|&side| side > 0);
    let (Some(width), Some(height)) = (side(width), side(height)) else {
        let found = rdarts_text::shown(format!("{width} {height}"));
        return Err(wrong(format!("has the width and height '{found}', they should be two whole numbers above 0")));
    };
    let scale = match scale.parse::<f32>() {
        Ok(scale) if scale.is_finite() && scale != 0.0 => scale,
        _ => {
            let found = rdarts_text::shown(scale);
            return Err(wrong(format!(
                "has the scale '{found}', it should be a number above 0 or below, such as -1.0"
            )));
        }
    };
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(wrong(format!("declares {width}x{height} pixels, a map of disparities has at most {MAX_PIXELS}")));
    }
    let (height, width) = (height as usize, width as usize);
    let row = 4 * channels * width;
    let needed = (row * height) as u64;
    let unreadable = |e: std::io::Error| DataError::unreadable(file, &e);
    // Memory grows with the bytes that arrive.
    let mut bytes = Vec::new();
    reader.take(needed).read_to_end(&mut bytes).map_err(unreadable)?;
    let (file, n_head) = (file.to_owned(), n_head as u64);
    if (bytes.len() as u64) < needed {
        return Err(DataError::Truncated {
            file,
            part: "content",
            needed: n_head + needed,
            held: n_head + bytes.len() as u64,
        });
    }
    if reader.read(&mut [0]).map_err(unreadable)? > 0 {
        return Err(DataError::Trailing { file, end: format!("{} bytes", n_head + needed), part: "content" });
    }
    let value = |bytes: &[u8]| {
        let bytes = [bytes[0], bytes[1], bytes[2], bytes[3]];
        if scale < 0.0 { f32::from_le_bytes(bytes) } else { f32::from_be_bytes(bytes) }
    };
    let values = bytes.chunks_exact(row).rev().flat_map(|row| row.chunks_exact(4).map(value)).collect();
    Ok(Pfm { height, width, channels, values })
}

const HEADER: &str = "it should begin with Pf, its width and height, and its scale";

/// The four words before the values, and how many bytes they take to the end of their last line.
fn header(reader: &mut impl BufRead, file: &str) -> Result<(Vec<String>, usize), DataError> {
    let (mut words, mut n) = (Vec::new(), 0);
    while words.len() < 4 && n < MAX_HEADER {
        let mut line = Vec::new();
        let limit = (MAX_HEADER - n) as u64;
        let mut limited = reader.by_ref().take(limit);
        let read = limited.read_until(b'\n', &mut line).map_err(|e| DataError::unreadable(file, &e))?;
        if read == 0 {
            break;
        }
        n += read;
        words.extend(String::from_utf8_lossy(&line).split_ascii_whitespace().map(str::to_owned));
    }
    Ok((words, n))
}

/// Writes a map of one value a pixel, from the lowest byte of each on; NaN is written as infinite.
///
/// # Panics
/// If the values are no rows of `width`.
pub fn write(writer: &mut impl Write, width: usize, values: &[f32]) -> std::io::Result<()> {
    assert!(width > 0 && values.len().is_multiple_of(width), "{} values in rows of {width}", values.len());
    write!(writer, "Pf\n{width} {}\n-1.0\n", values.len() / width)?;
    for row in values.chunks_exact(width).rev() {
        for &value in row {
            let value = if value.is_nan() { f32::INFINITY } else { value };
            writer.write_all(&value.to_le_bytes())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(bytes: &[u8]) -> String {
        read(&mut &*bytes, "f.pfm").unwrap_err().to_string()
    }

    #[test]
    fn rows_stand_upside_down_and_the_scale_tells_the_order_of_bytes() {
        let values = [1.5f32, 2.0, 3.0, -4.0, f32::INFINITY, 6.0];
        let lines = |scale: &str, bytes: fn(f32) -> [u8; 4]| {
            let body: Vec<u8> = [3, 4, 5, 0, 1, 2].into_iter().flat_map(|i| bytes(values[i])).collect();
            [format!("Pf \n3 2 \n{scale}\n").as_bytes(), &body].concat()
        };
        for file in
            [lines("-1.0", f32::to_le_bytes), lines("0.003922", f32::to_be_bytes), lines("-25 ", f32::to_le_bytes)]
        {
            let map = read(&mut &file[..], "f").unwrap();
            assert_eq!((map.height, map.width, map.channels, &map.values[..]), (2, 3, 1, &values[..]));
        }
        let colour = [&b"PF\n1 2\n-1\n"[..], &[0; 24]].concat();
        assert_eq!(read(&mut &colour[..], "f").unwrap().values.len(), 6);
    }

    #[test]
    fn each_wrong_header_has_its_sentence() {
        let header = "is no PFM file: it should begin with Pf, its width and height, and its scale, and it";
        assert_eq!(message(b""), format!("f.pfm {header} ends after 0 of these words"));
        assert_eq!(message(b"Pf\n3 2\n"), format!("f.pfm {header} ends after 3 of these words"));
        assert_eq!(message(b"P5\n3 2\n255\n"), format!("f.pfm {header} begins with 'P5'"));
        assert_eq!(
            message(b"Pf\n3 -2\n-1\n"),
            "f.pfm has the width and height '3 -2', they should be two whole numbers above 0"
        );
        assert_eq!(
            message(b"Pf\n3 2\n0\n"),
            "f.pfm has the scale '0', it should be a number above 0 or below, such as -1.0"
        );
        assert_eq!(
            message(b"Pf\n4000000000 4000000000\n-1\n"),
            "f.pfm declares 4000000000x4000000000 pixels, a map of disparities has at most 67108864"
        );
        assert!(
            message(b"Pf\n8000 8000\n-1\nabc").starts_with("f.pfm is cut short: its content needs 256000016 bytes")
        );
        assert!(message(&[&b"Pf\n1 1\n-1\n"[..], &[0; 5]].concat()).starts_with("f.pfm goes on after 14 bytes"));
        assert!(message(&[b'a'; 10_000]).contains("ends after 1 of these words"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(width in 1usize..9, rows in 1usize..6, seed in any::<[u8; 4]>()) {
            let value = |i: usize| f32::from_le_bytes(seed.map(|byte| byte.wrapping_mul(i as u8).wrapping_add(7)));
            let values: Vec<f32> = (0..width * rows).map(value).collect();
            let mut file = Vec::new();
            write(&mut file, width, &values).unwrap();
            let map = read(&mut &file[..], "f").unwrap();
            prop_assert_eq!((map.height, map.width), (rows, width));
            for (read, value) in map.values.iter().zip(values) {
                prop_assert!(read.to_bits() == value.to_bits() || value.is_nan() && *read == f32::INFINITY);
            }
        }
    }
}
