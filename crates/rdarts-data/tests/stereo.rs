//! Stereo pairs from scenes to batches.

use std::sync::Arc;

use rdarts_data::Prefetch;
use rdarts_data::stereo::{
    Pair, Pairs, Scenes, StereoAugment, StereoBatch, StereoLoader, StereoOptions, open, open_with, stereo_eval_batches,
};

/// Only the geometry.
const GEOMETRY: StereoAugment = {
    let off = rdarts_data::stereo::Spread { mean: 0.0, spread: 0.0, is_gaussian: false };
    StereoAugment {
        gamma: off,
        contrast: off,
        brightness: off,
        saturation: off,
        colour: off,
        noise: off,
        right_gamma: off,
        right_contrast: off,
        right_brightness: off,
        right_colour: off,
        ..StereoAugment::PAPER
    }
};

fn scenes(n: usize) -> Arc<Pairs> {
    Arc::new(Pairs::of_scenes(Scenes::new(64, 128, 24.0, 1).unwrap(), 0, n))
}

/// A pair of a batch as bytes again.
fn pair_of(batch: &StereoBatch, i: usize) -> Pair {
    let (height, width) = (batch.height, batch.width);
    let area = height * width;
    let view = |first: usize| -> Vec<u8> {
        let pixels = batch.views[i * area * 6..(i + 1) * area * 6].chunks(6);
        pixels.flat_map(|pixel| [0, 1, 2].map(|c| ((pixel[first + c] + 0.4) * 255.0).round() as u8)).collect()
    };
    Pair {
        height,
        width,
        left: view(0),
        right: view(3),
        disparity: batch.disparity[i * area..(i + 1) * area].to_vec(),
        visible: batch.visible.as_ref().map(|visible| visible[i * area..(i + 1) * area].to_vec()),
    }
}

#[test]
fn batches_without_augmentation_are_windows_of_the_pairs() {
    let pairs = scenes(5);
    let loader = StereoLoader::new(pairs.clone(), 1..5, 3, [64, 128], 1, "train");
    assert_eq!((loader.n_pairs(), loader.n_batches()), (4, 2));
    let batches: Vec<StereoBatch> = loader.epoch(0, 0, None).map(Result::unwrap).collect();
    assert_eq!(batches.iter().map(|batch| batch.n).collect::<Vec<_>>(), [3, 1]);
    // NaN is not equal to itself, but scenes have none.
    let mut seen: Vec<usize> = batches
        .iter()
        .flat_map(|batch| (0..batch.n).map(|i| pair_of(batch, i)))
        .map(|shown| (0..5).find(|&i| pairs.pair(i).unwrap() == shown).expect("it is one of the pairs as it is"))
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, [1, 2, 3, 4]);

    // A smaller window lies somewhere in its pair, and the match of a pixel may now lie outside.
    let loader = StereoLoader::new(scenes(1), 0..1, 1, [20, 50], 1, "train");
    let whole = pairs.pair(0).unwrap();
    let mut places = std::collections::BTreeSet::new();
    for step in 0..30 {
        let shown = pair_of(&loader.draw(step, None).unwrap(), 0);
        let lies_at = |(y0, x0): (usize, usize)| {
            (0..20).all(|y| {
                let (here, there) = (y * 50, (y + y0) * 128 + x0);
                shown.left[3 * here..3 * (here + 50)] == whole.left[3 * there..3 * (there + 50)]
                    && shown.right[3 * here..3 * (here + 50)] == whole.right[3 * there..3 * (there + 50)]
                    && shown.disparity[here..here + 50] == whole.disparity[there..there + 50]
            })
        };
        let place = (0..45).flat_map(|y| (0..79).map(move |x| (y, x))).find(|&at| lies_at(at));
        let (y0, x0) = place.expect("the window is a part of the pair");
        for (i, &visible) in shown.visible.as_ref().unwrap().iter().enumerate() {
            let at = (i / 50 + y0) * 128 + i % 50 + x0;
            let inside = (i % 50) as f32 - shown.disparity[i] >= 0.0;
            assert_eq!(visible, inside && whole.visible.as_ref().unwrap()[at]);
        }
        places.insert((y0, x0));
    }
    assert!(places.len() > 25, "{places:?}");
}

#[test]
fn batches_are_functions_of_their_seed_epoch_and_step_made_ahead_or_not() {
    let loader = |seed, name| StereoLoader::new(scenes(7), 0..7, 2, [32, 64], seed, name);
    let train = loader(1, "train");
    let epoch = |epoch, first| -> Vec<StereoBatch> {
        train.epoch(epoch, first, Some(StereoAugment::PAPER)).map(Result::unwrap).collect()
    };
    let whole = epoch(3, 0);
    assert_eq!(whole, epoch(3, 0));
    assert_eq!(whole[2..], epoch(3, 2));
    assert_ne!(whole, epoch(4, 0));
    let ahead: Vec<StereoBatch> = Prefetch::new(train.epoch(3, 0, Some(StereoAugment::PAPER)), 2)
        .unwrap()
        .map(|batch| batch.unwrap().unwrap())
        .collect();
    assert_eq!(whole, ahead);
    let draw = |seed, name, step| loader(seed, name).draw(step, Some(StereoAugment::PAPER)).unwrap();
    let base = draw(1, "valid", 5);
    assert_eq!(base, draw(1, "valid", 5));
    assert!([draw(2, "valid", 5), draw(1, "train", 5), draw(1, "valid", 6)].iter().all(|other| *other != base));
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(one.install(|| draw(1, "valid", 5)), base);
}

#[test]
fn zoom_squeeze_and_windows_keep_what_matches() {
    let loader = StereoLoader::new(scenes(40), 0..40, 40, [48, 96], 1, "train");
    for strength in [0.0, 1.0, 2.0] {
        let batch = loader.draw(0, Some(GEOMETRY.with_strength(strength))).unwrap();
        let (mut warped, mut unwarped) = (0.0, 0.0);
        for i in 0..batch.n {
            let error = pair_of(&batch, i).photo_error(true).unwrap();
            (warped, unwarped) = (warped + error.warped / 40.0, unwarped + error.unwarped / 40.0);
        }
        println!("strength {strength}: {unwarped} -> {warped}");
        assert!(warped < 2.0 && unwarped > 10.0 * warped, "strength {strength}: {unwarped} -> {warped}");
    }
}

#[test]
fn strength_zero_changes_nothing_and_more_of_it_changes_more() {
    let loader = StereoLoader::new(scenes(8), 0..8, 8, [64, 128], 1, "train");
    let draw = |augment| loader.draw(1, augment).unwrap();
    let plain = draw(None);
    assert_eq!(plain, draw(Some(StereoAugment::PAPER.with_strength(0.0))));
    let distance = |strength| {
        let other = draw(Some(StereoAugment::PAPER.with_strength(strength)));
        plain.views.iter().zip(&other.views).map(|(a, b)| f64::from((a - b).abs())).sum::<f64>()
            / plain.views.len() as f64
    };
    let distances = [0.01, 0.1, 1.0].map(distance);
    assert!(distances[0] > 0.001 && distances.is_sorted(), "{distances:?}");
    let all = draw(Some(StereoAugment::PAPER));
    assert!(all.views.iter().all(|value| (-0.4..=0.6001).contains(value)));
    assert!(StereoAugment::PAPER.with_strength(2.0).check().is_ok());
    let message = StereoAugment::PAPER.with_strength(-1.0).check().unwrap_err().to_string();
    assert_eq!(message, "the strength -1 of the augmentation should be from 0 to 16");
}

#[test]
fn half_the_size_has_half_the_disparity() {
    let pairs = scenes(1);
    let half = StereoLoader::new(pairs.clone(), 0..1, 1, [32, 64], 1, "train").halved().draw(0, None).unwrap();
    assert_eq!(pair_of(&half, 0), pairs.pair(0).unwrap().halved());
    let error = pairs.pair(0).unwrap().halved().photo_error(true).unwrap();
    assert!(error.warped < 3.0 && error.unwarped > 5.0 * error.warped, "{error:?}");
    StereoLoader::new(pairs.clone(), 0..1, 1, [32, 64], 1, "train").halved().check().unwrap();
    let loader = StereoLoader::new(pairs, 0..1, 1, [33, 64], 1, "train").halved();
    let small = loader.draw(0, None).unwrap_err();
    assert_eq!(loader.check().unwrap_err().to_string(), small.to_string());
    assert_eq!(
        small.to_string(),
        "scene 0 has 32x64 pixels (height x width) and windows of 33x64 are to be cut out of it: take smaller ones"
    );
}

#[test]
fn evaluation_sees_whole_pairs_at_sizes_that_can_be_halved() {
    let odd = |n: u64, height, width| {
        let pair = Scenes::new(height, width, 20.0, 1).unwrap().pair(n);
        (format!("pair {n}"), pair)
    };
    let pairs = Pairs::in_memory(vec![odd(0, 50, 100), odd(1, 50, 100), odd(2, 64, 128), odd(3, 50, 100)]);
    let batches: Vec<_> = stereo_eval_batches(&pairs, 0..4, 3, 64, false).map(Result::unwrap).collect();
    let sizes: Vec<_> = batches.iter().map(|b| (b.n, b.height, b.width, b.truth_height, b.truth_width)).collect();
    assert_eq!(sizes, [(2, 64, 128, 50, 100), (1, 64, 128, 64, 128), (1, 64, 128, 50, 100)]);
    assert_eq!(batches[0].disparity[50 * 100..], pairs.pair(1).unwrap().disparity);
    // What is computed for the views is cut to the pairs.
    let map: Vec<usize> = (0..2 * 64 * 128).collect();
    let back = batches[0].at_truth(&map);
    assert_eq!((back.len(), back[0], back[100], back[50 * 100 - 1], back[50 * 100]), (10_000, 0, 128, 6371, 8192));
    // Views are the bytes of the pairs, and where there are none those of the last row or column.
    for (of, batch, place) in [(2, 1, 0), (1, 0, 1)] {
        let pair = pairs.pair(of).unwrap();
        let views = &batches[batch].views[place * 64 * 128 * 6..][..64 * 128 * 6];
        for (i, views) in views.chunks(6).enumerate() {
            let at = 3 * ((i / 128).min(pair.height - 1) * pair.width + (i % 128).min(pair.width - 1));
            for c in 0..3 {
                assert_eq!(views[c], f32::from(pair.left[at + c]) / 255.0 - 0.4);
                assert_eq!(views[3 + c], f32::from(pair.right[at + c]) / 255.0 - 0.4);
            }
        }
    }
}

#[test]
fn training_and_test_scenes_differ_and_sizes_are_free() {
    let data = open("stereo-scenes", None).unwrap();
    assert_eq!((data.train.n(), data.test.n()), (4096, 256));
    assert_ne!(data.train.pair(0).unwrap(), data.test.pair(0).unwrap());
    assert_eq!(data.train.name_of(3), "scene 3");
    let options = StereoOptions { height: 40, width: 90, max_disparity: 12.5, n_train: 3, ..StereoOptions::USUAL };
    let pair = open_with("stereo-scenes", None, &options).unwrap().train.pair(2).unwrap();
    assert_eq!((pair.height, pair.width), (40, 90));
    let message = |options| open_with("stereo-scenes", None, &options).map(|_| ()).unwrap_err().to_string();
    assert!(message(StereoOptions { width: 4, ..options }).starts_with("the width of synthetic stereo scenes is 4"));
}

/// FNV-1a of all that a pair is.
fn sum(pair: &Pair) -> u64 {
    let truth = pair.disparity.iter().flat_map(|d| d.to_le_bytes());
    let bytes = pair.left.iter().chain(&pair.right).copied().chain(truth);
    let all = bytes.chain(pair.visible.iter().flatten().map(|&visible| visible.into()));
    all.fold(0xcbf2_9ce4_8422_2325, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The same on every machine, and what a recorded run has seen is seen again.
#[test]
fn the_bits_of_scenes_are_those_recorded() {
    let scenes = Scenes::new(64, 128, 24.0, 1).unwrap();
    let sums = [0, 1, 1 << 32].map(|index| sum(&scenes.pair(index)));
    let large = sum(&Scenes::new(100, 75, 20.5, 9).unwrap().pair(7));
    assert_eq!(sums, [0xeecd_2102_363e_5956, 0x823a_9b35_3ab1_ffc2, 0xc83e_ed9b_97df_64fa], "{sums:x?}");
    assert_eq!(large, 0xfb9e_04fe_241c_29f1, "{large:x}");
}
