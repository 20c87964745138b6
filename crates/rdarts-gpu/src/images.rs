//! The images of a data set on the card, as bytes, and batches of them.

use std::fmt;
use std::sync::Arc;

use cubecl::client::Client;
use cubecl::prelude::*;

use crate::flat::{Flat, Layout};
use crate::kernels::images::make;
use crate::kernels::{UNITS, images};
use crate::launch::Numbers;
use crate::table::Placed;

/// What is done with an image: see [`images::RECORD`].
pub type Record = [u32; images::RECORD];

/// Values that a unit makes, and the most cubes that do.
const EACH: usize = 4;
const CUBES: usize = 4096;

/// Images of one size.
pub struct Images {
    client: Client,
    words: Placed,
    values: Numbers,
    /// Rows, columns, channels.
    size: [usize; 3],
}

impl fmt::Debug for Images {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Images").field("words", &self.words).field("size", &self.size).finish_non_exhaustive()
    }
}

impl Images {
    /// Uploads the bytes of all images, (n, rows, columns, channels), and what each byte is in each channel.
    pub fn upload(client: &Client, bytes: &[u8], values: &[[f32; 256]], size: [usize; 3]) -> Self {
        let word = |four: &[u8]| four.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
        let words: Vec<u32> = bytes.chunks(4).map(word).collect();
        let values = Numbers::upload(client, values.as_flattened());
        Self { client: client.clone(), words: Placed::upload(client, &words), values, size }
    }

    /// A batch, (n, rows, columns, channels); `padding` black pixels lie around each image before it is cropped.
    pub fn make(&self, records: &[Record], padding: u32) -> Flat {
        let [h, w, c] = self.size;
        let n = records.len() * h * w * c;
        let made = Flat::unspecified(&self.client, &Arc::new(Layout::new(vec![n])));
        let records_there = Placed::upload(&self.client, records.as_flattened());
        let count = CubeCount::Static(n.div_ceil(UNITS * EACH).clamp(1, CUBES) as u32, 1, 1);
        make::launch(
            &self.client,
            count,
            CubeDim::new_1d(UNITS as u32),
            self.words.arg(),
            self.values.arg(),
            records_there.arg(),
            made.all().arg(),
            records.len() as u32,
            padding,
            h,
            w,
            c,
        );
        made
    }
}
