//! What PyTorch saved is read as it was, and told apart.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use rdarts_export::import::{Evaluation, ImportError, Imported, describe, read};
use rdarts_export::{Tensor, model_py, safetensors};
use rdarts_rng::Stream;
use rdarts_space::Genotype;
use safetensors::SafeTensors;

use crate::case::Case;
use crate::skip;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// Whether a file has the tensors of `case`, and what it tells of the network.
fn check(path: &Path, case: &Case) {
    let mut tensors = read(path, None).unwrap_or_else(|error| panic!("{error}"));
    let reductions = vec![1, 2];
    let wanted = Evaluation { cells: 3, channels: 2, c_image: 1, classes: 4, auxiliary: false, reductions };
    assert_eq!(describe(&tensors), Ok(Imported::Evaluation(wanted.clone())), "{}", path.display());
    assert_eq!(wanted.fits(&case.genotype, &tensors), Ok(()));
    let counters = tensors.extract_if(.., |name, _| name.ends_with("num_batches_tracked"));
    assert!(counters.count() > 0);
    assert_eq!(tensors, case.weights.tensors, "{}", path.display());
}

#[test]
fn both_forms_of_a_state_dict_are_read() {
    for name in ["state.pt", "legacy.pt"] {
        check(&data(name), &Case::small());
    }
}

#[test]
fn the_cells_that_reduce_are_told_by_their_widths() {
    for reductions in [vec![0, 1, 3], vec![3], vec![1, 2]] {
        let (genotype, stream) = (Case::small().genotype, Stream::new(1, "widths", 0));
        let case = Case::reducing_at(&reductions, genotype.clone(), 4, 2, 1, [9, 8], stream);
        let Ok(Imported::Evaluation(found)) = describe(&case.weights.tensors) else {
            panic!("it is a trained network")
        };
        assert_eq!((found.cells, &found.reductions), (4, &reductions));
        assert_eq!(found.fits(&genotype, &case.weights.tensors), Ok(()));
        let other = Evaluation { reductions: vec![2], ..found };
        assert!(matches!(other.fits(&genotype, &case.weights.tensors), Err(ImportError::Misfit(_))));
    }
}

#[test]
fn all_that_training_scripts_save_is_read() {
    let Some(python) = std::env::var_os("RDARTS_PYTHON") else {
        return skip::skip("RDARTS_PYTHON unset", "no Python with torch is named");
    };
    let (case, dir) = (Case::small(), tempfile::tempdir().unwrap());
    let trained = case.trained(&[0.5], &[0.25]);
    let [page, weights] = ["model.py", "weights.safetensors"].map(|name| dir.path().join(name));
    std::fs::write(&page, model_py(&trained).unwrap()).unwrap();
    std::fs::write(&weights, safetensors(&trained).unwrap()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints.py");
    let out = Command::new(python).arg(script).args([&page, &weights]).arg(dir.path()).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    for name in ["state.pt", "legacy.pt", "checkpoint.pt", "checkpoint-legacy.pt", "double.pt"] {
        check(&dir.path().join(name), &case);
    }
    let search = read(&dir.path().join("search.pt"), None).unwrap();
    assert_eq!(search["alphas_reduce"].shape, [14, 8]);
    let Ok(Imported::Search(found)) = describe(&search) else { panic!("it is a search network") };
    assert_eq!((found.nodes, found.has_alphas, search.len()), (4, true, 6));
}

#[test]
fn tensors_that_a_file_cannot_hold_are_not_read() {
    // Eight views of 1 GiB in a few kB.
    let path = data("hollow.pt");
    let length = std::fs::metadata(&path).unwrap().len();
    let needed = 8 * (1 << 30) + 4 * 54;
    assert_eq!(read(&path, None), Err(ImportError::Hollow { path: path.display().to_string(), needed, length }));
    // Nor those that do not fit the memory; the last is the largest of them once more, as it is in the file.
    let path = data("state.pt");
    let n: usize = read(&path, None).unwrap().values().map(|tensor| tensor.values.len()).sum();
    let error = read(&path, Some(4 * n as u64)).unwrap_err();
    assert!(matches!(error, ImportError::Memory { needed, .. } if needed > 4 * n as u64), "{error}");
    assert!(read(&path, Some(1 << 20)).is_ok());
}

#[test]
fn a_genotype_of_another_network_is_refused_with_what_differs() {
    let case = Case::small();
    let tensors = &case.weights.tensors;
    let Ok(Imported::Evaluation(found)) = describe(tensors) else { panic!("it is an evaluation network") };
    let with = |from: &str, to: &str| {
        let text = case.genotype.to_string();
        assert!(text.contains(from));
        found.fits(&text.replacen(from, to, 1).parse::<Genotype>().unwrap(), tensors).unwrap_err().to_string()
    };
    assert_eq!(
        with("dil_conv_3x3", "dil_conv_5x5"),
        "the genotype is not that of these weights: `cells.0._ops.2.op.1.weight` has the shape [2, 1, 3, 3], where it \
         needs [2, 1, 5, 5]"
    );
    assert_eq!(
        with("dil_conv_3x3", "avg_pool_3x3"),
        "the genotype is not that of these weights: it has no use for `cells.0._ops.2.op.1.weight`, \
         `cells.0._ops.2.op.2.weight`, `cells.0._ops.2.op.3.bias` and 3 more"
    );
    assert_eq!(
        with("avg_pool_3x3", "conv_7x1_1x7"),
        "the genotype is not that of these weights: it needs `cells.1._ops.0.1.weight`, \
         `cells.1._ops.0.2.weight`, `cells.1._ops.0.3.bias` and 9 more, which the file does not have"
    );
    assert!(with("dil_conv_3x3", "noise").starts_with("the normal cell uses `noise`"));
    let other = Case::partly_used();
    assert_eq!(
        found.fits(&other.genotype, tensors).unwrap_err().to_string(),
        "the genotype is not that of these weights: its cells are those of the topology nasbench201, where the network has \
         those of darts"
    );
    assert_eq!(
        describe(&other.weights.tensors).unwrap_err().to_string(),
        "the tensor `lastact.0.weight` is that of a network of NAS-Bench-201, but only those with cells of DARTS are read"
    );
}

#[test]
fn what_is_no_checkpoint_is_refused_in_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        read(&path, None).unwrap_err().to_string().replace(&dir.path().display().to_string(), "DIR")
    };
    for (name, bytes) in
        [("empty.pt", &b""[..]), ("text.pt", b"epoch,loss\n1,2\n"), ("zip.pt", b"PK\x03\x04 and so on")]
    {
        let sentence = refused(name, bytes);
        println!("{sentence}");
        assert!(sentence.starts_with(&format!("DIR/{name} cannot be read as a checkpoint of PyTorch: ")), "{sentence}");
        assert!(!sentence.contains('\n'));
    }
    // No cut and no changed byte makes the program stop.
    for name in ["state.pt", "legacy.pt"] {
        let whole = std::fs::read(data(name)).unwrap();
        for i in 0..200 {
            let at = whole.len() * i / 200;
            let path = dir.path().join("cut.pt");
            std::fs::write(&path, &whole[..at]).unwrap();
            assert!(read(&path, None).is_err(), "{name} up to byte {at}");
            let mut changed = whole.clone();
            changed[at] ^= 0x55;
            std::fs::write(&path, changed).unwrap();
            _ = read(&path, None).map(|tensors| describe(&tensors));
        }
    }
    let absent = read(&dir.path().join("absent.pt"), None).unwrap_err();
    assert!(matches!(&absent, ImportError::Unreadable { cause, .. } if cause.contains("No such file")), "{absent}");
}

#[test]
fn search_networks_of_every_golden_file_are_told() {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden");
    let dir = std::env::var_os("RDARTS_GOLDEN").map_or_else(default, PathBuf::from);
    let mut n = 0;
    for name in ["s1", "s2", "s3", "darts", "tiny"] {
        let Ok(bytes) = std::fs::read(dir.join(format!("supernet-{name}.safetensors"))) else { continue };
        let meta = SafeTensors::read_metadata(&bytes).unwrap().1.metadata().clone().unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let names = file.names();
        let params = names.iter().filter_map(|name| Some((name.strip_prefix("param.")?, file.tensor(name).unwrap())));
        let tensors: BTreeMap<String, Tensor> = params
            .map(|(name, view)| (name.to_owned(), Tensor { shape: view.shape().to_vec(), values: vec![] }))
            .collect();
        let Ok(Imported::Search(found)) = describe(&tensors) else { panic!("{name} is a search network") };
        let told =
            [("cells", found.cells), ("channels", found.channels), ("classes", found.classes), ("nodes", found.nodes)];
        for (key, value) in told {
            assert_eq!(value.to_string(), meta[key], "{name}: {key}");
        }
        let reductions: Vec<String> = found.reductions.iter().map(usize::to_string).collect();
        assert_eq!(reductions.join(","), meta["reductions"], "{name}");
        assert_eq!((found.c_image, found.has_alphas), (3, false));
        n += 1;
    }
    if n == 0 {
        skip::skip("../shared absent", "no golden values of supernets; RDARTS_GOLDEN may name their directory");
    }
}
