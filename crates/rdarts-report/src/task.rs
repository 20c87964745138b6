//! What a network is for, and what a report says of it in its words: accuracies of images, or errors of pairs in pixels.

use rdarts_draw::CellPicture;
use rdarts_space::{CellType, DisparityCell, DisparityGenotype, Genotype, Op};
use serde::Serialize;

use crate::number::{percent, pixels, points, spread_percent, spread_pixels, spread_points};

/// What a network is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// It says what an image shows.
    #[default]
    Classification,
    /// It says how far each pixel of a view has moved in another one.
    Disparity,
}

impl Task {
    /// What it is trained on.
    pub const fn examples(self) -> &'static str {
        match self {
            Self::Classification => "images",
            Self::Disparity => "pairs",
        }
    }

    /// An error: a fraction as percent, or pixels.
    pub fn error(self, value: f64) -> String {
        match self {
            Self::Classification => percent(value),
            Self::Disparity => pixels(value),
        }
    }

    /// A mean of errors and its deviation.
    pub(crate) fn spread(self, mean: f64, deviation: Option<f64>) -> String {
        match self {
            Self::Classification => spread_percent(mean, deviation),
            Self::Disparity => spread_pixels(mean, deviation),
        }
    }

    /// A difference of errors: points of percent, without their name, or pixels.
    pub(crate) fn drop(self, value: f64) -> String {
        match self {
            Self::Classification => points(value),
            Self::Disparity => pixels(value),
        }
    }

    /// A mean of such differences and its deviation.
    pub(crate) fn spread_of_drops(self, mean: f64, deviation: Option<f64>) -> String {
        match self {
            Self::Classification => spread_points(mean, deviation),
            Self::Disparity => spread_pixels(mean, deviation),
        }
    }
}

/// A type of cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CellKind {
    /// Keeps the resolution.
    Normal,
    /// Halves it.
    Reduce,
    /// Doubles it; networks that classify have none.
    Upsample,
}

impl CellKind {
    /// All types.
    pub const ALL: [Self; 3] = [Self::Normal, Self::Reduce, Self::Upsample];

    /// `normal`, `reduce` or `upsample`, as in a genotype.
    pub const fn as_str(self) -> &'static str {
        self.of_disparity().as_str()
    }

    /// `normal`, `reduction` or `upsampling`, as in a sentence.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Reduce => "reduction",
            Self::Upsample => "upsampling",
        }
    }

    /// States that a cell reads.
    pub const fn n_inputs(self) -> usize {
        self.of_disparity().n_inputs()
    }

    const fn of_disparity(self) -> DisparityCell {
        match self {
            Self::Normal => DisparityCell::Normal,
            Self::Reduce => DisparityCell::Reduce,
            Self::Upsample => DisparityCell::Upsample,
        }
    }

    const fn of_classification(self) -> Option<CellType> {
        match self {
            Self::Normal => Some(CellType::Normal),
            Self::Reduce => Some(CellType::Reduce),
            Self::Upsample => None,
        }
    }
}

/// What a search has found, for either task.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Architecture {
    /// For classification.
    Classification(Genotype),
    /// For disparity.
    Disparity(DisparityGenotype),
}

impl From<Genotype> for Architecture {
    fn from(genotype: Genotype) -> Self {
        Self::Classification(genotype)
    }
}

impl From<DisparityGenotype> for Architecture {
    fn from(genotype: DisparityGenotype) -> Self {
        Self::Disparity(genotype)
    }
}

impl Architecture {
    /// That of a text in the notation of the DARTS code; `None` if it is damaged.
    pub fn read(text: &str) -> Option<Self> {
        let classification = text.parse::<Genotype>().ok().map(Self::from);
        classification.or_else(|| text.parse::<DisparityGenotype>().ok().map(Self::from))
    }

    /// Skip connections in a cell; `None` where there is no such cell, as reduction cells in NAS-Bench-201.
    pub fn skips(&self, cell: CellKind) -> Option<usize> {
        let is_absent = |genotype: &Genotype| cell == CellKind::Reduce && !genotype.topology.has_reduction_cells();
        (!self.of_classification().is_some_and(is_absent)).then(|| self.n_uses(cell, Op::SkipConnect))
    }

    /// The genotype of a network that classifies.
    pub const fn of_classification(&self) -> Option<&Genotype> {
        match self {
            Self::Classification(genotype) => Some(genotype),
            Self::Disparity(_) => None,
        }
    }

    /// The node, the operation and the state it reads, of every entry of a cell; none of a cell that there is not.
    pub fn entries(&self, cell: CellKind) -> Vec<(usize, Op, usize)> {
        match self {
            Self::Classification(genotype) => cell.of_classification().map_or(Vec::new(), |cell| {
                let of = |node| genotype.node(cell, node).iter().map(move |&(op, input)| (node, op, input));
                (0..genotype.n_nodes(cell)).flat_map(of).collect()
            }),
            Self::Disparity(genotype) => genotype.entries(cell.of_disparity()).collect(),
        }
    }

    /// How often a cell uses an operation.
    pub fn n_uses(&self, cell: CellKind, op: Op) -> usize {
        self.entries(cell).iter().filter(|entry| entry.1 == op).count()
    }

    /// How many operations of a cell are no convolutions.
    pub fn n_parameterless(&self, cell: CellKind) -> usize {
        self.entries(cell).iter().filter(|entry| entry.1.is_parameterless()).count()
    }

    /// A cell as it is drawn; `None` if there is none that can be.
    pub fn picture(&self, cell: CellKind) -> Option<CellPicture> {
        match self {
            Self::Classification(genotype) => CellPicture::of_genotype(genotype, cell.of_classification()?).ok(),
            Self::Disparity(genotype) => CellPicture::of_disparity(genotype, cell.of_disparity()).ok(),
        }
    }

    /// The same architecture in one way of writing it, so that architectures can be compared.
    pub fn canonical(&self) -> String {
        match self {
            Self::Classification(genotype) => genotype.clone().canonical().to_string(),
            Self::Disparity(genotype) => genotype.clone().canonical().to_string(),
        }
    }
}

impl std::fmt::Display for Architecture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Classification(genotype) => genotype.fmt(f),
            Self::Disparity(genotype) => genotype.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entries_of_a_cell_are_those_of_either_notation() {
        let text = "Genotype(normal=[('skip_connect', 0), ('sep_conv_3x3', 1)], normal_concat=[2])";
        let found = Architecture::read(text).unwrap();
        assert_eq!(found.entries(CellKind::Normal), [(0, Op::SkipConnect, 0), (0, Op::SepConv3x3, 1)]);
        assert!(found.entries(CellKind::Upsample).is_empty() && found.picture(CellKind::Upsample).is_none());
        let genotype = DisparityGenotype::autodispnet();
        let found = Architecture::read(&genotype.to_string()).unwrap();
        assert_eq!(found, Architecture::Disparity(genotype));
        assert_eq!(CellKind::ALL.map(|cell| found.entries(cell).len()), [6, 6, 8]);
        assert_eq!(found.n_uses(CellKind::Upsample, Op::SepConv3x3), 5);
        assert_eq!(found.n_parameterless(CellKind::Reduce), 2);
        assert_eq!(found.entries(CellKind::Upsample)[4], (1, Op::SepConv3x3, 3));
        assert_eq!(Architecture::read("Genotype(normal=["), None);
    }
}
