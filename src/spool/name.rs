//! Names of spooled files: made here, and nothing else is taken for one.

/// Hex digits of the time.
const TIME: usize = 12;
/// Hex digits of chance.
const CHANCE: usize = 16;

/// New names of one folder, and that folder; 56 random bits within one millisecond do not meet again.
pub fn handful(count: usize) -> (String, Vec<String>) {
    let millis = u64::try_from(chrono::Utc::now().timestamp_millis()).unwrap_or(0) & 0xffff_ffff_ffff;
    let bucket = format!("{:02x}", rand::random::<u8>());
    let names = (0..count).map(|_| format!("{millis:012x}-{bucket}{:014x}", rand::random::<u64>() >> 8)).collect();
    (bucket, names)
}

/// The folder of a name; `None` if it is no name of ours.
pub fn bucket(name: &str) -> Option<&str> {
    let hex = |s: &str| s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let (time, chance) = name.split_once('-')?;
    (time.len() == TIME && chance.len() == CHANCE && hex(time) && hex(chance)).then(|| chance.get(..2)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_names_are_ours_and_differ() {
        let (folder, names) = handful(2);
        assert_ne!(names[0], names[1]);
        assert!(names.iter().all(|name| bucket(name) == Some(&folder[..])), "{folder}: {names:?}");
        assert_eq!(bucket("0193f5a2c7d1-7f3a09c4d5e6f708"), Some("7f"));
    }

    #[test]
    fn nothing_else_is_ours() {
        for name in [
            "",
            "-",
            "..",
            "../../etc/passwd",
            "/etc/passwd",
            "1.2.840.113619.2.1",
            "0193f5a2c7d1-7F3A09C4D5E6F708",
            "0193f5a2c7d1-7f3a09c4d5e6f70",
            "0193f5a2c7d1-7f3a09c4d5e6f7081",
            "0193f5a2c7d1_7f3a09c4d5e6f708",
            "../3f5a2c7d1-7f3a09c4d5e6f708",
            "0193f5a2c7d1-../a09c4d5e6f708",
            "0193f5a2c7d1-7f3a09c4d5e6f70\0",
            "0193f5a2c7d1-7f3a09c4d5e6f7é",
            "0193f5a2c7d1-7f3a09c4d5e6f708.dcm",
        ] {
            assert_eq!(bucket(name), None, "{name:?}");
        }
    }
}
