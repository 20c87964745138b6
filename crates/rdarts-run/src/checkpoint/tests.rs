use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn sample() -> Checkpoint {
    let tensors = [
        ("alphas", Tensor::f32([2, 2], vec![0.5, -0.0, f32::NEG_INFINITY, 1e-40])),
        ("bytes", Tensor::u8([3], vec![1, 2, 255])),
        ("eigenvalues", Tensor::f64([2], vec![0.1, 1e300])),
        ("empty", Tensor::f32([0, 4], vec![])),
        ("rng", Tensor::u64([], vec![u64::MAX])),
    ];
    Checkpoint {
        events_bytes: 1234,
        events_lines: "0123abcd".to_string(),
        state: json!({"epoch": 3, "lr": 0.1, "label": "ä \"quoted\""}),
        tensors: tensors.into_iter().map(|(name, tensor)| (name.to_string(), tensor)).collect(),
    }
}

fn bytes_of(checkpoint: &Checkpoint) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    checkpoint.save(&path).unwrap();
    std::fs::read(path).unwrap()
}

static SAMPLE: LazyLock<Vec<u8>> = LazyLock::new(|| bytes_of(&sample()));

fn name(sequence: u64, epoch: usize) -> CheckpointName {
    CheckpointName { sequence, epoch, step: None }
}

fn load_bytes(bytes: &[u8]) -> Result<Checkpoint, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.safetensors");
    std::fs::write(&path, bytes).unwrap();
    Checkpoint::load(&path).map_err(|err| err.to_string().replace(&path.display().to_string(), "c.safetensors"))
}

#[track_caller]
fn check_refused(bytes: &[u8], sentence: &str) {
    assert_eq!(load_bytes(bytes).unwrap_err(), sentence);
}

#[test]
fn a_checkpoint_reads_back_equal() {
    assert_eq!(load_bytes(&SAMPLE).unwrap(), sample());
}

/// The bytes of a checkpoint as programs wrote them that knew format 1 only.
pub(crate) fn format_1(checkpoint: &Checkpoint) -> Vec<u8> {
    let (state, events_bytes) = (checkpoint.state.to_string(), checkpoint.events_bytes.to_string());
    let mut metadata = Metadata {
        format: 1,
        rdarts: "0.1.0",
        events_bytes: &events_bytes,
        events_lines: "",
        state: &state,
        checksum: "",
    };
    let sum = checksum(&metadata, checkpoint.events_bytes, &checkpoint.tensors);
    metadata.checksum = &sum;
    let header = encode_header(&metadata, &checkpoint.tensors);
    let mut bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    in_file_order(&checkpoint.tensors).for_each(|(_, tensor)| bytes.extend_from_slice(&tensor.data.to_bytes()));
    bytes
}

#[test]
fn a_checkpoint_of_format_1_reads_back_without_the_lines_of_its_events() {
    let bytes = format_1(&sample());
    assert_eq!(load_bytes(&bytes).unwrap(), Checkpoint { events_lines: String::new(), ..sample() });
    // Its sum as the program of that format computed it.
    let sum = "e70e92e4cde240b42fbc6b7e15b780aaf57097fc3cbbb328b5e91ace6361cc07";
    assert!(bytes.windows(sum.len()).any(|window| window == sum.as_bytes()));
    let mut bytes = bytes;
    *bytes.last_mut().unwrap() ^= 1;
    check_refused(&bytes, "the checkpoint `c.safetensors` is damaged: its checksum does not fit its contents");
}

#[test]
fn the_reference_crate_reads_a_checkpoint() {
    let file = safetensors::SafeTensors::deserialize(&SAMPLE).unwrap();
    let sample = sample();
    assert_eq!(file.len(), sample.tensors.len());
    for (name, tensor) in &sample.tensors {
        let view = file.tensor(name).unwrap();
        assert_eq!(view.shape(), tensor.shape(), "{name}");
        assert_eq!(view.data(), &*tensor.data().to_bytes(), "{name}");
        assert_eq!(format!("{:?}", view.dtype()), tensor.data().dtype().name(), "{name}");
    }
    let (header_length, metadata) = safetensors::SafeTensors::read_metadata(&SAMPLE).unwrap();
    assert_eq!(header_length % 8, 0);
    let texts = metadata.metadata().as_ref().unwrap();
    assert_eq!(texts["format"], "2");
    assert_eq!(texts["events_bytes"], "1234");
    assert_eq!(serde_json::from_str::<Value>(&texts["state"]).unwrap(), sample.state);
}

#[test]
fn every_single_flipped_bit_of_a_checkpoint_is_detected() {
    let sample = SAMPLE.to_vec();
    for at in 0..sample.len() {
        for bit in 0..8 {
            let mut bytes = sample.clone();
            bytes[at] ^= 1 << bit;
            assert!(decode(&bytes).is_err(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn truncation_at_every_length_and_extra_bytes_are_detected() {
    for length in 0..SAMPLE.len() {
        assert!(matches!(decode(&SAMPLE[..length]), Err(Fault::Damaged(_))), "{length}");
    }
    let mut longer = SAMPLE.to_vec();
    longer.push(0);
    assert!(decode(&longer).is_err());
}

#[test]
fn refusals_name_the_file_and_what_is_wrong() {
    let sample = SAMPLE.to_vec();
    check_refused(b"", "the checkpoint `c.safetensors` is damaged: it is shorter than any checkpoint");
    check_refused(
        b"PK\x03\x04 some zip file",
        "`c.safetensors` is not a checkpoint of rdarts: it is not a safetensors file",
    );
    check_refused(
        &sample[..100],
        &format!(
            "the checkpoint `c.safetensors` is damaged: it ends within its header of {} bytes",
            sample[0] as usize + 256 * sample[1] as usize
        ),
    );
    check_refused(
        &sample[..sample.len() - 1],
        "the checkpoint `c.safetensors` is damaged: it is truncated: `bytes` ends at byte 43 of 42 data bytes",
    );
    let mut bytes = sample.clone();
    *bytes.last_mut().unwrap() ^= 1;
    check_refused(&bytes, "the checkpoint `c.safetensors` is damaged: its checksum does not fit its contents");
    let at = sample.windows(12).position(|window| window == b"\"format\":\"2\"").unwrap();
    let mut bytes = sample.clone();
    bytes[at + 10] = b'7';
    check_refused(
        &bytes,
        "the checkpoint `c.safetensors` has format 7, and this program knows up to 2; use a newer rdarts",
    );
    let err = Checkpoint::load(Path::new("/no/such/c.safetensors")).unwrap_err().to_string();
    assert!(err.starts_with("cannot read `/no/such/c.safetensors`: "), "{err}");
    let err = sample_at("/no/such/c.safetensors").unwrap_err().to_string();
    assert!(err.starts_with("cannot write `/no/such/c.safetensors`: "), "{err}");
}

fn sample_at(path: &str) -> Result<(), CheckpointError> {
    sample().save(Path::new(path))
}

#[test]
fn a_safetensors_file_of_another_program_is_foreign() {
    let values: Vec<u8> = vec![0; 8];
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![2], &values).unwrap();
    let bytes = safetensors::serialize([("w", view)], None).unwrap();
    check_refused(&bytes, "`c.safetensors` is not a checkpoint of rdarts: a safetensors file without metadata");
}

#[test]
fn names_sort_by_sequence_and_have_one_spelling() {
    let names = [
        (name(12, 3), "00000012-epoch-3.safetensors"),
        (CheckpointName { sequence: 7, epoch: 0, step: Some(120) }, "00000007-epoch-0-step-120.safetensors"),
        (name(123_456_789, 3), "123456789-epoch-3.safetensors"),
    ];
    for (name, text) in names {
        assert_eq!(name.file_name(), text);
        assert_eq!(CheckpointName::parse(text), Some(name));
    }
    for text in [
        "12-epoch-3.safetensors",
        "00000012-epoch-03.safetensors",
        "00000012-epoch-3.safetensors.damaged",
        "00000012-epoch-.safetensors",
        "00000012-epoch-1-step-.safetensors",
        ".unfinished-x",
        "+0000012-epoch-3.safetensors",
    ] {
        assert_eq!(CheckpointName::parse(text), None, "{text}");
    }
}

#[test]
fn the_newest_good_checkpoint_is_found_behind_damaged_ones() {
    let dir = tempfile::tempdir().unwrap();
    // The run went back to epoch 1, so the newest file is not the one with the largest epoch.
    for (sequence, epoch) in [(10, 0), (20, 1), (30, 2), (40, 1)] {
        let checkpoint = Checkpoint { events_bytes: sequence, ..sample() };
        checkpoint.save(&dir.path().join(name(sequence, epoch).file_name())).unwrap();
    }
    assert_eq!(list(dir.path()).unwrap(), [name(40, 1), name(30, 2), name(20, 1), name(10, 0)]);
    let newest = load_newest_valid(dir.path()).unwrap();
    let (found, checkpoint) = newest.found.unwrap();
    assert_eq!((found, checkpoint.events_bytes), (name(40, 1), 40));
    assert!(newest.warnings.is_empty());

    for damaged in [name(40, 1), name(30, 2)] {
        let path = dir.path().join(damaged.file_name());
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 8]).unwrap();
    }
    let newest = load_newest_valid(dir.path()).unwrap();
    assert_eq!(newest.found.unwrap().0, name(20, 1));
    assert_eq!(newest.passed_over, [name(40, 1), name(30, 2)]);
    for (warning, damaged) in newest.warnings.iter().zip(&newest.passed_over) {
        assert!(warning.contains(&damaged.file_name()) && warning.contains("truncated"), "{warning}");
    }
}

#[test]
fn a_checkpoint_of_a_newer_program_is_not_silently_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    sample().save(&dir.path().join(name(1, 0).file_name())).unwrap();
    let at = SAMPLE.windows(12).position(|window| window == b"\"format\":\"2\"").unwrap();
    let mut bytes = SAMPLE.to_vec();
    bytes[at + 10] = b'3';
    std::fs::write(dir.path().join(name(2, 1).file_name()), &bytes).unwrap();
    assert!(matches!(load_newest_valid(dir.path()), Err(CheckpointError::TooNew { found: 3, .. })));
}

#[test]
fn pruning_keeps_what_is_asked_for_and_always_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    for sequence in 1..=5 {
        sample().save(&dir.path().join(name(sequence, sequence as usize).file_name())).unwrap();
    }
    let deleted = prune(dir.path(), |name| name.epoch == 2).unwrap();
    assert_eq!(deleted, [name(4, 4), name(3, 3), name(1, 1)]);
    assert_eq!(list(dir.path()).unwrap(), [name(5, 5), name(2, 2)]);
}

#[test]
#[should_panic(expected = "shape [2, 3] does not hold 5 values")]
fn a_shape_that_does_not_fit_is_a_bug_of_the_caller() {
    Tensor::f32([2, 3], vec![0.0; 5]);
}

fn any_tensor() -> impl Strategy<Value = Tensor> {
    (0usize..4, 0usize..5, 0usize..4).prop_flat_map(|(kind, rows, columns)| {
        proptest::collection::vec(any::<u64>(), rows * columns).prop_map(move |words| {
            let shape = [rows, columns];
            match kind {
                // Values that are not a number are unequal to themselves, so they are left out here.
                0 => Tensor::f32(
                    shape,
                    words.iter().map(|&w| f32::from_bits(w as u32)).map(|x| if x.is_nan() { 0.0 } else { x }).collect(),
                ),
                1 => Tensor::f64(
                    shape,
                    words.iter().map(|&w| f64::from_bits(w)).map(|x| if x.is_nan() { 0.0 } else { x }).collect(),
                ),
                2 => Tensor::u64(shape, words),
                _ => Tensor::u8(shape, words.iter().map(|&w| w as u8).collect()),
            }
        })
    })
}

prop_compose! {
    fn any_checkpoint()(
        events_bytes in any::<u64>(),
        events_lines in "[0-9a-f]{0,24}",
        label in "(?s).{0,20}",
        number in any::<f64>().prop_filter("JSON has finite numbers only", |x| x.is_finite()),
        tensors in proptest::collection::btree_map("(?s).{0,12}", any_tensor(), 0..5),
    ) -> Checkpoint {
        Checkpoint { events_bytes, events_lines, state: json!({ "label": label, "number": number }), tensors }
    }
}

proptest! {
    #[test]
    fn any_checkpoint_round_trips_with_the_same_bytes(checkpoint in any_checkpoint()) {
        let bytes = bytes_of(&checkpoint);
        prop_assert_eq!(&bytes_of(&checkpoint.clone()), &bytes);
        prop_assert_eq!(&decode(&bytes).unwrap(), &checkpoint);
        prop_assert!(safetensors::SafeTensors::deserialize(&bytes).is_ok());
    }

    #[test]
    fn any_changed_byte_of_any_checkpoint_is_detected(
        checkpoint in any_checkpoint(), at in any::<prop::sample::Index>(), change in 1u8..,
    ) {
        let mut bytes = bytes_of(&checkpoint);
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        prop_assert!(decode(&bytes).is_err());
    }

    #[test]
    fn no_bytes_make_the_reader_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), length in 0u64..200) {
        prop_assert!(decode(&bytes).is_err());
        if bytes.len() > 9 {
            bytes[..8].copy_from_slice(&length.to_le_bytes());
            bytes[8] = b'{';
            prop_assert!(decode(&bytes).is_err());
        }
    }
}
