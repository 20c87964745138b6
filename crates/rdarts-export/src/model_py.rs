//! A page of Python that builds the network in PyTorch, loads the safetensors file strictly, and classifies an image.
//!
//! The page is `page.py` beside this file with its `@NAMES@` filled in: the numbers of the network, and its modules,
//! which are `model.py` for cells of DARTS, with the auxiliary head where there is one, and `model_nasbench201.py` for
//! those of NAS-Bench-201. It needs PyTorch alone; the reader of safetensors is a few lines of it.

use rdarts_space::{CellType, Op, Topology, reductions_or_default};

use crate::plan::needed_edges;
use crate::trained::{ExportError, Trained};

/// What all pages have.
const PAGE: &str = include_str!("page.py");

/// The modules of a network with cells of DARTS.
const DARTS: &str = include_str!("model.py");

/// Those of one with cells of NAS-Bench-201.
const NAS_BENCH_201: &str = include_str!("model_nasbench201.py");

/// The module of both that is a list of layers called `op`.
const LAYERS: &str = "class Layers(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.op = nn.Sequential(*layers)

    def forward(self, x):
        return self.op(x)
";

const AUXILIARY_CLASS: &str = r#"
class AuxiliaryHead(nn.Module):
    """A second classifier on the cell at two thirds, for training only; of maps of 8x8 pixels it makes one."""

    def __init__(self, c, classes):
        super().__init__()
        self.features = nn.Sequential(
            nn.ReLU(), nn.AvgPool2d(5, 3, count_include_pad=False), nn.Conv2d(c, 128, 1, bias=False), nn.BatchNorm2d(128),
            nn.ReLU(), nn.Conv2d(128, 768, 2, bias=False), nn.BatchNorm2d(768), nn.ReLU())
        self.classifier = nn.Linear(@C_LINEAR@, classes)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))

"#;

const AUXILIARY_INIT: &str = "            if i == 2 * CELLS // 3:
                self.auxiliary_head = AuxiliaryHead(c_last, classes)
";

const FORWARD: &str = "        for cell in self.cells:
            s0, s1 = s1, cell(s0, s1)
        return self.classifier(s1.mean((2, 3)))
";

const AUXILIARY_FORWARD: &str = "        auxiliary = None
        for i, cell in enumerate(self.cells):
            s0, s1 = s1, cell(s0, s1)
            if self.training and i == 2 * CELLS // 3:
                auxiliary = self.auxiliary_head(s1)
        logits = self.classifier(s1.mean((2, 3)))
        return (logits, auxiliary) if self.training else logits
";

/// The text of the page.
pub fn model_py(trained: &Trained) -> Result<String, ExportError> {
    trained.plan()?;
    let [rows, columns] = trained.side;
    let title =
        format!("A network of {} cells that rdarts {} found and trained.", trained.cells, env!("CARGO_PKG_VERSION"));
    let image = format!("({}, {rows}, {columns})", trained.c_image);
    let (functions, network) = match trained.genotype.topology {
        Topology::Darts => ("import torch.nn.functional as F\n", darts(trained)),
        Topology::NasBench201 => ("", filled(NAS_BENCH_201, &[("@LAYERS@", LAYERS.to_owned())])),
    };
    let fill = [
        ("@TITLE@", title),
        ("@IMAGE@", image),
        ("@FUNCTIONS@", functions.to_owned()),
        ("@CONSTANTS@", constants(trained)),
        ("@NETWORK@", network),
    ];
    Ok(filled(PAGE, &fill))
}

/// The modules of a network with cells of DARTS.
fn darts(trained: &Trained) -> String {
    let mut fill = vec![("@LAYERS@", LAYERS.to_owned())];
    if trained.auxiliary {
        let c_linear = trained.tensors["auxiliary_head.classifier.weight"].shape[1];
        fill.extend([
            ("@AUXILIARY_CLASS@", AUXILIARY_CLASS.replace("@C_LINEAR@", &c_linear.to_string())),
            ("@AUXILIARY_INIT@", AUXILIARY_INIT.to_owned()),
            ("@FORWARD@", AUXILIARY_FORWARD.to_owned()),
            ("@RETURNS@", "; while training, with those of the auxiliary head".to_owned()),
        ]);
    } else {
        fill.extend([
            ("@AUXILIARY_CLASS@", "\n".to_owned()),
            ("@AUXILIARY_INIT@", String::new()),
            ("@FORWARD@", FORWARD.to_owned()),
            ("@RETURNS@", String::new()),
        ]);
    }
    filled(DARTS, &fill)
}

/// A page with its names filled in, in one pass, so that what is filled in is never taken for a name itself.
pub(crate) fn filled(template: &str, fill: &[(&str, String)]) -> String {
    let mut page = String::new();
    let mut rest = template;
    while let Some((at, name, text)) =
        fill.iter().filter_map(|(name, text)| Some((rest.find(name)?, name, text))).min_by_key(|(at, _, _)| *at)
    {
        page.push_str(&rest[..at]);
        page.push_str(text);
        rest = &rest[at + name.len()..];
    }
    page.push_str(rest);
    page
}

/// The network's own numbers, as Python.
fn constants(trained: &Trained) -> String {
    let genotype = trained.genotype;
    let ops = |cell| {
        let entry = |(op, input): &(Op, usize)| format!("(\"{op}\", {input})");
        list(genotype.cell(cell).iter().map(entry))
    };
    let [rows, columns] = trained.side;
    let mut lines = vec![
        ("CELLS", trained.cells.to_string()),
        ("REDUCTIONS", list(reductions_or_default(trained.reductions, trained.cells).iter().map(usize::to_string))),
        ("CHANNELS", trained.channels.to_string()),
        ("CLASSES", list(trained.classes.iter().map(|name| python_text(name)))),
        ("MEAN", list(trained.mean.iter().map(|v| format!("{v:?}")))),
        ("STD", list(trained.std.iter().map(|v| format!("{v:?}")))),
        ("SIDE", list([rows, columns].iter().map(usize::to_string))),
    ];
    match genotype.topology {
        Topology::Darts => lines.extend([
            ("NORMAL", ops(CellType::Normal)),
            ("NORMAL_CONCAT", format!("{:?}", genotype.normal_concat)),
            ("REDUCE", ops(CellType::Reduce)),
            ("REDUCE_CONCAT", format!("{:?}", genotype.reduce_concat)),
        ]),
        Topology::NasBench201 => {
            let entry = |(edge, op, state): &(usize, Op, usize)| format!("({edge}, \"{op}\", {state})");
            let nodes = needed_edges(genotype).into_iter().map(|node| list(node.iter().map(entry)));
            lines.extend([("GENOTYPE", python_text(&genotype.to_string())), ("NODES", list(nodes))]);
        }
    }
    let lines: Vec<String> = lines.into_iter().map(|(name, value)| format!("{name} = {value}")).collect();
    lines.join("\n")
}

/// A list, in lines of at most 110 letters where it can be.
fn list(items: impl Iterator<Item = String>) -> String {
    let (mut text, mut width) = ("[".to_owned(), 0);
    for (i, item) in items.enumerate() {
        let is_full = width > 0 && width + item.chars().count() > 100;
        text.push_str(match (i, is_full) {
            (0, _) => "",
            (_, false) => ", ",
            (_, true) => ",\n    ",
        });
        width = item.chars().count() + if is_full { 0 } else { width + 2 };
        text.push_str(&item);
    }
    text + "]"
}

/// Any text as Python writes it: letters and digits of all languages stay, what cannot be seen is escaped.
fn python_text(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            ' '..='~' => quoted.push(letter),
            letter if letter.is_alphanumeric() => quoted.push(letter),
            letter => quoted.push_str(&format!("\\U{:08x}", u32::from(letter))),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_python_whatever_is_in_them() {
        assert_eq!(python_text("T-shirt/top"), "\"T-shirt/top\"");
        assert_eq!(python_text("a\"b\\\nü\u{202e}"), "\"a\\\"b\\\\\\U0000000aü\\U0000202e\"");
    }

    #[test]
    fn long_lists_are_broken() {
        let names = (0..30).map(|i| format!("\"class {i}\""));
        let text = list(names);
        assert!(text.lines().count() > 1 && text.lines().all(|line| line.len() < 115), "{text}");
        assert_eq!(list(std::iter::empty()), "[]");
    }
}
