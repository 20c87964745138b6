//! "Did you mean": the known name that is nearest to a given one.
//!
//! Names are compared without case, hyphens, underscores, dots and spaces, which are what people vary: `FashionMNIST`
//! is `fashion-mnist` and `SepConv3x3` is `sep_conv_3x3`. Among the rest the distance of Damerau and Levenshtein
//! counts the slips of a finger: a letter too many, too few, wrong, or exchanged with its neighbour.

/// The candidate nearest to `name`, or `None` where nothing is near enough to be a likely slip.
/// The first of equally near candidates wins.
pub fn nearest<'a>(name: &str, candidates: &[&'a str]) -> Option<&'a str> {
    // A name this long is no slip of a finger, and the distance takes time quadratic in the length.
    if name.chars().count() > 64 {
        return None;
    }
    let name = normalized(name);
    if name.is_empty() {
        return None;
    }
    let mut best: Option<(usize, &str)> = None;
    for &candidate in candidates {
        let known = normalized(candidate);
        let distance = strsim::damerau_levenshtein(&name, &known);
        let is_near = distance <= slips(name.chars().count().max(known.chars().count()));
        if is_near && best.is_none_or(|(smallest, _)| distance < smallest) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// The slips that a name of `n` letters may have: one in three letters, so that two thirds of a name are always right;
/// with fewer, names such as `cat` and `skip` would be offered for each other. Four at most, since more are a
/// different word.
fn slips(n: usize) -> usize {
    (n / 3).min(4)
}

/// The letters and digits of a name, in lower case.
fn normalized(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_' | '.' | ' ')).flat_map(char::to_lowercase).collect()
}

/// `name` in backquotes for a message: control characters escaped, and cut where it is very long.
pub fn quote(name: &str) -> String {
    let mut text: String = name.chars().take(40).flat_map(char::escape_debug).collect();
    if name.chars().count() > 40 {
        text.push_str("...");
    }
    format!("`{text}`")
}

/// The nearest known name as a clause of a message, or nothing.
pub fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or(String::new(), |name| format!(", the nearest known one is `{name}`"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OPS: [&str; 6] = ["none", "noise", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3"];
    const DATA: [&str; 6] = ["fashion-mini", "fashion-mnist", "cifar10", "cifar100", "cifar100-coarse", "svhn"];
    const METHODS: [&str; 4] = ["darts", "darts-es", "darts-ada", "random"];

    #[test]
    fn a_name_in_another_style_is_the_same_name() {
        let rows = [
            ("FashionMNIST", &DATA[..], "fashion-mnist"),
            ("fashion_mnist", &DATA, "fashion-mnist"),
            ("CIFAR-10", &DATA, "cifar10"),
            ("Cifar 100", &DATA, "cifar100"),
            ("SepConv3x3", &OPS, "sep_conv_3x3"),
            ("DIL-CONV-3X3", &OPS, "dil_conv_3x3"),
            ("DARTS-ES", &METHODS, "darts-es"),
            ("dartses", &METHODS, "darts-es"),
        ];
        for (given, names, meant) in rows {
            assert_eq!(nearest(given, names), Some(meant), "{given}");
        }
    }

    #[test]
    fn the_same_name_in_another_style_wins_over_one_that_comes_before() {
        assert_eq!(nearest("SEP-CONV-5X5", &OPS), Some("sep_conv_5x5"));
        assert_eq!(nearest("cifar-100", &["cifar10", "cifar100"]), Some("cifar100"));
    }

    #[test]
    fn slips_of_a_finger_find_their_name() {
        for (given, names, meant) in [
            ("sep_conv3x3", &OPS[..], "sep_conv_3x3"),
            ("SKIP_CONECT", &OPS, "skip_connect"),
            ("skip_conenct", &OPS, "skip_connect"),
            ("noisy", &OPS, "noise"),
            ("fashion-mnst", &DATA, "fashion-mnist"),
            ("svnh", &DATA, "svhn"),
            ("cifar100-corse", &DATA, "cifar100-coarse"),
        ] {
            assert_eq!(nearest(given, names), Some(meant), "{given}");
        }
    }

    #[test]
    fn nonsense_gets_no_suggestion() {
        for nonsense in ["", "-", "_ .", "x", "qqqqqq", "transformer", "imagenet", "12345", "cat", "é", "skip the rest"]
        {
            for names in [&OPS[..], &DATA, &METHODS] {
                assert_eq!(nearest(nonsense, names), None, "{nonsense}");
            }
        }
        assert_eq!(nearest("anything", &[]), None);
        assert_eq!(nearest(&"sep".repeat(10_000), &OPS), None);
    }

    #[test]
    fn a_quoted_name_is_short_and_on_one_line() {
        assert_eq!(quote("a\nb"), "`a\\nb`");
        assert_eq!(quote(&"x".repeat(50)), format!("`{}...`", "x".repeat(40)));
    }

    proptest! {
        #[test]
        fn what_is_offered_is_near_and_nothing_panics(name in "\\PC{0,80}") {
            if let Some(found) = nearest(&name, &OPS) {
                let (name, found) = (normalized(&name), normalized(found));
                prop_assert!(3 * strsim::damerau_levenshtein(&name, &found) <= name.chars().count().max(found.len()));
            }
        }
    }
}
