//! Whether anything is left in pictures to learn from: those of a single colour, those whose shape lies in their
//! transparency, and those whose values use a small part of what their files could hold.

use std::path::Path;

use rdarts_text::shown;

use crate::error::DataError;
use crate::formats::facts::Facts;

/// Fewer values than these of 256 are worth a word.
const NARROW: u8 = 32;
/// A largest value of 16 bits below this leaves as few of 8.
const DARK: u16 = 1 << 13;

/// What is noticed about the pictures of a folder, one sentence each; an error if nothing is left to learn from.
pub fn judge<'a>(root: &Path, pictures: impl Iterator<Item = (&'a Path, Facts)>) -> Result<Vec<String>, DataError> {
    let mut n = 0;
    let (mut flat, mut veiled) = (Few::default(), Few::default());
    let (mut range, mut n_deep, mut peak) = ((u8::MAX, 0), 0, (0, None));
    for (path, facts) in pictures {
        n += 1;
        match facts {
            Facts { is_flat: true, is_veiled: true, .. } => veiled.add(path),
            Facts { is_flat: true, .. } => flat.add(path),
            _ => {}
        }
        range = (range.0.min(facts.range.0), range.1.max(facts.range.1));
        if let Some(most) = facts.peak {
            n_deep += 1;
            if peak.1.is_none() || most > peak.0 {
                peak = (most, Some(path));
            }
        }
    }
    let place = |path: &Path| shown(root.join(path));
    let mut notes = Vec::new();
    if let (most @ 0..DARK, Some(path)) = peak {
        let bits = (16 - most.leading_zeros()).max(1);
        let (least_levels, factor) = ((u32::from(most) + 128) / 257 + 1, 1u32 << (16 - bits));
        notes.push(format!(
            "the {} stored with 16 bits a value use no more than {bits} of them (the largest value is {most}, in {}), so \
             that no more than {} of 256 gray levels are left and the images are dark: multiply their values by {factor} \
             and save them again",
            counted(n_deep, "image"),
            place(path),
            least_levels,
        ));
    }
    if n > 0 && flat.n + veiled.n == n {
        let first = flat.first.or(veiled.first).unwrap_or(Path::new(""));
        let why = match notes.pop() {
            Some(note) => note,
            None if flat.n == 0 => {
                "their shapes lie in their transparency, which is not read: put them on a background \
                                    of one colour and save them without transparency"
                    .to_owned()
            }
            None => "fill the folder with images that show something".to_owned(),
        };
        let (root, first) = (shown(root), place(first));
        return Err(DataError::NoContent {
            what: format!("each of the {n} images in {root} is of a single colour, such as {first}: {why}"),
        });
    }
    if let Some(first) = veiled.first {
        let (is, has) = if veiled.n == 1 { ("is", "its shape lies") } else { ("are", "their shapes lie") };
        notes.push(format!(
            "{}, such as {}, {is} of a single colour, since {has} in the transparency, which is not read: put such images \
             on a background and save them without transparency",
            counted(veiled.n, "image"),
            place(first)
        ));
    }
    if let Some(first) = flat.first {
        let (is, it) = if flat.n == 1 { ("is", "it") } else { ("are", "they") };
        notes.push(format!(
            "{}, such as {}, {is} of a single colour: look whether this is what {it} should show",
            counted(flat.n, "image"),
            place(first)
        ));
    }
    if n_deep == 0 && n > 0 && range.1 - range.0 < NARROW {
        notes.push(format!(
            "all values of all images lie from {} to {}, where 0 to 255 can be stored: look whether the images should \
             have more contrast",
            range.0, range.1
        ));
    }
    Ok(notes)
}

fn counted(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// How many, and the first.
#[derive(Default)]
struct Few<'a> {
    n: usize,
    first: Option<&'a Path>,
}

impl<'a> Few<'a> {
    fn add(&mut self, path: &'a Path) {
        self.n += 1;
        self.first.get_or_insert(path);
    }
}
