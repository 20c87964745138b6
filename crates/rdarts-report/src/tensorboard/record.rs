//! Records of TensorBoard's files: protocol buffers by hand, framed with their length and checksums.
//!
//! A record is its length (8 bytes, least first), the masked CRC-32C of these, the message, and its masked CRC-32C. The
//! message is an `Event` (tensorflow's `event.proto`): wall_time 1, step 2, file_version 3, summary 5, session_log 7. A
//! `Summary` is repeated values 1: tag 1, simple_value 2, image 4, histo 5.

/// A value of a summary.
pub(super) struct Value(Vec<u8>);

impl Value {
    pub fn scalar(tag: &str, value: f64) -> Value {
        let mut message = tagged(tag);
        key(&mut message, 2, FLOAT);
        message.extend((value as f32).to_le_bytes());
        Value(message)
    }

    /// The numbers that are finite; `None` if there are none.
    pub fn histogram(tag: &str, numbers: &[f32]) -> Option<Value> {
        let numbers: Vec<f64> = numbers.iter().map(|&x| f64::from(x)).filter(|x| x.is_finite()).collect();
        let min = numbers.iter().copied().reduce(f64::min)?;
        let max = numbers.iter().copied().fold(min, f64::max);
        let n = if min < max { BUCKETS } else { 1 };
        let limit = |i: usize| if i + 1 == n { max } else { min + (max - min) * (i + 1) as f64 / n as f64 };
        let limits: Vec<f64> = (0..n).map(limit).collect();
        let mut counts = vec![0.0; n];
        for x in &numbers {
            counts[limits.partition_point(|limit| limit < x).min(n - 1)] += 1.0;
        }
        let mut histogram = Vec::new();
        double(&mut histogram, 1, min);
        double(&mut histogram, 2, max);
        double(&mut histogram, 3, numbers.len() as f64);
        double(&mut histogram, 4, numbers.iter().sum());
        double(&mut histogram, 5, numbers.iter().map(|x| x * x).sum());
        for (field, list) in [(6, &limits), (7, &counts)] {
            bytes(&mut histogram, field, &list.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>());
        }
        let mut message = tagged(tag);
        bytes(&mut message, 5, &histogram);
        Some(Value(message))
    }

    /// A PNG file, of three colors.
    pub fn image(tag: &str, [width, height]: [u32; 2], png: &[u8]) -> Value {
        let mut image = Vec::new();
        for (field, value) in [(1, height), (2, width), (3, 3)] {
            number(&mut image, field, value.into());
        }
        bytes(&mut image, 4, png);
        let mut message = tagged(tag);
        bytes(&mut message, 4, &image);
        Value(message)
    }
}

/// Buckets of a histogram.
const BUCKETS: usize = 30;

/// The first record of a file.
pub(super) fn version(wall_time: f64) -> Vec<u8> {
    event(wall_time, 0, 3, b"brain.Event:2")
}

/// Values of a step.
pub(super) fn summary(wall_time: f64, step: u64, values: &[Value]) -> Vec<u8> {
    let mut summary = Vec::new();
    values.iter().for_each(|value| bytes(&mut summary, 1, &value.0));
    event(wall_time, step, 5, &summary)
}

/// The run starts again with a step: what was written of it and of later ones counts no more.
pub(super) fn restart(wall_time: f64, step: u64) -> Vec<u8> {
    let mut log = Vec::new();
    // SessionLog.START
    number(&mut log, 1, 1);
    event(wall_time, step, 7, &log)
}

/// The masked CRC-32C of bytes.
fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc = TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8);
    }
    (!crc).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// What a byte does to a CRC by Castagnoli's polynomial.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let (mut crc, mut bit) = (i as u32, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

/// Kinds of fields of protocol buffers.
const NUMBER: u64 = 0;
const DOUBLE: u64 = 1;
const BYTES: u64 = 2;
const FLOAT: u64 = 5;

fn event(wall_time: f64, step: u64, what: u64, content: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    double(&mut message, 1, wall_time);
    number(&mut message, 2, step);
    bytes(&mut message, what, content);
    let length = (message.len() as u64).to_le_bytes();
    [&length[..], &checksum(&length).to_le_bytes(), &message, &checksum(&message).to_le_bytes()].concat()
}

fn tagged(tag: &str) -> Vec<u8> {
    let mut message = Vec::new();
    bytes(&mut message, 1, tag.as_bytes());
    message
}

fn key(out: &mut Vec<u8>, field: u64, kind: u64) {
    varint(out, field << 3 | kind);
}

fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    key(out, field, NUMBER);
    varint(out, value);
}

fn double(out: &mut Vec<u8>, field: u64, value: f64) {
    key(out, field, DOUBLE);
    out.extend(value.to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    key(out, field, BYTES);
    varint(out, value.len() as u64);
    out.extend(value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 128 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_castagnoli() {
        // RFC 3720, B.4, before they are masked.
        let unmasked = |bytes: &[u8]| checksum(bytes).wrapping_sub(0xa282_ead8).rotate_left(15);
        assert_eq!(unmasked(&[0; 32]), 0x8a91_36aa);
        assert_eq!(unmasked(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(unmasked(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn histograms_leave_out_what_is_no_number() {
        assert!(Value::histogram("a", &[f32::NAN, f32::INFINITY]).is_none() && Value::histogram("a", &[]).is_none());
        assert!(Value::histogram("a", &[f32::MAX, f32::MIN, 0.0, f32::NAN]).is_some());
    }
}
