//! `rdarts data info`: what is in a data set, and a picture of it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use rdarts_data::{Dataset, FOLDER, channel_statistics, contact_sheet, entry, imbalance, open_with, shown};
use rdarts_run::{SearchSpec, Spec};
use rdarts_train::KnownSets;
use rdarts_train::images::{data_dir, data_options};
use serde_json::json;

use super::{Which, grouped, shown_name, shown_shape, stereo};
use crate::exit::{Exit, out};
use crate::progress::Reading;

/// What is in a data set: images of each class, size, mean and deviation, augmentation, and a contact sheet
///
/// Of stereo pairs: sizes, how much of the ground truth is known and visible, disparities, how well they match the views.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// Draw a contact sheet into this PNG file: a row of training images for each class, or of views for each stereo pair
    #[arg(long, value_name = "FILE.png")]
    sheet: Option<PathBuf>,
    /// Images of each class on the sheet, or stereo pairs
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    columns: u32,
    /// Stereo pairs that are read, evenly apart, of those to train on and of those to test on
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(args: Args) -> Result<ExitCode, Exit> {
    if let Some((name, dir)) = args.which.stereo() {
        if let Some(path) = &args.sheet {
            check_sheet(path, dir.as_deref())?;
        }
        let sheet = args.sheet.map(|path| (path, args.columns as usize));
        return stereo::info(name, dir.as_deref(), args.pairs as usize, sheet, args.json);
    }
    let (name, dir) = args.which.resolve()?;
    let mut overrides = vec![format!("data.name={name}")];
    let reading = Reading::new(args.json);
    let mut spec = spec(&overrides)?;
    if let Some(dir) = &dir {
        spec.data.images.dir = dir.display().to_string();
    }
    if let Some(path) = &args.sheet {
        check_sheet(path, dir.as_deref().or(data_dir(&spec.data.images)))?;
    }
    let begin = Instant::now();
    let data =
        open_with(name, dir.as_deref().or(data_dir(&spec.data.images)), &data_options(&spec.data.images, &reading));
    reading.end();
    let mut data = data?;
    data.name = shown_name(name, dir.as_deref());
    let seconds = begin.elapsed().as_secs_f64();
    if name == FOLDER {
        // The augmentation of a folder follows the size of its images.
        overrides.push(format!("data.size={}", data.train.height));
        spec = self::spec(&overrides)?;
    }
    let place = match name {
        FOLDER => dir.clone().or_else(|| std::env::var_os("RDARTS_DATA").map(PathBuf::from)),
        _ => entry(name).and_then(|entry| entry.find(dir.as_deref()))?,
    };
    let found = Found::new(&data, place, seconds, spec)?;
    if let Some(path) = &args.sheet {
        contact_sheet(&data, args.columns as usize, path)?;
    }
    if args.json {
        found.print_json(args.sheet);
    } else {
        found.print();
        if let Some(path) = &args.sheet {
            out!("Contact sheet: {}", shown(path));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn spec(overrides: &[String]) -> Result<SearchSpec, Exit> {
    Ok(SearchSpec::resolve(None, None, overrides, &KnownSets)?)
}

/// A sheet is a PNG file outside of the images, where it would be one of them, or in the place of one.
fn check_sheet(path: &Path, data: Option<&Path>) -> Result<(), Exit> {
    if path.extension().is_none_or(|ending| !ending.eq_ignore_ascii_case("png")) {
        return Err(Exit::Input(format!("--sheet is `{}`, but a contact sheet is a .png file", shown(path))));
    }
    let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let whole = |dir: &Path| dir.canonicalize().ok();
    match (whole(parent), data.and_then(whole)) {
        (Some(parent), Some(data)) if parent.starts_with(&data) => Err(Exit::Input(format!(
            "--sheet is `{}`, which lies among the images of `{}`: name a file elsewhere",
            shown(path),
            shown(data)
        ))),
        _ => Ok(()),
    }
}

/// All that is told of a data set.
struct Found<'a> {
    data: &'a Dataset,
    place: Option<PathBuf>,
    seconds: f64,
    spec: SearchSpec,
    train: Vec<usize>,
    test: Vec<usize>,
    /// Mean and deviation of the training images, per channel.
    computed: (Vec<f32>, Vec<f32>),
    published: Option<(&'static [f32], &'static [f32])>,
}

impl<'a> Found<'a> {
    fn new(data: &'a Dataset, place: Option<PathBuf>, seconds: f64, spec: SearchSpec) -> Result<Self, Exit> {
        let n_classes = data.classes.len();
        Ok(Self {
            data,
            place,
            seconds,
            train: data.train.counts(n_classes),
            test: data.test.counts(n_classes),
            computed: channel_statistics(&data.train)?,
            published: entry(&spec.data.images.name).ok().and_then(|entry| entry.published),
            spec,
        })
    }

    fn shape(&self) -> [usize; 3] {
        [self.data.train.height, self.data.train.width, self.data.train.channels]
    }

    fn print(&self) {
        let data = self.data;
        let (n_train, n_test) = (data.train.n, data.test.n);
        out!(
            "{}: {} training and {} test images of {} in {} classes",
            shown(&data.name),
            grouped(n_train),
            grouped(n_test),
            shown_shape(self.shape()),
            data.classes.len()
        );
        match &self.place {
            Some(dir) => out!("Files: {}", shown(dir)),
            None => out!("Part of the program, no files"),
        }
        let rate = (n_train + n_test) as f64 / self.seconds.max(1e-9);
        out!("Read in {:.2} s, {} images/s", self.seconds, grouped(rate as usize));
        out!("");
        self.print_classes();
        out!("");
        self.print_statistics();
        out!("");
        let augment = &self.spec.augment;
        let flip = if augment.flip { "flip" } else { "no flip" };
        let cutout = match augment.cutout_prob {
            p if p > 0.0 && augment.cutout_length > 0 => {
                format!("Cutout of {} with probability {p}", augment.cutout_length)
            }
            _ => format!("Cutout off (where it is on, usually {} pixels)", self.shape()[0] / 2),
        };
        out!("Augmentation of a search with the preset paper: crop padding {}, {flip}, {cutout}", augment.crop_padding);
    }

    fn print_classes(&self) {
        let names: Vec<String> = self.data.classes.iter().map(shown).collect();
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max("class".len());
        out!("{:<width$} {:>9} {:>9}", "class", "training", "test");
        for ((name, train), test) in names.iter().zip(&self.train).zip(&self.test) {
            out!("{name:<width$} {:>9} {:>9}", grouped(*train), grouped(*test));
        }
        for (part, counts) in [("training", &self.train), ("test", &self.test)] {
            match imbalance(counts) {
                Some(ratio) if ratio.is_finite() => {
                    out!("Unequal: the largest class has {ratio:.2} times as many {part} images as the smallest");
                }
                Some(_) => out!("Unequal: there is a class without {part} images"),
                None => {}
            }
        }
    }

    fn print_statistics(&self) {
        out!("{:<12} {:>9} {:>9}     used: {:>9} {:>9}", "values / 255", "mean", "deviation", "mean", "deviation");
        for channel in 0..self.shape()[2] {
            let (mean, std) = (self.computed.0[channel], self.computed.1[channel]);
            let (used_mean, used_std) = (self.data.mean[channel], self.data.std[channel]);
            let shown = format!("channel {channel}");
            out!("{shown:<12} {mean:>9.4} {std:>9.4}           {used_mean:>9.4} {used_std:>9.4}");
        }
        let Some((means, stds)) = self.published else {
            out!("Used is what was computed from the training images; no others are published.");
            return;
        };
        let list = |values: &[f32]| values.iter().map(|v| format!("{v:.4}")).collect::<Vec<_>>().join(" ");
        // In the unit of the bytes, where half a step is nothing.
        let largest = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| 255.0 * (a - b).abs()).fold(0.0, f32::max);
        out!("Published are the means {} and the deviations {};", list(means), list(stds));
        out!(
            "the files here differ from them by at most {:.2} and {:.2} of 255.",
            largest(&self.computed.0, means),
            largest(&self.computed.1, stds)
        );
    }

    fn print_json(&self, sheet: Option<PathBuf>) {
        let data = self.data;
        let ratio = |counts: &[usize]| {
            let (least, most) = (counts.iter().min(), counts.iter().max());
            least.zip(most).filter(|(least, _)| **least > 0).map(|(least, most)| *most as f64 / *least as f64)
        };
        let classes: Vec<_> = (data.classes.iter().zip(&self.train).zip(&self.test))
            .map(|((name, train), test)| json!({ "name": name, "train": train, "test": test }))
            .collect();
        let augment = &self.spec.augment;
        let whole = json!({
            "name": self.spec.data.images.name, "dir": self.place.as_deref().map(text), "shape": self.shape(), "train": data.train.n, "test": data.test.n,
            "seconds": self.seconds, "classes": classes,
            "largest_to_smallest": { "train": ratio(&self.train), "test": ratio(&self.test) },
            "computed": { "mean": self.computed.0, "deviation": self.computed.1 },
            "used": { "mean": data.mean, "deviation": data.std },
            "published": self.published.map(|(mean, std)| json!({ "mean": mean, "deviation": std })),
            "augment": {
                "crop_padding": augment.crop_padding, "flip": augment.flip, "cutout_length": augment.cutout_length,
                "cutout_prob": augment.cutout_prob,
            },
            "sheet": sheet.as_deref().map(text),
        });
        out!("{whole:#}");
    }
}

/// A path as it is in JSON: itself if it is text.
pub fn text(path: &Path) -> String {
    path.to_str().map_or_else(|| shown(path), str::to_owned)
}
