use super::*;

fn scenes() -> Scenes {
    Scenes::new(64, 128, 32.0, 1).unwrap()
}

#[test]
fn a_scene_is_a_function_of_its_seed_and_number() {
    let scenes = scenes();
    assert_eq!(scenes.pair(3), scenes.pair(3));
    let others =
        [scenes.pair(4), Scenes { seed: 2, ..scenes }.pair(3), Scenes { max_disparity: 31.0, ..scenes }.pair(3)];
    assert!(others.iter().all(|other| *other != scenes.pair(3)));
}

#[test]
fn warping_by_the_ground_truth_gives_the_left_view_where_it_is_visible() {
    let (mut unwarped, mut warped, mut opposite, mut n_visible, mut n) = (0.0, 0.0, 0.0, 0, 0);
    for index in 0..40 {
        let pair = scenes().pair(index);
        assert_eq!(pair.n_valid(), 64 * 128);
        let (low, high) = pair.range().unwrap();
        assert!(low > 0.0 && high <= 32.0, "{index}: {low}..{high}");
        let error = pair.photo_error(true).unwrap();
        assert!(error.warped < 6.0, "{index}: {error:?}");
        assert!(error.unwarped > 3.0 * error.warped, "{index}: {error:?}");
        unwarped += error.unwarped / 40.0;
        warped += error.warped / 40.0;
        opposite += error.opposite.unwrap() / 40.0;
        n_visible += pair.visible.unwrap().iter().filter(|v| **v).count();
        n += 64 * 128;
    }
    println!("{unwarped} -> {warped} ({opposite}); visible {}", n_visible as f64 / n as f64);
    assert!(warped < 3.5 && unwarped > 25.0 && opposite > 25.0, "{unwarped} -> {warped} ({opposite})");
    let visible = n_visible as f64 / n as f64;
    assert!((0.6..0.97).contains(&visible), "{visible}");
}

/// Forward: points of the left view and of what lies beside it, eight to a pixel, are put where the right camera sees
/// them, and the nearest of each place stays.
#[test]
fn what_is_visible_agrees_with_a_forward_projection() {
    const PARTS: i64 = 8;
    let (mut n, mut n_agree) = (0, 0);
    for index in 0..12 {
        let scenes = scenes();
        let (pair, scene) = (scenes.pair(index), Scene::new(&scenes, index));
        let width = scenes.width as i64;
        for y in (0..scenes.height).step_by(3) {
            let row = scene.row(y);
            let mut nearest = vec![0.0f64; (width * PARTS) as usize];
            // Points that the left camera does not see may hide others too: all surfaces by themselves.
            for &i in &row {
                for part in -PARTS..(width + 40) * PARTS {
                    let x = part as f64 / PARTS as f64;
                    let Some(hit) = scene.solids[i].meet(&scene.ray(0.0, x, y)) else { continue };
                    let d = scene.focal / hit.z;
                    let place = ((x - d) * PARTS as f64).round();
                    if place >= 0.0 && place < nearest.len() as f64 {
                        let nearest = &mut nearest[place as usize];
                        *nearest = nearest.max(d);
                    }
                }
            }
            for x in 0..scenes.width {
                let at = y * scenes.width + x;
                let d = f64::from(pair.disparity[at]);
                let place = ((x as f64 - d) * PARTS as f64).round();
                let inside = x as f64 - d >= 0.0;
                // A surface is met again in the places beside it, at its slant.
                let is_hidden = !inside || nearest[(place as usize).min(nearest.len() - 1)] > d * 1.02 + 0.05;
                n += 1;
                n_agree += usize::from(pair.visible.as_ref().unwrap()[at] != is_hidden);
            }
        }
    }
    let share = n_agree as f64 / n as f64;
    println!("{share}");
    assert!(share > 0.99, "{share}");
}

#[test]
fn any_size_and_any_disparity_can_be_had_but_for_senseless_ones() {
    for (height, width, most) in [(8, 8, 1.0), (8, 300, 150.0), (200, 16, 8.0), (33, 65, 3.5)] {
        for index in 0..5 {
            let pair = Scenes::new(height, width, most, 5).unwrap().pair(index);
            assert_eq!((pair.left.len(), pair.disparity.len()), (3 * height * width, height * width));
            let (low, high) = pair.range().unwrap();
            assert!(low > 0.0 && f64::from(high) <= most, "{height}x{width}: {low}..{high} of {most}");
        }
    }
    for (height, width, most) in [(7, 64, 4.0), (64, 5000, 4.0), (64, 64, 33.0), (64, 64, 0.5), (64, 64, f64::NAN)] {
        let message = Scenes::new(height, width, most, 1).unwrap_err().to_string();
        assert!(message.contains("it should be from"), "{message}");
    }
    let message = Scenes::new(64, 64, 40.0, 1).unwrap_err().to_string();
    assert_eq!(
        message,
        "the largest disparity of synthetic stereo scenes is 40, it should be from 1 to 32 pixels, half the width"
    );
}
