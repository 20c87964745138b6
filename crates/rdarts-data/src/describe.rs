//! How the images of a data set are spread over its classes.

/// A ratio of the largest to the smallest class above this is worth a word.
const UNEQUAL: f64 = 1.5;

/// How many times as many images the largest class has as the smallest, if that is worth a word: above 1.5, or
/// infinite if a class has none.
pub fn imbalance(counts: &[usize]) -> Option<f64> {
    let (least, most) = (*counts.iter().min()?, *counts.iter().max()?);
    (most as f64 > UNEQUAL * least as f64).then_some(most as f64 / least as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unequal_classes_are_told() {
        assert_eq!(imbalance(&[2, 3]), None);
        assert_eq!(imbalance(&[2, 4, 3]), Some(2.0));
        assert_eq!(imbalance(&[0, 3]), Some(f64::INFINITY));
        assert_eq!((imbalance(&[]), imbalance(&[0, 0])), (None, None));
    }
}
