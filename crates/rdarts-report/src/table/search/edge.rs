//! The edges of the cells and the weights of their operations over the epochs.

use rdarts_run::Selected;
use rdarts_space::{CellType, DisparityCell, DisparitySpace, Op, Space};
use serde::Serialize;

use super::{EpochRow, SearchTable};
use crate::read::Kind;
use crate::task::CellKind;

/// An edge of a cell, and the weight of each of its operations over the epochs.
#[derive(Clone, Debug, Serialize)]
pub struct EdgeTable {
    /// The cell type.
    pub cell: CellKind,
    /// The node that it leads to, counted from 0.
    pub node: usize,
    /// What it reads: the inputs of the cell first, 0 and 1 or as far as 3, then its nodes.
    pub input: usize,
    /// Its operations.
    pub ops: Vec<String>,
    /// For each operation its softmax weight after each epoch; with method `rs-ws` its mixing weight; from a decision of a
    /// selection on 1 or 0, and 0 for all of an edge that its node does without.
    pub weights: Vec<Vec<f64>>,
}

/// The edges of a search whose space is known.
pub(super) fn tables(kind: &Kind, table: &SearchTable) -> Vec<EdgeTable> {
    match kind {
        Kind::Search { space: Some(space), .. } => of_classification(space, table),
        Kind::DisparitySearch { .. } => DisparitySpace::builtin(&table.space).map_or(Vec::new(), |space| {
            DisparityCell::ALL.iter().flat_map(|cell| of_disparity(&space, *cell, table)).collect()
        }),
        _ => Vec::new(),
    }
}

fn of_classification(space: &Space, table: &SearchTable) -> Vec<EdgeTable> {
    // The mixing weights of random search are weights already.
    let is_mixed = !table.is_random();
    let mut tables = Vec::new();
    let types = CellType::ALL.into_iter().zip(CellKind::ALL);
    for (cell, kind) in types.filter(|(cell, _)| space.cell_types().contains(cell)) {
        let alphas = alphas_of(table, kind);
        // Of another length they belong to another space, and a network without reduction cells has none.
        if alphas.is_empty() || alphas.iter().any(|row| row.len() != space.n_alphas(cell)) {
            continue;
        }
        for (edge, node, input) in space.edges() {
            let (ops, offset) = (&space.cell(cell)[edge], space.offset(cell, edge));
            let mut weights = weights(alphas, offset, ops.len(), is_mixed);
            select(&mut weights, table, cell, (node, input));
            tables.push(EdgeTable { cell: kind, node, input, ops: names(ops), weights });
        }
    }
    tables
}

/// Puts the decisions of a selection in the place of an edge's softmax weights.
fn select(weights: &mut [Vec<f64>], table: &SearchTable, cell: CellType, (node, input): (usize, usize)) {
    let of_edge = |selected: &&Selected| selected.cell == cell.as_str() && selected.node == node;
    for selected in table.selected.iter().filter(of_edge) {
        let kept = match selected.input {
            Some(of) if of == input => selected.kept.first().copied(),
            None if !selected.kept.contains(&input) => None,
            _ => continue,
        };
        // The first decision stands behind an epoch that it had no part in.
        let is_in_force =
            |row: &EpochRow| row.epoch > selected.epoch || row.epoch >= table.n_searched && row.epoch == selected.epoch;
        for (i, _) in table.epochs.iter().enumerate().filter(|(_, row)| is_in_force(row)) {
            weights.iter_mut().enumerate().for_each(|(op, weights)| weights[i] = f64::from(u8::from(Some(op) == kept)));
        }
    }
}

fn of_disparity(space: &DisparitySpace, cell: DisparityCell, table: &SearchTable) -> Vec<EdgeTable> {
    let kind = CellKind::ALL[cell as usize];
    let (alphas, n) = (alphas_of(table, kind), space.ops.len());
    if alphas.is_empty() || alphas.iter().any(|row| row.len() != cell.n_edges() * n) {
        return Vec::new();
    }
    let edge = |(edge, (node, input)): (usize, (usize, usize))| EdgeTable {
        cell: kind,
        node,
        input,
        ops: names(&space.ops),
        weights: weights(alphas, edge * n, n, true),
    };
    cell.edges().enumerate().map(edge).collect()
}

fn alphas_of(table: &SearchTable, cell: CellKind) -> &[Vec<f32>] {
    match cell {
        CellKind::Normal => &table.alphas_normal,
        CellKind::Reduce => &table.alphas_reduce,
        CellKind::Upsample => &table.alphas_upsample,
    }
}

fn names(ops: &[Op]) -> Vec<String> {
    ops.iter().map(ToString::to_string).collect()
}

/// The weight of each of `n` operations after each epoch.
fn weights(alphas: &[Vec<f32>], offset: usize, n: usize, is_mixed: bool) -> Vec<Vec<f64>> {
    let mut weights = vec![Vec::with_capacity(alphas.len()); n];
    for row in alphas {
        let alphas = &row[offset..offset + n];
        let p = if is_mixed { softmax(alphas) } else { alphas.iter().map(|&a| f64::from(a)).collect() };
        weights.iter_mut().zip(p).for_each(|(weights, p)| weights.push(p));
    }
    weights
}

fn softmax(alphas: &[f32]) -> Vec<f64> {
    let max = alphas.iter().fold(f64::NEG_INFINITY, |max, &a| max.max(f64::from(a)));
    let exponentials: Vec<f64> = alphas.iter().map(|&a| (f64::from(a) - max).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.iter().map(|e| e / sum).collect()
}
