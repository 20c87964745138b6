//! Numbers that belong to a network: the float types of weights and images, and architecture parameters.

use std::ops::{Index, IndexMut};

use burn::tensor::Element;
use rdarts_kernels::dense::Scalar;
use rdarts_kernels::workspace::Workspace;
use rdarts_space::CellType;

/// The float types weights and images may have: `f32` to search, `f64` to check.
pub trait Real: Element + Scalar {
    /// Widens.
    fn to_f64(self) -> f64 {
        self.wide()
    }
    /// Rounds.
    fn from_f64(value: f64) -> Self {
        Self::of(value)
    }
    /// A vector of `len` values with unspecified contents.
    fn take(workspace: &Workspace, len: usize) -> Vec<Self> {
        Self::vector(workspace, len)
    }
    /// Values in single precision, if this is single precision.
    ///
    /// # Panics
    /// If it is not: what lies on a card is never anything else.
    fn of_single(values: &[f32]) -> &[Self];
    /// Where a vector goes that nobody needs any more.
    fn give_back(workspace: &Workspace, values: Vec<Self>) {
        Self::release(workspace, values);
    }
}

impl Real for f32 {
    fn of_single(values: &[f32]) -> &[Self] {
        values
    }
}

impl Real for f64 {
    fn of_single(_: &[f32]) -> &[Self] {
        unreachable!("a card computes in single precision")
    }
}

/// Architecture parameters, or anything that has one value for each (mixing weights, a gradient, a direction): a list for
/// each type of cell, flat in edge order.
#[derive(Clone, Debug, PartialEq)]
pub struct Alphas(Vec<Vec<f64>>);

impl Alphas {
    /// The lists, one for each type of cell.
    pub fn each(&self) -> &[Vec<f64>] {
        &self.0
    }

    /// The lists, to write.
    pub fn each_mut(&mut self) -> &mut [Vec<f64>] {
        &mut self.0
    }

    /// The lengths of the lists.
    pub fn n_each(&self) -> Vec<usize> {
        self.0.iter().map(Vec::len).collect()
    }

    /// The values of one type of cell.
    pub fn of(&self, cell_type: usize) -> &[f64] {
        &self.0[cell_type]
    }

    /// One type after another.
    pub fn flat(&self) -> Vec<f64> {
        self.0.concat()
    }

    /// a self + b other.
    pub fn combined(&self, a: f64, other: &Self, b: f64) -> Self {
        let line = |(x, y): (&Vec<f64>, &Vec<f64>)| x.iter().zip(y).map(|(x, y)| a * x + b * y).collect();
        self.0.iter().zip(&other.0).map(line).collect()
    }

    /// In single precision.
    pub(crate) fn narrow(&self) -> Vec<Vec<f32>> {
        self.0.iter().map(|values| values.iter().map(|v| *v as f32).collect()).collect()
    }
}

impl FromIterator<Vec<f64>> for Alphas {
    fn from_iter<I: IntoIterator<Item = Vec<f64>>>(lists: I) -> Self {
        Self(lists.into_iter().collect())
    }
}

impl<const N: usize> From<[Vec<f64>; N]> for Alphas {
    fn from(lists: [Vec<f64>; N]) -> Self {
        lists.into_iter().collect()
    }
}

impl Index<CellType> for Alphas {
    type Output = Vec<f64>;
    fn index(&self, cell_type: CellType) -> &Vec<f64> {
        &self.0[cell_type as usize]
    }
}

impl IndexMut<CellType> for Alphas {
    fn index_mut(&mut self, cell_type: CellType) -> &mut Vec<f64> {
        &mut self.0[cell_type as usize]
    }
}
