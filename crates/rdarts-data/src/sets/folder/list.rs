//! The files of a folder of images, their classes, and which are kept for tests.
//!
//! What a directory is follows from what it holds, and only then from its name:
//!
//! ```text
//! PART/CLASS/*   parts in any usual name and case: train, Training, test1, validation, dev, hold-out, ...
//!                tests are the test part, else the validation part, else taken from the training part
//! CLASS/*        tests are taken from each class
//! ```
//!
//! Either may be wrapped in directories that hold nothing else (my-set/my-set/train/...), and a class's images may lie
//! in one directory more (CLASS/images/*). A part whose images are in no directory of a class has no labels and is not
//! used. Where two readings are possible, none is chosen: a sentence says what is seen and what to write.
//!
//! Classes are sorted by the bytes of their names, files by those of their paths. Links are followed. What is left out
//! is counted and told in notes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rdarts_text::shown;

use super::scan::{self, Dir, Passed};
use super::words::{self, Role};
use crate::error::DataError;

/// A picture of a folder.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its path below the folder.
    pub path: PathBuf,
    /// Its class.
    pub label: u16,
    /// Whether its directory says that it is for tests.
    pub is_test: bool,
    /// Its size in bytes, and when it was changed, in seconds and nanoseconds.
    pub stamp: (u64, i64, i64),
}

/// The pictures of a folder.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The folder.
    pub root: PathBuf,
    /// Names of the classes, by label.
    pub classes: Vec<OsString>,
    /// The pictures, sorted by path.
    pub entries: Vec<Entry>,
    /// Whether directories say which pictures are for tests.
    pub has_test: bool,
    /// How many files were left out, and one of them.
    ignored: (usize, Option<PathBuf>),
    /// What systems and programs make for themselves, likewise.
    system: (usize, Option<PathBuf>),
    /// Pictures of formats that are not read, likewise, and what the first is.
    foreign: (usize, Option<(PathBuf, &'static str)>),
    /// Sentences on whole directories that are not used.
    notes: Vec<String>,
    /// All that is wrong.
    pub problems: Vec<DataError>,
}

/// Looks at every directory and file below `root`; what is wrong is in the listing.
pub fn list(root: &Path) -> Listing {
    let mut listing = Listing { root: root.to_owned(), ..Listing::default() };
    if scan::is_run(root) {
        listing.unclear(root, "is the directory of a run, not of images: name the folder of the images".to_owned());
        return listing;
    }
    let mut passed = Passed::default();
    let tree = match scan::scan(root, &mut passed) {
        Ok(tree) => tree,
        Err(problem) => {
            listing.problems.push(problem);
            return listing;
        }
    };
    (listing.system, listing.problems) = (passed.system, passed.problems);
    if let Some(path) = tree.first_loop() {
        let problem = "is a link to a directory that it lies in, so that it would hold itself: remove the link";
        listing.unclear(path, problem.to_owned());
    } else {
        listing.arrange(&tree);
    }
    listing.entries.sort_by(|a, b| a.path.as_os_str().as_encoded_bytes().cmp(b.path.as_os_str().as_encoded_bytes()));
    listing.check_classes();
    listing
}

/// What a part holds.
enum Content<'a> {
    /// Directories of classes, in this directory.
    Sorted(&'a Dir),
    /// Images in no directory of a class.
    Unsorted,
}

struct Part<'a> {
    role: Role,
    dir: &'a Dir,
    content: Content<'a>,
}

impl Part<'_> {
    fn is_sorted(&self) -> bool {
        matches!(self.content, Content::Sorted(_))
    }
}

/// The directories in `dir` with anything that is a picture in them.
fn full(dir: &Dir) -> Vec<&Dir> {
    dir.dirs.iter().filter(|dir| dir.has_any()).collect()
}

/// Whether images lie in it, as in a class: directly, or in a single directory that is only called "images".
fn is_leaf(dir: &Dir) -> bool {
    !dir.pictures.is_empty() || !dir.foreign.is_empty() || heap(dir).is_some()
}

/// The one directory in a class that its images are in.
fn heap(dir: &Dir) -> Option<&Dir> {
    match full(dir)[..] {
        [one] if dir.pictures.is_empty() && full(one).is_empty() && says_nothing(one, dir) => Some(one),
        _ => None,
    }
}

/// Whether the name of a directory in `above` is that of no class: a heap's, or the same once more.
fn says_nothing(dir: &Dir, above: &Dir) -> bool {
    words::is_neutral(&dir.name()) || dir.name().to_lowercase() == above.name().to_lowercase()
}

/// Whether directories are pictures and what belongs to each of them, such as masks, and no classes.
fn are_layers(dirs: &[&Dir]) -> bool {
    dirs.len() > 1 && dirs.iter().all(|dir| words::is_neutral(&dir.name()) || words::is_side(&dir.name()))
}

fn content(dir: &Dir) -> Content<'_> {
    let below = full(dir);
    match below[..] {
        [] => Content::Unsorted,
        [one] if says_nothing(one, dir) => content(one),
        _ if are_layers(&below) => Content::Unsorted,
        _ => Content::Sorted(dir),
    }
}

/// The directories that are parts by their names: alone, or beside one that is called alike but for the part.
fn parts_of<'a>(dirs: &[&'a Dir]) -> Vec<Part<'a>> {
    let named: Vec<(Role, String, &Dir)> =
        dirs.iter().filter_map(|dir| words::role(&dir.name()).map(|(role, rest)| (role, rest, *dir))).collect();
    let is_part = |(role, rest, _): &&(Role, String, &Dir)| {
        rest.is_empty() || named.iter().any(|(other, its, _)| other != role && its == rest)
    };
    named.iter().filter(is_part).map(|&(role, _, dir)| Part { role, dir, content: content(dir) }).collect()
}

impl Listing {
    /// How many files and directories were left out.
    pub fn n_left_out(&self) -> usize {
        self.ignored.0 + self.system.0 + self.foreign.0
    }

    /// Sentences on what was left out.
    pub fn left_out(&self) -> Vec<String> {
        let mut notes = self.notes.clone();
        let advice = "convert to PNG, JPEG or WebP what should be used";
        match &self.foreign {
            (1, Some((path, kind))) => {
                notes.push(format!("{} was left out: it is {kind}; {advice}", shown(path)));
            }
            (n, Some((path, kind))) => notes.push(format!(
                "{n} images of formats that are not read were left out, such as {}, which is {kind}; {advice}",
                shown(path)
            )),
            _ => {}
        }
        match &self.ignored {
            (1, Some(path)) => {
                notes.push(format!("{} was left out: it is no PNG, JPEG or WebP image of a class", shown(path)));
            }
            (n, Some(path)) => notes.push(format!(
                "{n} entries such as {} were left out: they are no PNG, JPEG or WebP images of a class",
                shown(path)
            )),
            _ => {}
        }
        match &self.system {
            (1, Some(path)) => {
                notes.push(format!("{} was left out: it is hidden or made by a system or a program", shown(path)));
            }
            (n, Some(path)) => notes.push(format!(
                "{n} entries such as {} were left out: they are hidden or made by a system or a program",
                shown(path)
            )),
            _ => {}
        }
        notes
    }

    fn unclear(&mut self, dir: &Path, problem: String) {
        self.problems.push(DataError::Unclear { dir: dir.to_owned(), problem });
    }

    fn leave_out(&mut self, path: &Path) {
        self.ignored.0 += 1;
        self.ignored.1.get_or_insert_with(|| path.to_owned());
    }

    fn leave_out_foreign(&mut self, dir: &Dir) {
        self.foreign.0 += dir.foreign.len();
        if let Some(first) = dir.foreign.first() {
            self.foreign.1.get_or_insert_with(|| first.clone());
        }
    }

    /// What lies beside directories that are used: images too, since they are of no class.
    fn leave_out_files(&mut self, dir: &Dir) {
        let pictures = dir.pictures.iter().map(|found| &found.path);
        let foreign = dir.foreign.iter().map(|(path, _)| path);
        dir.others.iter().chain(pictures).chain(foreign).for_each(|path| self.leave_out(path));
    }

    /// Takes the tree for what it is.
    fn arrange(&mut self, dir: &Dir) {
        let dirs = full(dir);
        let parts = parts_of(&dirs);
        let others: Vec<&Dir> =
            dirs.iter().filter(|dir| parts.iter().all(|part| part.dir.path != dir.path)).copied().collect();
        match dirs[..] {
            // A directory around the data set, whatever its name.
            [one] if full(one).len() > 1 || !full(one).is_empty() && one.pictures.is_empty() => {
                self.leave_out_files(dir);
                dir.dirs.iter().filter(|dir| !dir.has_any()).for_each(|dir| self.leave_out(&dir.path));
                return self.arrange(one);
            }
            [one] if words::role(&one.name()).is_some_and(|(_, rest)| rest.is_empty()) => {
                return self.unsorted(dir, &[one]);
            }
            [] if dir.n_pictures() > 0 => return self.unsorted(dir, &[dir]),
            _ if parts.len() < dirs.len() && are_layers(&dirs) => return self.unsorted(dir, &[dir]),
            _ => {}
        }
        let n_sorted = parts.iter().filter(|part| part.is_sorted()).count();
        let trains: Vec<&Part> = parts.iter().filter(|part| part.role == Role::Train && part.is_sorted()).collect();
        match trains[..] {
            [] if parts.is_empty() && dirs.len() > 1 && dirs.iter().all(|dir| !is_leaf(dir)) => self.groups(dir, &dirs),
            // Beside classes, a part's name is that of a class.
            _ if n_sorted == 0 && !others.is_empty() => self.classes_in(dir),
            [train] if parts.len() > 1 || others.is_empty() => self.use_parts(dir, train, &parts, &others),
            [train] => {
                let (train, other) = (&train.dir.path, &others[0].path);
                self.unclear(
                    dir.path.as_path(),
                    format!(
                        "can be read in two ways: {} may be the part to train on or a class beside {}. To use the part \
                     alone, name it as the folder; if it is a class, put its images directly into it",
                        shown(train),
                        shown(other)
                    ),
                );
            }
            [one, two, ..] => {
                let (one, two) = (shown(&one.dir.path), shown(&two.dir.path));
                self.unclear(
                    &dir.path,
                    format!(
                        "holds two parts to train on, {one} and {two}: merge them, or give one a name that is no part's"
                    ),
                );
            }
            [] if !parts.is_empty() && others.is_empty() => match parts.iter().any(|part| part.role == Role::Train) {
                true => self.unsorted(dir, &parts.iter().map(|part| part.dir).collect::<Vec<_>>()),
                false => {
                    let names: Vec<String> = parts.iter().map(|part| part.dir.name()).collect();
                    self.unclear(&dir.path, format!(
                        "holds no part to train on, only {}: call one of them train, or name it as the folder if its \
                         images are for training and tests",
                        rdarts_text::escaped(&names.join(" and "))
                    ));
                }
            },
            [] => self.classes_in(dir),
        }
    }

    /// Parts without classes.
    fn unsorted(&mut self, dir: &Dir, parts: &[&Dir]) {
        let mut heaps: Vec<&&Dir> = parts.iter().filter(|part| matches!(content(part), Content::Unsorted)).collect();
        heaps.sort_by_key(|part| words::role(&part.name()).map(|(role, _)| role));
        let n: usize = heaps.iter().map(|part| part.n_pictures()).sum();
        let names: Vec<String> = heaps.iter().map(|part| shown(&part.path)).collect();
        self.unclear(&dir.path, format!(
            "does not say which class an image is of: {n} images in {} are in no directory of a class. Sort them into \
             directories, one for each class, such as {}",
            names.join(" and "),
            shown(heaps.first().map_or(dir.path.as_path(), |part| part.path.as_path()).join("CLASS/IMAGE.png")),
        ));
    }

    /// Directories of directories that no name tells apart.
    fn groups(&mut self, dir: &Dir, dirs: &[&Dir]) {
        let (one, two) = (shown(&dirs[0].path), shown(&dirs[1].path));
        let inner = full(dirs[0]).iter().all(|dir| words::role(&dir.name()).is_some_and(|(_, rest)| rest.is_empty()));
        let problem = match inner {
            true => format!(
                "holds classes that hold parts ({}): it should be the other way round, such as train/{}",
                shown(&full(dirs[0])[0].path),
                rdarts_text::escaped(&dirs[0].name())
            ),
            false => format!(
                "holds directories that hold directories of images ({one}, {two}), so it is not clear what the classes \
                 are. If these are parts of the data, call them train and test; to use one of them alone, name it as \
                 the folder; if they are the classes, put their images directly into them"
            ),
        };
        self.unclear(&dir.path, problem);
    }

    fn use_parts(&mut self, dir: &Dir, train: &Part, parts: &[Part], others: &[&Dir]) {
        let Content::Sorted(classes) = train.content else { return };
        self.leave_out_files(dir);
        dir.dirs.iter().filter(|dir| !dir.has_any()).for_each(|dir| self.leave_out(&dir.path));
        let train_classes = self.class_dirs(classes);
        let keys: Vec<String> = train_classes.keys().map(|name| words::key(&name.to_string_lossy())).collect();
        // A single directory that is no class of the training part is a heap, as of images without labels.
        let labelled = |part: &&Part| match part.content {
            Content::Sorted(dir) => {
                let below = full(dir);
                part.role != Role::Unlabelled
                    && (below.len() > 1 || below.iter().all(|dir| keys.contains(&words::key(&dir.name()))))
            }
            Content::Unsorted => false,
        };
        let mut tests: Vec<&Part> = parts.iter().filter(|part| part.role != Role::Train).filter(labelled).collect();
        tests.sort_by_key(|part| (part.role, part.dir.name().to_lowercase() != "test", part.dir.path.clone()));
        let test = tests.first();
        for part in parts.iter().filter(|part| part.dir.path != train.dir.path) {
            if test.is_some_and(|test| test.dir.path == part.dir.path) {
                continue;
            }
            let (path, n) = (shown(&part.dir.path), part.dir.n_pictures());
            let train = shown(&train.dir.path);
            self.notes.push(match (labelled(&part), test) {
                (true, Some(test)) => format!(
                    "{path} ({n} images) is not used, since {} is there for tests and a search takes its validation \
                     images from {train}. To use it too, put its images into the classes of {train}",
                    shown(&test.dir.path)
                ),
                _ => format!(
                    "{path} ({n} images) is not used: its images are in no directory of a class. To use them, sort them \
                     into directories as in {train}"
                ),
            });
        }
        for other in others {
            let (path, n) = (shown(&other.path), other.n_pictures());
            self.notes.push(format!(
                "{path} ({n} images) is not used: its name is not that of a part of a data set (train, validation, test)"
            ));
        }
        self.leave_out_files(classes);
        self.name_classes(&train_classes);
        let Some(Part { content: Content::Sorted(test), .. }) = test else {
            return self.enter(train_classes, false);
        };
        self.has_test = true;
        self.leave_out_files(test);
        let found = self.class_dirs(test);
        let test_classes = self.matched((classes, &train_classes), (test, found));
        self.enter(train_classes, false);
        self.enter(test_classes, true);
    }

    fn classes_in(&mut self, dir: &Dir) {
        self.leave_out_files(dir);
        let classes = self.class_dirs(dir);
        self.name_classes(&classes);
        self.enter(classes, false);
    }

    /// Directories that are classes, by name; those without any image that are called something else are none.
    fn class_dirs<'a>(&mut self, dir: &'a Dir) -> Classes<'a> {
        let (classes, sides): (Vec<&Dir>, Vec<&Dir>) =
            dir.dirs.iter().partition(|dir| dir.has_any() || !words::is_side(&dir.name()));
        sides.into_iter().for_each(|dir| self.leave_out(&dir.path));
        classes.into_iter().map(|dir| (dir.path.file_name().unwrap_or_default().to_owned(), dir)).collect()
    }

    fn name_classes(&mut self, classes: &Classes) {
        self.classes = classes.keys().cloned().collect();
        // Names that differ only in case would be one directory elsewhere, and one name in a table.
        let mut seen: BTreeMap<String, &Path> = BTreeMap::new();
        for (name, dir) in classes {
            if let Some(first) = seen.insert(shown(name).to_lowercase(), &dir.path) {
                let (first, second) = (first.to_owned(), dir.path.clone());
                self.problems.push(DataError::SimilarClasses { first, second });
            }
        }
    }

    /// The classes of the test part under their names in the training part, which may be written differently; notes
    /// those that only one of them has.
    fn matched<'a>(&mut self, train: (&Dir, &Classes), (dir, classes): (&Dir, Classes<'a>)) -> Classes<'a> {
        let key = |name: &OsString| words::key(&name.to_string_lossy());
        let mut found = Classes::new();
        let mut alone = Vec::new();
        for (name, class) in classes {
            let alike: Vec<&OsString> = match train.1.contains_key(&name) {
                true => vec![&name],
                false => train.1.keys().filter(|other| key(other) == key(&name)).collect(),
            };
            match alike[..] {
                [one] if !found.contains_key(one) => _ = found.insert(one.clone(), class),
                _ => {
                    let (class, other) = (class.path.clone(), train.0.path.clone());
                    alone.push(DataError::Unmatched { class, other });
                }
            }
        }
        for (_, class) in train.1.iter().filter(|(name, _)| !found.contains_key(*name)) {
            let (class, other) = (class.path.clone(), dir.path.clone());
            self.problems.push(DataError::Unmatched { class, other });
        }
        self.problems.extend(alone);
        found
    }

    /// Enters the pictures of all classes.
    fn enter(&mut self, classes: Classes, is_test: bool) {
        for (name, dir) in classes {
            // A class that the training images lack is a problem that was noted already.
            let Ok(label) = self.classes.binary_search(&name) else { continue };
            let n_ignored = self.ignored.0;
            dir.others.iter().for_each(|path| self.leave_out(path));
            let heap = heap(dir).filter(|_| dir.foreign.is_empty());
            for child in dir.dirs.iter().filter(|child| heap.is_none_or(|heap| heap.path != child.path)) {
                match child.has_any() {
                    true => self.problems.push(DataError::Nested { dir: child.path.clone() }),
                    false => self.leave_out(&child.path),
                }
            }
            let images = heap.unwrap_or(dir);
            if heap.is_some() {
                images.others.iter().for_each(|path| self.leave_out(path));
            }
            self.leave_out_foreign(images);
            for found in &images.pictures {
                let path = found.path.strip_prefix(&self.root).map(Path::to_owned).unwrap_or(found.path.clone());
                self.entries.push(Entry { path, label: label as u16, is_test, stamp: found.stamp });
            }
            if images.pictures.is_empty() && full(images).is_empty() {
                let others = match (images.foreign.first(), self.ignored.0 - n_ignored) {
                    (Some((path, kind)), _) => {
                        format!(", {} in it is {kind}", shown(path.file_name().unwrap_or_default()))
                    }
                    (None, 0) => String::new(),
                    (None, 1) => " but 1 other file".to_owned(),
                    (None, n) => format!(" but {n} other files"),
                };
                let dir = dir.path.clone();
                self.problems.push(match images.foreign.is_empty() {
                    true => DataError::EmptyClass { dir, others },
                    false => DataError::ForeignClass { dir, others },
                });
            }
        }
    }

    fn check_classes(&mut self) {
        let layout = |problem: &str| DataError::Layout { dir: self.root.clone(), problem: problem.to_owned() };
        let problem = match self.classes.len() {
            _ if !self.problems.is_empty() => return,
            0 => layout("holds no directory of a class"),
            1 => layout("holds one class where a search needs at least two"),
            n if n > usize::from(u16::MAX) => layout("holds more than 65535 classes"),
            _ if u32::try_from(self.entries.len()).is_err() => layout("holds more than 4294967295 images"),
            _ => return,
        };
        self.problems.push(problem);
    }
}

/// Directories of classes by name.
type Classes<'a> = BTreeMap<OsString, &'a Dir>;
