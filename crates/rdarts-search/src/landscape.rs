//! The validation loss along lines in alpha space: how sharp the place is where a search stands.
//!
//! ```text
//! loss(t) = L(alpha + t v),  |v| = 1     beside     L + t v'g + t^2 v'Hv / 2
//! ```
//!
//! with v the dominant eigenvector of the alpha-Hessian H, or drawn at random from the sphere, on the images and with the
//! noise that the curvature is measured on. The paper explains the drop at discretisation by this sharpness (section 4): the
//! nearest architecture is some way off, and the loss there is the larger the more it bends.

use std::sync::atomic::AtomicBool;

use rdarts_run::{Landscape, LandscapeLine};
use rdarts_train::TrainError;

use crate::State;
use crate::hessian::{MeanHessian, dominant_direction};
use crate::search::Search;

/// Where and how densely the loss is taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// The largest distance on both sides.
    pub reach: f64,
    /// Distances on each side of the middle.
    pub steps: usize,
    /// Random directions beside the dominant one.
    pub random: usize,
}

/// The loss along the dominant eigenvector and random directions after an epoch; `None` if `stop` was set meanwhile.
///
/// # Errors
/// One sentence if the images are in a file that cannot be read any more.
pub fn landscape(
    search: &Search,
    state: &State,
    epoch: usize,
    grid: Grid,
    stop: &AtomicBool,
) -> Result<Option<Landscape>, TrainError> {
    let Some(hessian) = MeanHessian::after_epoch(search, state, epoch, stop)? else { return Ok(None) };
    let Some(dominant) = dominant_direction(search, state, epoch, &hessian) else { return Ok(None) };
    let n = dominant.len();
    let mut stream = search.streams(state.at.trained_attempt).stream("landscape", epoch as u64);
    let random = (0..grid.random).map(|i| {
        let v: Vec<f64> = (0..n).map(|_| stream.normal()).collect();
        let norm = v.iter().map(|v| v * v).sum::<f64>().sqrt();
        (format!("random {}", i + 1), v.into_iter().map(|v| v / norm).collect())
    });
    let directions: Vec<(String, Vec<f64>)> =
        std::iter::once(("dominant eigenvector".to_string(), dominant)).chain(random).collect();
    let steps = grid.steps as i64;
    let distances: Vec<f64> = (-steps..=steps).map(|i| grid.reach * i as f64 / grid.steps.max(1) as f64).collect();
    let Some(gradient) = hessian.gradient() else { return Ok(None) };
    let mut lines = Vec::new();
    for (name, v) in directions {
        let Some(product) = hessian.apply(&v) else { return Ok(None) };
        let along = |w: &[f64]| w.iter().zip(&v).map(|(w, v)| w * v).sum::<f64>();
        let (slope, curvature) = (along(&gradient), along(&product));
        let losses: Option<Vec<f64>> = distances.iter().map(|t| hessian.loss_along(&v, *t)).collect();
        let Some(losses) = losses else { return Ok(None) };
        lines.push(LandscapeLine { name, slope, curvature, losses });
    }
    let measured = &search.spec.hessian;
    Ok(Some(Landscape {
        attempt: state.at.trained_attempt,
        epoch,
        batches: measured.batches,
        images: measured.images.as_str().into(),
        distances,
        lines,
    }))
}

#[cfg(test)]
mod tests {
    use rdarts_net::Engine;
    use rdarts_run::{SearchSpec, Spec};
    use rdarts_train::{Job, KnownSets};

    use super::*;
    use crate::hessian::eigenvalue;
    use crate::search::open_space;

    #[test]
    fn slopes_are_those_of_the_losses_and_the_first_curvature_is_the_dominant_eigenvalue() {
        let small = "preset = 'demo'\n[data]\nlimit = 160\n[network]\nchannels = 4\ncells = 3\n[search]\nbatch = 16\n\
                     method = 'darts'\n[hessian]\nbatches = 3\nmode = 'plain'\n[alphas]\ninit_std = 0.5\n";
        let spec = SearchSpec::resolve_text(None, Some(("test", small)), &[], &KnownSets).unwrap();
        let search = Search::new(spec, open_space("s2").unwrap(), Engine::cpu()).unwrap();
        let state = search.begin().1;
        let never = AtomicBool::new(false);
        let grid = Grid { reach: 0.5, steps: 10, random: 2 };
        let found = landscape(&search, &state, 0, grid, &never).unwrap().unwrap();
        assert_eq!((found.lines.len(), found.distances.len(), found.distances[10]), (3, 21, 0.0));
        for line in &found.lines {
            let losses = &line.losses;
            assert_eq!(losses[10], found.lines[0].losses[10], "all lines go through the alphas");
            let (h, at) = (found.distances[11], |i: i64| losses[(10 + i) as usize]);
            // Of the fourth order, so that third derivatives fall out. Second differences are no second derivatives here:
            // ReLU bends between any two points, which products of the Hessian do not see.
            let slope = (8.0 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12.0 * h);
            let scale = found.lines[0].curvature.abs();
            assert!((slope - line.slope).abs() < 0.05 * line.slope.abs().max(scale), "{slope} for {}", line.slope);
        }
        // No direction bends more than the dominant one.
        let dominant = eigenvalue(&search, &state, 0, 1e-4, &never).unwrap().unwrap().dominant.value;
        assert!((found.lines[0].curvature - dominant).abs() < 2e-3 * dominant.abs());
        assert!(found.lines.iter().all(|line| line.curvature <= found.lines[0].curvature * 1.001));
    }
}
