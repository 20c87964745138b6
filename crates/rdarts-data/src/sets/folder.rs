//! Anybody's folder of images: a directory a class, pictures of any size in PNG, JPEG or WebP.
//!
//! `list` finds the files, `formats::picture` makes a square of bytes of each, `cache` keeps them. Here is what they are for:
//!
//! **Shape.** Every image becomes a square of `size` pixels with 1 or 3 channels. What is not given is decided from
//! the headers of all files: gray if every file is stored gray, and the size
//!
//! ```text
//! the shorter side of the images, if all have the same and it is at most 64 (so small squares stay as they are)
//! else 64 if the median of the shorter sides is at least 64
//! else 32
//! ```
//!
//! **Order.** Files are sorted by class, and a search takes the first part of the training images for the weights and
//! the rest for the alphas. So they are put into another order, by the seed alone: each class is shuffled, image k of
//! its n stands at (k + 1/2) / n of the way, and all are sorted by that. Every stretch of it then has its share of each
//! class, whatever fraction a search takes.
//!
//! **Tests.** Where no directory says which images are for tests, the last part of each class in that shuffle is,
//! at least one image and not all.
//!
//! **Memory.** Images are decoded on all threads, some at a time, and large pictures one at a time. If they need more
//! than they may take, they go to the cache, and batches read theirs from there. What is made is the same in all cases,
//! on any number of threads.

mod cache;
mod content;
mod list;
mod scan;
mod words;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use rdarts_rng::Stream;
use rdarts_text::shown;

use self::cache::{CacheFile, Row, Writer};
use self::list::Listing;
use self::scan::Passed;
pub(crate) use self::scan::is_run;
use crate::dataset::{Cache, Checked, Dataset, Options, Shape, Watch};
use crate::error::DataError;
use crate::formats::facts::Facts;
use crate::formats::picture::{self, Picture};
use crate::images::{Images, Pixels, Stored};
use crate::shrink::SIZES;
use crate::statistics::{Moments, mean_and_deviation};
use crate::{locate, memory};

/// The name of the data set.
pub const NAME: &str = "folder";

const ADVICE: &str = "use a directory with one of images for each class";

/// The shape of the images that [`open_with`](crate::open_with) would make.
pub fn shape(dir: Option<&Path>, options: &Options) -> Result<Shape, DataError> {
    let root = root(dir)?;
    check_options(options)?;
    decide(&listed(&root)?, options)
}

/// Opens the folder `dir`, or the one that `$RDARTS_DATA` names.
pub fn open(dir: Option<&Path>, options: &Options) -> Result<Dataset, DataError> {
    let root = root(dir)?;
    check_options(options)?;
    let listing = listed(&root)?;
    listing.left_out().iter().for_each(|text| options.watch.note(text));
    let shape = decide(&listing, options)?;
    let parts = Parts::new(&listing, options)?;
    let (pixels, rows) = read(&listing, shape, &parts, options)?;
    let facts = listing.entries.iter().zip(&rows).map(|(entry, row)| (entry.path.as_path(), row.facts));
    content::judge(&root, facts)?.iter().for_each(|text| options.watch.note(text));
    let [train, test] = pixels;
    let images = |indices: &[u32], pixels| Images {
        n: indices.len(),
        height: shape.size,
        width: shape.size,
        channels: shape.channels,
        pixels,
        labels: indices.iter().map(|&i| listing.entries[i as usize].label).collect(),
    };
    let (mean, std) = statistics(&parts.train, &rows, shape);
    let classes = listing.classes.iter().map(|name| name.to_str().map_or_else(|| shown(name), str::to_owned)).collect();
    Ok(Dataset {
        name: NAME.to_owned(),
        classes,
        train: images(&parts.train, train),
        test: images(&parts.test, test),
        mean,
        std,
        stratified: true,
    })
}

/// Reads one picture as [`open_with`](crate::open_with) reads those of a folder: the same file gives the same values.
///
/// # Errors
/// One sentence if the file is no picture, is damaged or too large, or if the shape is none that a folder's images have.
///
/// # Panics
/// If the shape has no size or no channels, which only the images of a folder could decide.
pub fn read_picture(path: &Path, shape: Shape) -> Result<Picture, DataError> {
    assert!(shape.size > 0 && shape.channels > 0, "{shape:?} is no shape of a picture");
    check_options(&Options { size: shape.size, channels: shape.channels, ..Options::USUAL })?;
    picture::decode(path, shape.size, shape.channels).map(|(picture, _)| picture)
}

/// The files at and below a directory that are pictures, of whatever format, sorted by their paths; and what could not
/// be looked into. What systems, programs and this one make is passed over, as in a folder that is opened.
///
/// # Errors
/// One sentence if the directory itself cannot be read.
pub fn pictures(dir: &Path) -> Result<(Vec<PathBuf>, Vec<DataError>), DataError> {
    let mut passed = Passed::default();
    let tree = scan::scan(dir, &mut passed)?;
    let (mut paths, mut problems) = (Vec::new(), passed.problems);
    let mut dirs = vec![&tree];
    while let Some(dir) = dirs.pop() {
        dirs.extend(&dir.dirs);
        paths.extend(dir.pictures.iter().map(|found| found.path.clone()));
        paths.extend(dir.foreign.iter().map(|(path, _)| path.clone()));
        let unclear =
            |dir: &Path, problem: &str| DataError::Unclear { dir: dir.to_owned(), problem: problem.to_owned() };
        if dir.is_loop {
            problems.push(unclear(&dir.path, "is a link to a directory that it lies in: what is below it is left out"));
        }
        let too_deep = dir.others.iter().filter(|path| path.is_dir());
        problems.extend(too_deep.map(|path| unclear(path, "lies too deep to be looked into: name it itself")));
    }
    paths.sort_by(|a, b| a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes()));
    Ok((paths, problems))
}

/// Reads every file of a folder and gives all that is wrong.
pub fn check(dir: Option<&Path>, watch: &dyn Watch) -> Checked {
    let root = match root(dir) {
        Ok(root) => root,
        Err(problem) => return Checked { problems: vec![problem], ..Checked::default() },
    };
    let mut listing = list::list(&root);
    let mut problems = std::mem::take(&mut listing.problems);
    if problems.is_empty() {
        problems.extend(Parts::new(&listing, &Options::USUAL).err());
    }
    let (mut left_out, n_ignored) = (listing.left_out(), listing.n_left_out());
    let entries = listing.entries;
    if !entries.is_empty() {
        let mut facts = Vec::with_capacity(entries.len());
        let paths: Vec<PathBuf> = entries.iter().map(|entry| root.join(&entry.path)).collect();
        let found = in_blocks(
            &paths,
            BLOCK,
            watch,
            |path| Ok(picture::check(path)),
            |i, found| {
                match found {
                    Ok(found) => facts.push((entries[i].path.as_path(), found)),
                    Err(problem) => problems.push(problem),
                }
                Ok(())
            },
        );
        problems.extend(found.err());
        let is_complete = facts.len() == entries.len();
        match content::judge(&root, facts.into_iter()) {
            Ok(notes) => left_out.extend(notes),
            Err(problem) if is_complete => problems.push(problem),
            // The images that could not be read may be those with something in them.
            Err(_) => {}
        }
    }
    Checked { n_files: entries.len(), n_ignored, left_out, problems }
}

fn root(dir: Option<&Path>) -> Result<PathBuf, DataError> {
    let dir = dir.map(Path::to_owned).or_else(locate::from_env);
    dir.ok_or(DataError::NoDirectory { name: NAME, advice: ADVICE })
}

fn check_options(options: &Options) -> Result<(), DataError> {
    let wrong = |what, value: &dyn ToString, expected| {
        Err(DataError::FolderOption { what, value: value.to_string(), expected })
    };
    match options {
        Options { size, .. } if *size != 0 && !SIZES.contains(size) => {
            wrong("size of images", size, "from 8 to 1024 pixels, or 0 to decide it from them")
        }
        Options { channels, .. } if ![0, 1, 3].contains(channels) => {
            wrong("number of channels", channels, "1 for gray, 3 for colour, or 0 to decide it from the images")
        }
        Options { test_fraction: f, .. } if !(*f > 0.0 && *f < 1.0) => {
            wrong("fraction of test images", f, "between 0 and 1")
        }
        _ => Ok(()),
    }
}

fn listed(root: &Path) -> Result<Listing, DataError> {
    let mut listing = list::list(root);
    match listing.problems.is_empty() {
        true => Ok(listing),
        false => Err(listing.problems.swap_remove(0)),
    }
}

/// The shape asked for, completed from the headers of the files.
fn decide(listing: &Listing, options: &Options) -> Result<Shape, DataError> {
    let asked = Shape { size: options.size, channels: options.channels };
    if asked.size != 0 && asked.channels != 0 {
        return Ok(asked);
    }
    let paths = paths(listing);
    let mut headers = Vec::with_capacity(paths.len());
    in_blocks(
        &paths,
        BLOCK,
        options.watch,
        |path| picture::header(path),
        |_, header| {
            headers.push(header);
            Ok(())
        },
    )?;
    let mut sides: Vec<u32> = headers.iter().map(|header| header.shorter_side).collect();
    sides.sort_unstable();
    const LARGE: u32 = 64;
    let size = match (sides[0], sides[sides.len() / 2], sides[sides.len() - 1]) {
        (first, _, last) if first == last && first <= LARGE => first.max(*SIZES.start() as u32),
        (_, median, _) if median >= LARGE => LARGE,
        _ => 32,
    };
    let channels = if headers.iter().all(|header| header.is_gray) { 1 } else { 3 };
    Ok(Shape {
        size: if asked.size == 0 { size as usize } else { asked.size },
        channels: if asked.channels == 0 { channels } else { asked.channels },
    })
}

fn paths(listing: &Listing) -> Vec<PathBuf> {
    listing.entries.iter().map(|entry| listing.root.join(&entry.path)).collect()
}

/// Which files are training and which test images, in the order that a search sees.
struct Parts {
    train: Vec<u32>,
    test: Vec<u32>,
}

impl Parts {
    fn new(listing: &Listing, options: &Options) -> Result<Self, DataError> {
        let mut classes: Vec<Vec<u32>> = vec![Vec::new(); listing.classes.len()];
        let mut test = Vec::new();
        for (i, entry) in listing.entries.iter().enumerate() {
            match entry.is_test {
                true => test.push(i as u32),
                false => classes[usize::from(entry.label)].push(i as u32),
            }
        }
        for (label, class) in classes.iter_mut().enumerate() {
            Stream::new(options.split_seed, "folder-order", label as u64).shuffle(class);
            if !listing.has_test {
                if let [single] = class[..] {
                    let path = listing.root.join(&listing.entries[single as usize].path);
                    return Err(DataError::SingleImage { dir: path.parent().unwrap_or(&path).to_owned() });
                }
                let n_test = (options.test_fraction * class.len() as f64).round() as usize;
                test.extend(class.drain(class.len() - n_test.clamp(1, class.len() - 1)..));
            }
        }
        test.sort_unstable();
        Ok(Self { train: interleave(&classes), test })
    }
}

/// All members of all classes, so that every stretch has its share of each.
fn interleave(classes: &[Vec<u32>]) -> Vec<u32> {
    // (2 k + 1) / 2 n as a fraction, compared exactly; at equal places the class decides.
    let mut placed: Vec<(u64, u64, usize, u32)> = classes
        .iter()
        .enumerate()
        .flat_map(|(label, class)| {
            let n = class.len() as u64;
            class.iter().enumerate().map(move |(k, &i)| (2 * k as u64 + 1, n, label, i))
        })
        .collect();
    placed.sort_by(|a, b| (a.0 * b.1).cmp(&(b.0 * a.1)).then(a.2.cmp(&b.2)));
    placed.into_iter().map(|(.., i)| i).collect()
}

/// Mean and deviation of the training images.
fn statistics(train: &[u32], rows: &[Row], shape: Shape) -> (Vec<f32>, Vec<f32>) {
    let n = (train.len() * shape.size * shape.size) as u64;
    let add = |(sum, squares): Moments, more: Moments| (sum + more.0, squares + more.1);
    (0..shape.channels)
        .map(|channel| train.iter().map(|&i| rows[i as usize].moments[channel]).fold((0, 0), add))
        .map(|moments| mean_and_deviation(n, moments))
        .unzip()
}

/// The pixels of training and test images, and what is known of each file's image.
fn read(
    listing: &Listing,
    shape: Shape,
    parts: &Parts,
    options: &Options,
) -> Result<([Pixels; 2], Vec<Row>), DataError> {
    let (n, watch) = (listing.entries.len(), options.watch);
    let needed = n as u64 * shape.image_size() as u64;
    let limit = options.memory.unwrap_or_else(|| memory::available().map_or(4 << 30, |free| free / 2));
    let fits = needed <= limit;
    let usual = || cache::usual_path(&listing.root, shape);
    let path = match &options.cache {
        Cache::At(path) => Some(path.clone()),
        Cache::Usual => usual(),
        // One that was made before is used, since that is faster.
        Cache::IfNeeded if fits => usual().filter(|path| path.is_file()),
        Cache::IfNeeded => usual(),
    };
    let Some(path) = path else {
        return match (fits, &options.cache) {
            (true, Cache::IfNeeded) => decode_to_memory(listing, shape, parts, watch),
            _ => Err(DataError::NoCache { needed: in_words(needed), limit: in_words(limit) }),
        };
    };
    cache::check_place(&path)?;
    let digest = cache::digest(listing, shape);
    let file = shown(&path);
    match cache::open(&path, &digest, n, shape) {
        Ok(Some(found)) if !fits => return Ok((streamed(&path, &found, parts), found.rows)),
        Ok(Some(found)) => match load(&path, &found, shape, parts) {
            Ok(pixels) => return Ok((pixels, found.rows)),
            Err(e) => watch.note(&format!("{e}: it is made again")),
        },
        Ok(None) => (),
        Err(reason) => watch.note(&format!("the cache {file} is made again: {reason}")),
    }
    match write_cache(listing, shape, &path, &digest, watch) {
        Ok(made) if fits => Ok((load(&path, &made, shape, parts)?, made.rows)),
        Ok(made) => {
            let (needed, limit) = (in_words(needed), in_words(limit));
            watch.note(&format!("the decoded images need {needed} and {limit} may be used: they are read from {file}"));
            Ok((streamed(&path, &made, parts), made.rows))
        }
        // One that was asked for to save time is done without.
        Err(e @ DataError::Cache { .. }) if fits => {
            watch.note(&format!("{e}; this time the images are only decoded"));
            decode_to_memory(listing, shape, parts, watch)
        }
        Err(e) => Err(e),
    }
}

fn decode_to_memory(
    listing: &Listing,
    shape: Shape,
    parts: &Parts,
    watch: &dyn Watch,
) -> Result<([Pixels; 2], Vec<Row>), DataError> {
    let mut memory = Memory::new(listing.entries.len(), shape, parts);
    let mut rows = Vec::with_capacity(listing.entries.len());
    decode_all(listing, shape, watch, |i, (image, facts)| {
        rows.push(Row::of(&image, facts, shape.channels));
        memory.put(i, &image);
        Ok(())
    })?;
    Ok((memory.into_pixels(), rows))
}

fn write_cache(
    listing: &Listing,
    shape: Shape,
    path: &Path,
    digest: &[u8; 32],
    watch: &dyn Watch,
) -> Result<CacheFile, DataError> {
    let mut writer = Writer::new(path, listing.entries.len(), shape)?;
    decode_all(listing, shape, watch, |_, (image, facts)| writer.push(&image, facts))?;
    writer.finish(digest)
}

fn streamed(path: &Path, cache: &CacheFile, parts: &Parts) -> [Pixels; 2] {
    let sums: Arc<Vec<u64>> = Arc::new(cache.rows.iter().map(|row| row.sum).collect());
    [&parts.train, &parts.test].map(|places| {
        Pixels::File(Stored {
            path: path.to_owned(),
            file: Arc::clone(&cache.file),
            offset: cache.offset,
            places: places.clone(),
            sums: Arc::clone(&sums),
        })
    })
}

/// Reads a cache into memory, in its own order.
fn load(path: &Path, cache: &CacheFile, shape: Shape, parts: &Parts) -> Result<[Pixels; 2], DataError> {
    let n = cache.rows.len();
    let all = Stored {
        path: path.to_owned(),
        file: Arc::clone(&cache.file),
        offset: cache.offset,
        places: (0..n as u32).collect(),
        sums: Arc::new(cache.rows.iter().map(|row| row.sum).collect()),
    };
    let mut memory = Memory::new(n, shape, parts);
    for i in 0..n {
        memory.put(i, &all.read(i, shape.image_size())?);
    }
    Ok(memory.into_pixels())
}

/// Training and test images in memory, filled in the order of the files.
struct Memory {
    size: usize,
    parts: [Vec<u8>; 2],
    /// For each file, its part and its place there.
    places: Vec<(u8, u32)>,
}

impl Memory {
    fn new(n: usize, shape: Shape, parts: &Parts) -> Self {
        let mut places = vec![(0, 0); n];
        for (part, indices) in [&parts.train, &parts.test].into_iter().enumerate() {
            indices.iter().enumerate().for_each(|(at, &i)| places[i as usize] = (part as u8, at as u32));
        }
        let size = shape.image_size();
        Self { size, parts: [&parts.train, &parts.test].map(|indices| vec![0; indices.len() * size]), places }
    }

    fn put(&mut self, i: usize, image: &[u8]) {
        let (part, at) = self.places[i];
        self.parts[usize::from(part)][at as usize * self.size..][..self.size].copy_from_slice(image);
    }

    fn into_pixels(self) -> [Pixels; 2] {
        self.parts.map(Pixels::Memory)
    }
}

/// Files that are decoded at a time: enough for many threads.
const BLOCK: usize = 256;

/// Decodes all files on all threads and hands them over in their order; the first bad one in that order is the error.
fn decode_all(
    listing: &Listing,
    shape: Shape,
    watch: &dyn Watch,
    sink: impl FnMut(usize, (Vec<u8>, Facts)) -> Result<(), DataError>,
) -> Result<(), DataError> {
    // Few large images at a time, so that what waits stays below 64 MiB, or is one image a thread.
    let block = BLOCK.min((1 << 26) / shape.image_size()).max(rayon::current_num_threads());
    let decode = |path: &PathBuf| {
        picture::decode(path, shape.size, shape.channels).map(|(picture, facts)| (picture.pixels, facts))
    };
    in_blocks(&paths(listing), block, watch, decode, sink)
}

/// Works on some files at a time on all threads, and takes the results in the files' order.
fn in_blocks<T: Send>(
    paths: &[PathBuf],
    block: usize,
    watch: &dyn Watch,
    work: impl Fn(&PathBuf) -> Result<T, DataError> + Sync,
    mut sink: impl FnMut(usize, T) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let mut done = 0;
    for files in paths.chunks(block) {
        let results: Vec<Result<T, DataError>> = files.par_iter().map(&work).collect();
        for result in results {
            sink(done, result?)?;
            done += 1;
        }
        watch.progress(done, paths.len());
    }
    Ok(())
}

fn in_words(bytes: u64) -> String {
    match bytes {
        0..0x4000_0000 => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
        _ => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}
