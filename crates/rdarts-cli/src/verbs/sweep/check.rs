//! What can be wrong with the members of a sweep beyond their specs: images that are not there or too few, networks that
//! do not fit the memory. Found before any of them begins.

use rdarts_data::{shape, shown};
use rdarts_net::Engine;
use rdarts_run::{
    DataSpec, DisparityRobustSpec, DisparitySearchSpec, DisparityTrainSpec, RobustSpec, RunView, SearchSpec, Spec,
    TrainSpec,
};
use rdarts_search::{DisparitySearch, Search, fit_hessian_batches, open_space};
use rdarts_study::table::TableBuild;
use rdarts_study::{DisparityPortfolio, Portfolio, Task};
use rdarts_sweep::Member;
use rdarts_sweep::plan::Kind;
use rdarts_table::{Table, n_architectures};
use rdarts_train::disparity::DisparityTraining;
use rdarts_train::images::{data_dir, data_options};
use rdarts_train::{ImageSet, Training};

use super::Sweep;
use crate::device::isa;
use crate::disparities;
use crate::exit::Exit;
use crate::genotypes::genotype;
use crate::given::{cache_file, data_directory};
use crate::progress::Reading;
use crate::verbs::train::disparity;

/// Looks at members; runs that differ in their seed alone are looked at once.
pub fn check(sweep: &Sweep, members: &[&Member], quiet: bool) -> Result<(), Exit> {
    let engine = Engine::cpu_with(isa()?);
    let reading = Reading::new(quiet);
    let mut images = Images { last: None, reading: &reading };
    let mut met = std::collections::BTreeSet::new();
    for member in members {
        let without_seed: String = member.spec.lines().filter(|line| !line.starts_with("seed = ")).collect();
        if !met.insert(without_seed) {
            continue;
        }
        one(sweep, member, &engine, &mut images).map_err(|e| {
            let sentence = |text: String| format!("{}: member `{}`: {text}", sweep.plan.file, member.name);
            match e {
                Exit::Input(text) => Exit::Input(sentence(text)),
                Exit::Failed(text) => Exit::Failed(sentence(text)),
            }
        })?;
    }
    reading.end();
    Ok(())
}

fn one(sweep: &Sweep, member: &Member, engine: &Engine, images: &mut Images<'_>) -> Result<(), Exit> {
    let plan = &sweep.plan;
    let base = plan.base.as_ref().map(|(name, text)| (name.as_str(), text.as_str()));
    let overrides = member.overrides();
    match plan.kind {
        Kind::Search => {
            let mut spec = SearchSpec::from_complete(&plan.file, &member.spec)?;
            let space = open_space(&spec.space.name)?;
            let images = images.of(&mut spec.data.images)?;
            if !SearchSpec::is_named("hessian.batches", base, &overrides)? {
                fit_hessian_batches(&mut spec, &images)?;
            }
            Search::on(spec, space, engine.clone(), &images)?;
        }
        Kind::Robust => {
            let mut spec = RobustSpec::from_complete(&plan.file, &member.spec)?;
            let space = open_space(&spec.space.name)?;
            let images = images.of(&mut spec.data.images)?;
            if !RobustSpec::is_named("hessian.batches", base, &overrides)? {
                Portfolio::fit_hessian_batches(&mut spec, &images)?;
            }
            Portfolio::new(spec, space, engine.clone(), images)?.check_jobs(plan.jobs)?;
        }
        Kind::Train => {
            let mut spec = TrainSpec::from_complete(&plan.file, &member.spec)?;
            let is_run = std::path::Path::new(&spec.network.genotype).is_dir();
            spec.network.genotype = genotype(&spec.network.genotype, "network.genotype")?.to_string();
            // Else the images may be those of that run.
            if !is_run {
                let images = images.of(&mut spec.data.images)?;
                Training::on(spec, engine.clone(), &images)?;
            }
        }
        Kind::DisparitySearch => {
            let mut spec = DisparitySearchSpec::from_complete(&plan.file, &member.spec)?;
            spec.data.pairs.dir = disparities::directory(&spec.data.pairs)?;
            DisparitySearch::new(spec, engine.clone(), images.reading)?;
        }
        Kind::DisparityRobust => {
            let mut spec = DisparityRobustSpec::from_complete(&plan.file, &member.spec)?;
            spec.data.pairs.dir = disparities::directory(&spec.data.pairs)?;
            DisparityPortfolio::new(spec, engine.clone(), images.reading)?.check_jobs(plan.jobs)?;
        }
        Kind::DisparityTraining => {
            let mut spec = DisparityTrainSpec::from_complete(&plan.file, &member.spec)?;
            let network = std::path::Path::new(&spec.network.genotype);
            if network.is_dir() {
                // The pairs may be those of that run.
                let given = disparity::of_run(&RunView::open(network)?, network)?;
                given.ok_or_else(|| Exit::Input(format!("{} is no run of disparity", shown(network))))?.genotype()?;
            } else {
                spec.network.genotype = disparity::of_text(&spec.network.genotype, "network.genotype")?.to_string();
                spec.data.pairs.dir = disparities::directory(&spec.data.pairs)?;
                DisparityTraining::new(spec, engine.clone(), images.reading)?;
            }
        }
        Kind::Table => {
            let path = sweep.folder.run_path(plan, member);
            let mut spec = TrainSpec::from_complete(&plan.file, &member.spec)?;
            let space = open_space(plan.space.as_deref().unwrap_or("tiny"))?;
            n_architectures(&space).map_err(Exit::Input)?;
            let images = images.of(&mut spec.data.images)?;
            let seeds = if plan.table_seeds.is_empty() { vec![1] } else { plan.table_seeds.clone() };
            let (images_of, version) = (images.fingerprint().to_string(), env!("CARGO_PKG_VERSION").to_string());
            let table = Table::begin(space, &spec, images_of, seeds, version).map_err(Exit::Input)?;
            TableBuild::new(path, table, spec, images, engine.clone())?.check_jobs(plan.jobs)?;
        }
    }
    Ok(())
}

/// The images of the member before, which are most often those of the next one.
struct Images<'a> {
    last: Option<(String, ImageSet)>,
    reading: &'a Reading,
}

impl Images<'_> {
    /// Reads those of a spec, which is completed by what they are.
    fn of(&mut self, spec: &mut DataSpec) -> Result<ImageSet, Exit> {
        spec.dir = data_directory(spec)?;
        spec.cache = cache_file(&spec.cache)?;
        if spec.name == rdarts_data::FOLDER && (spec.size == 0 || spec.channels == 0) {
            let found = shape(data_dir(spec), &data_options(spec, self.reading))?;
            (spec.size, spec.channels) = (found.size, found.channels);
        }
        let key = format!("{spec:?}");
        if let Some((_, images)) = self.last.as_ref().filter(|(last, _)| *last == key) {
            return Ok(images.clone());
        }
        // The others go first: there may be room for one set only.
        self.last = None;
        let images = ImageSet::open(spec, self.reading)?;
        self.last = Some((key, images.clone()));
        Ok(images)
    }
}
