//! What the verbs that begin a run are given: presets, data sets, run directories, and what they say of the images.

use std::path::{Path, PathBuf};

use rdarts_data::{FOLDER, NAMES, Place, entry, escaped, outline, recognise, shape, shown};
use rdarts_run::{DataSpec, Reservation, RunError, Spec, for_shell};
use rdarts_train::SplitImages;
use rdarts_train::images::{data_dir, data_options};

use crate::conduct::one_of;
use crate::exit::Exit;
use crate::progress::Reading;

/// The help of `--preset`; `default` is the one of a run that says nothing.
pub fn preset_help<S: Spec>(default: &str) -> String {
    let names: Vec<&str> = S::PRESETS.iter().map(|preset| preset.name).collect();
    format!(
        "Preset to start from: {} [default: {default}; with a spec file the one it names, else {}]",
        one_of(&names),
        names[0]
    )
}

/// The help of `--data`.
pub fn data_help() -> String {
    let names: Vec<&str> = NAMES.iter().copied().filter(|name| *name != FOLDER).collect();
    format!(
        "Data set: {} (data.name), or the path of one or of a folder of images, train/CLASS/* with test/CLASS/* or \
         CLASS/* (its path becomes data.dir)",
        names.join(", ")
    )
}

/// A text as a value of TOML: JSON's escapes are TOML's, but TOML wants one more letter escaped.
pub fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// An argument and the key of the spec that it sets.
pub type Flag = (&'static str, &'static str);

/// Values of arguments as overrides of the keys that they set.
pub fn set<const N: usize>(flags: &[Flag; N], values: [Option<String>; N]) -> Vec<String> {
    flags.iter().zip(values).filter_map(|((_, key), value)| value.map(|v| format!("{key}={v}"))).collect()
}

/// The argument that an override was made of, if the user has not written it as `--set` too, among `own`.
pub fn flag_of(flags: &[Flag], own: &[String], text: &str) -> Option<&'static str> {
    let (key, _) = text.split_once('=')?;
    let is_own = !own.iter().any(|own| own == text);
    flags.iter().find(|(_, known)| is_own && *known == key).map(|(flag, _)| *flag)
}

/// The name of the data set, for a folder that of its directory.
pub fn data_name(spec: &DataSpec) -> String {
    let dir = Path::new(&spec.dir).file_name().filter(|_| spec.name == FOLDER);
    dir.map_or(spec.name.clone(), shown)
}

/// Adds what is decided from the images: it is recorded, and decides how they are augmented. False if it was said.
pub fn decide_shape(overrides: &mut Vec<String>, spec: &DataSpec, quiet: bool) -> Result<bool, Exit> {
    if spec.name != FOLDER || (spec.size != 0 && spec.channels != 0) {
        return Ok(false);
    }
    let reading = Reading::new(quiet);
    let found = shape(data_dir(spec), &data_options(spec, &reading))?;
    reading.end();
    overrides.push(format!("data.size={}", found.size));
    overrides.push(format!("data.channels={}", found.channels));
    Ok(true)
}

/// Whether a directory that exists lies in that of the data.
pub fn is_within(path: &Path, data: &str) -> bool {
    let whole = |path: &Path| path.canonicalize().ok();
    !data.is_empty() && whole(path).zip(whole(Path::new(data))).is_some_and(|(path, data)| path.starts_with(data))
}

/// The name and the directory of the data as the flags give them: a path in place of a name is that of the files of a
/// named set or of a folder of images.
pub fn data(name: Option<&String>, dir: Option<&String>) -> Result<(Option<String>, Option<String>), Exit> {
    let is_path = |name: &&String| {
        !NAMES.contains(&name.as_str())
            && (name.contains(std::path::MAIN_SEPARATOR) || Path::new(name.as_str()).exists())
    };
    match (name.filter(is_path), dir) {
        (Some(path), Some(dir)) => Err(Exit::Input(format!(
            "--data is the path `{path}` and --data-dir is `{dir}`, but the data should have one place"
        ))),
        (Some(path), None) if !Path::new(path).exists() => {
            Err(Exit::Input(format!("--data is the path `{path}`, but there is nothing of this name")))
        }
        (Some(path), None) => Ok((Some(set_at(Path::new(path))?.to_string()), Some(path.clone()))),
        (None, dir) => Ok((name.cloned(), dir.cloned())),
    }
}

/// The data set at a path: a named set if its files are there, else a folder of images.
pub fn set_at(path: &Path) -> Result<&'static str, Exit> {
    if path.is_file() {
        let shown = shown(path);
        return Err(Exit::Input(format!(
            "`{shown}` is a file: name the directory that holds the images or the set's files"
        )));
    }
    recognise(path).map(|name| name.unwrap_or(FOLDER)).map_err(Exit::from)
}

/// The directory of the data as it can be found again from anywhere, by `resume` and `hessian` too.
pub fn data_directory(spec: &DataSpec) -> Result<String, Exit> {
    let dir = &spec.dir;
    let embedded = outline(&spec.name).is_ok_and(|outline| outline.place == Place::Program);
    if embedded && !dir.is_empty() {
        return Err(Exit::Input(format!(
            "data.dir is `{dir}`, but {} is part of the program: leave it out or name another data set",
            spec.name
        )));
    }
    let dir = match spec.name.as_str() {
        _ if !dir.is_empty() => PathBuf::from(dir),
        FOLDER => std::env::var_os("RDARTS_DATA").map(PathBuf::from).unwrap_or_default(),
        name => entry(name).and_then(|entry| entry.find(None)).ok().flatten().unwrap_or_default(),
    };
    match dir.canonicalize() {
        Ok(whole) if !dir.as_os_str().is_empty() => match whole.to_str() {
            Some(text) => Ok(text.to_string()),
            None => Err(Exit::Input(format!(
                "the directory {} has bytes in its path that are no text (UTF-8): rename it, or name a link to it",
                shown(&whole)
            ))),
        },
        // Where it cannot be found, opening the data says so in its own words.
        _ => Ok(dir.to_string_lossy().into_owned()),
    }
}

/// The file of a folder's images as it can be found again from anywhere.
pub fn cache_file(cache: &str) -> Result<String, Exit> {
    if matches!(cache, "" | "auto") {
        return Ok(cache.into());
    }
    let whole = std::path::absolute(cache).map_err(|e| Exit::Input(format!("data.cache: {e}")))?;
    Ok(whole.display().to_string())
}

/// A directory where a spec file should be.
pub fn no_spec(path: &Path, verb: &str) -> Exit {
    let name = for_shell(path);
    if !path.join("spec.toml").is_file() {
        return Exit::Input(format!(
            "{name} is a directory, not a spec: say --data {name} if it holds pictures or pairs"
        ));
    }
    let is_done = path.join("DONE").exists();
    let go_on = if is_done { String::new() } else { format!("`rdarts resume {name}` goes on with it, ") };
    Exit::Input(format!("{name} is a run: {go_on}`rdarts {verb} {name}/spec.toml` begins another"))
}

/// What the images are: their shape, and how many there are of each class.
pub fn images(images: &SplitImages) -> String {
    let (data, train) = (&images.data, &images.data.train);
    let counts = train.counts(data.classes.len());
    let at = |n: usize| &data.classes[counts.iter().position(|&count| count == n).unwrap_or(0)];
    let (least, most) = (counts.iter().copied().min().unwrap_or(0), counts.iter().copied().max().unwrap_or(0));
    let classes = match least == most {
        true => format!("{least} of each of {} classes", counts.len()),
        false => {
            let (fewest, largest) = (escaped(at(least)), escaped(at(most)));
            format!("of {} classes, from {least} ({fewest}) to {most} ({largest})", counts.len())
        }
    };
    let (h, w) = (train.height, train.width);
    let colour = if train.channels == 1 { "gray" } else { "colour" };
    format!("{} training images of {h}x{w} pixels in {colour}, {classes}; {} test images", train.n, data.test.n)
}

/// The run directory that is asked for, else runs/NAME, numbered where that is taken.
pub fn reserve(out: Option<&Path>, name: &str) -> Result<Reservation, RunError> {
    if let Some(path) = out {
        return Reservation::new(path);
    }
    let mut n = 1;
    loop {
        let name = if n == 1 { name.to_string() } else { format!("{name}-{n}") };
        let path = Path::new("runs").join(name);
        match Reservation::new(&path) {
            Err(RunError::IsARun { .. } | RunError::NotEmpty { .. } | RunError::Locked { .. }) => n += 1,
            // A file of that name.
            Err(_) if path.is_file() => n += 1,
            result => return result,
        }
    }
}
