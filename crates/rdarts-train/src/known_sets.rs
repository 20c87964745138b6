//! What specs have to know of the data sets there are: their sides, and what the images of each need.
//!
//! Some data sets have a preset, in the folder `presets` of this crate: how their images are augmented, whatever is done
//! with them. It lies over the preset of the run and below all that the user says.

use rdarts_data::outline;
use rdarts_run::DataSets;

/// The data sets of `rdarts-data`.
pub struct KnownSets;

/// Those that have a preset; the others take what the preset of the run says.
const PRESETS: &[(&str, &str)] = &[
    ("mnist", CHARACTERS),
    ("kmnist", CHARACTERS),
    ("emnist-byclass", CHARACTERS),
    ("emnist-bymerge", CHARACTERS),
    ("emnist-balanced", CHARACTERS),
    ("emnist-letters", CHARACTERS),
    ("emnist-digits", CHARACTERS),
    ("emnist-mnist", CHARACTERS),
    ("cifar10", CIFAR),
    ("cifar100", CIFAR),
    ("cifar100-coarse", CIFAR),
    ("svhn", SVHN),
    ("svhn-extra", SVHN),
    (rdarts_data::FOLDER, include_str!("../presets/folder.toml")),
];

const CHARACTERS: &str = include_str!("../presets/mnist.toml");
const CIFAR: &str = include_str!("../presets/cifar.toml");
const SVHN: &str = include_str!("../presets/svhn.toml");

impl DataSets for KnownSets {
    fn preset(&self, name: &str) -> Option<&'static str> {
        PRESETS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
    }

    fn side(&self, name: &str) -> Option<usize> {
        outline(name).ok()?.side
    }

    fn has_free_channels(&self, name: &str) -> bool {
        outline(name).is_ok_and(|outline| outline.channels.is_none())
    }
}

#[cfg(test)]
mod tests {
    use rdarts_data::catalog;
    use rdarts_run::{SearchSpec, Spec};

    use super::*;

    #[test]
    fn every_preset_is_of_a_known_set_whose_images_are_squares_and_explains_every_value() {
        for (name, text) in PRESETS {
            assert!(outline(name).is_ok(), "{name}");
            for line in text.lines().filter(|line| line.contains('=') && !line.starts_with('#')) {
                assert!(line.contains(" # "), "{name}: {line}");
            }
            let set = format!("data.name={name}");
            SearchSpec::resolve(None, None, &[set, "data.size=28".into()], &KnownSets).unwrap();
        }
        for entry in catalog() {
            let [side, width, _] = entry.shape;
            assert_eq!(side, width, "{}", entry.name);
            let of = |size: usize| {
                let sets = [format!("data.name={}", entry.name), format!("data.size={size}")];
                SearchSpec::resolve(None, None, &sets, &KnownSets)
            };
            assert!(of(side).is_ok() && of(side + 1).is_err(), "{}", entry.name);
        }
    }

    #[test]
    fn characters_are_not_flipped_whichever_set_they_are_of() {
        for entry in catalog() {
            let set = format!("data.name={}", entry.name);
            let flip = SearchSpec::resolve(None, None, &[set], &KnownSets).unwrap().augment.flip;
            let is_thing = entry.name.starts_with("cifar") || entry.name.starts_with("fashion");
            assert_eq!(flip, is_thing, "{}", entry.name);
        }
    }
}
