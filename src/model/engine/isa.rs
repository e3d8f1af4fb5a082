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

    /// All that this CPU has, the best first. Tests run each.
    pub fn available() -> Vec<Isa> {
        [Level::Avx512, Level::Avx2, Level::Portable].into_iter().filter_map(detect).collect()
    }

    /// The family of instructions.
    pub const fn level(self) -> Level {
        self.level
    }

    /// Whether it has dot products of bytes (`vpdpbusd`): for AVX-512 those of AVX-512 VNNI, with BW; for AVX2 those of AVX-VNNI.
    pub const fn vnni(self) -> bool {
        self.vnni
    }

    /// Whether whole numbers are clearly faster than single precision: with dot products of bytes, or with AVX2, whose vectors
    /// hold twice as many numbers of 16 bits. Without dot products of bytes the wider vectors of AVX-512 serve single precision alone.
    pub const fn fast_in_whole_numbers(self) -> bool {
        self.vnni || matches!(self.level, Level::Avx2)
    }

    /// The same without dot products of bytes.
    pub const fn without_vnni(self) -> Isa {
        Isa { vnni: false, ..self }
    }

    /// Output channels that a kernel computes at once: two vectors of single-precision numbers.
    pub const fn panel(self) -> usize {
        match self.level {
            Level::Portable => 8,
            Level::Avx2 => 16,
            Level::Avx512 => 32,
        }
    }

    /// `avx512`, `avx2` or `portable`.
    pub const fn name(self) -> &'static str {
        match self.level {
            Level::Avx512 => "avx512",
            Level::Avx2 => "avx2",
            Level::Portable => "portable",
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn detect(level: Level) -> Option<Isa> {
    let there = match level {
        Level::Avx512 => is_x86_feature_detected!("avx512f"),
        Level::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
        Level::Portable => true,
    };
    let vnni = match level {
        Level::Avx512 => is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vnni"),
        Level::Avx2 => is_x86_feature_detected!("avxvnni"),
        Level::Portable => false,
    };
    there.then_some(Isa { level, vnni })
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
        assert!(all.windows(2).all(|two| two[0].level() > two[1].level()), "{all:?}");
    }
}
