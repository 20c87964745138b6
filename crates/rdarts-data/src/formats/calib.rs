//! `calib.txt` of Middlebury 2014: a line for each value, `key=value`. Taken are those that tell whether the files of a
//! scene belong together.

use crate::error::DataError;

/// What is taken; `None`: the file does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Calib {
    /// Width of the views in pixels.
    pub width: Option<usize>,
    /// Height of the views in pixels.
    pub height: Option<usize>,
}

/// Reads the text of a file. Keys that are not taken may have any value.
pub fn parse(text: &str, file: &str) -> Result<Calib, DataError> {
    let mut calib = Calib::default();
    for (line, text) in text.lines().enumerate() {
        let Some((key, value)) = text.split_once('=') else { continue };
        let slot = match key.trim() {
            "width" => &mut calib.width,
            "height" => &mut calib.height,
            _ => continue,
        };
        let number = value.trim().parse().ok().filter(|&number| (1..=1 << 20).contains(&number));
        *slot = Some(number.ok_or_else(|| DataError::StereoFile {
            file: file.to_owned(),
            problem: format!(
                "has '{}' in line {}, it should be {}=NUMBER",
                rdarts_text::shown(text.trim()),
                line + 1,
                key.trim()
            ),
        })?);
    }
    Ok(calib)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_taken_and_nonsense_is_told() {
        let text = "cam0=[999.421 0 294.182; 0 999.421 252.932; 0 0 1]\ndoffs=32.778\nwidth=741\r\nheight = 497\nndisp=70\nisint=0\n";
        assert_eq!(parse(text, "f"), Ok(Calib { width: Some(741), height: Some(497) }));
        assert_eq!(parse("nothing", "f"), Ok(Calib::default()));
        assert_eq!(
            parse("doffs=1\nwidth=-3\n", "f").unwrap_err().to_string(),
            "f has 'width=-3' in line 2, it should be width=NUMBER"
        );
    }
}
