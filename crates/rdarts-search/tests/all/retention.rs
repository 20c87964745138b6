//! Retention and the monitor together, on searches without their networks: what is deleted is never asked for.

use rdarts_monitor::{AdaRule, Decision, Form, Measurement, Method, Rule, decide, earliest_return};
use rdarts_rng::Stream;
use rdarts_run::CheckpointName;
use rdarts_train::retention::{earlier, kept};

/// A search without its network: what the loop does with checkpoints, measurements and decisions.
struct Search {
    rule: Rule,
    ada: AdaRule,
    every: usize,
    n_epochs: usize,
    /// By name, the state that was saved.
    disk: Vec<(CheckpointName, Saved)>,
    most: usize,
}

#[derive(Clone)]
struct Saved {
    next: usize,
    history: Vec<Measurement>,
    l2: f64,
    /// Who trained the epoch: a number that no other epoch has.
    lineage: Vec<u64>,
}

impl Search {
    fn earliest(&self, saved: &Saved) -> Option<usize> {
        let epochs: Vec<usize> = saved.history.iter().map(|m| m.epoch).collect();
        earliest_return(Method::Ada, &self.rule, &self.ada, &epochs, saved.l2)
    }

    fn save(&mut self, sequence: u64, saved: &Saved, before: &Saved) {
        let name = CheckpointName { sequence, epoch: saved.next - 1, step: None };
        self.disk.retain(|(other, _)| other.sequence != sequence);
        self.disk.push((name, saved.clone()));
        let names: Vec<CheckpointName> = self.disk.iter().map(|(name, _)| name.clone()).collect();
        let stay = kept(&names, earlier(self.earliest(saved), self.earliest(before)));
        self.disk.retain(|(name, _)| stay.contains(name));
        self.most = self.most.max(self.disk.len());
    }

    /// Runs to its end; the newest checkpoint is damaged in one of `damage` epochs. Returns the rollbacks.
    fn run(&mut self, stream: &mut Stream, growth: f64, damage: f64) -> usize {
        let mut at = Saved { next: 0, history: Vec::new(), l2: 3e-4, lineage: Vec::new() };
        let (mut sequence, mut rollbacks) = (0, 0);
        while at.next < self.n_epochs && sequence < 3000 {
            let (epoch, before) = (at.next, at.clone());
            sequence += 1;
            at.lineage.push(sequence);
            at.next += 1;
            if epoch.is_multiple_of(self.every) || epoch + 1 == self.n_epochs {
                let eigenvalue = match stream.uniform() {
                    u if u < 0.03 => f64::NAN,
                    _ => (growth * epoch as f64 + 0.6 * stream.normal()).exp(),
                };
                at.history.push(Measurement { epoch, eigenvalue });
            }
            let word = decide(Method::Ada, &self.rule, &self.ada, &at.history, epoch, self.n_epochs, at.l2);
            if let Decision::Rollback { return_to, new_l2, .. } = word {
                rollbacks += 1;
                let wanted = self.disk.iter().filter(|(name, _)| name.epoch == return_to);
                let newest = wanted.max_by_key(|(name, _)| name.sequence);
                let (_, saved) = newest.unwrap_or_else(|| panic!("epoch {return_to} is gone, after epoch {epoch}"));
                assert_eq!(saved.lineage[..], at.lineage[..=return_to], "the state of another lineage");
                at = Saved { l2: new_l2, ..saved.clone() };
                at.history.retain(|m| m.epoch <= return_to);
            }
            self.save(sequence, &at, &before);
            if stream.uniform() < damage && self.disk.len() > 1 {
                // The newest is damaged, and the search goes on from the one before.
                let newest = self.disk.iter().map(|(name, _)| name.sequence).max().unwrap();
                self.disk.retain(|(name, _)| name.sequence != newest);
                let (name, saved) = self.disk.iter().max_by_key(|(name, _)| name.sequence).unwrap().clone();
                (at, sequence) = (saved, name.sequence.max(sequence));
            }
        }
        rollbacks
    }
}

#[test]
#[allow(clippy::print_stdout)]
fn no_decision_ever_asks_for_a_checkpoint_that_is_gone() {
    let (mut searches, mut rollbacks) = (0, 0);
    for seed in 0..12_000 {
        let mut stream = Stream::new(seed, "retention", 0);
        let mut pick = |n: u64| (stream.next_u64() % n) as usize;
        let form = [Form::Paper, Form::Released][pick(2)];
        let window = 1 + pick(7);
        let lag = if form == Form::Paper && pick(2) == 0 { window } else { 1 + pick(7) };
        let threshold = match form {
            Form::Paper => [0.75, 0.97, 1.0][pick(3)],
            Form::Released => [1.3, 1.03, 1.0][pick(3)],
        };
        let rule = Rule { form, window, lag, threshold, first_return: [0, 3, 10][pick(3)] };
        let ada = AdaRule { l2_factor: [1.01, 1.1, 2.0, 10.0][pick(4)], l2_max: [3e-4, 3e-2, 3e-1][pick(3)] };
        let (every, n_epochs) = (1 + pick(4), 10 + pick(50));
        let damage = [0.0, 0.1][pick(2)];
        let mut search = Search { rule, ada, every, n_epochs, disk: Vec::new(), most: 0 };
        rollbacks += search.run(&mut stream, [0.0, 0.05, 0.2][seed as usize % 3], damage);
        searches += 1;
    }
    println!("{searches} searches, {rollbacks} rollbacks");
    assert!(rollbacks > 10_000, "{rollbacks} rollbacks show too little");
}

#[test]
fn what_no_decision_can_ask_for_is_let_go() {
    let history: Vec<usize> = (0..40).collect();
    let of = |method, rule: &Rule, l2| earliest_return(method, rule, &AdaRule::released(), &history, l2);
    // Two raises to come: 40 - 5 and 4 more; one earlier in case the newest checkpoint is damaged.
    assert_eq!(of(Method::Ada, &Rule::paper(), 3e-4), Some(40 - 5 - 4 - 1));
    assert_eq!(of(Method::Ada, &Rule::paper(), 3e-3), Some(40 - 5 - 1));
    assert_eq!(of(Method::Ada, &Rule::paper(), 3e-2), None);
    assert_eq!((of(Method::Es, &Rule::paper(), 3e-4), of(Method::Darts, &Rule::paper(), 3e-4)), (None, None));
    // The rule can return epoch 4 at the earliest, which is still to come.
    assert_eq!(earliest_return(Method::Ada, &Rule::paper(), &AdaRule::released(), &[0, 1], 3e-4), Some(2));
    // A plain search holds two files.
    let names: Vec<CheckpointName> =
        (0..5).map(|i| CheckpointName { sequence: i, epoch: i as usize, step: None }).collect();
    let sequences = |kept: Vec<CheckpointName>| kept.iter().map(|name| name.sequence).collect::<Vec<_>>();
    assert_eq!(sequences(kept(&names, None)), [4, 3]);
    assert_eq!(sequences(kept(&names, Some(2))), [4, 3, 2, 1]);
}

#[test]
fn the_paper_preset_keeps_the_epoch_that_a_second_rollback_wants() {
    // Epoch 14 is saved; a rollback at 15 goes to 10; a trigger at 11 then wants epoch 6.
    let history: Vec<usize> = (0..15).collect();
    let earliest = earliest_return(Method::Ada, &Rule::paper(), &AdaRule::released(), &history, 3e-4);
    assert!(earliest.unwrap() <= 6);
}
