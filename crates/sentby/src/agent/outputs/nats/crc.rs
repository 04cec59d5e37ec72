//! CRC-32 as zlib and Ethernet have it (reflected polynomial 0xedb88320), eight bytes at a
//! time: each record is checked when it is written and when it is read, and one byte at a time
//! that was a third of what the output costs.

/// Bytes at a time.
const STEP: usize = 8;

/// What a byte does to the checksum with so many bytes behind it in its step.
static TABLES: [[u32; 256]; STEP] = tables();

const fn tables() -> [[u32; 256]; STEP] {
    let mut tables = [[0; 256]; STEP];
    let mut n = 0;
    while n < 256 {
        let mut crc = n as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        tables[0][n] = crc;
        n += 1;
    }
    let mut behind = 1;
    while behind < STEP {
        let mut n = 0;
        while n < 256 {
            let before = tables[behind - 1][n];
            tables[behind][n] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            n += 1;
        }
        behind += 1;
    }
    tables
}

/// The checksum of bytes.
pub fn crc32(bytes: &[u8]) -> u32 {
    let (steps, rest) = bytes.as_chunks::<STEP>();
    let crc =
        steps.iter().fold(!0, |crc, step| of_step(u64::from(crc) ^ u64::from_le_bytes(*step)));
    let next = |crc: u32, byte: &u8| TABLES[0][usize::from(crc as u8 ^ byte)] ^ crc >> 8;
    !rest.iter().fold(crc, next)
}

/// The checksum after a step, of its bytes with the checksum before in the first of them.
fn of_step(bytes: u64) -> u32 {
    let all = TABLES.iter().rev().zip(bytes.to_le_bytes());
    all.fold(0, |crc, (table, byte)| crc ^ table[usize::from(byte)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_catalogue() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    /// As the polynomial says it, bit by bit.
    fn plain(bytes: &[u8]) -> u32 {
        let shift = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), shift))
    }

    #[test]
    fn eight_bytes_at_a_time_are_the_same_as_one() {
        let bytes: Vec<u8> = (0..100u32).map(|n| (n * n * 37 + n) as u8).collect();
        for length in 0..bytes.len() {
            assert_eq!(crc32(&bytes[..length]), plain(&bytes[..length]), "{length}");
        }
    }
}
