//! What changes from epoch to epoch: learning rate, drop path, Cutout.

/// The learning rate of an epoch, annealed from `lr` to `lr_min`: the closed form of PyTorch's CosineAnnealingLR
/// with T_max = `n_epochs`, which would reach `lr_min` only at epoch `n_epochs`, one after the last.
pub fn cosine_lr(lr: f64, lr_min: f64, epoch: usize, n_epochs: usize) -> f64 {
    if n_epochs == 0 {
        return lr;
    }
    let phase = std::f64::consts::PI * epoch as f64 / n_epochs as f64;
    lr_min + (lr - lr_min) * (1.0 + phase.cos()) / 2.0
}

/// The drop-path probability of an epoch of a search: from 0 at the first to `p_max` at the last.
pub fn drop_path_probability(p_max: f64, epoch: usize, n_epochs: usize) -> f64 {
    if n_epochs <= 1 { 0.0 } else { p_max * epoch as f64 / (n_epochs - 1) as f64 }
}

/// The drop-path probability of an epoch of a training from scratch, which would reach `p_max` one after the last.
pub fn training_drop_path(p_max: f64, epoch: usize, n_epochs: usize) -> f64 {
    p_max * epoch as f64 / n_epochs.max(1) as f64
}

/// The probability of Cutout in an epoch: from 0 at the first to `p_max` at the last; 0 in a run of one epoch.
pub fn cutout_probability(p_max: f64, epoch: usize, n_epochs: usize) -> f64 {
    let last = n_epochs.saturating_sub(1).max(1) as f64;
    p_max * epoch as f64 / last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedules_have_the_known_values() {
        let lr = |epoch| cosine_lr(0.025, 0.001, epoch, 50);
        assert_eq!(lr(0), 0.025);
        assert!((lr(25) - 0.013).abs() < 1e-15 && (lr(50) - 0.001).abs() < 1e-15);
        // PyTorch's own recursion between two epochs.
        let ratio = |t: f64| 1.0 + (std::f64::consts::PI * t / 50.0).cos();
        for epoch in 1..50 {
            let recursive = ratio(epoch as f64) / ratio(epoch as f64 - 1.0) * (lr(epoch - 1) - 0.001) + 0.001;
            assert!((lr(epoch) - recursive).abs() < 1e-15);
        }
        assert_eq!(cosine_lr(0.1, 0.0, 0, 0), 0.1);
        assert_eq!([0, 7, 49].map(|epoch| drop_path_probability(0.2, epoch, 50)), [0.0, 0.2 * 7.0 / 49.0, 0.2]);
        assert_eq!((drop_path_probability(0.2, 0, 1), drop_path_probability(0.2, 0, 0)), (0.0, 0.0));
        // p * e / n, as the DARTS code has it: the last epoch does not reach p.
        assert_eq!([0, 150, 599].map(|epoch| training_drop_path(0.2, epoch, 600)), [0.0, 0.05, 0.2 * 599.0 / 600.0]);
        assert_eq!((training_drop_path(0.2, 0, 1), training_drop_path(0.2, 0, 0)), (0.0, 0.0));
    }
}
