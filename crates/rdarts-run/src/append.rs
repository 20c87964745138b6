//! A file that grows by whole lines; an append that fails is taken back.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::PathBuf;

use crate::error::{RunError, io_error};

/// A file that grows by whole lines.
#[derive(Debug)]
pub(crate) struct AppendFile {
    pub(crate) path: PathBuf,
    file: File,
    pub(crate) length: u64,
}

impl AppendFile {
    pub(crate) fn open(path: PathBuf) -> Result<AppendFile, RunError> {
        // Not in append mode: `cut` must be able to set where the next line goes, and the lock keeps others out.
        let open = || -> io::Result<(File, u64)> {
            let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
            let length = file.seek(SeekFrom::End(0))?;
            Ok((file, length))
        };
        let (file, length) = open().map_err(io_error("open", &path))?;
        Ok(AppendFile { path, file, length })
    }

    pub(crate) fn append(&mut self, line: &[u8]) -> Result<(), RunError> {
        let result = append_or_undo(&mut self.file, self.length, line);
        result.map_err(io_error("write", &self.path))?;
        self.length += line.len() as u64;
        Ok(())
    }

    pub(crate) fn cut(&mut self, length: u64) -> Result<(), RunError> {
        let cut = || -> io::Result<()> {
            self.file.set_len(length)?;
            (&self.file).seek(SeekFrom::Start(length))?;
            self.file.sync_all()
        };
        cut().map_err(io_error("truncate", &self.path))?;
        self.length = length;
        Ok(())
    }

    pub(crate) fn sync(&self) -> Result<(), RunError> {
        self.file.sync_all().map_err(io_error("write", &self.path))
    }
}

/// What an append needs of a file, so that a test can stand in for a full disk.
trait Appendable: Write + Seek {
    fn set_len(&mut self, length: u64) -> io::Result<()>;
}

impl Appendable for File {
    fn set_len(&mut self, length: u64) -> io::Result<()> {
        File::set_len(self, length)
    }
}

/// Writes at the end, or leaves the end where it was.
fn append_or_undo(file: &mut impl Appendable, length: u64, line: &[u8]) -> io::Result<()> {
    file.write_all(line).inspect_err(|_| {
        // Should even this fail, then recovery cuts the half line away.
        let _ = file.set_len(length);
        let _ = file.seek(SeekFrom::Start(length));
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file on a disk that is full after so many bytes.
    struct FullDisk {
        bytes: io::Cursor<Vec<u8>>,
        capacity: usize,
    }

    impl Write for FullDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let room = self.capacity - self.bytes.get_ref().len();
            if room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.bytes.write(&bytes[..room.min(bytes.len())])
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Seek for FullDisk {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.bytes.seek(to)
        }
    }

    impl Appendable for FullDisk {
        fn set_len(&mut self, length: u64) -> io::Result<()> {
            self.bytes.get_mut().truncate(length as usize);
            Ok(())
        }
    }

    #[test]
    fn an_event_that_meets_a_full_disk_leaves_no_half_line() {
        let mut disk = FullDisk { bytes: io::Cursor::new(Vec::new()), capacity: 10 };
        append_or_undo(&mut disk, 0, b"first\n").unwrap();
        let err = append_or_undo(&mut disk, 6, b"second\n").unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::StorageFull);
        assert_eq!(disk.bytes.get_ref(), b"first\n");
        // There is room again: the next line goes where the half one was.
        disk.capacity = 20;
        append_or_undo(&mut disk, 6, b"second\n").unwrap();
        assert_eq!(disk.bytes.get_ref(), b"first\nsecond\n");
    }
}
