//! What the readers of all formats share.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::DataError;

/// What a gzip stream begins with.
pub const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Opens a file to read it from its beginning to its end.
pub fn open(path: &Path) -> Result<BufReader<File>, DataError> {
    let file = File::open(path).map_err(|e| DataError::unreadable(path.display().to_string(), &e))?;
    Ok(BufReader::with_capacity(1 << 16, file))
}

/// Whether a file begins as gzip does.
pub fn is_gzip(path: &Path) -> bool {
    let mut magic = [0; 2];
    File::open(path).is_ok_and(|mut file| file.read_exact(&mut magic).is_ok()) && magic == GZIP_MAGIC
}

/// Reads until the buffer is full or the stream ends, and gives the number of bytes read.
pub fn read_up_to(reader: &mut (impl Read + ?Sized), buffer: &mut [u8]) -> io::Result<usize> {
    let mut held = 0;
    while held < buffer.len() {
        match reader.read(&mut buffer[held..]) {
            Ok(0) => break,
            Ok(n) => held += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => (),
            Err(e) => return Err(e),
        }
    }
    Ok(held)
}

/// Whether a stream that is unpacked is damaged. The decoder says so by these three kinds; files themselves do not.
pub fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData | ErrorKind::InvalidInput)
}

/// A SHA-256 in hexadecimal.
pub fn hex_of(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
