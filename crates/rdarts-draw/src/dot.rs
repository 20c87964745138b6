//! The drawing as a graph for Graphviz.

use std::fmt::Write;

use crate::escape::dot as escape;
use crate::kind::{Kind, short_name};
use crate::picture::{CellPicture, Drawing, Edge, state_name};

/// The drawing in the language DOT; Graphviz then places it by itself.
pub fn dot(drawing: &Drawing) -> String {
    let mut text = format!("digraph \"{}\" {{\n", escape(&drawing.title));
    text.push_str("  rankdir=LR;\n  node [shape=box, style=rounded, fontname=\"Helvetica\"];\n");
    text.push_str("  edge [fontname=\"Helvetica\"];\n");
    drawing.cells.iter().enumerate().for_each(|(i, cell)| write_cell(&mut text, i, cell));
    text.push_str("}\n");
    text
}

fn write_cell(text: &mut String, i: usize, cell: &CellPicture) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "  subgraph cluster_{i} {{\n    label=\"{}\";", escape(&cell.title));
    let output = cell.inputs + cell.nodes;
    for state in 0..=output {
        let name = match state {
            state if state == output => "c_{k}".to_owned(),
            state if state < cell.inputs => state_name(state, cell.inputs),
            state => (state - cell.inputs).to_string(),
        };
        let _ = writeln!(text, "    cell{i}_{state} [label=\"{}\"];", escape(&name));
    }
    for edge in &cell.edges {
        let to = cell.inputs + edge.node;
        let _ = writeln!(text, "    cell{i}_{} -> cell{i}_{to} [{}];", edge.input, attributes(edge));
    }
    for state in &cell.concat {
        let _ = writeln!(text, "    cell{i}_{state} -> cell{i}_{output} [color=\"#8c9096\"];");
    }
    text.push_str("  }\n");
}

fn attributes(edge: &Edge) -> String {
    let row = Kind::of(edge.op).row();
    let mut text = format!("label=\"{}\", color=\"{}\"", escape(edge.op.as_str()), row.light);
    let style = match (edge.is_kept, row.dash.is_empty()) {
        (false, _) => ", style=dotted",
        (true, false) => ", style=dashed",
        (true, true) => "",
    };
    text.push_str(style);
    if let Some(weight) = edge.weight {
        let width = 0.5 + 3.0 * weight;
        // Writing to a string cannot fail.
        let _ = write!(text, ", penwidth={width:.2}, tooltip=\"{} {weight:.3}\"", escape(short_name(edge.op)));
    }
    text
}
