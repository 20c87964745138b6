//! Pairs as a network for disparity sees them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rdarts_run::{MAP_NAMES, PairPictures};
use rdarts_text::escaped;
use serde::Serialize;

/// A pair and what a network makes of it.
#[derive(Clone, Debug, Serialize)]
pub struct MapRow {
    /// Its number in its set.
    pub pair: usize,
    /// What the set calls it, in one line of text.
    pub name: String,
    /// Mean end-point error over the pixels whose disparity is known, in pixels.
    pub error: f64,
    /// The disparities of the first and of the last colour, in pixels.
    pub range: (f64, f64),
    /// The error of the last colour, in pixels.
    pub most_error: f64,
    /// Left view, truth, prediction and error: the name of each and its picture as a data URL of a PNG file.
    pub pictures: Vec<(&'static str, String)>,
}

impl MapRow {
    pub(super) fn all(maps: &[PairPictures]) -> Vec<MapRow> {
        let row = |PairPictures { about: map, png }: &PairPictures| MapRow {
            pair: map.pair,
            name: escaped(&map.name),
            error: map.error,
            range: map.range,
            most_error: map.most_error,
            pictures: MAP_NAMES
                .into_iter()
                .zip(png)
                .map(|(name, png)| (name, format!("data:image/png;base64,{}", STANDARD.encode(png))))
                .collect(),
        };
        maps.iter().map(row).collect()
    }
}
