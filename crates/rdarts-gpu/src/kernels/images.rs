//! A batch of the images of a set that lies on the card as bytes: crop with padding, flip, normalization, Cutout, in the order and
//! with the values of `rdarts-data/src/augment.rs`.

use cubecl::prelude::*;

use super::UNITS;

/// Numbers of the record of an image: 0 which one, 1 and 2 row and column of the crop's first pixel in the padded image, 3 whether
/// it is mirrored, 4 to 7 first and last row, first and last column of Cutout, the last ones excluded.
pub const RECORD: usize = 8;

/// `words` are the bytes of all images, four in each; `values` those of the 256 bytes of each channel, normalized.
#[cube(launch)]
pub fn make(
    words: &[u32],
    values: &[f32],
    records: &[u32],
    out: &mut [f32],
    n: u32,
    padding: u32,
    #[comptime] h: usize,
    #[comptime] w: usize,
    #[comptime] c: usize,
) {
    let size = comptime!(h * w * c);
    let step = CUBE_COUNT_X as usize * UNITS;
    for i in range_stepped(CUBE_POS_X as usize * UNITS + UNIT_POS as usize, n as usize * size, step) {
        let record = (i / size) * RECORD;
        let ch = i % c;
        let x = (i / c) % w;
        let y = (i / comptime!(c * w)) % h;
        let mut column = x;
        if records[record + 3] != 0 {
            column = w - 1 - x;
        }
        // In the padded image.
        let row = y + records[record + 1] as usize;
        column += records[record + 2] as usize;
        let mut byte = 0u32;
        let pad = padding as usize;
        if row >= pad && row < h + pad && column >= pad && column < w + pad {
            let at = (((records[record] as usize) * h + row - pad) * w + column - pad) * c + ch;
            byte = (words[at / 4] >> ((at % 4) as u32 * 8)) & 255;
        }
        let mut value = values[ch * 256 + byte as usize];
        let is_row = y >= records[record + 4] as usize && y < records[record + 5] as usize;
        if is_row && x >= records[record + 6] as usize && x < records[record + 7] as usize {
            value = 0.0f32;
        }
        out[i] = value;
    }
}
