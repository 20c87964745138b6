//! Exported networks compute what they should: against values of PyTorch, and against plain loops in double precision
//! for random architectures of every space; and what cannot be exported is refused in a sentence.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use case::{Case, close, without_noise};
use rdarts_export::{ExportError, OnnxOptions, Tensor, model_py, onnx, safetensors};
use rdarts_rng::Stream;
use rdarts_space::{Genotype, Op, Space, sample};
use reference::{Images, Weights};
use safetensors::{Dtype, SafeTensors};

mod case;
mod import;
mod python;
mod reference;
#[path = "../../../../tests/skip.rs"]
mod skip;

const FOLDED: OnnxOptions = OnnxOptions { normalise: false, fold: true };

#[test]
fn onnx_and_the_loops_give_the_logits_of_pytorch() {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden");
    let named = std::env::var_os("RDARTS_GOLDEN");
    let dir = named.clone().map_or_else(default, PathBuf::from);
    let files = ["v1", "v2"].map(|name| dir.join(format!("discrete-darts-{name}.safetensors")));
    if !files.iter().all(|file| file.exists()) {
        assert!(named.is_none(), "RDARTS_GOLDEN holds no discrete-darts-v1.safetensors and -v2");
        return skip::skip("../shared absent", "no golden values of networks; RDARTS_GOLDEN may name their directory");
    }
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        let meta = SafeTensors::read_metadata(&bytes).unwrap().1.metadata().clone().unwrap();
        let (mut tensors, mut others) = (BTreeMap::new(), HashMap::new());
        for (name, view) in SafeTensors::deserialize(&bytes).unwrap().iter() {
            let values: Vec<f64> = view.data().chunks(8).map(|bytes| number(bytes, view.dtype())).collect();
            match name.strip_prefix("param.").or_else(|| name.strip_prefix("buffer.")) {
                Some(name) => {
                    let values = values.iter().map(|v| *v as f32).collect();
                    tensors.insert(name.to_owned(), Tensor { shape: view.shape().to_vec(), values });
                }
                None => _ = others.insert(name.to_owned(), (view.shape().to_vec(), values)),
            }
        }
        let (shape, values) = others.remove("x").unwrap();
        let x = Images { shape: shape.try_into().unwrap(), values };
        let classes: Vec<String> = (0..meta["classes"].parse().unwrap()).map(|i: usize| format!("class {i}")).collect();
        // It leaves out what is concatenated, which is all nodes.
        let concat = "_concat': [2, 3, 4, 5]";
        let text = meta["genotype"].replacen('{', &format!("{{'normal{concat}, 'reduce{concat}, "), 1);
        let genotype = Genotype::read(text, "golden values").unwrap();
        let case = Case {
            genotype,
            cells: meta["cells"].parse().unwrap(),
            channels: meta["channels"].parse().unwrap(),
            classes,
            auxiliary: true,
            weights: Weights { tensors, stream: None, reductions: Vec::new() },
            x,
        };
        let wanted = &others["logits_eval"].1;
        let mut loops = case.weights.loops();
        let by_loops = loops.logits(&case.genotype, case.cells, case.channels, case.classes.len(), &case.x);
        close(&by_loops, wanted, "loops");
        for fold in [false, true] {
            close(&case.by_onnx(OnnxOptions { normalise: false, fold }), wanted, &format!("fold = {fold}"));
        }
    }
}

#[test]
fn random_architectures_of_every_space_give_the_logits_of_the_loops() {
    let sides = [[7, 9], [15, 15], [8, 8], [1, 2], [12, 5]];
    for (i, name) in Space::NAMES.into_iter().enumerate() {
        let space = Space::builtin(name).unwrap();
        for round in 0..10 {
            let i = 10 * i + round;
            let mut stream = Stream::new(round as u64, name, 0);
            let mut genotype = sample(&space, &mut stream);
            without_noise(&mut genotype, &mut stream);
            let (cells, channels, c_image, side) = (1 + i % 5, 2 + i % 3, [1, 3][i % 2], sides[i % sides.len()]);
            // Every third network reduces anywhere; no cell is named now and then, which is the usual places.
            let reductions: Vec<usize> = (0..cells).filter(|_| i.is_multiple_of(3) && stream.below(2) == 1).collect();
            Case::reducing_at(&reductions, genotype, cells, channels, c_image, side, stream).check(name);
        }
    }
}

#[test]
fn odd_architectures_give_the_logits_of_the_loops() {
    let texts = [
        // A node of nothing, at both strides, and one that is what it reads.
        "Genotype(normal=[('none', 0), ('none', 1), ('none', 2), ('skip_connect', 1)], normal_concat=[2, 3], \
         reduce=[('none', 0), ('none', 1), ('skip_connect', 2), ('none', 2)], reduce_concat=[2, 3])",
        // Both operations of a node read the same input; only some nodes are used, in any order.
        "Genotype(normal=[('skip_connect', 1), ('skip_connect', 1), ('conv_7x1_1x7', 0), ('sep_conv_7x7', 0), \
         ('max_pool_3x3', 2), ('none', 3)], normal_concat=[4, 2], \
         reduce=[('conv_7x1_1x7', 1), ('none', 1), ('avg_pool_3x3', 0), ('avg_pool_3x3', 0)], reduce_concat=[3])",
        // No reduction cell.
        "Genotype(normal=[('dil_conv_5x5', 0), ('sep_conv_5x5', 1)], normal_concat=[2], reduce=None, reduce_concat=None)",
        // Cells of NAS-Bench-201: all operations; nothing; what is read; one node; nodes that nobody reads; a node of nothing
        // that is read.
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_1x1~1|none~2|",
        "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
        "|skip_connect~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|skip_connect~2|",
        "|avg_pool_3x3~0|",
        "|nor_conv_1x1~0|+|avg_pool_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|none~1|none~2|",
        "|none~0|+|nor_conv_3x3~0|nor_conv_1x1~1|+|avg_pool_3x3~0|avg_pool_3x3~1|avg_pool_3x3~2|",
    ];
    for (i, text) in texts.into_iter().enumerate() {
        for (cells, side) in [(1, [5, 5]), (2, [7, 4]), (5, [11, 3])] {
            let stream = Stream::new(i as u64, "odd", cells as u64);
            Case::random(text.parse().unwrap(), cells, 3, 1, side, stream).check(text);
        }
    }
}

#[test]
fn only_what_the_output_needs_has_tensors() {
    let case = Case::partly_used();
    let (mean, std) = ([0.5], [0.25]);
    let of_cell = |k: usize| -> Vec<&str> {
        let names = case.weights.tensors.keys().filter_map(move |name| name.strip_prefix(&format!("cells.{k}.")));
        names.filter_map(|name| name.strip_suffix(".weight")).collect()
    };
    for k in [0, 3] {
        assert_eq!(of_cell(k), ["layers.0.op.1", "layers.0.op.2", "layers.6.op.1", "layers.6.op.2"]);
    }
    for k in [1, 2] {
        assert_eq!(of_cell(k), ["conv_a.op.1", "conv_a.op.2", "conv_b.op.1", "conv_b.op.2", "downsample.1"]);
    }
    case.check("partly used");
    let page = model_py(&case.trained(&mean, &std)).unwrap();
    let lines = format!(
        "SIDE = [7, 5]\nGENOTYPE = \"{}\"\nNODES = [[(0, \"nor_conv_3x3\", 0)], [], [], [(6, \"nor_conv_1x1\", 0), \
         (7, \"avg_pool_3x3\", 1)]]\n",
        case.genotype
    );
    assert!(page.contains(&lines), "{page}");
    assert!(page.matches('@').count() == 1 && page.contains("@torch.no_grad()"), "{page}");

    let refused = |change: &dyn Fn(&mut Case)| {
        let mut case = Case::partly_used();
        change(&mut case);
        let trained = case.trained(&mean, &std);
        let error = onnx(&trained, FOLDED).unwrap_err();
        assert_eq!(
            [safetensors(&trained).unwrap_err(), model_py(&trained).unwrap_err()],
            [error.clone(), error.clone()]
        );
        error.to_string()
    };
    assert_eq!(
        refused(&|case| _ = case.weights.tensors.remove("cells.3.layers.6.op.1.weight")),
        "the tensor `cells.3.layers.6.op.1.weight` is missing; this network needs it with the shape [8, 8, 1, 1]"
    );
    assert_eq!(
        refused(&|case| _ = case.weights.tensors.remove("lastact.0.bias")),
        "the tensor `lastact.0.bias` is missing; this network needs it with the shape [8]"
    );
    let spare = |case: &mut Case| {
        let tensor = case.weights.tensors["cells.0.layers.0.op.1.weight"].clone();
        case.weights.tensors.insert("cells.0.layers.1.op.1.weight".to_owned(), tensor);
    };
    assert_eq!(
        refused(&spare),
        "the tensor `cells.0.layers.1.op.1.weight` belongs to no part of this network, the nearest known one is \
         `cells.0.layers.0.op.1.weight`"
    );
    assert_eq!(
        refused(&|case| case.auxiliary = true),
        "a network with cells of the topology nasbench201 has no auxiliary head, but it is said to have one"
    );
}

#[test]
fn equal_networks_give_equal_files_and_the_files_say_what_they_are() {
    let case = Case::small();
    let (mean, std) = ([0.4914], [0.25]);
    let trained = case.trained(&mean, &std);
    assert_eq!(onnx(&trained, FOLDED).unwrap(), onnx(&trained, FOLDED).unwrap());
    let bytes = safetensors(&trained).unwrap();
    assert_eq!(bytes, safetensors(&trained).unwrap());

    let file = SafeTensors::deserialize(&bytes).unwrap();
    let counters = file.names().iter().filter(|name| name.ends_with("num_batches_tracked")).count();
    let norms = file.names().iter().filter(|name| name.ends_with("running_mean")).count();
    assert_eq!((counters, file.len()), (norms, norms + case.weights.tensors.len()));
    for (name, tensor) in &case.weights.tensors {
        let view = file.tensor(name).unwrap();
        assert_eq!((view.dtype(), view.shape()), (Dtype::F32, &tensor.shape[..]), "{name}");
        assert!(view.data().chunks(4).zip(&tensor.values).all(|(bytes, v)| bytes == v.to_le_bytes()), "{name}");
    }
    let meta = SafeTensors::read_metadata(&bytes).unwrap().1.metadata().clone().unwrap();
    assert_eq!(meta["genotype"].parse::<Genotype>().unwrap(), case.genotype);
    assert_eq!((meta["mean"].as_str(), meta["side"].as_str(), meta["cells"].as_str()), ("[0.4914]", "[7,5]", "3"));
    assert_eq!(meta["classes"], r#"["class 0","class 1","class 2","class 3"]"#);

    let model = rten::Model::load(onnx(&trained, FOLDED).unwrap()).unwrap();
    let fields: BTreeMap<String, String> =
        model.metadata().fields().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    assert_eq!((fields["classes"].as_str(), fields["normalise"].as_str()), (meta["classes"].as_str(), "false"));
    assert_eq!(fields["genotype"], meta["genotype"]);

    let page = model_py(&trained).unwrap();
    assert!(!page.contains('@') || page.contains("@torch.no_grad()") && page.matches('@').count() == 1, "{page}");
    assert!(
        page.contains("CLASSES = [\"class 0\", \"class 1\", \"class 2\", \"class 3\"]\nMEAN = [0.4914]\n"),
        "{page}"
    );
    assert!(!page.contains("uxiliary"), "{page}");
}

#[test]
fn what_cannot_be_exported_is_refused_in_a_sentence() {
    let (mean, std) = ([0.5], [0.25]);
    let refused = |change: &dyn Fn(&mut Case)| {
        let mut case = Case::small();
        change(&mut case);
        let trained = case.trained(&mean, &std);
        let error = onnx(&trained, FOLDED).unwrap_err();
        assert_eq!(safetensors(&trained).unwrap_err().to_string(), error.to_string());
        assert_eq!(model_py(&trained).unwrap_err().to_string(), error.to_string());
        error.to_string()
    };
    type Change = Box<dyn Fn(&mut Case)>;
    let tensor = |name: &'static str, change: fn(&mut Tensor)| -> Change {
        Box::new(move |case| change(case.weights.tensors.get_mut(name).unwrap()))
    };
    let rows: [(Change, &str); 13] = [
        (
            Box::new(|case| case.genotype.reduce[0].0 = Op::Noise),
            "the reduce cell uses `noise`, which draws new numbers for every image and so cannot be exported; a genotype \
             without it can",
        ),
        (
            Box::new(|case| _ = case.genotype.normal.pop()),
            "the genotype is not sound: `normal` lists 3 operations, but every node needs two, so the number must be even",
        ),
        (
            Box::new(|case| case.weights.reductions = vec![1, 3]),
            "the cells that reduce are [1, 3], but they must be at most 10 different ones of 3, counted from 0, in their order",
        ),
        (
            Box::new(|case| case.weights.reductions = vec![2, 1]),
            "the cells that reduce are [2, 1], but they must be at most 10 different ones of 3, counted from 0, in their order",
        ),
        (Box::new(|case| case.cells = 0), "the number of cells is 0, but it must lie between 1 and 1000"),
        (
            Box::new(|case| case.channels = usize::MAX),
            "the number of channels is 18446744073709551615, but it must lie between 1 and 65536",
        ),
        (Box::new(|case| case.classes.clear()), "the number of classes is 0, but it must lie between 1 and 65536"),
        (
            Box::new(|case| _ = case.weights.tensors.remove("cells.0._ops.0.op.1.weight")),
            "the tensor `cells.0._ops.0.op.1.weight` is missing; this network needs it with the shape [2, 1, 3, 3]",
        ),
        (
            tensor("stem.0.weight", |tensor| tensor.shape = vec![6, 9]),
            "the tensor `stem.0.weight` has the shape [6, 9], but this network needs [6, 1, 3, 3]",
        ),
        (
            tensor("classifier.bias", |tensor| _ = tensor.values.pop()),
            "the tensor `classifier.bias` holds 3 values, but its shape [4] asks for 4",
        ),
        (
            tensor("stem.1.running_var", |tensor| tensor.values[0] = -1.0),
            "the tensor `stem.1.running_var` holds -1, but a variance is never below 0",
        ),
        (
            tensor("stem.1.bias", |tensor| tensor.values[0] = f32::NAN),
            "the tensor `stem.1.bias` holds NaN, but it must be a finite number",
        ),
        (
            Box::new(|case| {
                let tensor = case.weights.tensors["stem.1.bias"].clone();
                case.weights.tensors.insert("stem.1.bais".to_owned(), tensor);
            }),
            "the tensor `stem.1.bais` belongs to no part of this network, the nearest known one is `stem.1.bias`",
        ),
    ];
    for (change, sentence) in rows {
        assert_eq!(refused(&*change), sentence);
    }
    let case = Case::small();
    let error = onnx(&case.trained(&mean, &[0.0]), FOLDED).unwrap_err();
    assert_eq!(error.to_string(), "`std` holds 0, but pixels are divided by it, so it must be above 0");
    let error = onnx(&case.trained(&[0.1, 0.2, 0.3], &std), FOLDED).unwrap_err();
    assert_eq!(error, ExportError::Normalisation { field: "mean", given: 3, wanted: 1 });
}

fn number(bytes: &[u8], dtype: Dtype) -> f64 {
    let word: [u8; 8] = bytes.try_into().unwrap();
    match dtype {
        Dtype::F64 => f64::from_le_bytes(word),
        Dtype::I64 => i64::from_le_bytes(word) as f64,
        other => panic!("a golden value of type {other:?}"),
    }
}
