//! The decisions of DARTS-PT ([`crate::methods::darts_pt`]): what the supernet is worth without each candidate, and what follows.

use rdarts_net::Alphas;
use rdarts_run::{Event, Selected};
use rdarts_space::{CellType, Genotype, Topology};
use rdarts_train::{Measuring, TrainError};

use crate::State;
use crate::methods::darts_pt::mixed;
use crate::projection::{Projection, Question};
use crate::score::{Score, score_mixed};
use crate::search::Search;

/// Whether a decision follows an epoch.
fn is_due(search: &Search, epoch: usize) -> bool {
    let since = (epoch + 1).checked_sub(search.spec.search.epochs);
    since.is_some_and(|since| since.is_multiple_of(search.spec.method.selection_epochs))
}

/// The decisions that follow an epoch, of both types of cells; `None` if the flag of `measuring` was set meanwhile.
///
/// # Errors
/// One sentence if the images are in a file that cannot be read any more.
pub(crate) fn decide(
    search: &Search,
    state: &State,
    measuring: &mut Measuring<'_>,
) -> Result<Option<Vec<Selected>>, TrainError> {
    if !is_due(search, state.at.epoch) {
        return Ok(Some(Vec::new()));
    }
    // What is decided of the normal cell is in force for the other one.
    let mut state = state.clone();
    let mut all = Vec::new();
    for cell in CellType::ALL {
        let projection = state.extra.projection.as_ref().expect("a search that selects has one");
        let mut stream =
            search.streams(state.at.attempt).stream("selection", (2 * state.at.epoch + cell as usize) as u64);
        let Some(question) = projection.question(cell, &mut stream) else { continue };
        let p = mixed(search, &state);
        let (sizes, n) = (search.net.edge_sizes(cell as usize), question.candidates(search.space.cell(cell)).len());
        let mut scores = Vec::new();
        for candidate in 0..n {
            let without = |(at, p): (usize, &Vec<f64>)| match at == cell as usize {
                true => question.without(candidate, &sizes, p),
                false => p.clone(),
            };
            let p: Alphas = p.each().iter().enumerate().map(without).collect();
            let what = "accuracy of the supernet without a candidate";
            let epoch = state.at.epoch;
            let score = measuring.phase(what, "selection", |stop| score_mixed(search, &state, epoch, stop, &p))?;
            let Some(score) = score else { return Ok(None) };
            scores.push(score);
        }
        let selected = selected(search, &state, cell, question, &scores);
        take(search.space.topology, &mut state.extra.projection, &selected);
        all.push(selected);
    }
    Ok(Some(all))
}

/// The genotype after an epoch, with what was decided on it in force. That of the last epoch before a selection is of the alphas
/// alone, as DARTS has it.
pub(crate) fn genotype(search: &Search, state: &State, decided: &[Selected]) -> Genotype {
    let mut extra = state.extra.clone();
    if state.at.epoch >= search.spec.search.epochs {
        decided.iter().for_each(|selected| take(search.space.topology, &mut extra.projection, selected));
    }
    extra.genotype(&search.space)
}

/// Does what was decided after an epoch.
pub(crate) fn keep<'a>(search: &Search, state: &mut State, decided: impl Iterator<Item = &'a Event>) {
    let (mut is_any, is_first) = (false, state.at.epoch + 1 == search.spec.search.epochs);
    for event in decided {
        if let Event::Selected(selected) = event {
            take(search.space.topology, &mut state.extra.projection, selected);
            is_any = true;
        }
    }
    if is_any && is_first {
        state.sgd.buffer = vec![0.0; state.sgd.buffer.len()].into();
    }
}

/// Puts a decision in force.
fn take(topology: Topology, projection: &mut Option<Projection>, selected: &Selected) {
    let cell = if selected.cell == CellType::Normal.as_str() { CellType::Normal } else { CellType::Reduce };
    let question = match selected.input {
        Some(input) => Question::Operation { edge: topology.edge_index(selected.node, input) },
        None => Question::Inputs { node: selected.node },
    };
    if let Some(projection) = projection {
        projection.decide(cell, question, &selected.kept);
    }
}

/// The record of a decision.
fn selected(search: &Search, state: &State, cell: CellType, question: Question, scores: &[Score]) -> Selected {
    let candidates = question.candidates(search.space.cell(cell));
    let accuracy: Vec<f64> = scores.iter().map(|score| score.accuracy).collect();
    let loss: Vec<f64> = scores.iter().map(|score| score.loss).collect();
    let kept = question.kept(&accuracy, &loss);
    let (node, input) = match question {
        Question::Operation { edge } => {
            let (_, node, input) = search.space.edges().nth(edge).expect("an edge of the space");
            (node, Some(input))
        }
        Question::Inputs { node } => (node, None),
    };
    let percent = |k: usize| format!("{} {:.1} %", candidates[k], 100.0 * accuracy[k]);
    let without: Vec<String> = (0..candidates.len()).map(percent).collect();
    let names: Vec<&str> = kept.iter().map(|k| candidates[*k].as_str()).collect();
    let what = match input {
        Some(input) => format!("The edge from input {input} to node {node} of the {cell} cell keeps {}", names[0]),
        None => format!("Node {node} of the {cell} cell keeps its inputs {}", names.join(" and ")),
    };
    Selected {
        attempt: state.at.attempt,
        epoch: state.at.epoch,
        cell: cell.to_string(),
        node,
        input,
        reason: format!("{what}: the supernet's accuracy without each is {}.", without.join(", ")),
        candidates,
        loss,
        accuracy,
        kept,
    }
}
