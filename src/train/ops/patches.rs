//! Patches of feature maps: a convolution is a matrix product over them.

use super::{slice, with_values};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

/// Where patches are taken from: maps `[images, height, width, channels]`, "same" padding.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Patches {
    pub images: usize,
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    pub kernel: usize,
    pub stride: usize,
}

impl Patches {
    /// Height and width of the result.
    pub fn result(&self) -> (usize, usize) {
        let side = |n: usize| (n + 2 * (self.kernel / 2) - self.kernel) / self.stride + 1;
        (side(self.height), side(self.width))
    }

    fn depth(&self) -> usize {
        self.kernel * self.kernel * self.channels
    }

    /// For output pixel (`y`, `x`): offset in the patch and in the image's values of each tap inside the image.
    fn taps(&self, y: usize, x: usize) -> impl Iterator<Item = (usize, usize)> {
        let p = *self;
        let pad = p.kernel / 2;
        (0..p.kernel * p.kernel).filter_map(move |tap| {
            let line = (y * p.stride + tap / p.kernel).checked_sub(pad).filter(|&v| v < p.height)?;
            let column = (x * p.stride + tap % p.kernel).checked_sub(pad).filter(|&v| v < p.width)?;
            Some((tap * p.channels, (line * p.width + column) * p.channels))
        })
    }

    fn gather(&self, maps: &[f32]) -> Vec<f32> {
        let (height, width) = self.result();
        let (depth, image) = (self.depth(), self.height * self.width * self.channels);
        let mut patches = vec![0.0; self.images * height * width * depth];
        patches.par_chunks_mut(height * width * depth).zip(maps.par_chunks(image)).for_each(|(patches, maps)| {
            for (pixel, patch) in patches.chunks_exact_mut(depth).enumerate() {
                for (to, from) in self.taps(pixel / width, pixel % width) {
                    patch[to..to + self.channels].copy_from_slice(&maps[from..from + self.channels]);
                }
            }
        });
        patches
    }

    fn scatter(&self, patches: &[f32]) -> Vec<f32> {
        let (height, width) = self.result();
        let (depth, image) = (self.depth(), self.height * self.width * self.channels);
        let mut maps = vec![0.0; self.images * image];
        maps.par_chunks_mut(image).zip(patches.par_chunks(height * width * depth)).for_each(|(maps, patches)| {
            for (pixel, patch) in patches.chunks_exact(depth).enumerate() {
                for (from, to) in self.taps(pixel / width, pixel % width) {
                    let part = &patch[from..from + self.channels];
                    maps[to..to + self.channels].iter_mut().zip(part).for_each(|(m, v)| *m += v);
                }
            }
        });
        maps
    }
}

/// `[images, height, width, channels]` → `[images * height' * width', kernel * kernel * channels]`.
impl CustomOp1 for Patches {
    fn name(&self) -> &'static str {
        "patches"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (height, width) = self.result();
        let patches = self.gather(slice(storage, layout)?);
        Ok((CpuStorage::F32(patches), (self.images * height * width, self.depth()).into()))
    }

    fn bwd(&self, arg: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let maps = with_values(grad, |g| self.scatter(g))?;
        Ok(Some(Tensor::from_vec(maps, arg.shape(), arg.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::wave;
    use super::*;
    use candle_core::{Device, Var};

    /// Patches times a kernel is candle's convolution, and so are the gradients.
    #[test]
    fn patches_make_a_convolution() -> Result<()> {
        let cpu = &Device::Cpu;
        for (height, width, kernel, stride) in [(5, 6, 3, 1), (7, 5, 3, 2), (4, 4, 1, 2), (1, 3, 3, 2)] {
            let (images, channels, to) = (2, 3, 4);
            let x = Tensor::from_vec(
                wave(images * height * width * channels, 0.7),
                (images, height, width, channels),
                cpu,
            )?;
            let x = Var::from_tensor(&x)?;
            let w =
                Tensor::from_vec(wave(kernel * kernel * channels * to, 1.3), (kernel * kernel * channels, to), cpu)?;
            let w = Var::from_tensor(&w)?;
            let patches = Patches { images, height, width, channels, kernel, stride };
            let (down, across) = patches.result();
            let ours = x.apply_op1(patches)?.matmul(&w)?.reshape((images, down, across, to))?;
            let kernels = w.reshape((kernel, kernel, channels, to))?.permute((3, 2, 0, 1))?;
            let theirs = x.permute((0, 3, 1, 2))?.conv2d(&kernels.contiguous()?, kernel / 2, stride, 1, 1)?;
            let theirs = theirs.permute((0, 2, 3, 1))?;
            let difference = |a: &Tensor, b: &Tensor| (a - b)?.abs()?.max_all()?.to_scalar::<f32>();
            assert!(difference(&ours, &theirs)? < 1e-5);
            // Candle's own gradient of a convolution with stride fails on some sizes: compare where it does not.
            if stride == 1 {
                let (ours, theirs) = (ours.sqr()?.sum_all()?.backward()?, theirs.sqr()?.sum_all()?.backward()?);
                for var in [&x, &w] {
                    let (Some(a), Some(b)) = (ours.get(var), theirs.get(var)) else { panic!("no gradient") };
                    assert!(difference(a, b)? < 1e-3, "{kernel} {stride}");
                }
            }
        }
        Ok(())
    }

    /// ⟨gather(x), y⟩ = ⟨x, scatter(y)⟩ for all strides.
    #[test]
    fn scatter_is_the_adjoint_of_gather() {
        for (height, width, kernel, stride) in [(7, 5, 3, 2), (6, 6, 3, 2), (4, 5, 1, 2), (2, 1, 3, 1)] {
            let p = Patches { images: 2, height, width, channels: 3, kernel, stride };
            let x = wave(2 * height * width * 3, 0.9);
            let gathered = p.gather(&x);
            let y = wave(gathered.len(), 0.37);
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
            let (left, right) = (dot(&gathered, &y), dot(&x, &p.scatter(&y)));
            assert!((left - right).abs() < 1e-4, "{left} {right}");
        }
    }
}
