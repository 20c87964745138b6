//! The cells that a search found.

use super::Figure;
use crate::cells;
use crate::csv::{Cell, csv};
use crate::number::some;
use crate::table::SearchTable;
use crate::task::CellKind;

pub(super) fn figure(table: &SearchTable, cell: CellKind) -> Option<Figure> {
    let genotype = table.genotype()?;
    let weights: Option<Vec<f64>> = table.weights_of(&genotype, cell);
    let name = format!("cell-{}", cell.as_str());
    let drawing = cells::cell(&genotype, cell, weights.as_deref())?;
    let rows = genotype.entries(cell).into_iter().enumerate().map(|(i, (node, op, input))| {
        let weight = weights.as_ref().map(|weights| weights[i]);
        vec![node.into(), input.into(), Cell::from(op.as_str()), weight.into()]
    });
    let title = match cell {
        CellKind::Normal => "Normal cell",
        CellKind::Reduce => "Reduction cell",
        CellKind::Upsample => "Upsampling cell",
    };
    let caption = match (&table.found, weights.is_some()) {
        (Some(_), _) if table.is_random() => {
            let n = table.asked.map_or("architectures".to_string(), |asked| some(asked.samples, "architecture"));
            format!("As chosen of {n} drawn at random after the last epoch.")
        }
        (Some(found), true) => {
            format!("As found, of epoch {}; thickness is the softmax weight of the operation.", found.epoch)
        }
        (Some(found), false) => format!("As found, of epoch {}.", found.epoch),
        (None, _) => "As it stands after the last epoch.".to_string(),
    };
    let csv = csv(&["node", "input", "operation", "weight"], rows);
    Some(Figure { name, title: title.to_string(), caption, svg: cells::in_page(&drawing), csv, drawing: Some(drawing) })
}
