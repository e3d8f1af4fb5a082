//! Batch norm in training.

use super::{slice, with_values};
use candle_core::{CpuStorage, CustomOp3, DType, Layout, Result, Shape, Tensor};
use rayon::prelude::*;
use std::sync::{Arc, Mutex};

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
    use super::super::wave;
    use super::*;
    use candle_core::{Device, Var};

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
