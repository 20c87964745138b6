//! Genotypes in the forms in which people keep them.

use std::path::Path;

use proptest::prelude::*;
use rdarts_space::{CellType, Genotype, Op};

#[path = "../../../tests/skip.rs"]
mod skip;

fn genotype(normal: &[(Op, usize)], reduce: &[(Op, usize)]) -> Genotype {
    Genotype::new(normal.to_vec(), reduce.to_vec()).unwrap()
}

/// Two nodes in each cell.
fn sample() -> Genotype {
    genotype(
        &[(Op::SepConv3x3, 0), (Op::DilConv3x3, 1), (Op::SkipConnect, 0), (Op::SepConv5x5, 2)],
        &[(Op::MaxPool3x3, 0), (Op::SkipConnect, 1), (Op::MaxPool3x3, 0), (Op::AvgPool3x3, 1)],
    )
}

/// The writers of lists that people use: how an entry, all entries of a cell, and a concatenation look.
struct Style {
    entry: fn(Op, usize) -> String,
    cell: fn(&[String]) -> String,
    concat: fn(&[usize]) -> String,
}

fn plain(op: Op, input: usize) -> String {
    format!("('{op}', {input})")
}

fn flat(entries: &[String]) -> String {
    format!("[{}]", entries.join(", "))
}

fn list(nodes: &[usize]) -> String {
    format!("{nodes:?}")
}

const STYLES: [Style; 8] = [
    Style { entry: plain, cell: flat, concat: list },
    Style { entry: |op, input| format!("[\"{op}\",{input}]"), cell: flat, concat: list },
    Style {
        entry: plain,
        cell: |entries| flat(&entries.chunks(2).map(flat).collect::<Vec<_>>()),
        concat: |nodes| format!("list({nodes:?})"),
    },
    Style {
        entry: plain,
        cell: |entries| format!("({},)", entries.join(", ")),
        concat: |nodes| format!("({},)", nodes.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
    },
    Style {
        entry: plain,
        cell: |entries| {
            let nodes: Vec<String> = entries.chunks(2).map(|pair| format!("({}, {})", pair[0], pair[1])).collect();
            format!("({},)", nodes.join(", "))
        },
        concat: |nodes| format!("tuple({nodes:?})"),
    },
    Style {
        entry: |op, input| format!("('{op}', np.int64({input}))"),
        cell: flat,
        concat: |nodes| flat(&nodes.iter().map(|n| format!("np.int64({n})")).collect::<Vec<_>>()),
    },
    Style {
        entry: |op, input| format!("(np.str_('{op}'), tensor({input}))"),
        cell: flat,
        concat: |nodes| format!("np.array({nodes:?})"),
    },
    Style {
        entry: |op, input| format!("( u'{op}' , {input}, )"),
        cell: |entries| format!("[ # a comment with ] and )\n  {},\n]", entries.join(",\n  ")),
        concat: |nodes| format!("[{}, ]", nodes.iter().map(usize::to_string).collect::<Vec<_>>().join(" ,")),
    },
];

/// A genotype in every form: every style, as the notation and as a dictionary, in every wrapping.
fn forms(genotype: &Genotype) -> Vec<String> {
    let mut bare = vec![genotype.to_string()];
    for style in &STYLES {
        let field = |cell: CellType| {
            let entries: Vec<String> =
                genotype.cell(cell).iter().map(|&(op, input)| (style.entry)(op, input)).collect();
            match entries.is_empty() {
                true => ("None".to_owned(), "None".to_owned()),
                false => ((style.cell)(&entries), (style.concat)(genotype.concat(cell))),
            }
        };
        let ((normal, nc), (reduce, rc)) = (field(CellType::Normal), field(CellType::Reduce));
        bare.push(format!("Genotype(normal={normal}, normal_concat={nc}, reduce={reduce}, reduce_concat={rc})"));
        bare.push(format!("Genotype(reduce_concat={rc}, reduce={reduce},\n normal_concat={nc}, normal={normal},\n)"));
        bare.push(format!("{{'normal': {normal}, 'normal_concat': {nc}, 'reduce': {reduce}, 'reduce_concat': {rc}}}"));
    }
    bare.push(serde_json::to_string(genotype).unwrap());
    bare.push(serde_json::to_string_pretty(genotype).unwrap());
    let mut all = Vec::new();
    for text in bare {
        all.push(format!("\u{feff}{text}\r\n"));
        all.push(format!("# found with seed 2\n\nDARTS_V2 = {text}  # the second order"));
        all.push(format!("\"\"\"{text}\"\"\""));
        if text.starts_with("Genotype") {
            all.push(format!("2019-03-12 10:15:02,123 INFO genotype = {text}\n"));
            all.push(format!("03/12 10:15:02 AM epoch 3: {text},"));
            all.push(format!("genotypes.{text}"));
        }
        if !text.contains('"') {
            all.push(format!("\"{text}\""));
        }
        all.push(text);
    }
    let quoted = serde_json::to_string(&genotype.to_string().replace('\'', "\"")).unwrap();
    assert!(quoted.contains("(\\\"") || genotype.normal.is_empty());
    all.push(quoted);
    all
}

#[test]
fn every_form_reads_as_the_same_genotype() {
    let all = forms(&sample());
    assert!(all.len() > 100);
    for text in all {
        assert_eq!(Genotype::read(&text, "form"), Ok(sample()), "{text}");
    }
}

#[test]
fn ranges_stand_bare_or_as_a_list() {
    let text = sample().to_string();
    assert_eq!(text.matches("range(2, 4)").count(), 2);
    for range in ["range(2,4)", "list(range(2, 4))", "tuple(range(2, 4))", "np.array([2, 3])", "(2, 3)"] {
        assert_eq!(Genotype::read(text.replace("range(2, 4)", range), "x"), Ok(sample()), "{range}");
    }
}

#[test]
fn a_missing_reduction_cell_is_an_empty_one() {
    let normal = [(Op::SepConv3x3, 0), (Op::SkipConnect, 1)];
    let expected = genotype(&normal, &[]);
    for text in forms(&expected) {
        assert_eq!(Genotype::read(&text, "x"), Ok(expected.clone()), "{text}");
    }
    let json = r#"{"normal": [["sep_conv_3x3", 0], ["skip_connect", 1]], "normal_concat": [2], "reduce": null, "reduce_concat": null}"#;
    assert_eq!(Genotype::read(json, "x"), Ok(expected.clone()));
    assert_eq!(serde_json::from_str::<Genotype>(json).unwrap(), expected);
    let absent = expected.to_string().replace(", reduce=None, reduce_concat=None", "");
    assert_eq!(absent, "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1)], normal_concat=range(2, 3))");
    assert_eq!(Genotype::read(&absent, "x"), Ok(expected.clone()));
    let json = r#"{"normal": [["sep_conv_3x3", 0], ["skip_connect", 1]], "normal_concat": [2]}"#;
    assert_eq!(Genotype::read(json, "x"), Ok(expected.clone()));
    assert_eq!(serde_json::from_str::<Genotype>(json).unwrap(), expected);
}

#[test]
fn a_fault_is_one_sentence_with_the_file_the_line_and_the_column() {
    let text = sample().to_string();
    let rows: [(&str, &str, &str); 8] = [
        (
            "'dil_conv_3x3'",
            "\n 'DilConv3'",
            "g.txt, line 2, column 2: unknown operation `DilConv3`, the nearest known one is `dil_conv_3x3`, and all are none, \
             noise, max_pool_3x3, avg_pool_3x3, skip_connect, sep_conv_3x3, sep_conv_5x5, sep_conv_7x7, dil_conv_3x3, \
             dil_conv_5x5, conv_7x1_1x7, nor_conv_1x1, nor_conv_3x3",
        ),
        (
            ", ('sep_conv_5x5', 2)",
            "",
            "g.txt, line 1, column 17: `normal` lists 3 operations, but every node needs two, so the number must be even",
        ),
        (
            "('sep_conv_5x5', 2)",
            "\n('sep_conv_5x5', 3)",
            "g.txt, line 2, column 1: `normal` lets node 1 read from input 3, but when it is computed only the inputs 0 to \
             2 exist",
        ),
        (
            "[('sep_conv_3x3', 0), ('dil_conv_3x3', 1), ('skip_connect', 0), ('sep_conv_5x5', 2)]",
            "[[('sep_conv_3x3', 0), ('dil_conv_3x3', 1)],\n [('skip_connect', 0)]]",
            "g.txt, line 2, column 2: `normal` gives node 1 a list of length 1, but every node needs two operations (a cell of NAS-Bench-201 is written `|OP~0|+|OP~0|OP~1|+...`)",
        ),
        (
            "normal=[('sep_conv_3x3', 0), ('dil_conv_3x3', 1), ('skip_connect', 0), ('sep_conv_5x5', 2)]",
            "normal=None",
            "g.txt, line 1, column 17: expected a list of operations, such as `[('skip_connect', 0), ...]`, found `None`",
        ),
        (
            "('skip_connect', 0)",
            "('skip_connect', np.float64(0))",
            "g.txt, line 1, column 77: expected the number of an input, found `np.float64`",
        ),
        (", reduce_concat=range(2, 4)", "", "g.txt, line 1, column 221: the field `reduce_concat` is missing"),
        (
            "Genotype(",
            "\"Genotype(",
            "g.txt, line 1, column 250: expected the closing quote of the genotype, found the end of the text",
        ),
    ];
    for (from, to, message) in rows {
        let text = text.replacen(from, to, 1);
        assert_eq!(Genotype::read(&text, "g.txt").unwrap_err().to_string(), message, "{text}");
    }
    let error = Genotype::read(b"Genotype(\nnormal=\xff", "g.txt").unwrap_err().to_string();
    assert_eq!(error, "g.txt, line 2, column 8: what follows is not text in UTF-8, but a genotype is text");
    let two = format!("A = {text}\nB = {text}");
    let error = Genotype::read(two, "g.txt").unwrap_err().to_string();
    assert_eq!(error, "g.txt, line 2, column 1: expected nothing more after the genotype, found `B`");
}

#[test]
fn the_files_that_people_kept_read_as_what_they_say() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/cases/genotypes-in-the-wild");
    let Ok(entries) = std::fs::read_dir(&dir) else {
        return skip::skip("../shared absent", "the genotypes that people kept");
    };
    let small = [(Op::SepConv3x3, 0), (Op::SkipConnect, 1)];
    let mut n_read = 0;
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let expected = match &name[..2] {
            "06" => genotype(&sample().normal, &[]),
            "24" => genotype(&small, &small),
            _ => sample(),
        };
        assert_eq!(Genotype::read(std::fs::read(&path).unwrap(), &name), Ok(expected), "{name}");
        n_read += 1;
    }
    assert!(n_read >= 7, "{} holds {n_read} files", dir.display());
}

fn any_cell() -> impl Strategy<Value = Vec<(Op, usize)>> {
    (1..=5usize).prop_flat_map(|nodes| {
        (0..2 * nodes).map(|i| (prop::sample::select(Op::OF_DARTS.to_vec()), 0..2 + i / 2)).collect::<Vec<_>>()
    })
}

proptest! {
    #[test]
    fn whatever_is_printed_in_any_form_reads_back(normal in any_cell(), reduce in any_cell(), has_reduce in any::<bool>()) {
        let expected = genotype(&normal, if has_reduce { &reduce } else { &[] });
        for text in forms(&expected) {
            prop_assert_eq!(Genotype::read(&text, "x"), Ok(expected.clone()), "{}", text);
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Genotype::read(bytes, "x");
    }

    #[test]
    fn no_damage_to_any_form_makes_the_reader_panic(
        form in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), n_cut in 0usize..9,
        insert in prop::collection::vec(prop::sample::select(b"()[]{}=,:'\"\\#\n0NnGru_.\xff\xef\xbb\xbf".to_vec()), 0..4),
    ) {
        let all = forms(&sample());
        let mut bytes = form.get(&all).clone().into_bytes();
        let at = at.index(bytes.len());
        bytes.splice(at..(at + n_cut).min(bytes.len()), insert);
        if let Ok(read) = Genotype::read(&bytes, "x") {
            prop_assert_eq!(read.check(), Ok(()));
        }
    }
}
