//! What the sums over the whole batch tell: coefficients of batch norms and gradients of mixing weights.

use super::{Context, Kept};
use crate::norm::{Gradient, Sums, Tangent, gradient, weight_gradient, weight_gradient_dual};
use crate::passes::{BackStep, Pass};
use crate::plan::{Branch, NormKind, Placed};

impl<'a> Context<'a> {
    /// What the sums of a step tell: gradients of mixing weights, if they are wanted, and the coefficients of batch norms.
    pub fn learn(
        &self,
        step: &BackStep,
        sums: &mut impl Iterator<Item = Sums>,
        p: &mut [f32],
        known: &mut [Gradient],
        kept: &mut Kept,
        factors: &mut Vec<(usize, Vec<f32>)>,
    ) {
        let mut sums = || sums.next().expect("every step has its sums");
        match step {
            BackStep::Sums(part) => {
                for at in part.branches.iter().copied() {
                    let (b, sums) = (&self.plan.branches[at], sums());
                    if self.want.p {
                        p[b.alpha] = self.mixing_gradient(at, &sums) as f32;
                    }
                    if let Some(placed) = b.stages.last().filter(|_| !b.is_shared()) {
                        let weights = self.weights_of(b);
                        self.learn_factors(placed, &sums, weights.0, factors);
                        known[placed.norm] = self.gradient(placed.norm, |kept| &kept.outer[at], &sums, weights);
                    }
                    kept.outer[at] = sums;
                }
            }
            BackStep::Second { at, .. } => {
                let (placed, sums) = (&self.plan.branches[*at].stages[0], sums());
                let norm = placed.norm;
                self.learn_factors(placed, &sums, 1.0, factors);
                known[norm] = self.gradient(norm, |kept| &kept.inner[*at], &sums, (1.0, 0.0));
                kept.inner[*at] = sums;
            }
            BackStep::StateSums { state } => {
                let (placed, sums) = (&self.plan.pre[*state], sums());
                let norm = placed.norm;
                self.learn_factors(placed, &sums, 1.0, factors);
                known[norm] = self.gradient(norm, |kept| &kept.pre[*state], &sums, (1.0, 0.0));
                kept.pre[*state] = sums;
            }
            _ => {}
        }
    }

    /// The gradients of scale and shift of a batch norm that is multiplied with p behind it, and where they lie.
    fn learn_factors(&self, placed: &Placed, sums: &Sums, p: f64, factors: &mut Vec<(usize, Vec<f32>)>) {
        if let (true, NormKind::Affine { at, .. }) = (self.want.w, placed.kind) {
            factors.push((at, self.norms[placed.norm].factor_gradients(sums, p)));
        }
    }

    /// The coefficients behind what has no batch norm: they need no sums.
    pub fn learn_identities(&self, known: &mut [Gradient]) {
        for b in self.plan.branches.iter().filter(|b| !b.is_shared()) {
            if let Some(placed) = b.stages.last().filter(|placed| placed.kind == NormKind::Identity) {
                let weights = self.weights_of(b);
                known[placed.norm] = gradient(&self.norms[placed.norm], None, &Sums::new(self.plan.c), |_| weights);
            }
        }
    }

    /// The coefficients of the batch norms of shared stages, once all is learned of the branches that they serve.
    pub fn learn_shared(&self, pass: &Pass<BackStep>, known: &mut [Gradient], outer: &[Sums]) {
        let serving = pass.iter().filter_map(|step| match step {
            BackStep::First(first) => Some(&self.plan.branches[first.at]),
            _ => None,
        });
        for b in serving.filter(|b| b.is_shared()) {
            let (norm, mut sums, mut of_d) = (b.stages[0].norm, Sums::new(self.plan.c), Sums::new(self.plan.c));
            for at in &b.serves {
                let (p, p_dot) = self.weights_of(&self.plan.branches[*at]);
                sums.add(&outer[*at], p);
                if let Some(pushed) = self.pushed {
                    sums.add(&pushed.kept.outer[*at], p_dot);
                    of_d.add(&pushed.kept.outer[*at], p);
                }
            }
            let tangent = self.pushed.map(|pushed| (&pushed.saved.norms[norm], &of_d));
            known[norm] = gradient(&self.norms[norm], tangent, &sums, |_| (1.0, 0.0));
        }
    }

    /// The gradient of the mixing weight of a branch.
    fn mixing_gradient(&self, branch: usize, sums: &Sums) -> f64 {
        let of = |sums: &[f64]| sums.iter().sum::<f64>();
        match self.plan.branches[branch].summand.source() {
            None => 0.0,
            Some((_, None)) => of(&sums.g_y) + self.pushed.map_or(0.0, |_| of(&sums.d_dot)),
            Some((_, Some(norm))) => {
                let tangent = self.tangent_of(norm, |kept| &kept.outer[branch]);
                let of_dual = tangent.map_or(0.0, |t| weight_gradient_dual(&self.norms[norm], t, sums));
                weight_gradient(&self.norms[norm], sums) + of_dual
            }
        }
    }

    /// (p, p') of a branch.
    pub fn weights_of(&self, b: &Branch) -> (f64, f64) {
        (f64::from(self.input.p[b.alpha]), self.pushed.map_or(0.0, |d| f64::from(d.tangent.p[b.alpha])))
    }

    /// The tangent at a batch norm and the sums of d there.
    fn tangent_of(&self, norm: usize, d: impl Fn(&'a Kept) -> &'a Sums) -> Option<Tangent<'a>> {
        self.pushed.map(|pushed| (&pushed.saved.norms[norm], d(pushed.kept)))
    }

    /// The gradient at a batch norm that is multiplied with (p, p') behind it.
    fn gradient(&self, norm: usize, d: impl Fn(&'a Kept) -> &'a Sums, sums: &Sums, (p, p_dot): (f64, f64)) -> Gradient {
        gradient(&self.norms[norm], self.tangent_of(norm, d), sums, |_| (p, p_dot))
    }
}
