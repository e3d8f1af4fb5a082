//! The two operations that training needs beyond candle's: patches of feature maps and batch norm over a batch, both
//! with a backward pass, threaded, on the CPU.

use candle_core::{CpuStorage, CustomOp1, CustomOp3, DType, Error, Layout, Result, Shape, Storage, Tensor};
use rayon::prelude::*;
use std::sync::{Arc, Mutex};

/// The values of a contiguous tensor on the CPU.
fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let (start, end) = layout.contiguous_offsets().ok_or(Error::RequiresContiguous { op: "radroute" }.bt())?;
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// Calls `f` with the values of a tensor.
fn with_values<T>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(f(slice(storage, layout)?)),
        _ => Err(Error::Msg("this operation runs on the CPU only".into())),
    }
}

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

/// Mean and (biased) variance of each column.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Moments {
    pub mean: Vec<f32>,
    pub variance: Vec<f32>,
}

/// Batch norm in training mode over `[rows, channels]`: by the batch's own mean and variance.
pub struct BatchNorm {
    /// Added to the variance.
    pub epsilon: f32,
    /// What the last forward pass saw, for the running statistics.
    pub seen: Arc<Mutex<Moments>>,
}

/// Adds up, over all rows, what `f` makes of each row and puts into `2 * channels` sums.
fn column_sums(x: &[f32], channels: usize, f: impl Fn(usize, &[f32], &mut [f64]) + Sync) -> Vec<f64> {
    let rows = 64;
    x.par_chunks(rows * channels)
        .enumerate()
        .map(|(chunk, part)| {
            let mut sums = vec![0.0f64; 2 * channels];
            for (i, row) in part.chunks_exact(channels).enumerate() {
                f(chunk * rows + i, row, &mut sums);
            }
            sums
        })
        // Collected first: the order of adding up, and so the result, must not depend on the threads.
        .collect::<Vec<_>>()
        .into_iter()
        .fold(vec![0.0; 2 * channels], |mut all, part| {
            all.iter_mut().zip(&part).for_each(|(a, b)| *a += b);
            all
        })
}

fn moments(x: &[f32], channels: usize) -> Moments {
    let rows = (x.len() / channels).max(1) as f64;
    let sums = column_sums(x, channels, |_, row, sums| {
        let (first, second) = sums.split_at_mut(channels);
        for ((v, a), b) in row.iter().zip(first).zip(second) {
            *a += f64::from(*v);
            *b += f64::from(*v) * f64::from(*v);
        }
    });
    let mean: Vec<f64> = sums[..channels].iter().map(|s| s / rows).collect();
    let variance = sums[channels..].iter().zip(&mean).map(|(s, m)| ((s / rows - m * m).max(0.0)) as f32).collect();
    Moments { mean: mean.into_iter().map(|m| m as f32).collect(), variance }
}

impl CustomOp3 for BatchNorm {
    fn name(&self) -> &'static str {
        "batch-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight, bias) = (slice(x, x_layout)?, slice(weight, weight_layout)?, slice(bias, bias_layout)?);
        let channels = weight.len();
        let m = moments(x, channels);
        let scale: Vec<f32> = weight.iter().zip(&m.variance).map(|(w, v)| w / (v + self.epsilon).sqrt()).collect();
        let shift: Vec<f32> = bias.iter().zip(&m.mean).zip(&scale).map(|((b, m), s)| b - m * s).collect();
        let mut out = vec![0.0; x.len()];
        out.par_chunks_mut(64 * channels).zip(x.par_chunks(64 * channels)).for_each(|(out, x)| {
            for (out, x) in out.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                for (((o, v), s), b) in out.iter_mut().zip(x).zip(&scale).zip(&shift) {
                    *o = v * s + b;
                }
            }
        });
        if let Ok(mut seen) = self.seen.lock() {
            *seen = m;
        }
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _bias: &Tensor,
        _res: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let weights: Vec<f32> = weight.to_dtype(DType::F32)?.to_vec1()?;
        let (dx, dw, db) = with_values(x, |x| with_values(grad, |g| self.gradients(x, &weights, g)))??;
        let channels = weights.len();
        Ok((
            Some(Tensor::from_vec(dx, x.shape(), x.device())?),
            Some(Tensor::from_vec(dw, channels, x.device())?),
            Some(Tensor::from_vec(db, channels, x.device())?),
        ))
    }
}

impl BatchNorm {
    /// Ioffe and Szegedy 2015, section 3, with the sums taken once.
    fn gradients(&self, x: &[f32], weight: &[f32], grad: &[f32]) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let channels = weight.len();
        let rows = (x.len() / channels).max(1) as f32;
        let m = moments(x, channels);
        let inverse: Vec<f32> = m.variance.iter().map(|v| 1.0 / (v + self.epsilon).sqrt()).collect();
        let sums = column_sums(x, channels, |row, values, sums| {
            let (first, second) = sums.split_at_mut(channels);
            let grads = &grad[row * channels..(row + 1) * channels];
            for c in 0..channels {
                let normal = (values[c] - m.mean[c]) * inverse[c];
                first[c] += f64::from(grads[c]);
                second[c] += f64::from(grads[c]) * f64::from(normal);
            }
        });
        let db: Vec<f32> = sums[..channels].iter().map(|v| *v as f32).collect();
        let dw: Vec<f32> = sums[channels..].iter().map(|v| *v as f32).collect();
        let mut dx = vec![0.0; x.len()];
        dx.par_chunks_mut(64 * channels).enumerate().for_each(|(chunk, out)| {
            let start = chunk * 64 * channels;
            for (i, out) in out.chunks_exact_mut(channels).enumerate() {
                let at = start + i * channels;
                for c in 0..channels {
                    let normal = (x[at + c] - m.mean[c]) * inverse[c];
                    out[c] = weight[c] * inverse[c] * (grad[at + c] - (db[c] + normal * dw[c]) / rows);
                }
            }
        });
        (dx, dw, db)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    fn wave(n: usize, step: f32) -> Vec<f32> {
        (0..n).map(|i| (i as f32 * step).sin()).collect()
    }

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

    /// The gradients of batch norm against those that candle finds through its plain operations.
    #[test]
    fn batch_norm_and_its_gradients() -> Result<()> {
        let cpu = &Device::Cpu;
        let (rows, channels) = (130, 5);
        let x = Var::from_tensor(&Tensor::from_vec(wave(rows * channels, 0.61), (rows, channels), cpu)?)?;
        let weight = Var::from_tensor(&Tensor::from_vec(vec![0.5f32, 1.0, -1.5, 2.0, 0.1], channels, cpu)?)?;
        let bias = Var::from_tensor(&Tensor::from_vec(wave(channels, 2.0), channels, cpu)?)?;
        let norm = BatchNorm { epsilon: 1e-5, seen: Arc::default() };
        let ours = x.apply_op3(&weight, &bias, norm)?;
        let centred = x.broadcast_sub(&x.mean_keepdim(0)?)?;
        let deviation = (centred.sqr()?.mean_keepdim(0)? + 1e-5)?.sqrt()?;
        let theirs = centred.broadcast_div(&deviation)?.broadcast_mul(&weight)?.broadcast_add(&bias)?;
        assert!((&ours - &theirs)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-5);
        let goal = Tensor::from_vec(wave(rows * channels, 1.7), (rows, channels), cpu)?;
        let (ours, theirs) = ((ours * &goal)?.sum_all()?.backward()?, (theirs * &goal)?.sum_all()?.backward()?);
        for var in [&x, &weight, &bias] {
            let (Some(a), Some(b)) = (ours.get(var), theirs.get(var)) else { panic!("no gradient") };
            assert!((a - b)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-3);
        }
        Ok(())
    }
}
