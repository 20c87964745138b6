//! The cells of a genotype as pictures.
//!
//! This is the seam for another way to draw cells: the page, the figures and the animation ask [`cell_svg`] alone.

use rdarts_space::{CellType, Genotype, Op};

use crate::svg::{picture, write};

/// One cell of a genotype as SVG, with the weight of each of its operations if they are known, in the order of the
/// operations; empty if the genotype has no such cell. `name` tells the picture from others on a page.
pub fn cell_svg(genotype: &Genotype, cell: CellType, weights: Option<&[f64]>, name: &str) -> String {
    let ops = genotype.cell(cell);
    if ops.is_empty() {
        return String::new();
    }
    let mut body = String::new();
    let state = |input: usize| match input {
        0 => "input of two cells before".to_string(),
        1 => "input of the cell before".to_string(),
        input => format!("node {}", input - 2),
    };
    let mut y = 6.0;
    for (node, pair) in ops.chunks(2).enumerate() {
        write(&mut body, format_args!("<text class=\"strong\" x=\"4\" y=\"{:.0}\">node {node}</text>", y + 20.0));
        for (i, (op, input)) in pair.iter().enumerate() {
            let middle = y + 10.0 + 18.0 * i as f64;
            let weight = weights.and_then(|weights| weights.get(2 * node + i)).filter(|weight| weight.is_finite());
            let width = weight.map_or(2.0, |weight| 1.0 + 3.0 * weight.clamp(0.0, 1.0));
            let class = op_class(*op);
            write(
                &mut body,
                format_args!("<path class=\"edge {class}\" stroke-width=\"{width:.1}\" d=\"M58 {middle:.1}h26\"/>"),
            );
            let (at, from) = (middle + 3.5, state(*input));
            write(&mut body, format_args!("<text x=\"92\" y=\"{at:.1}\">{op}</text>"));
            write(&mut body, format_args!("<text class=\"note\" x=\"190\" y=\"{at:.1}\">of {from}</text>"));
        }
        y += 46.0;
    }
    let list: Vec<String> = ops.iter().map(|(op, input)| format!("{op} of {}", state(*input))).collect();
    let title = match cell {
        CellType::Normal => "Normal cell",
        CellType::Reduce => "Reduction cell",
    };
    picture(name, title, &list.join(", "), (crate::svg::WIDTH, y), &body)
}

/// The classes of an operation's line: its kind has a colour and a pattern of dashes.
pub(crate) fn op_class(op: Op) -> &'static str {
    match op {
        Op::SkipConnect => "c5",
        Op::SepConv3x3 => "c4",
        Op::SepConv5x5 => "c4 d1",
        Op::SepConv7x7 => "c4 d2",
        Op::DilConv3x3 => "c2",
        Op::DilConv5x5 => "c2 d1",
        Op::Conv7x1_1x7 => "c2 d2",
        Op::MaxPool3x3 => "c1",
        Op::AvgPool3x3 => "c1 d1",
        Op::None => "c7 d2",
        Op::Noise => "c6 d1",
    }
}
