//! The built-in specs: one TOML file each, in the folder `presets` of this crate.
//!
//! The first preset of a kind of run holds every key, each with the section of the paper it comes from; it is the base
//! of the others and the list of the keys that a spec may have. Every other preset names only what it changes.

/// A built-in spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// The name that `preset = "..."` refers to.
    pub name: &'static str,
    /// What it is for, in one sentence.
    pub about: &'static str,
    /// The TOML text, complete for the first of a kind and partial for the others.
    pub text: &'static str,
}

/// The presets of a search; the first is used when none is named.
pub const SEARCH: &[Preset] = &[
    Preset {
        name: "paper",
        about: "the search of the paper: space S2, DARTS-ADA, second order, 50 epochs",
        text: include_str!("../presets/search/paper.toml"),
    },
    Preset {
        name: "demo",
        about: "a small first-order search on the embedded data set, minutes on two cores",
        text: include_str!("../presets/search/demo.toml"),
    },
    Preset {
        name: "collapse",
        about: "a search that degenerates: S2 on CIFAR-10 at 16x16, half an hour on two cores",
        text: include_str!("../presets/search/collapse.toml"),
    },
];

/// The presets of a search for disparity; the first is used when none is named.
pub const DISPARITY: &[Preset] = &[
    Preset {
        name: "disparity",
        about: "disparity on FlyingThings3D as in the paper: space dispnet, first order, pairs at half size",
        text: include_str!("../presets/search/disparity.toml"),
    },
    Preset {
        name: "disparity-demo",
        about: "disparity on synthetic scenes: minutes on two cores, nothing to download",
        text: include_str!("../presets/search/disparity-demo.toml"),
    },
];

/// The presets of a training for disparity; the first is used when none is named.
pub const DISPARITY_TRAIN: &[Preset] = &[
    Preset {
        name: "disparity-train",
        about: "the training of the paper on FlyingThings3D: 24 channels, 300,000 steps",
        text: include_str!("../presets/train/disparity.toml"),
    },
    Preset {
        name: "disparity-train-demo",
        about: "a small training on synthetic scenes: minutes on two cores, nothing to download",
        text: include_str!("../presets/train/disparity-demo.toml"),
    },
];

/// The presets of a training from scratch; the first is used when none is named.
pub const TRAIN: &[Preset] = &[
    Preset {
        name: "train-paper",
        about: "the training of the paper in its large size: 36 channels, 20 cells, 600 epochs",
        text: include_str!("../presets/train/paper.toml"),
    },
    Preset {
        name: "train-paper-small",
        about: "the same in the paper's small size: 16 channels, 8 cells",
        text: include_str!("../presets/train/paper-small.toml"),
    },
    Preset {
        name: "train-demo",
        about: "a small training on the embedded data set, minutes on two cores",
        text: include_str!("../presets/train/demo.toml"),
    },
];

/// The presets of a portfolio of searches; the first is used when none is named.
pub const ROBUST: &[Preset] = &[
    Preset {
        name: "paper",
        about: "R-DARTS(L2) of the paper: four searches with growing L2 factors, 100 epochs to choose, 600 to train",
        text: include_str!("../presets/robust/paper.toml"),
    },
    Preset {
        name: "paper-dp",
        about: "R-DARTS(DP) of the paper: the same with growing drop path and Cutout in the searches",
        text: include_str!("../presets/robust/paper-dp.toml"),
    },
    Preset {
        name: "demo",
        about: "three small searches and trainings on the embedded data set, at most five minutes on two cores",
        text: include_str!("../presets/robust/demo.toml"),
    },
];

/// The presets of a portfolio for disparity; the first is used when none is named.
pub const DISPARITY_ROBUST: &[Preset] = &[
    Preset {
        name: "disparity",
        about: "four searches for disparity with the paper's L2 factors, their choice and the training in full",
        text: include_str!("../presets/robust/disparity.toml"),
    },
    Preset {
        name: "disparity-demo",
        about: "two small searches and trainings on synthetic scenes, nothing to download",
        text: include_str!("../presets/robust/disparity-demo.toml"),
    },
];

/// Finds a preset of a kind by its name.
pub fn find(presets: &'static [Preset], name: &str) -> Option<&'static Preset> {
    presets.iter().find(|preset| preset.name == name)
}
