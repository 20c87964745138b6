//! The members of a portfolio: how good their short trainings are, and how their searches went.

use super::{Figure, epochs_axis, frame, line_class};
use crate::cells;
use crate::csv::{Cell, csv};
use crate::number::short;
use crate::svg::{Axis, Entry, Panel, Shape, chart, key, picture, write};
use crate::table::PortfolioTable;
use crate::table::portfolio::MemberRow;
use crate::task::{CellKind, Task};

pub(super) fn worth(table: &PortfolioTable) -> Option<Figure> {
    let trained: Vec<&MemberRow> = table.members.iter().filter(|m| m.worth().is_some()).collect();
    let most = trained.iter().filter_map(|member| member.worth()).filter(|v| v.is_finite()).reduce(f64::max)?;
    // A bar as wide as the picture is all images, or the largest error.
    let whole = if table.task == Task::Disparity { most.max(f64::MIN_POSITIVE) } else { 1.0 };
    let (left, width, step) = (108.0, 196.0, 20.0);
    let mut body = String::new();
    for (i, member) in trained.iter().enumerate() {
        let Some(value) = member.worth().filter(|value| value.is_finite()) else { continue };
        let y = 6.0 + step * i as f64;
        let bar = width * (value / whole).clamp(0.0, 1.0);
        let class = if member.is_chosen { "fill c4" } else { "fill c7 faint" };
        let label = crate::svg::escape(&member.label);
        let weight = if member.is_chosen { "end strong" } else { "end" };
        let (right, text, after) = (left - 5.0, y + 12.0, left + bar + 5.0);
        write(&mut body, format_args!("<text class=\"{weight}\" x=\"{right:.1}\" y=\"{text:.1}\">{label}</text>"));
        write(
            &mut body,
            format_args!("<path class=\"{class}\" d=\"M{left:.1} {:.1}h{bar:.1}v12h{:.1}Z\"/>", y + 2.0, -bar),
        );
        let star = if member.is_chosen { " \u{2605}" } else { "" };
        write(
            &mut body,
            format_args!("<text x=\"{after:.1}\" y=\"{text:.1}\">{}{star}</text>", table.task.worded(value)),
        );
    }
    let (title, column) = match table.task {
        Task::Classification => ("Accuracy of the members on held-out images", "held-out accuracy"),
        Task::Disparity => ("End-point error of the members on held-out pairs", "held-out error"),
    };
    let title = title.to_string();
    let caption = "After the short training of what each of them found; the star marks the chosen one.".to_string();
    let list: Vec<String> = trained
        .iter()
        .map(|m| format!("{} {}", m.label, m.worth().map_or(String::new(), |v| table.task.worded(v))))
        .collect();
    Some(Figure {
        drawing: None,
        name: "members".to_string(),
        svg: picture(
            "members",
            &title,
            &list.join(", "),
            (crate::svg::WIDTH, 14.0 + step * trained.len() as f64),
            &body,
        ),
        csv: csv(
            &["member", "chosen", column, "skips normal", "skips reduce", "weights", "multiply-adds", "genotype"],
            table.members.iter().map(|m| {
                vec![
                    Cell::from(&m.label[..]),
                    usize::from(m.is_chosen).into(),
                    m.worth().into(),
                    m.skips_normal.into(),
                    m.skips_reduce.into(),
                    m.n_params.into(),
                    m.macs.map(|macs| macs as f64).into(),
                    m.genotype.as_deref().into(),
                ]
            }),
        ),
        title,
        caption,
    })
}

/// The normal cell of every member that found one.
pub(super) fn cells(table: &PortfolioTable) -> Vec<Option<Figure>> {
    let figure = |(i, member): (usize, &MemberRow)| {
        let genotype = member.cells.as_ref()?;
        let name = format!("member-cell-{i}");
        let drawing = cells::cell(genotype, CellKind::Normal, None)?;
        let star = if member.is_chosen { " \u{2605}" } else { "" };
        let ops = genotype.entries(CellKind::Normal).into_iter();
        let rows = ops.map(|(node, op, input)| vec![node.into(), input.into(), Cell::from(op.as_str())]);
        Some(Figure {
            svg: cells::in_page(&drawing),
            drawing: Some(drawing),
            name,
            title: format!("{}{star}", member.label),
            caption: "Its normal cell.".to_string(),
            csv: csv(&["node", "input", "operation"], rows),
        })
    };
    table.members.iter().enumerate().map(figure).collect()
}

pub(super) fn trajectories(table: &PortfolioTable) -> Option<Figure> {
    let searches: Vec<(&MemberRow, Vec<(f64, f64)>)> = table
        .members
        .iter()
        .filter_map(|member| {
            let rows = member.search.as_ref()?.kept();
            let points: Vec<_> = rows.filter_map(|row| Some((row.epoch as f64, row.eigenvalue?))).collect();
            (!points.is_empty()).then_some((member, points))
        })
        .collect();
    searches.first()?;
    let class = line_class;
    let entry = |(i, (member, _)): (usize, &(&MemberRow, _))| Entry {
        label: member.label.clone(),
        class: class(i),
        shape: Shape::Line,
    };
    let (key, key_height) = key(&searches.iter().enumerate().map(entry).collect::<Vec<_>>(), 0.0);
    let (frame, height) = frame(key_height);
    let values = searches.iter().flat_map(|(_, points)| points.iter().map(|p| p.1));
    let epochs: Vec<usize> = searches.iter().flat_map(|(_, points)| points.iter().map(|p| p.0 as usize)).collect();
    let y = Axis::of("dominant eigenvalue", values, Some(0.0));
    let mut panel = Panel::new(frame, epochs_axis(epochs.iter().copied()), y);
    for (i, (_, points)) in searches.iter().enumerate() {
        panel.line(&class(i), points);
    }
    let title = "Dominant eigenvalue in the members' searches".to_string();
    let ends: Vec<String> = searches
        .iter()
        .filter_map(|(member, points)| Some(format!("{} ends at {}", member.label, short(points.last()?.1))))
        .collect();
    Some(Figure {
        drawing: None,
        name: "member-eigenvalues".to_string(),
        svg: chart("member-eigenvalues", &title, &ends.join(", "), height, &key, &[panel]),
        csv: csv(
            &["member", "epoch", "eigenvalue"],
            searches.iter().flat_map(|(member, points)| {
                points
                    .iter()
                    .map(|(epoch, value)| vec![Cell::from(&member.label[..]), (*epoch).into(), (*value).into()])
            }),
        ),
        title,
        caption: "Of the epochs that each search ended with.".to_string(),
    })
}
