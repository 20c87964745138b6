//! The directory of a sweep, and the only thing that is remembered of one beside its runs.
//!
//! ```text
//! format              "rdarts-sweep 1"
//! plan.toml           a copy of the plan
//! base.toml           a copy of the spec file that the plan names, if it names one
//! members/NAME        the run directories; of a plan of tables the files NAME.table
//! logs/NAME.log       what the processes of a member have said, one after another
//! logs/slurm-*.log    what Slurm has said of the tasks of an array
//! arrays              the numbers of the arrays that were submitted, one a line
//! ```

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use rdarts_run::{DataSets, difference, read_text, write_file};
use rdarts_text::shown;

use crate::SweepError;
use crate::members::{Member, members};
use crate::plan::{Kind, Plan};

/// The directory of a sweep, which need not be there yet.
#[derive(Clone, Debug)]
pub struct Folder {
    /// The directory.
    pub path: PathBuf,
}

const FORMAT: &str = "format";
const FORMAT_LINE: &str = "rdarts-sweep 1";
const PLAN: &str = "plan.toml";
const BASE: &str = "base.toml";
const ARRAYS: &str = "arrays";

impl Folder {
    /// Whether a directory is that of a sweep.
    pub fn is_one(path: &Path) -> bool {
        std::fs::read_to_string(path.join(FORMAT)).is_ok_and(|text| text.trim_end() == FORMAT_LINE)
    }

    /// The plan of a sweep that has begun.
    ///
    /// # Errors
    /// If its copy is not as it was written.
    pub fn plan(&self) -> Result<Plan, SweepError> {
        let path = self.path.join(PLAN);
        let open = |_: &Path| {
            let base = self.base_path();
            Ok((shown(&base), read_text("spec", &base)?))
        };
        Plan::parse(&shown(&path), read_text("plan", &path)?, &open)
    }

    /// The copy of the spec file that the plan names.
    pub fn base_path(&self) -> PathBuf {
        self.path.join(BASE)
    }

    /// The run directory of a member, or the file of its table.
    pub fn run_path(&self, plan: &Plan, member: &Member) -> PathBuf {
        let members = self.path.join("members");
        match plan.kind {
            Kind::Table => members.join(format!("{}.table", member.run)),
            _ => members.join(&member.run),
        }
    }

    /// What the processes of a member say.
    pub fn log_path(&self, member: &Member) -> PathBuf {
        self.path.join("logs").join(format!("{}.log", member.name))
    }

    /// Where logs lie.
    pub fn logs_path(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// Refuses a directory that holds something else, or a sweep with other members; changes nothing. What a plan says of
    /// the cluster and of threads may change, and members may be added behind those that are there: the sentence tells.
    ///
    /// # Errors
    /// One sentence with the first difference.
    pub fn check(&self, plan: &Plan, all: &[Member], sets: &dyn DataSets) -> Result<Option<String>, SweepError> {
        let dir = shown(&self.path);
        let refused = |why: String| Err(SweepError::Folder(why));
        if !Folder::is_one(&self.path) {
            return match std::fs::read_dir(&self.path) {
                Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
                Err(e) if e.kind() == ErrorKind::NotADirectory => {
                    refused(format!("`{dir}` is a file: name a new directory for the sweep with --out"))
                }
                Err(source) => Err(SweepError::Io { action: "read", path: self.path.clone(), source }),
                Ok(entries) => {
                    let is_empty = |name: &str| {
                        std::fs::read_dir(self.path.join(name)).is_ok_and(|mut within| within.next().is_none())
                    };
                    let ours = |name: &str| {
                        name == PLAN || name == BASE || (["members", "logs"].contains(&name) && is_empty(name))
                    };
                    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
                    // A process that was killed before it wrote the format leaves a plan and empty directories.
                    match names.into_iter().find(|name| !ours(name) && !name.starts_with('.')) {
                        None => Ok(None),
                        Some(name) => refused(format!(
                            "`{dir}` holds `{}` and is no sweep: name a new directory with --out",
                            shown(&name)
                        )),
                    }
                }
            };
        }
        let before = self.plan()?;
        if before.text == plan.text && before.base.as_ref().map(|b| &b.1) == plan.base.as_ref().map(|b| &b.1) {
            return Ok(None);
        }
        let theirs = members(&before, sets)?;
        let other = |what: String| {
            refused(format!(
                "{}: the sweep in `{dir}` was begun with another plan, {what}: name a new directory with --out",
                plan.file
            ))
        };
        if before.kind != plan.kind {
            return other(format!("of kind {} and not {}", before.kind.name(), plan.kind.name()));
        }
        if (&before.space, &before.table_seeds) != (&plan.space, &plan.table_seeds) {
            return other("whose tables have another space or other seeds".to_string());
        }
        for (i, was) in theirs.iter().enumerate() {
            match all.get(i) {
                None => return other(format!("which has {} members and not {}", theirs.len(), all.len())),
                Some(is) if is.name != was.name => {
                    return other(format!("whose member {} is `{}` and not `{}`", i + 1, was.name, is.name));
                }
                Some(is) if is.spec != was.spec => {
                    let what = match difference(&was.spec, &is.spec) {
                        Some((key, was, is)) => format!("where {key} is {was} and not {is}"),
                        None => "from another preset".to_string(),
                    };
                    return other(format!("{what} in member `{}`", was.name));
                }
                Some(_) => {}
            }
        }
        Ok(Some(match all.len() - theirs.len() {
            0 => format!("The plan of the sweep in `{dir}` has changed, but none of its members."),
            n => format!("{n} more members than the sweep in `{dir}` was begun with."),
        }))
    }

    /// Makes the directory, or puts the present plan into it; [`Folder::check`] comes before.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn begin(&self, plan: &Plan) -> Result<(), SweepError> {
        for dir in [&self.path, &self.path.join("members"), &self.logs_path()] {
            std::fs::create_dir_all(dir).map_err(|source| SweepError::Io {
                action: "create",
                path: dir.clone(),
                source,
            })?;
        }
        let write = |name: &str, text: &str| -> Result<(), SweepError> {
            let path = self.path.join(name);
            match std::fs::read(&path).is_ok_and(|there| there == text.as_bytes()) {
                true => Ok(()),
                false => Ok(write_file(&path, text.as_bytes())?),
            }
        };
        if let Some((_, text)) = &plan.base {
            write(BASE, text)?;
        }
        write(PLAN, &plan.text)?;
        // The last one: what has it is a sweep.
        write(FORMAT, &format!("{FORMAT_LINE}\n"))
    }

    /// The arrays that were submitted, the last one last: the number, and the cluster if it has several.
    pub fn arrays(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path.join(ARRAYS)).unwrap_or_default();
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_string).collect()
    }

    /// Adds an array.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add_array(&self, id: &str) -> Result<(), SweepError> {
        let path = self.path.join(ARRAYS);
        let add = || {
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path)?;
            file.write_all(format!("{id}\n").as_bytes())?;
            file.sync_all()
        };
        add().map_err(|source| SweepError::Io { action: "write", path: path.clone(), source })
    }
}
