//! Memory that begins at a cache line, without unsafe code: a vector that is a little too long, used from its first
//! aligned value on.

/// A cache line, which is also the widest vector.
const LINE: usize = 64;

/// Values (numbers of at most 8 bytes) of which the first lies at a multiple of 64 bytes. Never moves: [`Buffer::at_least`] makes a new one.
#[derive(Debug, Default)]
pub struct Buffer<T> {
    all: Vec<T>,
    first: usize,
    length: usize,
}

impl<T: Copy + Default> Buffer<T> {
    /// `length` zeros.
    pub fn zeros(length: usize) -> Buffer<T> {
        let spare = LINE / size_of::<T>().max(1);
        let all = vec![T::default(); length + spare];
        // Never further than `spare` for numbers; were it, unaligned memory is slower and no less correct.
        let first = all.as_ptr().align_offset(LINE).min(spare);
        Buffer { all, first, length }
    }

    /// Makes it hold at least `length` values: where it does not, all of it becomes zeros.
    pub fn at_least(&mut self, length: usize) {
        if self.length < length {
            *self = Buffer::zeros(length);
        }
    }

    /// A copy of `values`.
    pub fn copy_of(values: &[T]) -> Buffer<T> {
        let mut buffer = Buffer::zeros(values.len());
        buffer.copy_from_slice(values);
        buffer
    }
}

impl<T> std::ops::Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.all[self.first..self.first + self.length]
    }
}

impl<T> std::ops::DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.all[self.first..self.first + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_begin_at_a_cache_line() {
        for length in [0, 1, 15, 16, 1000] {
            let mut floats = Buffer::<f32>::zeros(length);
            let bytes = Buffer::copy_of(&vec![7u8; length]);
            assert_eq!((floats.len(), bytes.len()), (length, length));
            assert_eq!((floats.as_ptr() as usize % LINE, bytes.as_ptr() as usize % LINE), (0, 0));
            floats.fill(1.0);
            assert!(bytes.iter().all(|&v| v == 7));
            floats.at_least(length);
            assert!(floats.iter().all(|&v| v == 1.0));
            floats.at_least(length + 1);
            assert!(floats.len() == length + 1 && floats.iter().all(|&v| v == 0.0));
        }
    }
}
