//! The softmax weight of every operation of every edge over the epochs: small multiples, one panel an edge.

use rdarts_space::Op;

use super::{Figure, every};
use crate::csv::{Cell, csv};
use crate::svg::{Axis, Entry, Panel, Shape, WIDTH, chart, key, op_class};
use crate::table::SearchTable;
use crate::table::search::EdgeTable;
use crate::task::CellKind;

/// More points than these no panel has pixels for.
const MOST_POINTS: usize = 60;

pub(super) fn figure(table: &SearchTable, cell: CellKind) -> Option<Figure> {
    // Random search learns none.
    if table.is_random() {
        return None;
    }
    let edges: Vec<&EdgeTable> = table.edges.iter().filter(|edge| edge.cell == cell).collect();
    let kept: Vec<usize> = (0..table.epochs.len()).filter(|&i| table.epochs[i].is_kept).collect();
    let (Some(_), Some(&last)) = (edges.first(), kept.last()) else { return None };
    let mut ops: Vec<&str> = edges.iter().flat_map(|edge| edge.ops.iter().map(String::as_str)).collect();
    ops.sort_by_key(|op| op.parse::<Op>().ok());
    ops.dedup();
    let class = |op: &str| op.parse().map_or("c7".to_string(), op_class);
    let entry = |op: &&str| Entry { label: (*op).into(), class: class(op), shape: Shape::Line };
    let (key, key_height) = key(&ops.iter().map(entry).collect::<Vec<_>>(), 0.0);

    // Rows are nodes and columns their inputs, as long as there is room for so many columns.
    let n_nodes = edges.iter().map(|edge| edge.node + 1).max().unwrap_or(1);
    let columns = if n_nodes < 6 { cell.n_inputs() + n_nodes - 1 } else { 6 };
    let (left, gap) = (24.0, 8.0);
    let width = (WIDTH - left - 4.0 - gap * (columns - 1) as f64) / columns as f64;
    let row_height = 62.0;
    let mut panels = Vec::new();
    let mut rows = 0;
    for (i, edge) in edges.iter().enumerate() {
        let (row, column) = if n_nodes < 6 { (edge.node, edge.input) } else { (i / columns, i % columns) };
        rows = rows.max(row + 1);
        let frame = (left + (width + gap) * column as f64, key_height + 14.0 + row_height * row as f64, width, 36.0);
        let first = table.epochs[kept[0]].epoch;
        // Only the outer panels have labels.
        let mut x = Axis::whole("", first, table.epochs[last].epoch);
        x.range.1 += 1e-9;
        let y = Axis { range: (0.0, 1.0), ..Axis::of("", [0.0, 1.0], None) };
        let mut panel =
            Panel::small(frame, x, y, &format!("{} \u{2192} {}", state(edge.input, cell), edge.node), column == 0);
        for (op, weights) in edge.ops.iter().zip(&edge.weights) {
            let points: Vec<(f64, f64)> = every(kept.len(), MOST_POINTS)
                .into_iter()
                .map(|i| (table.epochs[kept[i]].epoch as f64, weights[kept[i]]))
                .collect();
            panel.line(&format!("thin {}", class(op)), &points);
        }
        panel.cursor("epoch");
        panels.push(panel);
    }
    let height = key_height + 14.0 + row_height * rows as f64;
    let name = format!("weights-{}", cell.as_str());
    let title = format!("Weights of the operations, {} cell", cell.in_words());
    let strongest = |edge: &&EdgeTable| {
        let best = (0..edge.ops.len()).max_by(|&a, &b| edge.weights[a][last].total_cmp(&edge.weights[b][last]))?;
        Some(format!("{} to node {}: {}", state(edge.input, cell), edge.node, edge.ops[best]))
    };
    let description: Vec<String> = edges.iter().filter_map(strongest).collect();
    let numbers = edges.iter().flat_map(|edge| {
        edge.ops.iter().zip(&edge.weights).flat_map(move |(op, weights)| {
            table.epochs.iter().zip(weights).map(move |(row, weight)| {
                vec![
                    edge.node.into(),
                    edge.input.into(),
                    Cell::from(&op[..]),
                    row.attempt.into(),
                    row.epoch.into(),
                    (*weight).into(),
                ]
            })
        })
    });
    Some(Figure {
        drawing: None,
        svg: chart(&name, &title, &format!("Strongest at the end: {}.", description.join("; ")), height, &key, &panels),
        csv: csv(&["node", "input", "operation", "attempt", "epoch", "weight"], numbers),
        name,
        title,
        caption: format!(
            "Each panel is an edge, from an input of the cell ({}) or a node to a node; epochs {} to {}, weights 0 to 1.",
            match cell {
                CellKind::Upsample => "a, b, the prediction p, the encoder e",
                _ => "a, b",
            },
            table.epochs[kept[0]].epoch,
            table.epochs[last].epoch
        ),
    })
}

fn state(input: usize, cell: CellKind) -> String {
    match input.checked_sub(cell.n_inputs()) {
        Some(node) => node.to_string(),
        None => ["a", "b", "p", "e"][input.min(3)].to_string(),
    }
}
