//! Search spaces as TOML: reading with the line of every fault, and writing.
//!
//! The reader walks the spanned tree of the TOML parser by hand instead of deriving it, so that a fault that
//! only shows once all is read (an edge that is missing, an operation given twice) still names its line.

use std::fmt::Write as _;
use std::ops::Range;

use rdarts_text::nearest;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::op::Op;
use crate::space::{CellType, MAX_NODES, Space, SpaceError, SpaceFault, check_cell, check_nodes};
use crate::topology::Topology;

impl Space {
    /// A space from TOML. `source_name` is how messages call the text, usually the file's path.
    ///
    /// The keys are `name`, `nodes`, and either `ops = [...]` for every edge of both cell types, or the tables
    /// `[normal]` and `[reduce]`. Such a table has `ops = [...]` for all its edges, or `edges = [[...], ...]`
    /// with one list per edge, or both: then an empty list in `edges` stands for `ops`. `topology` says how the cells
    /// are wired, `darts` unless it is there.
    ///
    /// ```
    /// let text = "name = 'mine'\nnodes = 2\nops = ['skip_connect', 'sep_conv_3x3']\n";
    /// let space = rdarts_space::Space::from_toml(text, "mine.toml")?;
    /// assert_eq!(space.n_edges(), 5);
    /// # Ok::<(), rdarts_space::SpaceError>(())
    /// ```
    pub fn from_toml(text: &str, source_name: &str) -> Result<Self, SpaceError> {
        read(text).map_err(|(line, fault)| SpaceError::InFile { file: source_name.to_owned(), line, fault })
    }

    /// The space as TOML that [`Space::from_toml`] reads back.
    pub fn to_toml(&self) -> String {
        write(self)
    }
}

/// A fault and the line it is on, counted from 1.
type Located = (usize, SpaceFault);

/// Reads a space.
fn read(text: &str) -> Result<Space, Located> {
    let line = |span: Range<usize>| line_of(text, span.start);
    let root = DeTable::parse(text).map_err(|error| {
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        (error.span().map_or(1, line), SpaceFault::Syntax { message })
    })?;
    let root = root.get_ref();
    known_keys(text, root, &["name", "topology", "nodes", "ops", "normal", "reduce"])?;

    let name = required(root, "name", "the key `name`")?;
    let name_line = line(name.span());
    let name = name.get_ref().as_str().ok_or_else(|| wrong_type(text, name, "name", "a string"))?;
    if name.is_empty() {
        return Err((name_line, SpaceFault::NoName));
    }

    let topology = root.get("topology").map_or(Ok(Topology::Darts), |value| read_topology(text, value))?;
    let nodes = read_nodes(text, required(root, "nodes", "the key `nodes`")?)?;

    if let Some(ops) = root.get("ops") {
        if let Some(cell) = CellType::ALL.into_iter().find(|cell| root.contains_key(cell.as_str())) {
            return Err((key_line(text, root, cell.as_str()), SpaceFault::OpsTwice { cell }));
        }
        let edges = vec![read_ops(text, ops, "ops")?; topology.n_edges(nodes)];
        check_cell(CellType::Normal, topology, nodes, &edges).map_err(|fault| (line(ops.span()), fault))?;
        let reduce = if topology.has_reduction_cells() { edges.clone() } else { Vec::new() };
        return Ok(Space { name: name.to_owned(), nodes, normal: edges, reduce, topology });
    }
    let normal = read_cell(text, root, CellType::Normal, (topology, nodes))?;
    let reduce = match topology.has_reduction_cells() {
        true => read_cell(text, root, CellType::Reduce, (topology, nodes))?,
        false if root.contains_key("reduce") => {
            return Err((key_line(text, root, "reduce"), SpaceFault::NoReduction { topology }));
        }
        false => Vec::new(),
    };
    Ok(Space { name: name.to_owned(), nodes, normal, reduce, topology })
}

/// Writes a space: one `ops` where all edges agree, else one list per edge.
fn write(space: &Space) -> String {
    let list = |ops: &[Op]| {
        let names: Vec<String> = ops.iter().map(|op| format!("\"{op}\"")).collect();
        format!("[{}]", names.join(", "))
    };
    let uniform = |edges: &[Vec<Op>]| edges.windows(2).all(|pair| pair[0] == pair[1]);
    let name = toml::Value::String(space.name.clone());
    let topology = match space.topology {
        Topology::Darts => String::new(),
        other => format!("topology = \"{other}\"\n"),
    };
    let mut text = format!("name = {name}\n{topology}nodes = {}\n", space.nodes);
    if uniform(&space.normal) && space.cell_types().iter().all(|cell| space.cell(*cell) == space.normal) {
        let _ = writeln!(text, "ops = {}", list(&space.normal[0]));
        return text;
    }
    for cell in space.cell_types() {
        let edges = space.cell(*cell);
        let _ = writeln!(text, "\n[{cell}]");
        if uniform(edges) {
            let _ = writeln!(text, "ops = {}", list(&edges[0]));
        } else {
            let lines: String = edges.iter().map(|ops| format!("    {},\n", list(ops))).collect();
            let _ = writeln!(text, "edges = [\n{lines}]");
        }
    }
    text
}

/// One of the tables [normal] and [reduce].
fn read_cell(
    text: &str,
    root: &DeTable<'_>,
    cell: CellType,
    (topology, nodes): (Topology, usize),
) -> Result<Vec<Vec<Op>>, Located> {
    let key = cell.as_str();
    let missing = match cell {
        CellType::Normal => "the table [normal] (or one `ops` for every edge)",
        CellType::Reduce => "the table [reduce]",
    };
    let value = required(root, key, missing)?;
    let table_line = key_line(text, root, key);
    let table = value.get_ref().as_table().ok_or_else(|| wrong_type(text, value, key, "a table"))?;
    known_keys(text, table, &["ops", "edges"])?;

    let ops = table.get("ops").map(|ops| read_ops(text, ops, "ops").map(|read| (read, ops))).transpose()?;
    let Some(edges_value) = table.get("edges") else {
        let missing = match cell {
            CellType::Normal => "`ops` or `edges` in the table [normal]",
            CellType::Reduce => "`ops` or `edges` in the table [reduce]",
        };
        let (ops, value) = ops.ok_or((table_line, SpaceFault::MissingKey { key: missing }))?;
        let edges = vec![ops; topology.n_edges(nodes)];
        check_cell(cell, topology, nodes, &edges).map_err(|fault| (line_of(text, value.span().start), fault))?;
        return Ok(edges);
    };

    let lists = edges_value
        .get_ref()
        .as_array()
        .ok_or_else(|| wrong_type(text, edges_value, "edges", "a list of lists of operations"))?;
    let mut edges = Vec::new();
    let mut lines = Vec::new();
    for value in lists.iter() {
        let read = read_ops(text, value, "edges")?;
        lines.push(line_of(text, value.span().start));
        edges.push(match &ops {
            Some((ops, _)) if read.is_empty() => ops.clone(),
            _ => read,
        });
    }
    check_cell(cell, topology, nodes, &edges).map_err(|fault| {
        let line = match fault {
            SpaceFault::EmptyEdge { edge, .. }
            | SpaceFault::OnlyNone { edge, .. }
            | SpaceFault::DuplicateOp { edge, .. }
            | SpaceFault::OtherTopology { edge, .. } => lines[edge],
            _ => line_of(text, edges_value.span().start),
        };
        (line, fault)
    })?;
    Ok(edges)
}

/// How the cells are wired.
fn read_topology(text: &str, value: &Spanned<DeValue<'_>>) -> Result<Topology, Located> {
    let name = value.get_ref().as_str().ok_or_else(|| wrong_type(text, value, "topology", "a string"))?;
    Topology::ALL.into_iter().find(|topology| topology.as_str() == name).ok_or_else(|| {
        let nearest = nearest(name, &Topology::ALL.map(Topology::as_str));
        (line_of(text, value.span().start), SpaceFault::UnknownTopology { name: name.to_owned(), nearest })
    })
}

/// A list of operation names.
fn read_ops(text: &str, value: &Spanned<DeValue<'_>>, key: &'static str) -> Result<Vec<Op>, Located> {
    let expected = if key == "edges" { "a list of lists of operations" } else { "a list of operations" };
    let items = value.get_ref().as_array().ok_or_else(|| wrong_type(text, value, key, expected))?;
    items
        .iter()
        .map(|item| {
            let name = item.get_ref().as_str().ok_or_else(|| wrong_type(text, item, key, expected))?;
            name.parse().map_err(|error| (line_of(text, item.span().start), SpaceFault::UnknownOp(error)))
        })
        .collect()
}

/// The number of nodes, within its bounds.
fn read_nodes(text: &str, value: &Spanned<DeValue<'_>>) -> Result<usize, Located> {
    const NODES: &str = "a whole number from 1 to 12";
    let integer = value.get_ref().as_integer().ok_or_else(|| wrong_type(text, value, "nodes", NODES))?;
    let line = line_of(text, value.span().start);
    match i128::from_str_radix(integer.as_str(), integer.radix()) {
        Ok(given) if given < 0 => {
            Err(SpaceFault::WrongType { key: "nodes", expected: NODES, given: "a negative number" })
        }
        Ok(given) if given <= MAX_NODES as i128 => check_nodes(given as usize).map(|()| given as usize),
        _ => Err(SpaceFault::TooManyNodes { given: integer.as_str().to_owned() }),
    }
    .map_err(|fault| (line, fault))
}

fn required<'t, 'i>(
    table: &'t DeTable<'i>,
    key: &str,
    description: &'static str,
) -> Result<&'t Spanned<DeValue<'i>>, Located> {
    table.get(key).ok_or((1, SpaceFault::MissingKey { key: description }))
}

/// Refuses the first key of `table` that is not in `known`.
fn known_keys(text: &str, table: &DeTable<'_>, known: &'static [&'static str]) -> Result<(), Located> {
    let unknown = table.keys().filter(|key| !known.contains(&key.get_ref().as_ref()));
    unknown.min_by_key(|key| key.span().start).map_or(Ok(()), |key| {
        let name = key.get_ref().as_ref();
        let fault = SpaceFault::UnknownKey { key: name.to_owned(), nearest: nearest(name, known), known };
        Err((line_of(text, key.span().start), fault))
    })
}

fn wrong_type(text: &str, value: &Spanned<DeValue<'_>>, key: &'static str, expected: &'static str) -> Located {
    let given = match value.get_ref().type_str() {
        "array" => "a list",
        "table" => "a table",
        "string" => "a string",
        "integer" => "a whole number",
        "float" => "a decimal number",
        "boolean" => "true or false",
        _ => "a date or time",
    };
    (line_of(text, value.span().start), SpaceFault::WrongType { key, expected, given })
}

fn key_line(text: &str, table: &DeTable<'_>, name: &str) -> usize {
    let key = table.keys().find(|key| key.get_ref().as_ref() == name);
    key.map_or(1, |key| line_of(text, key.span().start))
}

/// The line of a byte offset, counted from 1.
fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|&byte| byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_refused(rows: &[(&str, &str)]) {
        for (text, message) in rows {
            match Space::from_toml(text, "my.toml") {
                Ok(space) => panic!("{text:?} was read as {space:?}"),
                Err(error) => assert_eq!(error.to_string(), format!("my.toml:{message}"), "for {text:?}"),
            }
        }
    }

    #[test]
    fn every_built_in_space_survives_writing_and_reading() {
        for name in Space::NAMES {
            let space = Space::builtin(name).unwrap();
            assert_eq!(Space::from_toml(&space.to_toml(), "t").unwrap(), space, "{}", space.to_toml());
        }
        let odd = Space { name: "a \"b\"\\\n'c'".to_owned(), ..Space::builtin("s1").unwrap() };
        assert_eq!(Space::from_toml(&odd.to_toml(), "t").unwrap(), odd);
    }

    #[test]
    fn tables_may_differ_and_an_empty_list_stands_for_ops() {
        let text = "name = 'x'\nnodes = 1\n[normal]\nops = ['skip_connect']\nedges = [[], ['noise', 'none']]\n\
                    [reduce]\nops = ['max_pool_3x3']\n";
        let space = Space::from_toml(text, "t").unwrap();
        assert_eq!(space.normal, [vec![Op::SkipConnect], vec![Op::Noise, Op::None]]);
        assert_eq!(space.reduce, vec![vec![Op::MaxPool3x3]; 2]);
    }

    #[test]
    fn faults_of_keys_name_the_line_and_what_would_be_right() {
        check_refused(&[
            (
                "name = 'x'\nnode = 1\nops = ['noise']",
                "2: unknown key `node`, the nearest known one is `nodes`, and the keys here are name, topology, nodes, ops, normal, reduce",
            ),
            (
                "name='x'\nnodes=1\n[normal]\nedgs = []\n",
                "4: unknown key `edgs`, the nearest known one is `edges`, and the keys here are ops, edges",
            ),
            ("nodes = 1\nops = ['noise']", "1: the key `name` is missing"),
            (
                "name = 'x'\ntopology = 'nasbench'\nnodes = 1\nops = ['noise']",
                "2: unknown topology `nasbench`, the nearest known one is `nasbench201`, and all are darts, nasbench201",
            ),
            (
                "name='x'\ntopology='nasbench201'\nnodes=1\n[normal]\nops=['skip_connect']\n[reduce]\nops=['none']",
                "6: the topology nasbench201 has no reduction cells, so the table [reduce] must go",
            ),
            (
                "name = 'x'\ntopology = 'nasbench201'\nnodes = 1\nops = ['noise']",
                "4: edge 0 of the normal cell lists `noise`, but a cell of the topology nasbench201 may have none, \
                 avg_pool_3x3, skip_connect, nor_conv_1x1, nor_conv_3x3",
            ),
            (
                "name = 'x'\nnodes = 1\nops = ['nor_conv_3x3']",
                "3: edge 0 of the normal cell lists `nor_conv_3x3`, but a cell of the topology darts may have none, noise, \
                 max_pool_3x3, avg_pool_3x3, skip_connect, sep_conv_3x3, sep_conv_5x5, sep_conv_7x7, dil_conv_3x3, \
                 dil_conv_5x5, conv_7x1_1x7",
            ),
            ("name = 'x'\nops = ['noise']", "1: the key `nodes` is missing"),
            ("name = 'x'\nnodes = 1", "1: the table [normal] (or one `ops` for every edge) is missing"),
            ("name = 'x'\nnodes = 1\n[normal]\nops = ['noise']", "1: the table [reduce] is missing"),
            ("name = 'x'\nnodes = 1\n[normal]\n", "3: `ops` or `edges` in the table [normal] is missing"),
            (
                "name='x'\nnodes=1\nops=['noise']\n[reduce]\nops=['noise']",
                "4: `ops` at the top already gives every edge, so the table [reduce] must go, or `ops` must",
            ),
            ("name = ''\nnodes = 1", "1: `name` is empty, but a space needs a name"),
            ("name = 3\nnodes = 1", "1: `name` must be a string, not a whole number"),
            ("name = 'x'\nnodes = 1\nops = 'noise'", "3: `ops` must be a list of operations, not a string"),
            ("name = 'x'\nnodes = 1\nnormal = 1", "3: `normal` must be a table, not a whole number"),
            (
                "name = 'x'\nnodes = 1\n[normal]\nedges = ['noise']",
                "4: `edges` must be a list of lists of operations, not a string",
            ),
        ]);
    }

    #[test]
    fn faults_of_nodes_say_how_many_there_may_be() {
        let text = |nodes: &str| format!("name = 'x'\nnodes = {nodes}\nops = ['noise']");
        let rows = [
            ("0", "2: `nodes` is 0, but a cell needs at least 1 node"),
            ("13", "2: `nodes` is 13, but a cell has at most 12 nodes"),
            ("9223372036854775807", "2: `nodes` is 9223372036854775807, but a cell has at most 12 nodes"),
            ("-1", "2: `nodes` must be a whole number from 1 to 12, not a negative number"),
            ("1.5", "2: `nodes` must be a whole number from 1 to 12, not a decimal number"),
        ];
        for (nodes, message) in rows {
            check_refused(&[(&text(nodes), message)]);
        }
        assert_eq!(Space::from_toml(&text("0xc"), "t").unwrap().n_edges(), 90);
    }

    #[test]
    fn faults_of_edges_name_the_line_of_the_edge() {
        let text =
            |edges: &str| format!("name = 'x'\nnodes = 1\n[normal]\nedges = [\n{edges}]\n[reduce]\nops = ['noise']");
        let rows = [
            ("['noise'],", "4: with `nodes = 1` the normal cell needs 2 edges, but it lists 1"),
            ("['noise'],\n['noise'],['noise']", "4: with `nodes = 1` the normal cell needs 2 edges, but it lists 3"),
            ("['noise'],\n[]", "6: edge 1 of the normal cell has no operation, but every edge needs at least one"),
            (
                "['none'],\n['noise']",
                "5: edge 0 of the normal cell has only `none`, but every edge needs an operation other than `none`",
            ),
            (
                "['noise'],\n['noise',\n'noise']",
                "6: edge 1 of the normal cell lists `noise` twice, but each operation may be on an edge once",
            ),
        ];
        for (edges, message) in rows {
            check_refused(&[(&text(edges), message)]);
        }
        let error = Space::from_toml(&text("['noise'],\n['noise',\n'noisy']"), "my.toml").unwrap_err().to_string();
        assert!(error.starts_with("my.toml:7: unknown operation `noisy`, the nearest known one is `noise`, and all"));
        check_refused(&[(
            "name='x'\nnodes=1\nops=[]",
            "3: edge 0 of the normal cell has no operation, but every edge needs at least one",
        )]);
    }

    #[test]
    fn text_that_is_no_toml_is_refused_on_one_line() {
        let error = Space::from_toml("name = 'x'\nnodes = = 1", "my.toml").unwrap_err().to_string();
        assert!(error.starts_with("my.toml:2: the text is not valid TOML: "), "{error}");
        assert_eq!(error.lines().count(), 1);
        let error = Space::from_toml("name = 'x'\nname = 'y'", "my.toml").unwrap_err().to_string();
        assert!(error.starts_with("my.toml:2: the text is not valid TOML: duplicate key"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn reading_never_panics(text in "(name|nodes|ops|normal|edges|[\\[\\]=,'\n0-9x]|noise|none){0,40}") {
            let _ = Space::from_toml(&text, "t");
        }
    }
}
