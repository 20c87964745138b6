//! The normal cell with the most skip connections in each space, side by side: the paper's figure 1 out of these runs.

use super::Figure;
use crate::cells;
use crate::csv::{Cell, csv};
use crate::number::{some, spread};
use crate::table::ManyTable;
use crate::table::many::SpaceRow;
use crate::task::CellKind;

pub(super) fn figures(many: &ManyTable) -> Vec<Figure> {
    many.spaces.iter().enumerate().filter_map(|(i, row)| figure(many, i, row)).collect()
}

fn figure(many: &ManyTable, i: usize, row: &SpaceRow) -> Option<Figure> {
    let drawing = cells::cell(&row.genotype, CellKind::Normal, None)?;
    let name = format!("space-{}", i + 1);
    let skips = row.genotype.n_uses(CellKind::Normal, rdarts_space::Op::SkipConnect);
    let run = many.rows.get(row.run).map_or("", |row| &row.name);
    let mean = match row.skips_normal {
        Some(all) if all.n > 1 => format!("; the mean of {} searches is {}", all.n, spread(all.mean, all.deviation)),
        _ => ", the only search".to_string(),
    };
    let entries = row.genotype.entries(CellKind::Normal).into_iter();
    Some(Figure {
        svg: cells::in_page(&drawing),
        drawing: Some(drawing),
        csv: csv(
            &["space", "run", "node", "input", "operation"],
            entries.map(|(node, op, input)| {
                vec![Cell::from(&row.space[..]), Cell::from(run), node.into(), input.into(), op.as_str().into()]
            }),
        ),
        name,
        title: format!("Most skip connections in {}", row.space),
        caption: format!("{} in the normal cell that {run} found{mean}.", some(skips, "skip connection")),
    })
}
