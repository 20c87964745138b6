//! Files of the binary version of CIFAR: a row of records without a header, and lists of the classes' names.
//!
//! ```text
//! CIFAR-10    label 1 byte                  R 1024 bytes  G 1024 bytes  B 1024 bytes     3073 bytes
//! CIFAR-100   coarse 1 byte, fine 1 byte    R 1024 bytes  G 1024 bytes  B 1024 bytes     3074 bytes
//! ```
//!
//! Each plane is (row, column). Any number of records is read.

use std::io::{BufRead, Read};
use std::path::Path;

use super::read::{open, read_up_to};
use super::records::{IMAGE, MAX_IMAGES, Records, SIDE};
use super::sniff;
use crate::error::DataError;

/// The bytes before the pixels of a record.
#[derive(Clone, Copy)]
pub struct Layout {
    /// What they are.
    pub labels: &'static [LabelByte],
    /// Which of them is the class.
    pub class: usize,
}

/// One of these bytes.
pub struct LabelByte {
    /// What it is called where it is wrong.
    pub what: &'static str,
    /// The file that lists the names of its classes.
    pub names: &'static str,
    /// Their number.
    pub n_classes: usize,
}

impl Layout {
    /// The byte that is the class.
    pub const fn class(self) -> &'static LabelByte {
        &self.labels[self.class]
    }

    /// Bytes of a record.
    pub fn record_size(self) -> usize {
        self.labels.len() + IMAGE
    }

    /// Reads a file after those that are in `records` already.
    pub fn read_file(self, path: &Path, records: &mut Records) -> Result<(), DataError> {
        self.take_records(&mut open(path)?, &path.display().to_string(), records, MAX_IMAGES)
    }

    /// Reads records to the end of the stream, at most `limit`.
    pub fn take_records(
        self,
        reader: &mut dyn BufRead,
        file: &str,
        records: &mut Records,
        limit: usize,
    ) -> Result<(), DataError> {
        let head = reader.fill_buf().map_err(|e| DataError::unreadable(file, &e))?;
        let head = head[..head.len().min(sniff::HEAD)].to_vec();
        let not_records =
            |found: String| DataError::NotA { file: file.to_owned(), expected: "a file of CIFAR records", found };
        // No kind of file that is known beyond doubt begins with a label.
        if let Some(kind) = sniff::known(&head) {
            return Err(not_records(kind.to_owned()));
        }
        let is_text = sniff::guess(&head) == "a text file";
        let mut record = vec![0; self.record_size()];
        for n_records in 0.. {
            let held = read_up_to(reader, &mut record).map_err(|e| DataError::unreadable(file, &e))?;
            if held == 0 {
                break;
            }
            if n_records == limit {
                let end = format!("{limit} records");
                return Err(DataError::Trailing { file: file.to_owned(), end, part: "content" });
            }
            if held < record.len() {
                if n_records == 0 && is_text {
                    return Err(not_records("a text file".to_owned()));
                }
                let (file, record_size) = (file.to_owned(), record.len());
                return Err(DataError::RecordSize { file, n_records, record_size, rest: held });
            }
            let (labels, planes) = record.split_at(self.labels.len());
            for (&label, LabelByte { what, n_classes, .. }) in labels.iter().zip(self.labels) {
                if usize::from(label) >= *n_classes {
                    if n_records == 0 && is_text {
                        return Err(not_records("a text file".to_owned()));
                    }
                    return Err(DataError::RecordLabel {
                        file: file.to_owned(),
                        what,
                        label: label.to_string(),
                        record: n_records + 1,
                        expected: format!("below {n_classes}"),
                    });
                }
            }
            records.labels.push(u16::from(labels[self.class]));
            records.push_pixels(|pixel, channel| planes[channel * SIDE * SIDE + pixel]);
        }
        Ok(())
    }
}

/// The names of the classes, one a line.
pub fn read_names(path: &Path, n_classes: usize) -> Result<Vec<String>, DataError> {
    // A hundred names need 1 KiB.
    const LIMIT: u64 = 1 << 16;
    let file = path.display().to_string();
    let mut text = Vec::new();
    open(path)?.take(LIMIT).read_to_end(&mut text).map_err(|e| DataError::unreadable(&file, &e))?;
    if let Some(found) = sniff::known(&text) {
        let (expected, found) = ("a list of class names", found.to_owned());
        return Err(DataError::NotA { file, expected, found });
    }
    let names: Vec<String> = String::from_utf8_lossy(&text)
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    match names.len() {
        n if n == n_classes => Ok(names),
        n_names => Err(DataError::ClassNames { file, n_names, n_classes }),
    }
}
