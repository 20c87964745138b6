//! What Python makes of exported networks: `tests/check.py`, carried out by the Python that RDARTS_PYTHON
//! names, which needs onnx, onnxruntime and torch.

use std::path::Path;
use std::process::Command;

use rdarts_export::{OnnxOptions, Tensor, model_py, onnx, safetensors};
use rdarts_rng::Stream;
use rdarts_space::{Space, published, sample};

use crate::case::{Case, without_noise};
use crate::reference::Images;
use crate::skip;

#[test]
fn onnxruntime_and_pytorch_give_the_logits_of_the_loops() {
    let Some(python) = std::env::var_os("RDARTS_PYTHON") else {
        return skip::skip("RDARTS_PYTHON unset", "no Python with onnx, onnxruntime and torch is named");
    };
    let dir = tempfile::tempdir().unwrap();
    for (i, name) in Space::NAMES.into_iter().enumerate() {
        let mut stream = Stream::new(9, name, 0);
        let mut genotype = sample(&Space::builtin(name).unwrap(), &mut stream);
        without_noise(&mut genotype, &mut stream);
        let side = [[7, 9], [15, 15], [8, 8], [1, 3]][i % 4];
        let case = Case::random(genotype, 2 + i % 4, 4, [1, 3][i % 2], side, stream);
        write(&case, &dir.path().join(name));
    }
    let odd = "Genotype(normal=[('none', 0), ('none', 1), ('conv_7x1_1x7', 2), ('conv_7x1_1x7', 2)], normal_concat=[3, 2], \
               reduce=[('none', 0), ('none', 1), ('conv_7x1_1x7', 1), ('none', 2)], reduce_concat=[3])";
    let odd = Case::random(odd.parse().unwrap(), 3, 2, 1, [5, 6], Stream::new(9, "odd", 0));
    write(&odd, &dir.path().join("odd"));
    write(&Case::partly_used(), &dir.path().join("partly used"));
    let texts = [
        ("all operations", "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_1x1~1|none~2|"),
        ("nothing", "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"),
        ("a node of nothing", "|none~0|+|nor_conv_3x3~0|nor_conv_1x1~1|"),
    ];
    for (name, text) in texts {
        let case = Case::random(text.parse().unwrap(), 5, 4, 3, [11, 6], Stream::new(9, name, 0));
        write(&case, &dir.path().join(name));
    }
    for name in ["s1", "nasbench201"] {
        let (name, mut stream) = (format!("three reductions, {name}"), Stream::new(9, name, 1));
        let genotype = sample(&Space::builtin(name.rsplit(' ').next().unwrap()).unwrap(), &mut stream);
        write(&Case::reducing_at(&[0, 1, 3], genotype, 5, 2, 3, [17, 10], stream), &dir.path().join(name));
    }
    write(&with_auxiliary(), &dir.path().join("auxiliary"));

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check.py");
    let out = Command::new(python).arg(script).arg(dir.path()).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    println!("{text}");
    assert!(out.status.success(), "{text}{}", String::from_utf8_lossy(&out.stderr));
    assert!(text.contains(&format!("{} networks are right", Space::NAMES.len() + 8)), "{text}");
}

/// A network of images whose side is what the auxiliary head was made for.
fn with_auxiliary() -> Case {
    let genotype = published("DARTS_V2").unwrap();
    let mut case = Case::random(genotype, 4, 2, 3, [32, 32], Stream::new(9, "auxiliary", 0));
    case.auxiliary = true;
    case.classes[0] = "\"odd\"\n\\ ü".to_owned();
    // The loops draw the tensors of the head when they first ask for them.
    let normalised = case.normalised();
    case.weights.auxiliary_logits(&case.genotype, case.cells, case.channels, case.classes.len(), &normalised);
    let counter = Tensor { shape: vec![], values: vec![7.0] };
    case.weights.tensors.insert("auxiliary_head.features.3.num_batches_tracked".to_owned(), counter);
    case
}

fn write(case: &Case, folder: &Path) {
    let c = case.x.shape[1];
    let trained = case.trained(&Case::MEAN[..c], &Case::STD[..c]);
    let normalised = case.normalised();
    let mut loops = case.weights.loops();
    let Images { shape, values } = &case.x;
    let logits = loops.logits(&case.genotype, case.cells, case.channels, case.classes.len(), &normalised);
    let auxiliary = case
        .auxiliary
        .then(|| loops.auxiliary_logits(&case.genotype, case.cells, case.channels, case.classes.len(), &normalised));
    let about = serde_json::json!({
        "shape": shape, "images": values, "logits": logits, "classes": case.classes, "auxiliary": auxiliary,
    });
    std::fs::create_dir(folder).unwrap();
    let save = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).unwrap();
    save("case.json", about.to_string().as_bytes());
    save("model.onnx", &onnx(&trained, OnnxOptions { normalise: true, fold: true }).unwrap());
    save("weights.safetensors", &safetensors(&trained).unwrap());
    save("model.py", model_py(&trained).unwrap().as_bytes());
}
