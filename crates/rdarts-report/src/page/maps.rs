//! Pairs as a network for disparity sees them: left view, truth, prediction, error.

use super::{MapView, Section};
use crate::number::{pixels, short};
use crate::table::MapRow;

/// The section of the pairs; `whose` says which network made the predictions, in a sentence.
pub(super) fn section(maps: &[MapRow], whose: &str) -> Section {
    let mut section = Section { id: "pairs", title: "Pairs, as the network sees them", ..Section::default() };
    if maps.is_empty() {
        return section;
    }
    section.paragraphs.push(
        format!(
            "{whose} Disparities go from dark blue, far away, over green to yellow, near; truth and prediction of a pair have \
             one scale. In the picture of the error yellow is where it is large. Gray is where the truth is not known."
        )
        .into(),
    );
    section.maps = maps.iter().map(view).collect();
    section
}

fn view(map: &MapRow) -> MapView {
    let (low, high) = map.range;
    let caption = format!(
        "{}: end-point error {}. Colours from {} to {} px of disparity, and from 0 to {} px of error.",
        map.name,
        pixels(map.error),
        short(low),
        short(high),
        short(map.most_error)
    );
    let picture = |(name, url): &(&'static str, String)| {
        let says = match *name {
            "left" => "left view",
            "truth" => "true disparity",
            "prediction" => "predicted disparity",
            _ => "error of the prediction",
        };
        (url.clone(), says, format!("{}: {says}", map.name).into())
    };
    MapView { caption: caption.into(), pictures: map.pictures.iter().map(picture).collect() }
}
