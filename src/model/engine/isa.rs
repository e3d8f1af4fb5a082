//! Which instructions the CPU has: found out at run time, once; a value of [`Isa`] is the proof.

/// A family of vector instructions that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What every CPU has: plain Rust that the compiler vectorises (SSE2 on x86-64, NEON on 64-bit ARM).
    Portable,
    /// AVX2 and FMA: 8 lanes, 16 registers.
    Avx2,
    /// AVX-512F: 16 lanes, 32 registers.
    Avx512,
}

/// Instructions that this CPU has. Made by detection only, so whoever holds one may run kernels of its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa {
    level: Level,
    /// `vpdpbusd`, at the width of the level.
    vnni: bool,
}

impl Isa {
    /// The best of this CPU.
    pub fn best() -> Isa {
        detect(Level::Avx512).or_else(|| detect(Level::Avx2)).unwrap_or(Isa::portable())
    }

    /// What every CPU has.
    pub const fn portable() -> Isa {
        Isa { level: Level::Portable, vnni: false }
    }

    /// All that this CPU has, the best first: with VNNI before the same without it. Tests run each.
    pub fn available() -> Vec<Isa> {
        let levels = [Level::Avx512, Level::Avx2, Level::Portable];
        let with_less = |isa: Isa| if isa.vnni { vec![isa, isa.without_vnni()] } else { vec![isa] };
        levels.into_iter().filter_map(detect).flat_map(with_less).collect()
    }

    /// The same without `vpdpbusd`.
    pub const fn without_vnni(self) -> Isa {
        Isa { vnni: false, ..self }
    }

    /// The family of instructions.
    pub const fn level(self) -> Level {
        self.level
    }

    /// Whether `vpdpbusd` is there at the width of the level: AVX-512 VNNI (with BW) at 512 bits, AVX-VNNI at 256.
    pub const fn vnni(self) -> bool {
        self.vnni
    }

    /// Output channels that a kernel computes at once: two vectors of single-precision numbers.
    pub const fn panel(self) -> usize {
        match self.level {
            Level::Portable => 8,
            Level::Avx2 => 16,
            Level::Avx512 => 32,
        }
    }

    /// For logs: `avx512`, `avx512+vnni`, `avx2`, `avx2+vnni` or `portable`.
    pub const fn name(self) -> &'static str {
        match (self.level, self.vnni) {
            (Level::Avx512, false) => "avx512",
            (Level::Avx512, true) => "avx512+vnni",
            (Level::Avx2, false) => "avx2",
            (Level::Avx2, true) => "avx2+vnni",
            (Level::Portable, _) => "portable",
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn detect(level: Level) -> Option<Isa> {
    let vnni = match level {
        Level::Avx512 if is_x86_feature_detected!("avx512f") => {
            is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vnni")
        }
        Level::Avx2 if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") => {
            is_x86_feature_detected!("avxvnni")
        }
        Level::Portable => false,
        _ => return None,
    };
    Some(Isa { level, vnni })
}

#[cfg(not(target_arch = "x86_64"))]
fn detect(level: Level) -> Option<Isa> {
    (level == Level::Portable).then(Isa::portable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_comes_first_and_portable_last() {
        let all = Isa::available();
        assert_eq!(all.first(), Some(&Isa::best()));
        assert_eq!(all.last(), Some(&Isa::portable()));
        assert!(all.is_sorted_by_key(|isa| (std::cmp::Reverse(isa.level()), !isa.vnni())), "{all:?}");
        let mut names: Vec<_> = all.iter().map(|isa| isa.name()).collect();
        names.dedup();
        assert_eq!(names.len(), all.len());
    }
}
