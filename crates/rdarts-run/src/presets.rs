//! The built-in specs: one TOML file each, in the folder `presets` of this crate.
//!
//! `paper` holds every key, each with the section of the paper it comes from; it is the base of all other presets
//! and the list of the keys that a spec may have. Every other preset names only what it changes.
//!
//! Some data sets have a preset too, in `presets/data`: what the images need, whatever is searched. It lies over the
//! preset and below all that the user says.

/// A built-in spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// The name that `preset = "..."` refers to.
    pub name: &'static str,
    /// What it is for, in one sentence.
    pub about: &'static str,
    /// The TOML text, complete for `paper` and partial for the others.
    pub text: &'static str,
}

/// The preset that is used when none is named, and the base of every other one.
pub const PAPER: Preset = Preset {
    name: "paper",
    about: "the search of the paper: space S2, DARTS-ADA, second order, 50 epochs",
    text: include_str!("../presets/paper.toml"),
};

/// All presets; `paper` is the first.
pub const PRESETS: &[Preset] = &[
    PAPER,
    Preset {
        name: "demo",
        about: "a small first-order search on the embedded data set, minutes on two cores",
        text: include_str!("../presets/demo.toml"),
    },
];

/// The presets of data sets; a data set that has none takes what the preset says.
pub const DATA: &[Preset] = &[
    of_data("mnist", include_str!("../presets/data/mnist.toml")),
    of_data("kmnist", include_str!("../presets/data/mnist.toml")),
    of_data("emnist-byclass", include_str!("../presets/data/mnist.toml")),
    of_data("emnist-bymerge", include_str!("../presets/data/mnist.toml")),
    of_data("emnist-balanced", include_str!("../presets/data/mnist.toml")),
    of_data("emnist-letters", include_str!("../presets/data/mnist.toml")),
    of_data("emnist-digits", include_str!("../presets/data/mnist.toml")),
    of_data("emnist-mnist", include_str!("../presets/data/mnist.toml")),
    of_data("cifar10", include_str!("../presets/data/cifar.toml")),
    of_data("cifar100", include_str!("../presets/data/cifar.toml")),
    of_data("cifar100-coarse", include_str!("../presets/data/cifar.toml")),
    of_data("svhn", include_str!("../presets/data/svhn.toml")),
    of_data("svhn-extra", include_str!("../presets/data/svhn.toml")),
    of_data("folder", include_str!("../presets/data/folder.toml")),
];

/// Height and width of the images of each named data set, which lengths in the presets are written for.
pub const SIDES: &[(&str, usize)] = &[
    ("fashion-mini", 28),
    ("fashion-mnist", 28),
    ("mnist", 28),
    ("kmnist", 28),
    ("emnist-byclass", 28),
    ("emnist-bymerge", 28),
    ("emnist-balanced", 28),
    ("emnist-letters", 28),
    ("emnist-digits", 28),
    ("emnist-mnist", 28),
    ("cifar10", 32),
    ("cifar100", 32),
    ("cifar100-coarse", 32),
    ("svhn", 32),
    ("svhn-extra", 32),
];

/// The side of a named data set's images; none for a folder.
pub fn side(name: &str) -> Option<usize> {
    SIDES.iter().find(|(known, _)| *known == name).map(|(_, side)| *side)
}

const fn of_data(name: &'static str, text: &'static str) -> Preset {
    Preset { name, about: "what the images of this data set need", text }
}

/// Finds a preset by its name.
pub fn find(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::SearchSpec;

    #[test]
    fn every_preset_is_a_valid_spec_that_records_its_name() {
        for preset in PRESETS {
            let spec = SearchSpec::resolve(Some(preset.name), None, &[]).unwrap();
            assert_eq!(spec.preset, preset.name);
        }
    }

    #[test]
    fn every_value_of_a_preset_has_a_comment_beside_it() {
        for preset in PRESETS.iter().chain(DATA) {
            for line in preset.text.lines().filter(|line| line.contains('=') && !line.starts_with('#')) {
                assert!(line.starts_with("preset =") || line.contains(" # "), "{}: {line}", preset.name);
            }
        }
    }

    #[test]
    fn presets_are_found_by_name_only() {
        assert_eq!(find("paper"), Some(&PAPER));
        assert_eq!(find("Paper"), None);
    }
}
