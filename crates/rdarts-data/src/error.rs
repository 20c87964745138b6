//! What can be wrong with data: one enum, one sentence each.
//!
//! Every message names the file or the option at fault and says what would be right. Reasons of the
//! system are part of the sentence, not a `source`, so that printing a chain does not repeat them.

use std::io;
use std::path::PathBuf;

use rdarts_text::shown;

/// Why a data set, a split or a batch cannot be had.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DataError {
    /// A name that is not in [`crate::NAMES`].
    #[error("no data set is called '{name}', {nearest}all names are: {known}; a folder of images is named by its path")]
    UnknownDataset {
        /// The name asked for.
        name: String,
        /// A clause with the known name that looks most like it, if one does.
        nearest: String,
        /// All known names.
        known: String,
    },
    /// None of the searched directories holds the data set.
    #[error("{name} is not in {searched}: {advice} or name its directory with --data-dir")]
    NotInstalled {
        /// The data set.
        name: &'static str,
        /// The directories searched.
        searched: String,
        /// How to get the files.
        advice: &'static str,
    },
    /// There was no directory to search.
    #[error("{name} needs files and no directory is named: name one with --data-dir or RDARTS_DATA, or {advice}")]
    NoDirectory {
        /// The data set.
        name: &'static str,
        /// How to get the files.
        advice: &'static str,
    },
    /// A data set in a form that is not read.
    #[error("{} is {form} of {name}: {advice}", shown(path))]
    OtherForm {
        /// The file that tells the form.
        path: PathBuf,
        /// What it is.
        form: &'static str,
        /// The data set.
        name: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// Files that are another data set's.
    #[error("the files in {} are those of {found}, not those of {name}: use --data {found}", dir.display())]
    OtherSet {
        /// The directory.
        dir: PathBuf,
        /// The set they are of.
        found: &'static str,
        /// The set asked for.
        name: &'static str,
    },
    /// Files of two data sets in one directory.
    #[error(
        "{} is a file of {found} among files of {name}: put the files of each set into a directory of their own",
        file.display()
    )]
    MixedSets {
        /// The file.
        file: PathBuf,
        /// The set it is of.
        found: &'static str,
        /// The set that others are of.
        name: &'static str,
    },
    /// Files of several data sets at the path of one.
    #[error(
        "{dir} holds more than one data set, {names}: say which is meant, as with --data {first} --data-dir {dir}",
        dir = dir.display()
    )]
    SeveralSets {
        /// The directory.
        dir: PathBuf,
        /// The names of the sets.
        names: String,
        /// The first of them.
        first: &'static str,
    },
    /// IDX files that may be anything.
    #[error(
        "the IDX files in {dir} are not those of MNIST, Fashion-MNIST or KMNIST as they were published: say which of \
         them they are like, as with --data mnist --data-dir {dir}",
        dir = dir.display()
    )]
    UnknownIdx {
        /// The directory.
        dir: PathBuf,
    },
    /// A data set's directory lacks one of its files.
    #[error("{} lacks the file {file}, copy it there from the other files' source", shown(dir))]
    MissingFile {
        /// The directory.
        dir: PathBuf,
        /// The name that the file should have.
        file: String,
    },
    /// The system could not read a file.
    #[error("cannot read {file}: {reason}")]
    Unreadable {
        /// The file.
        file: String,
        /// The system's words.
        reason: String,
    },
    /// A folder of images that is not there.
    #[error("cannot read {}: {reason}; if the images have moved, name their directory with --data-dir", shown(dir))]
    NoFolder {
        /// Where it should be.
        dir: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// A gzip stream that is cut short or does not match its checksum.
    #[error("{file} is a damaged or incomplete gzip file ({reason}), fetch it again")]
    Gzip {
        /// The file.
        file: String,
        /// The decoder's words.
        reason: String,
    },
    /// A file of another format.
    #[error("{file} is not an IDX file of {expected}: it should begin with the bytes {magic} and is {found}")]
    Foreign {
        /// The file.
        file: String,
        /// "images" or "labels".
        expected: &'static str,
        /// The right first four bytes in hexadecimal.
        magic: String,
        /// What the file looks like.
        found: String,
    },
    /// A file of another kind, where the right one has no magic number to show.
    #[error("{file} is not {expected}, it is {found}")]
    NotA {
        /// The file.
        file: String,
        /// What it should be.
        expected: &'static str,
        /// What it looks like.
        found: String,
    },
    /// A file of records that ends within one.
    #[error(
        "{file} is cut short or no file of its data set: its records have {record_size} bytes each, and after \
         {n_records} of them come {rest} bytes more, fetch it again"
    )]
    RecordSize {
        /// The file.
        file: String,
        /// Whole records.
        n_records: usize,
        /// Bytes of a record.
        record_size: usize,
        /// Bytes after the last whole record.
        rest: usize,
    },
    /// A label that is no class, in a file of records.
    #[error("{file} has the {what} {label} in record {record} (counted from 1), it should be {expected}")]
    RecordLabel {
        /// The file.
        file: String,
        /// Which label of the record.
        what: &'static str,
        /// The label.
        label: String,
        /// The record, counted from 1.
        record: usize,
        /// What labels there are.
        expected: String,
    },
    /// Files of one data set that should have as many records as each other.
    #[error("{file} holds {n} records and {first} {n_first}, the two should be equal: fetch the shorter one again")]
    UnequalFiles {
        /// The file.
        file: String,
        /// Its records.
        n: usize,
        /// The first file.
        first: String,
        /// Its records.
        n_first: usize,
    },
    /// A list of class names of the wrong length.
    #[error("{file} holds {n_names} names of classes, it should hold {n_classes}, one a line")]
    ClassNames {
        /// The file.
        file: String,
        /// Names found.
        n_names: usize,
        /// Classes there are.
        n_classes: usize,
    },
    /// A MAT-file whose structure is broken.
    #[error("{file} is a damaged MAT-file, fetch it again: {problem}")]
    Mat {
        /// The file.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// A MAT-file without a variable that it should have.
    #[error("{file} lacks the variable {variable}, it should hold X and y and holds besides these: {others}")]
    MatLacks {
        /// The file.
        file: String,
        /// The missing variable.
        variable: &'static str,
        /// The names of other variables.
        others: String,
    },
    /// A variable of the wrong shape or class.
    #[error("{file} holds the variable {variable} as {found}, it should be {expected}")]
    MatVariable {
        /// The file.
        file: String,
        /// The variable.
        variable: String,
        /// Its dimensions and class.
        found: String,
        /// The right ones.
        expected: &'static str,
    },
    /// A file that ends too early.
    #[error("{file} is cut short: its {part} needs {needed} bytes and the file ends after {held}, fetch it again")]
    Truncated {
        /// The file.
        file: String,
        /// "header" or "content".
        part: &'static str,
        /// Bytes needed, of the unpacked file from its beginning.
        needed: u64,
        /// Bytes found.
        held: u64,
    },
    /// A header that declares nothing, or more than any reader should believe.
    #[error("{file} declares {shape} in its header at offset 4, it should declare between 1 and {limit} bytes")]
    Shape {
        /// The file.
        file: String,
        /// The declared dimensions.
        shape: String,
        /// The most bytes of content accepted.
        limit: u64,
    },
    /// A file that goes on after its end.
    #[error("{file} goes on after {end}, where its {part} should end: fetch it again")]
    Trailing {
        /// The file.
        file: String,
        /// Where the end should be.
        end: String,
        /// What ends there.
        part: &'static str,
    },
    /// Images of the wrong size for their data set.
    #[error("{file} holds images of {found} pixels, those of {name} have {expected}")]
    ImageSize {
        /// The file.
        file: String,
        /// The data set.
        name: &'static str,
        /// Height x width found.
        found: String,
        /// Height x width of the data set.
        expected: String,
    },
    /// A label that is no class.
    #[error("{file} has the label {label} at offset {offset}, labels should be below {n_classes}")]
    Label {
        /// The file.
        file: String,
        /// The label.
        label: u16,
        /// Its place in the unpacked file.
        offset: usize,
        /// The number of classes.
        n_classes: usize,
    },
    /// Two files that do not belong together.
    #[error("{images_file} holds {n_images} images and {labels_file} {n_labels} labels, the two should be equal")]
    Counts {
        /// The file of images.
        images_file: String,
        /// Its count.
        n_images: usize,
        /// The file of labels.
        labels_file: String,
        /// Its count.
        n_labels: usize,
    },
    /// A file that is no picture the decoders can make out.
    #[error("{file} cannot be read as a picture: {reason}")]
    Picture {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A picture that declares more than anybody's camera makes.
    #[error("{file} is too large: {found}, a picture should have at most {limit}")]
    LargePicture {
        /// The file.
        file: String,
        /// What it has or declares.
        found: String,
        /// The most accepted.
        limit: String,
    },
    /// A directory that is not a folder of images by class.
    #[error("{} {problem}, a folder of images should be train/CLASS/* with test/CLASS/*, or CLASS/*", shown(dir))]
    Layout {
        /// The directory.
        dir: PathBuf,
        /// What it is or lacks.
        problem: String,
    },
    /// A directory whose meaning is in doubt.
    #[error("{} {problem}", shown(dir))]
    Unclear {
        /// The directory.
        dir: PathBuf,
        /// What is seen, and what to do.
        problem: String,
    },
    /// A picture in a format that is not read.
    #[error("{file} is {found}; convert it to PNG, JPEG or WebP")]
    ForeignImage {
        /// The file.
        file: String,
        /// Its format.
        found: &'static str,
    },
    /// Images of which nothing is left to learn from.
    #[error("{what}")]
    NoContent {
        /// The sentence.
        what: String,
    },
    /// A class whose images are all of formats that are not read.
    #[error(
        "{} holds no PNG, JPEG or WebP image for its class{others}: convert its images to one of these",
        shown(dir)
    )]
    ForeignClass {
        /// The directory of the class.
        dir: PathBuf,
        /// What it holds instead.
        others: String,
    },
    /// A class without images.
    #[error("{} holds no image for its class (PNG, JPEG or WebP){others}: fill it or remove it", shown(dir))]
    EmptyClass {
        /// The directory of the class.
        dir: PathBuf,
        /// What it holds instead, in parentheses.
        others: String,
    },
    /// A class too small to be split.
    #[error(
        "{} holds a single image, a class should have at least 2 so that one can be kept for tests: add images or \
         remove the class",
        shown(dir)
    )]
    SingleImage {
        /// The directory of the class.
        dir: PathBuf,
    },
    /// A directory where images are expected.
    #[error("{} is a directory within a class, its images should lie in the class's own directory", shown(dir))]
    Nested {
        /// The directory.
        dir: PathBuf,
    },
    /// Two classes that cannot be told apart everywhere.
    #[error(
        "{} and {} are classes whose names differ only in case: rename one or merge them",
        shown(first),
        shown(second)
    )]
    SimilarClasses {
        /// The directory of one.
        first: PathBuf,
        /// The directory of the other.
        second: PathBuf,
    },
    /// Training and test images of different classes.
    #[error("{} has no counterpart in {}, both should have the same classes", shown(class), shown(other))]
    Unmatched {
        /// The directory of the class.
        class: PathBuf,
        /// Where it is missing.
        other: PathBuf,
    },
    /// A value for folders that makes no sense.
    #[error("the {what} {value} should be {expected}")]
    FolderOption {
        /// Which value.
        what: &'static str,
        /// The value.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// A cache of decoded images that could not be written or read.
    #[error(
        "the cache of decoded images {file} cannot be used ({reason}): delete it, or choose another with data.cache"
    )]
    Cache {
        /// The file.
        file: String,
        /// The system's words, or what is wrong with it.
        reason: String,
    },
    /// A directory where the cache should be.
    #[error("the cache of decoded images {} is a directory: name a file with data.cache, such as {}", shown(dir),
        shown(dir.join("images.cache")))]
    CacheDirectory {
        /// The directory.
        dir: PathBuf,
    },
    /// There is no place for a cache that is needed.
    #[error(
        "the decoded images need {needed} and {limit} of memory may be used: name a file for them with data.cache, \
         since neither XDG_CACHE_HOME nor HOME is set"
    )]
    NoCache {
        /// Bytes in words.
        needed: String,
        /// Bytes in words.
        limit: String,
    },
    /// A split that leaves a class out on one side.
    #[error(
        "the class '{class}', of which there are {n} in training, has no image among those for {side}: add images of it, \
         take more of all, or a fraction nearer to 0.5"
    )]
    OneSided {
        /// The class.
        class: String,
        /// Its training images.
        n: usize,
        /// "the weights" or "the architecture".
        side: &'static str,
    },
    /// A fraction that is no part of a whole.
    #[error("the split fraction {0} should lie between 0 and 1")]
    Fraction(f64),
    /// A limit above what there is.
    #[error("the limit of {limit} images should be at most the {n} training images there are")]
    Limit {
        /// Images asked for.
        limit: usize,
        /// Images there are.
        n: usize,
    },
    /// A part of all that is held out.
    #[error("the held-out fraction {0} should be at least 0 and below 1")]
    HeldOut(f64),
    /// Too few images are left to train on.
    #[error(
        "of {n} images {n_train} are to train on and {n_valid} are held out, but those to train on should fill a batch of \
         {batch_size}: take more images, a smaller batch, or hold out a smaller part"
    )]
    SmallTraining {
        /// Images used.
        n: usize,
        /// Images to train on.
        n_train: usize,
        /// Images held out.
        n_valid: usize,
        /// Images in a batch.
        batch_size: usize,
    },
    /// A class that is not trained.
    #[error(
        "the class '{class}', of which there are {n} in training, has no image among those to train on: add images of it, \
         take more of all, or hold out a smaller part"
    )]
    Untrained {
        /// The class.
        class: String,
        /// Its training images.
        n: usize,
    },
    /// One side of the split cannot fill a batch.
    #[error(
        "of {n} images {n_train} are for the weights and {n_valid} for the alphas, but each part should fill a batch of \
         {batch_size}: take more images, a batch of at most {}, or a fraction nearer to 0.5", n_train.min(n_valid)
    )]
    SmallSplit {
        /// Images split.
        n: usize,
        /// Images on the side of the weights.
        n_train: usize,
        /// Images on the side of the architecture.
        n_valid: usize,
        /// Images in a batch.
        batch_size: usize,
    },
    /// A batch of no images.
    #[error("the batch size should be at least 1")]
    EmptyBatch,
    /// A probability outside 0..=1.
    #[error("the cutout probability {0} should lie between 0 and 1")]
    CutoutProbability(f64),
    /// A crop that could show nothing of the image.
    #[error("the crop padding of {padding} pixels should be smaller than the images of {height}x{width}")]
    CropPadding {
        /// Pixels of padding.
        padding: usize,
        /// Image height in pixels.
        height: usize,
        /// Image width in pixels.
        width: usize,
    },
    /// A size that the images of a named set cannot be made into.
    #[error(
        "the images of {name} have {side}x{side} pixels, their size should be from {least} to {side} and not {size}"
    )]
    Size {
        /// The data set.
        name: &'static str,
        /// Height and width of its images.
        side: usize,
        /// The smallest size.
        least: usize,
        /// The one asked for.
        size: usize,
    },
    /// A file of a stereo set that is not what it should be.
    #[error("{file} {problem}")]
    StereoFile {
        /// The file.
        file: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// Views and ground truth of a pair that do not fit together.
    #[error("the pair {pair} {problem}")]
    StereoPair {
        /// The pair.
        pair: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A directory that is not the stereo set it is taken for.
    #[error("{} {problem}", shown(dir))]
    StereoLayout {
        /// The directory.
        dir: PathBuf,
        /// What it lacks and what it should hold.
        problem: String,
    },
    /// A stereo set where labelled images are asked for.
    #[error(
        "{what} is a set of stereo pairs, which have no classes: it is for estimating disparity; for classes name one of \
         {known}, or a folder of images"
    )]
    IsStereo {
        /// The set or its directory.
        what: String,
        /// The names of sets with classes.
        known: String,
    },
    /// Labelled images where stereo pairs are asked for.
    #[error("{what} is a set of single images with classes, but disparity needs stereo pairs: name one of {known}")]
    NotStereo {
        /// The set or its directory.
        what: String,
        /// The names of stereo sets.
        known: String,
    },
    /// A name that is no stereo set's.
    #[error(
        "no stereo set is called '{name}', {nearest}all names are: {known}; a folder of pairs is named by its path"
    )]
    UnknownStereo {
        /// The name asked for.
        name: String,
        /// A clause with the known name that looks most like it, if one does.
        nearest: String,
        /// All known names.
        known: String,
    },
    /// A value for synthetic scenes that makes no sense.
    #[error("the {what} of synthetic stereo scenes is {value}, it should be {expected}")]
    Scenes {
        /// Which value.
        what: &'static str,
        /// The value.
        value: String,
        /// What would be right.
        expected: String,
    },
    /// A strength of augmentation that leaves nothing of the pictures.
    #[error("the strength {strength} of the augmentation should be from 0 to {limit}")]
    StereoStrength {
        /// The strength.
        strength: f64,
        /// The largest.
        limit: f64,
    },
    /// A window that a pair is too small for.
    #[error(
        "{pair} has {found} pixels (height x width) and windows of {crop} are to be cut out of it: take smaller ones"
    )]
    StereoCrop {
        /// The pair.
        pair: String,
        /// Its size.
        found: String,
        /// The window's.
        crop: String,
    },
    /// A contact sheet that could not be made.
    #[error("cannot write {file}: {reason}")]
    Sheet {
        /// Its file.
        file: String,
        /// The system's or the encoder's words.
        reason: String,
    },
    /// The thread that makes batches ahead could not start or ended in a panic.
    #[error("the thread that makes batches ahead failed: {reason}")]
    Prefetch {
        /// The panic's message or the system's words.
        reason: String,
    },
}

impl DataError {
    pub(crate) fn unreadable(file: impl Into<String>, error: &io::Error) -> Self {
        Self::Unreadable { file: file.into(), reason: error.to_string() }
    }

    /// Whether the system refuses, and not the content of the files or a value.
    pub fn is_system(&self) -> bool {
        match self {
            Self::Unreadable { reason, .. } | Self::NoFolder { reason, .. } | Self::Sheet { reason, .. } => {
                is_refused(reason)
            }
            Self::Prefetch { .. } => true,
            _ => false,
        }
    }
}

/// The words of the system end with its number of the error, which tells the kind: a path that the user named may be
/// none, or one of another kind.
fn is_refused(reason: &str) -> bool {
    use std::io::ErrorKind::{InvalidFilename, InvalidInput, IsADirectory, NotADirectory, NotFound};

    let number = reason.strip_suffix(')').and_then(|rest| rest.rsplit_once("(os error ")?.1.parse().ok());
    let kind = number.map(|number| io::Error::from_raw_os_error(number).kind());
    kind.is_some_and(|kind| !matches!(kind, NotFound | NotADirectory | IsADirectory | InvalidInput | InvalidFilename))
}
