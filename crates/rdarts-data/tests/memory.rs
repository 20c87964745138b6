//! A file that declares more than it holds, or unpacks to more, costs no memory. Measured by the high-water mark
//! of a process of its own, which Linux keeps.

use std::io::Write;

use flate2::{Compression, Crc, write::ZlibEncoder};
use rdarts_data::{Silent, check, open};

#[path = "../../../tests/skip.rs"]
mod skip;

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

/// The beginning of a PNG file of 16-bit colour: its header, and image data that says nothing of the size.
fn png_of(width: u32, height: u32) -> Vec<u8> {
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[16, 6, 0, 0, 0]].concat();
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    (0..16).for_each(|_| encoder.write_all(&[0; 1 << 20]).unwrap());
    let chunks = [(b"IHDR", header), (b"IDAT", encoder.finish().unwrap()), (b"IEND", Vec::new())];
    let chunk = |(kind, content): (&[u8; 4], Vec<u8>)| {
        let body = [&kind[..], &content].concat();
        let mut crc = Crc::new();
        crc.update(&body);
        [&(content.len() as u32).to_be_bytes()[..], &body, &crc.sum().to_be_bytes()].concat()
    };
    [b"\x89PNG\r\n\x1a\n".to_vec(), chunks.map(chunk).concat()].concat()
}

/// A JPEG file whose header declares the most that one can.
fn large_jpeg() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(16, 16).write_to(&mut bytes, image::ImageFormat::Jpeg).unwrap();
    let mut bytes = bytes.into_inner();
    let frame = bytes.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    bytes[frame + 5..frame + 9].fill(0xff);
    bytes
}

#[test]
fn neither_a_size_declared_nor_a_bomb_is_given_memory() {
    let Some(before) = peak_kib() else {
        return skip::skip("no /proc", "the system does not tell the most memory used");
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
    for (name, bytes) in
        [("a.png", png_of(100_000, 100_000)), ("a.png", png_of(1, u32::MAX >> 1)), ("a.jpg", large_jpeg())]
    {
        let root = tempfile::tempdir().unwrap();
        for class in ["one", "two"] {
            std::fs::create_dir(root.path().join(class)).unwrap();
            image::GrayImage::new(8, 8).save(root.path().join(class).join("good.png")).unwrap();
            std::fs::write(root.path().join(class).join(name), &bytes).unwrap();
        }
        let error = open("folder", Some(root.path())).unwrap_err().to_string();
        assert!(error.contains("is too large: it declares"), "{error}");
        let checked = check("folder", Some(root.path()), &Silent);
        assert_eq!(checked.problems.len(), 2, "{:?}", checked.problems);
    }
    let grown = peak_kib().unwrap() - before;
    assert!(grown < 32 * 1024, "{grown} KiB");
}
