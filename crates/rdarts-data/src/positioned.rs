//! Reading a file at a position, by several threads at once: what each system calls in its own way.

use std::fs::File;
use std::io::{Error, ErrorKind, Result};

/// Fills `bytes` with what the file holds from byte `at` on.
pub fn read_exact_at(file: &File, mut bytes: &mut [u8], mut at: u64) -> Result<()> {
    while !bytes.is_empty() {
        match read_at(file, bytes, at) {
            Ok(0) => return Err(Error::new(ErrorKind::UnexpectedEof, "the file ends before that")),
            Ok(n) => (bytes, at) = (&mut bytes[n..], at + n as u64),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// As many bytes as the system gives at once.
#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], at: u64) -> Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, bytes, at)
}

/// The same on Windows. It moves the place where reading goes on, which nobody uses who reads at positions.
#[cfg(windows)]
fn read_at(file: &File, bytes: &mut [u8], at: u64) -> Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, bytes, at)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_is_read_at_any_position_and_never_beyond_its_end() {
        let mut file = tempfile::tempfile().unwrap();
        let whole: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
        file.write_all(&whole).unwrap();
        let mut bytes = vec![0; 70_000];
        read_exact_at(&file, &mut bytes, 30_000).unwrap();
        assert_eq!(bytes, whole[30_000..]);
        read_exact_at(&file, &mut bytes[..10], 0).unwrap();
        assert_eq!(bytes[..10], whole[..10]);
        assert_eq!(read_exact_at(&file, &mut bytes, 30_001).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        read_exact_at(&file, &mut [], 200_000).unwrap();
    }
}
