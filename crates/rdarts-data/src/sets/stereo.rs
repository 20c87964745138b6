//! Sets of stereo pairs: which files each is made of, and where its pairs come from.

use std::sync::Arc;

use crate::error::DataError;
use crate::pair::Pair;
use crate::scenes::Scenes;

/// The name of the synthetic scenes.
pub const SCENES: &str = "stereo-scenes";

/// Pairs that are made or read one by one as they are asked for.
#[derive(Clone, Debug)]
pub struct Pairs {
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    /// Scenes `first`, `first + 1`, ...
    Scenes { scenes: Scenes, first: u64, n: usize },
    /// Pairs with their names.
    Memory(Arc<Vec<(String, Pair)>>),
}

/// A set of stereo pairs.
#[derive(Clone, Debug)]
pub struct StereoDataset {
    /// Its name.
    pub name: String,
    /// Pairs to train on.
    pub train: Pairs,
    /// Pairs to test on.
    pub test: Pairs,
}

impl Pairs {
    /// The scenes with the numbers `first`, `first + 1`, ...
    pub fn of_scenes(scenes: Scenes, first: u64, n: usize) -> Self {
        Self { source: Source::Scenes { scenes, first, n } }
    }

    /// Pairs in memory, each with a name.
    pub fn in_memory(pairs: Vec<(String, Pair)>) -> Self {
        Self { source: Source::Memory(Arc::new(pairs)) }
    }

    /// The number of pairs.
    pub fn n(&self) -> usize {
        match &self.source {
            Source::Scenes { n, .. } => *n,
            Source::Memory(pairs) => pairs.len(),
        }
    }

    /// What pair `i` is called.
    ///
    /// # Panics
    /// If there is no pair `i`.
    pub fn name_of(&self, i: usize) -> String {
        assert!(i < self.n(), "pair {i} of {}", self.n());
        match &self.source {
            Source::Scenes { first, .. } => format!("scene {}", first + i as u64),
            Source::Memory(pairs) => pairs[i].0.clone(),
        }
    }

    /// Makes or reads pair `i`; an error only if it comes from files.
    ///
    /// # Panics
    /// If there is no pair `i`.
    pub fn pair(&self, i: usize) -> Result<Pair, DataError> {
        assert!(i < self.n(), "pair {i} of {}", self.n());
        match &self.source {
            Source::Scenes { scenes, first, .. } => Ok(scenes.pair(first + i as u64)),
            Source::Memory(pairs) => Ok(pairs[i].1.clone()),
        }
    }
}
