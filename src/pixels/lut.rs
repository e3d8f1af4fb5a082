//! Look-up tables: the Modality LUT and the VOI LUT (PS3.3 C.11.1, C.11.2).

use crate::dataset::Form;

/// Stored values → modality values.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Modality {
    /// Rescale Slope and Intercept; 1 and 0 where there is none.
    Linear { slope: f64, intercept: f64 },
    /// Modality LUT Sequence.
    Table(Table),
}

/// LUT Descriptor and LUT Data. Never without values.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Table {
    /// The input that the first entry is for; what lies below takes it as well.
    pub first: i32,
    /// Outputs; what lies above takes the last.
    pub values: Vec<u16>,
    /// The largest output that can be meant.
    pub top: u16,
}

impl Table {
    /// Reads LUT Descriptor (0028,3002) and LUT Data (0028,3006). `signed`: the inputs of the table can be negative, so that the
    /// descriptor's second value is SS. `None` where they do not fit together.
    pub fn new(descriptor: &[u8], data: &[u8], form: Form, signed: bool) -> Option<Table> {
        let number = |i: usize| Some(form.u16(descriptor.get(2 * i..2 * i + 2)?.try_into().ok()?));
        let (entries, first, bits) = (number(0)?, number(1)?, number(2)?);
        // Sixteen bits cannot say 65536: it is written as 0.
        let entries = if entries == 0 { 65_536 } else { usize::from(entries) };
        let first = if signed { i32::from(first as i16) } else { i32::from(first) };
        if !(1..=16).contains(&bits) {
            return None;
        }
        let values: Vec<u16> = if data.len() >= 2 * entries {
            data.chunks_exact(2).take(entries).map(|b| form.u16([b[0], b[1]])).collect()
        } else if data.len() >= entries && bits <= 8 {
            // Entries of 8 bits may be packed two to a word (PS3.3 C.11.1.1.1).
            data[..entries].iter().map(|&b| b.into()).collect()
        } else {
            return None;
        };
        // Some descriptors say fewer bits than the data have.
        let top = values.iter().copied().max()?.max(u16::MAX >> (16 - bits));
        Some(Table { first, values, top })
    }

    /// The output of an entry, counted from the first; what lies beyond takes the nearest.
    pub fn entry(&self, index: i64) -> u16 {
        let i = usize::try_from(index.max(0)).unwrap_or(usize::MAX).min(self.values.len() - 1);
        self.values[i]
    }

    /// Output from 0 to 1 for an input between two entries.
    pub fn interpolate(&self, x: f32) -> f32 {
        let x = f64::from(x) - f64::from(self.first);
        let low = x.floor();
        let at = |index| f64::from(self.entry(index));
        let (a, b) = (at(low as i64), at(low as i64 + 1));
        ((a + (b - a) * (x - low)) / f64::from(self.top)) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LE: Form = Form { explicit: true, big: false };
    const BE: Form = Form { explicit: true, big: true };

    fn words(v: &[u16], form: Form) -> Vec<u8> {
        v.iter().flat_map(|&v| form.put_u16(v)).collect()
    }

    #[test]
    fn entries_first_input_and_bits() {
        let t = Table::new(&words(&[3, 10, 12], LE), &words(&[0, 100, 4095], LE), LE, false).unwrap();
        assert_eq!(t, Table { first: 10, values: vec![0, 100, 4095], top: 4095 });
        let t = Table::new(&words(&[3, 10, 12], BE), &words(&[0, 100, 4095], BE), BE, false).unwrap();
        assert_eq!(t.values, [0, 100, 4095]);
    }

    #[test]
    fn the_first_input_may_be_negative() {
        let descriptor = words(&[2, 0xFF00, 16], LE);
        assert_eq!(Table::new(&descriptor, &[0; 4], LE, true).unwrap().first, -256);
        assert_eq!(Table::new(&descriptor, &[0; 4], LE, false).unwrap().first, 65_280);
    }

    #[test]
    fn no_entries_mean_65536() {
        let t = Table::new(&words(&[0, 0, 16], LE), &vec![7; 131_072], LE, false).unwrap();
        assert_eq!(t.values.len(), 65_536);
        assert_eq!(Table::new(&words(&[0, 0, 16], LE), &vec![7; 131_070], LE, false), None);
    }

    #[test]
    fn eight_bit_entries_may_be_packed() {
        let t = Table::new(&words(&[4, 0, 8], LE), &[1, 2, 3, 255], LE, false).unwrap();
        assert_eq!((t.values, t.top), (vec![1, 2, 3, 255], 255));
    }

    #[test]
    fn broken_tables_are_none() {
        assert_eq!(Table::new(&words(&[3, 0], LE), &[0; 6], LE, false), None);
        assert_eq!(Table::new(&words(&[3, 0, 12], LE), &[0; 4], LE, false), None);
        assert_eq!(Table::new(&words(&[3, 0, 0], LE), &[0; 6], LE, false), None);
        assert_eq!(Table::new(&words(&[3, 0, 17], LE), &[0; 6], LE, false), None);
        assert_eq!(Table::new(&[], &[], LE, false), None);
    }

    #[test]
    fn inputs_between_and_beyond() {
        let t = Table { first: -1, values: vec![0, 100, 200], top: 200 };
        let got: Vec<f32> = [-5.0, -1.0, -0.5, 0.0, 1.0, 9.0].iter().map(|&x| t.interpolate(x)).collect();
        assert_eq!(got, [0.0, 0.0, 0.25, 0.5, 1.0, 1.0]);
    }
}
