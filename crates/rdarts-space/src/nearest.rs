//! "Did you mean": the known name that is nearest to a given one (Damerau-Levenshtein, ignoring case).

/// The candidate nearest to `name`, or `None` where nothing is near enough to be a likely slip.
/// The first of equally near candidates wins.
pub fn nearest<'a>(name: &str, candidates: &[&'a str]) -> Option<&'a str> {
    // A name this long is no slip of a finger, and the distance takes time quadratic in the length.
    if name.chars().count() > 64 {
        return None;
    }
    let name = name.to_lowercase();
    let mut best = None;
    // Guess: below two fifths in common, a suggestion confuses more than it helps.
    let mut best_similarity = 0.4;
    for &candidate in candidates {
        let similarity = strsim::normalized_damerau_levenshtein(&name, &candidate.to_lowercase());
        if similarity > best_similarity {
            best = Some(candidate);
            best_similarity = similarity;
        }
    }
    best
}

/// `name` in backquotes for a message: control characters escaped, and cut where it is very long.
pub(crate) fn quote(name: &str) -> String {
    let mut text: String = name.chars().take(40).flat_map(char::escape_debug).collect();
    if name.chars().count() > 40 {
        text.push_str("...");
    }
    format!("`{text}`")
}

/// The nearest known name as a clause of a message, or nothing.
pub(crate) fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or(String::new(), |name| format!(", the nearest known one is `{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_a_foreign_one_is_not_matched() {
        let names = ["skip_connect", "sep_conv_3x3", "sep_conv_5x5"];
        assert_eq!(nearest("sep_conv3x3", &names), Some("sep_conv_3x3"));
        assert_eq!(nearest("SKIP_CONECT", &names), Some("skip_connect"));
        assert_eq!(nearest("transformer", &names), None);
        assert_eq!(nearest("anything", &[]), None);
        assert_eq!(nearest(&"sep".repeat(10_000), &names), None);
    }

    #[test]
    fn a_quoted_name_is_short_and_on_one_line() {
        assert_eq!(quote("a\nb"), "`a\\nb`");
        assert_eq!(quote(&"x".repeat(50)), format!("`{}...`", "x".repeat(40)));
    }
}
