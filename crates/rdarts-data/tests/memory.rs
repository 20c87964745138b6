//! A file that declares more than it holds, or unpacks to more, costs no memory. Measured by the high-water mark
//! of a process of its own, which Linux keeps.

use flate2::{Compression, write::ZlibEncoder};
use rdarts_data::open;
use std::io::Write;

fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse().ok())
}

/// A matrix up to its values: name of up to 4 bytes, class uint8.
fn matrix_head(name: [u8; 4], dims: [u32; 4], n_bytes: u32) -> Vec<u8> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let head = [words(&[6, 8, 9, 0, 5, 16]), words(&dims), words(&[1 | 1 << 16]), name.into(), words(&[2, n_bytes])];
    let head = head.concat();
    [words(&[14, head.len() as u32 + n_bytes]), head].concat()
}

fn mat_file(content: &[u8]) -> Vec<u8> {
    [format!("{:<124}", "MATLAB 5.0 MAT-file").as_bytes(), &[0, 1, b'I', b'M'], content].concat()
}

#[test]
fn neither_a_size_declared_nor_a_bomb_is_given_memory() {
    let Some(before) = peak_kib() else {
        println!("SKIPPED: the system does not tell the most memory used");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let n = 1 << 20;
    let declared = matrix_head([b'X', 0, 0, 0], [32, 32, 3, n], 3072 * n);
    let short = mat_file(&[&declared[..], &[5; 10_000]].concat());
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&matrix_head([b'z', 0, 0, 0], [1 << 28, 1, 1, 1], 1 << 28)).unwrap();
    (0..256).for_each(|_| encoder.write_all(&[0; 1 << 20]).unwrap());
    let packed = encoder.finish().unwrap();
    let bomb = mat_file(&[&15u32.to_le_bytes()[..], &(packed.len() as u32).to_le_bytes(), &packed].concat());
    for (bytes, message) in [(short, "is cut short within the values of an array"), (bomb, "lacks the variable X")] {
        std::fs::write(dir.path().join("train_32x32.mat"), &bytes).unwrap();
        std::fs::write(dir.path().join("test_32x32.mat"), &bytes).unwrap();
        let error = open("svhn", Some(dir.path())).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    let grown = peak_kib().unwrap() - before;
    assert!(grown < 32 * 1024, "{grown} KiB");
}
