//! What the names of directories mean: the parts of a data set, and names that say nothing.

/// What a part of a data set is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// To train on.
    Train,
    /// To test with.
    Test,
    /// To choose by, and to test with if there is nothing else.
    Valid,
    /// Nobody's labels.
    Unlabelled,
}

const TRAIN: [&str; 4] = ["train", "training", "trainset", "trn"];
const TEST: [&str; 8] = ["test", "testing", "tests", "testset", "tst", "holdout", "heldout", "hold"];
const VALID: [&str; 9] = ["val", "valid", "validation", "validate", "valset", "dev", "devel", "eval", "evaluation"];
const UNLABELLED: [&str; 7] = ["pred", "predict", "prediction", "unlabeled", "unlabelled", "unsup", "unsorted"];
/// Words beside these that change nothing.
const NEUTRAL: [&str; 24] = [
    "set", "data", "dataset", "image", "images", "img", "imgs", "picture", "pictures", "photo", "photos", "split",
    "seg", "folder", "files", "out", "new", "final", "raw", "resized", "all", "jpg", "public", "private",
];

/// The part that a directory of this name would be, and the words of the name that say nothing of that: a data set's
/// own name, as in `asl_alphabet_train`.
pub fn role(name: &str) -> Option<(Role, String)> {
    let words = words(name);
    let of = |word: &String| match word.as_str() {
        word if TRAIN.contains(&word) => Some(Role::Train),
        word if TEST.contains(&word) => Some(Role::Test),
        word if VALID.contains(&word) => Some(Role::Valid),
        word if UNLABELLED.contains(&word) => Some(Role::Unlabelled),
        _ => None,
    };
    let mut roles = words.iter().filter_map(of);
    let role = roles.next()?;
    let rest = words.iter().filter(|word| of(word).is_none() && !NEUTRAL.contains(&word.as_str()));
    let rest = rest.map(String::as_str).collect::<Vec<_>>().join(" ");
    roles.all(|other| other == role).then_some((role, rest))
}

/// Whether a name is that of a heap of images, and of no class.
pub fn is_neutral(name: &str) -> bool {
    const HEAPS: [&str; 4] = ["unknown", "unlabeled", "unlabelled", "unsorted"];
    let words = words(name);
    // Numbers are names of classes.
    !words.is_empty() && words.iter().all(|word| NEUTRAL.contains(&word.as_str()) || HEAPS.contains(&word.as_str()))
        || role(name).is_some_and(|(_, rest)| rest.is_empty())
}

/// Whether a directory of this name beside classes, with no image in it, is something else than an empty class, or
/// beside images holds what belongs to them.
pub fn is_side(name: &str) -> bool {
    const SIDES: [&str; 35] = [
        "annotation",
        "annotations",
        "label",
        "labels",
        "meta",
        "metadata",
        "doc",
        "docs",
        "csv",
        "json",
        "xml",
        "txt",
        "script",
        "scripts",
        "code",
        "src",
        "notebook",
        "notebooks",
        "log",
        "logs",
        "model",
        "models",
        "checkpoints",
        "weights",
        "papers",
        "runs",
        "mask",
        "masks",
        "trimaps",
        "segmentation",
        "segmentations",
        "gt",
        "groundtruth",
        "ground_truth",
        "imagesets",
    ];
    SIDES.contains(&name.to_lowercase().as_str())
}

/// A name as people compare names: without regard to case and to what stands between words.
pub fn key(name: &str) -> String {
    let letters = name.trim().to_lowercase();
    letters.split(['_', '-', ' ']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Words in small letters, told apart by what is no letter and by a capital after a small one; numbers are none, nor is
/// a number at a word's end.
fn words(name: &str) -> Vec<String> {
    let mut apart = String::new();
    let mut was_small = false;
    for letter in name.chars() {
        if was_small && letter.is_uppercase() {
            apart.push(' ');
        }
        was_small = letter.is_lowercase();
        apart.extend(letter.to_lowercase());
    }
    let words = apart.split(|c: char| !c.is_alphanumeric()).map(|word| word.trim_matches(|c: char| c.is_ascii_digit()));
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_known_by_any_usual_name() {
        use Role::*;

        for (name, expected) in [
            ("train", Train),
            ("Training", Train),
            ("TRAIN_SET", Train),
            ("training-images", Train),
            ("seg_train", Train),
            ("train2017", Train),
            ("test1", Test),
            ("Testing", Test),
            ("hold-out", Test),
            ("holdout", Test),
            ("dev", Valid),
            ("Validation", Valid),
            ("val_256", Valid),
            ("eval", Valid),
            ("PublicTest", Test),
            ("TrainSet", Train),
            ("seg_pred", Unlabelled),
        ] {
            assert_eq!(role(name), Some((expected, String::new())), "{name}");
        }
        assert_eq!(role("asl_alphabet_test"), Some((Test, "asl alphabet".into())));
        for name in ["cat", "trainer", "contest", "invalid", "device", "train_test_split", "bus"] {
            assert_eq!(role(name), None, "{name}");
        }
    }

    #[test]
    fn names_are_compared_as_people_do() {
        assert_eq!(key("Golden_Retriever "), key("golden retriever"));
        assert_ne!(key("cat"), key("cats"));
        assert!(
            is_neutral("images")
                && is_neutral("unknown")
                && is_neutral("test")
                && !is_neutral("cat")
                && !is_neutral("0")
        );
    }
}
