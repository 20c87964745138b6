//! `rdarts import`: checkpoints of the published PyTorch code, and genotypes as people keep them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rdarts_data::{DataError, FOLDER, Options, available_memory, escaped, open_with, outline, shown};
use rdarts_export::Tensor;
use rdarts_export::import::{Evaluation, Imported, Supernet, describe, read};
use rdarts_run::{for_shell, write_file};
use rdarts_search::open_space;
use rdarts_space::{CellType, Genotype, Space, default_reductions, derive};
use rdarts_train::Model;
use rdarts_train::model::{About, FORMAT};
use rdarts_train::tensors::{NamedTensor, read_tensors};
use serde_json::json;

use crate::conduct::{count, one_of};
use crate::exit::{Exit, out, say, whole};
use crate::genotypes::{genotype, named_in, of_text};
use crate::model_file::{Exported, check_parent, gib, in_words, is_same, path_text};
use crate::progress::Reading;
use crate::verbs::data::{resolve, shown_name};

/// A checkpoint of other code becomes a model or a genotype
///
/// Read are the files of the code of DARTS, RobustDARTS and SmoothDARTS
/// (weights.pt and checkpoints), safetensors that rdarts has exported, and
/// genotypes as text in any form: Python, JSON, the log of a search, of which
/// the last genotype is taken. One of several that have names, as in
/// genotypes.py, is FILE:NAME, also behind --genotype.
///
///   an evaluation network   with its genotype it becomes a model file, which
///                           `predict`, `test` and `export` take
///   a search network        if its alphas are in the file, its genotype is printed
///   a genotype              is printed in the notation of the DARTS code
///
/// Examples:
///   rdarts import weights.pt --genotype DARTS_V2 --data cifar10
///   rdarts import weights.pt --genotype found.txt --data ./my-images
///   rdarts import gray.pt --genotype found.txt --classes cat,dog --mean 0.5 --std 0.2
///   rdarts import checkpoint.pt --space s3
///   rdarts import log.txt
///   rdarts import genotypes.py:PCDARTS
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Checkpoint, safetensors or text
    file: PathBuf,
    /// Cells of the network: a name such as DARTS_V2, a file such as a log, FILE:NAME, a run directory, or the notation
    #[arg(long)]
    genotype: Option<String>,
    /// Model file to write, or file of the genotype [default: FILE's name with .safetensors; genotypes are printed]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Data set of the training, which has class names, mean, deviation and size
    #[arg(long, value_name = "NAME|DIR")]
    data: Option<String>,
    /// Directory of the data set
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Names of the classes, in the order of the outputs
    #[arg(long, value_delimiter = ',')]
    classes: Option<Vec<String>>,
    /// Mean of each channel of the pixels, which are 0 to 1
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true, requires = "std")]
    mean: Option<Vec<f32>>,
    /// Their standard deviation
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true, requires = "mean")]
    std: Option<Vec<f32>>,
    /// Rows and columns of an image [default: that of the data set, else 32]
    #[arg(long, value_parser = |text: &str| whole(text, 8, 1024))]
    side: Option<u64>,
    #[arg(long, help = format!("Space of a search: {}, or a TOML file [default: the one with as many operations]", Space::NAMES.join(", ")))]
    space: Option<String>,
    /// Replace the file that is there already
    #[arg(long)]
    force: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(mut args: Args) -> Result<ExitCode, Exit> {
    let (path, name) = named_in(&args.file);
    args.file = path;
    if args.file.is_dir() {
        let weights = args.file.join("weights.safetensors");
        if !weights.is_file() {
            let file = shown(&args.file);
            return Err(Exit::Input(format!(
                "{file} is a directory: name the checkpoint or the text with a genotype in it"
            )));
        }
        args.file = weights;
    }
    let opened = Opened::new(&args.file)?;
    if let (Some(name), true) = (&name, opened.kind != Kind::Text) {
        let file = shown(&args.file);
        return Err(Exit::Input(format!(
            "{file} is no text, so there is no genotype called `{}` in it",
            escaped(name)
        )));
    }
    let (tensors, exported) = match opened.kind {
        Kind::Text => {
            let genotype = of_text(&opened.contents()?, &shown(&args.file), name.as_deref())?;
            only_genotype(&args, "is text, from which a genotype is read")?;
            return tell_genotype(&args, &genotype, None);
        }
        Kind::Safetensors => {
            let bytes = opened.contents()?;
            if Model::from_bytes(&bytes).is_ok() {
                let file = for_shell(&args.file);
                return Err(Exit::Input(format!(
                    "{file} is a model of rdarts already: `rdarts predict {file} PICTURE...` uses it"
                )));
            }
            let tensors = read_tensors(&bytes).map_err(|e| Exit::Input(format!("{}: {e}", shown(&args.file))))?;
            let tensors =
                tensors.into_iter().map(|(name, t)| (name, Tensor { shape: t.shape, values: t.values })).collect();
            (tensors, Exported::of(&bytes))
        }
        Kind::Checkpoint => {
            // The model and its file are made of them while they are there.
            let free = available_memory().map(|free| free / 3);
            (read(&args.file, free).map_err(Exit::input)?, Exported::default())
        }
    };
    match describe(&tensors).map_err(|e| Exit::Input(format!("{}: {e}", shown(&args.file))))? {
        Imported::Search(found) => {
            only_genotype(&args, "is the checkpoint of a search, which gives a genotype")?;
            let (genotype, space) = genotype_of_search(&args, &found, &tensors)?;
            tell_genotype(&args, &genotype, Some(&space))
        }
        Imported::Evaluation(found) => model(&args, &found, tensors, exported),
    }
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A genotype, by itself or in a log.
    Text,
    Safetensors,
    Checkpoint,
}

/// A file of which only the beginning has been read: a checkpoint may be larger than the memory.
struct Opened {
    file: File,
    path: PathBuf,
    head: Vec<u8>,
    kind: Kind,
}

/// Bytes by which a file is told.
const HEAD: u64 = 1 << 16;

impl Opened {
    fn new(path: &Path) -> Result<Self, Exit> {
        let cannot = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::NotFound => Exit::Input(format!("there is no file {}", shown(path))),
            _ => Exit::Input(format!("cannot read {}: {e}", shown(path))),
        };
        let mut head = Vec::new();
        let mut file = File::open(path).map_err(cannot)?;
        Read::take(&mut file, HEAD).read_to_end(&mut head).map_err(cannot)?;
        let about = file.metadata().map_err(cannot)?;
        let is_inside = |length: u64| length < about.len() || !about.is_file();
        let header = head.first_chunk().map(|length| u64::from_le_bytes(*length));
        // The last letter may be cut.
        let is_text = std::str::from_utf8(&head).map_or_else(|e| e.error_len().is_none(), |_| true);
        let kind = match head.get(8) == Some(&b'{') && header.is_some_and(is_inside) {
            true => Kind::Safetensors,
            false if is_text && !head.contains(&0) => Kind::Text,
            false => Kind::Checkpoint,
        };
        Ok(Self { file, path: path.to_owned(), head, kind })
    }

    /// All bytes, if there is memory for them and as much again, for what is made of them.
    fn contents(mut self) -> Result<Vec<u8>, Exit> {
        let cannot = |e: std::io::Error| Exit::Input(format!("cannot read {}: {e}", shown(&self.path)));
        let n = self.file.metadata().map_err(cannot)?.len();
        if let Some(free) = available_memory().filter(|free| n.saturating_mul(2) > *free) {
            return Err(Exit::Input(format!(
                "{} has {:.1} GiB, and reading it takes twice as much memory, but this process has {:.1} GiB free",
                shown(&self.path),
                gib(n),
                gib(free)
            )));
        }
        let mut bytes = std::mem::take(&mut self.head);
        self.file.read_to_end(&mut bytes).map_err(cannot)?;
        Ok(bytes)
    }
}

/// Refuses what only a model can be given.
fn only_genotype(args: &Args, what: &str) -> Result<(), Exit> {
    let given = [
        ("--genotype", args.genotype.is_some()),
        ("--data", args.data.is_some()),
        ("--classes", args.classes.is_some()),
        ("--mean", args.mean.is_some()),
        ("--side", args.side.is_some()),
    ];
    match given.iter().find(|(_, is_given)| *is_given) {
        Some((flag, _)) => {
            let file = shown(&args.file);
            Err(Exit::Input(format!("{file} {what}, but {flag} is for the weights of an evaluation network")))
        }
        None => Ok(()),
    }
}

/// Prints a genotype, and writes it where that is asked for.
fn tell_genotype(args: &Args, genotype: &Genotype, space: Option<&Space>) -> Result<ExitCode, Exit> {
    if let Some(path) = &args.out {
        check_place(args, path)?;
        write_file(path, format!("{genotype}\n").as_bytes())?;
    }
    match args.json {
        true => out!(
            "{:#}",
            json!({
                "kind": "genotype", "genotype": genotype, "genotype_text": genotype.to_string(),
                "space": space.map(|space| &space.name), "path": args.out.as_deref().map(path_text),
            })
        ),
        false => {
            if let Some(space) = space {
                say!("The alphas are those of the space {}.", escaped(&space.name));
            }
            out!("{genotype}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn check_place(args: &Args, path: &Path) -> Result<(), Exit> {
    if is_same(path, &args.file) {
        return Err(Exit::Input(format!("{} is the file that is imported: name another with --out", shown(path))));
    }
    if path.is_dir() {
        return Err(Exit::Input(format!("{} is a directory: name a file in it with --out", shown(path))));
    }
    check_parent(path)?;
    match path.exists() && !args.force {
        true => Err(Exit::Input(format!(
            "{} is there already: --force replaces it, --out names another place",
            shown(path)
        ))),
        false => Ok(()),
    }
}

/// What the alphas of a search stand for, and the space that they are of.
fn genotype_of_search(
    args: &Args,
    found: &Supernet,
    tensors: &BTreeMap<String, Tensor>,
) -> Result<(Genotype, Space), Exit> {
    let file = shown(&args.file);
    let alphas = CellType::ALL.map(|cell| tensors.get(&format!("alphas_{cell}")));
    let [Some(normal), Some(reduce)] = alphas else {
        return Err(Exit::Input(format!(
            "{file} has the weights of a supernet of {}, but not its alphas (alphas_normal, alphas_reduce), which say \
             what was found: the log of the search has them as genotypes, and `rdarts import log.txt` takes the last",
            count(found.cells, "cell")
        )));
    };
    let ([edges, ops], true) =
        (<[usize; 2]>::try_from(&normal.shape[..]).unwrap_or([0, 0]), normal.shape == reduce.shape)
    else {
        return Err(Exit::Input(format!(
            "{file} has alphas of the shapes {:?} and {:?}, but both should have a row for each edge and a column for each \
             operation",
            normal.shape, reduce.shape
        )));
    };
    for (name, alphas) in [("alphas_normal", normal), ("alphas_reduce", reduce)] {
        if let Some(value) = alphas.values.iter().find(|value| !value.is_finite()) {
            return Err(Exit::Input(format!(
                "{file} has the value {value} in its tensor `{name}`, but alphas are finite numbers: the search has \
                 diverged, and no genotype follows from it"
            )));
        }
    }
    let widest = |space: &Space| CellType::ALL.iter().flat_map(|cell| space.cell(*cell)).map(Vec::len).max();
    let fits = |space: &Space| space.n_edges() == edges && widest(space) == Some(ops);
    let space = match &args.space {
        Some(name) => {
            let space = open_space(name)?;
            if !fits(&space) {
                return Err(Exit::Input(format!(
                    "{file} has the alphas of {edges} edges with {ops} operations, but the space {} has {} with {}",
                    escaped(&space.name),
                    space.n_edges(),
                    widest(&space).unwrap_or(0)
                )));
            }
            space
        }
        None => {
            let known = Space::NAMES.into_iter().filter_map(|name| Space::builtin(name).ok());
            let mut fitting: Vec<Space> = known.filter(fits).collect();
            let names: Vec<&str> = fitting.iter().map(|space| space.name.as_str()).collect();
            match names[..] {
                [_] => fitting.remove(0),
                [] => {
                    return Err(Exit::Input(format!(
                        "{file} has the alphas of {edges} edges with {ops} operations, as no built-in space has: name the \
                         file of its space with --space"
                    )));
                }
                _ => {
                    return Err(Exit::Input(format!(
                        "{file} has the alphas of {edges} edges with {ops} operations, which may be those of {}: say which \
                         with --space",
                        one_of(&names)
                    )));
                }
            }
        }
    };
    // Rows of edges with fewer operations are filled up.
    let flat = |cell: CellType, alphas: &Tensor| -> Vec<f32> {
        let rows = alphas.values.chunks(ops.max(1)).zip(space.cell(cell));
        rows.flat_map(|(row, edge)| row.iter().take(edge.len()).copied()).collect()
    };
    let genotype = derive(&space, &flat(CellType::Normal, normal), &flat(CellType::Reduce, reduce));
    Ok((genotype, space))
}

/// What a data set tells of the network that was trained on it.
#[derive(Default)]
struct OfData {
    name: String,
    classes: Option<Vec<String>>,
    normalisation: Option<(Vec<f32>, Vec<f32>)>,
    side: Option<usize>,
}

impl OfData {
    fn of(args: &Args, found: &Evaluation, exported: &Exported) -> Result<Self, Exit> {
        let Some(data) = &args.data else { return Ok(Self::default()) };
        let (name, dir) = resolve(data, args.data_dir.clone())?;
        let called = shown_name(name, dir.as_deref());
        let known = outline(name)?;
        let differs = |what: &str, given: usize, of_data: usize| {
            Err(Exit::Input(format!(
                "the number of {what} of the network is {given}, but that of {called} is {of_data}"
            )))
        };
        match (known.n_classes, known.channels) {
            (Some(n), _) if n != found.classes => return differs("classes", found.classes, n),
            (_, Some(n)) if n != found.c_image => return differs("values per pixel", found.c_image, n),
            _ => {}
        }
        let published = rdarts_data::catalog().iter().find(|entry| entry.name == name);
        let published = published.and_then(|entry| entry.published).map(|(mean, std)| (mean.to_vec(), std.to_vec()));
        let of_export = exported.side.filter(|[rows, columns]| rows == columns).map_or(0, |[rows, _]| rows);
        let size = args.side.map_or(of_export, |side| side as usize);
        let reading = Reading::new(args.json);
        let usual = Options { watch: &reading, ..Options::USUAL };
        let options = if name == FOLDER { Options { size, channels: found.c_image, ..usual } } else { usual };
        let opened = open_with(name, dir.as_deref(), &options);
        reading.end();
        let name = name.to_owned();
        match opened {
            Ok(data) if data.classes.len() != found.classes => differs("classes", found.classes, data.classes.len()),
            Ok(data) => Ok(Self {
                name,
                side: Some(data.train.height),
                classes: Some(data.classes),
                normalisation: Some((data.mean, data.std)),
            }),
            // Mean and deviation are known without its files, the names of its classes are not.
            Err(DataError::NotInstalled { .. }) if published.is_some() => {
                say!(
                    "note: the names of the classes are in the files of {called}, which are not here; `rdarts data fetch \
                     {called}` gets them, or name the classes with --classes"
                );
                Ok(Self { name, classes: None, normalisation: published, side: known.side })
            }
            Err(e) => Err(e.into()),
        }
    }
}

impl OfData {
    /// Says what an export tells otherwise than its data set, where nothing is given for it: the export is right.
    fn tell_differences(&self, args: &Args, exported: &Exported) {
        let differ = |a: &Option<Vec<String>>, b: &Option<Vec<String>>| matches!((a, b), (Some(a), Some(b)) if a != b);
        let normalised = exported.mean.as_ref().zip(exported.std.as_ref());
        let other = |(mean, std): (&Vec<f32>, &Vec<f32>)| {
            self.normalisation.as_ref().is_some_and(|(of_data, its_std)| (of_data, its_std) != (mean, std))
        };
        let rows = [
            (
                "other names of the classes",
                "--classes",
                args.classes.is_none() && differ(&self.classes, &exported.classes),
            ),
            ("another mean and deviation", "--mean and --std", args.mean.is_none() && normalised.is_some_and(other)),
        ];
        let (file, data) = (shown(&args.file), args.data.as_deref().map(escaped).unwrap_or_default());
        for (what, flag, _) in rows.iter().filter(|(.., differs)| *differs) {
            say!("note: {file} has {what} than {data}: those of the file are kept; {flag} would change them");
        }
    }
}

/// The published code trains on images of this side.
const SIDE: usize = 32;

/// Makes a model of the weights of an evaluation network.
fn model(
    args: &Args,
    found: &Evaluation,
    tensors: BTreeMap<String, Tensor>,
    exported: Exported,
) -> Result<ExitCode, Exit> {
    let file = shown(&args.file);
    if args.space.is_some() {
        return Err(Exit::Input(format!(
            "{file} has the weights of an evaluation network, but --space is for a search"
        )));
    }
    let path = args.out.clone().unwrap_or_else(|| {
        let stem = args.file.file_stem().unwrap_or_default();
        PathBuf::from(format!("{}.safetensors", stem.to_string_lossy()))
    });
    check_place(args, &path)?;
    let genotype = match (&args.genotype, exported.genotype.clone()) {
        (Some(text), _) => genotype(text, "--genotype")?,
        (None, Some(genotype)) => genotype,
        (None, None) => {
            return Err(Exit::Input(format!(
                "{file} has the weights of a network of {}, {} channels and {} classes, but not which operations these \
                 belong to: name its cells with --genotype",
                count(found.cells, "cell"),
                found.channels,
                found.classes
            )));
        }
    };
    found.fits(&genotype, &tensors).map_err(|e| Exit::Input(format!("{file}: {e}")))?;
    let of_data = OfData::of(args, found, &exported)?;
    of_data.tell_differences(args, &exported);
    // What the user says goes before what the file says, and that before what is known of a data set.
    let given = args.mean.clone().zip(args.std.clone());
    let (mean, std) = given.or(exported.mean.zip(exported.std)).or(of_data.normalisation).ok_or_else(|| {
        Exit::Input(format!(
            "{file} does not say how its images were normalised: name the data set with --data (cifar10 has the published \
             mean and deviation), or give --mean and --std"
        ))
    })?;
    for (flag, values) in [("--mean", &mean), ("--std", &std)] {
        let is_right = |v: &f32| v.is_finite() && (flag == "--mean" || *v > 0.0);
        if values.len() != found.c_image || !values.iter().all(is_right) {
            let numbers = if flag == "--mean" { "number" } else { "number above 0" };
            return Err(Exit::Input(format!(
                "{flag} should be {}, one for each channel of an image",
                count(found.c_image, numbers)
            )));
        }
    }
    let side = args.side.map(|side| [side as usize; 2]).or(exported.side).or(of_data.side.map(|side| [side; 2]));
    // A genotype without a reduction cell leaves none to find.
    let is_usual = found.reductions.is_empty() || found.reductions == default_reductions(found.cells);
    let about = About {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").into(),
        genotype,
        cells: found.cells,
        channels: found.channels,
        reductions: if is_usual { Vec::new() } else { found.reductions.clone() },
        classes: class_names(args, found.classes, exported.classes.or(of_data.classes))?,
        side: side.unwrap_or([SIDE; 2]),
        mean,
        std,
        data: of_data.name,
        epoch: None,
        valid_accuracy: None,
        n_test: None,
        test_accuracy: None,
    };
    let named: BTreeMap<String, NamedTensor> =
        tensors.into_iter().map(|(name, t)| (name, NamedTensor { shape: t.shape, values: t.values })).collect();
    let model = Model::from_tensors(about, &named).map_err(|e| Exit::Input(format!("{file}: {e}")))?;
    let bytes = model.to_bytes();
    let read = Model::from_bytes(&bytes).map_err(|e| Exit::Failed(format!("the model cannot be read back: {e}")))?;
    if read.weights != model.weights || read.running != model.running || read.about != model.about {
        return Err(Exit::Failed("the model that was read back is not the one that was made".into()));
    }
    write_file(&path, &bytes)?;
    match args.json {
        true => {
            let (path, about) = (path_text(&path), &model.about);
            out!("{:#}", json!({ "kind": "model", "path": path, "weights": model.net.n_parameters(), "about": about }));
        }
        false => {
            out!("{}: {}", shown(&path), in_words(&model));
            if found.auxiliary {
                out!("Its auxiliary head, which only a training needs, was left out.");
            }
            let path = for_shell(&path);
            out!("Next:");
            out!("  rdarts test {path}{}", if model.about.data.is_empty() { " --data NAME" } else { "" });
            out!("  rdarts predict {path} PICTURE");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Names of so many classes: as given, or of the data set, or numbers.
fn class_names(args: &Args, n: usize, known: Option<Vec<String>>) -> Result<Vec<String>, Exit> {
    match (&args.classes, known) {
        (Some(names), _) => {
            let is_empty = names.iter().any(|name| name.trim().is_empty());
            let repeated = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name));
            match (names.len() == n, is_empty, repeated) {
                (true, false, None) => Ok(names.clone()),
                (true, false, Some((_, name))) => {
                    Err(Exit::Input(format!("--classes names `{}` twice", escaped(name))))
                }
                (true, true, _) => Err(Exit::Input("--classes has an empty name".into())),
                (false, ..) => Err(Exit::Input(format!("--classes names {}, but the network has {n}", names.len()))),
            }
        }
        (None, Some(names)) if names.len() == n => Ok(names),
        _ => {
            say!("note: the classes are called class_0 to class_{}; --classes names them", n - 1);
            Ok((0..n).map(|k| format!("class_{k}")).collect())
        }
    }
}
