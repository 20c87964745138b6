//! PGM and PPM with binary values (P5, P6), as the oldest stereo sets are published: gray or colour, 8 bits a value.

use image::{DynamicImage, GrayImage, RgbImage};

use crate::error::DataError;

/// A picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pnm {
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// 1 or 3.
    pub channels: usize,
    /// (height, width, channels)
    pub values: Vec<u8>,
}

/// Whether a file with this beginning is one.
pub fn is_pnm(head: &[u8]) -> bool {
    matches!(head, [b'P', b'5' | b'6', b' ' | b'\n' | b'\r' | b'\t', ..])
}

/// What a file holds, with nothing behind it but blanks.
pub fn parse(bytes: &[u8], file: &str) -> Result<Pnm, DataError> {
    let wrong = |problem: String| DataError::StereoFile { file: file.to_owned(), problem };
    if !is_pnm(bytes) {
        return Err(wrong("is no PGM or PPM picture of binary values: it should begin with P5 or P6".to_owned()));
    }
    let channels = if bytes[1] == b'5' { 1 } else { 3 };
    let mut at = 2;
    let mut number = |what: &str| {
        number(bytes, &mut at).ok_or_else(|| wrong(format!("lacks its {what} in its header, a whole number above 0")))
    };
    let [width, height, most] = [number("width")?, number("height")?, number("largest value")?];
    if most != 255 {
        return Err(wrong(format!("has values up to {most}, those of stereo sets go up to 255")));
    }
    let n = (width as usize).checked_mul(height as usize).and_then(|n| n.checked_mul(channels));
    // One blank ends the header.
    let values = &bytes[(at + 1).min(bytes.len())..];
    match n {
        Some(n) if n <= values.len() => {
            if values[n..].iter().any(|byte| !byte.is_ascii_whitespace()) {
                let end = format!("{} bytes", at + 1 + n);
                return Err(DataError::Trailing { file: file.to_owned(), end, part: "content" });
            }
            Ok(Pnm { height: height as usize, width: width as usize, channels, values: values[..n].to_vec() })
        }
        _ => Err(wrong(format!(
            "declares {width}x{height} pixels of {channels} bytes and holds {} bytes of them",
            values.len()
        ))),
    }
}

/// The same as a picture.
pub fn picture(bytes: &[u8], file: &str) -> Result<DynamicImage, DataError> {
    let Pnm { height, width, channels, values } = parse(bytes, file)?;
    let (width, height) = (width as u32, height as u32);
    let picture = match channels {
        1 => GrayImage::from_raw(width, height, values).map(DynamicImage::from),
        _ => RgbImage::from_raw(width, height, values).map(DynamicImage::from),
    };
    Ok(picture.expect("there are as many values as pixels need"))
}

/// The next number of a header, above 0, behind blanks and comments.
fn number(bytes: &[u8], at: &mut usize) -> Option<u32> {
    loop {
        match bytes.get(*at)? {
            b'#' => *at += bytes[*at..].iter().position(|&byte| byte == b'\n')?,
            byte if byte.is_ascii_whitespace() => *at += 1,
            _ => break,
        }
    }
    let digits = bytes[*at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let text = std::str::from_utf8(&bytes[*at..*at + digits]).ok()?;
    *at += digits;
    text.parse().ok().filter(|&number| number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gray_and_colour_are_read_and_each_damage_has_its_sentence() {
        let of = |bytes: &[u8]| parse(bytes, "f");
        let gray = Pnm { height: 2, width: 3, channels: 1, values: b"abcdef".to_vec() };
        assert_eq!(of(b"P5\n# made by hand\n3 2\n255\nabcdef"), Ok(gray.clone()));
        assert_eq!(of(b"P5 3\t2 255 abcdef\n"), Ok(gray));
        assert_eq!(of(b"P6 1 2 255 abcdef").unwrap().channels, 3);
        let message = |bytes: &[u8]| of(bytes).unwrap_err().to_string();
        assert_eq!(
            message(b"P2 1 1 255 7"),
            "f is no PGM or PPM picture of binary values: it should begin with P5 or P6"
        );
        assert_eq!(message(b"P5 1 x"), "f lacks its height in its header, a whole number above 0");
        assert_eq!(message(b"P5 1 1 65535 ab"), "f has values up to 65535, those of stereo sets go up to 255");
        assert_eq!(
            message(b"P6 4000000000 4000000000 255 abc"),
            "f declares 4000000000x4000000000 pixels of 3 bytes and holds 3 bytes of them"
        );
        assert!(message(b"P5 1 1 255 abc").starts_with("f goes on after 12 bytes"));
    }
}
