//! The stem's max pool, with the backward pass that candle lacks for it.

use super::{slice, with_values};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

/// 3×3 with stride 2 and padding 1 over maps `[images, height, width, channels]`.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct MaxPool {
    pub images: usize,
    pub height: usize,
    pub width: usize,
    pub channels: usize,
}

impl MaxPool {
    /// Height and width of the result.
    pub fn result(&self) -> (usize, usize) {
        (self.height.div_ceil(2), self.width.div_ceil(2))
    }

    /// The places within an image's pixels that output pixel (`y`, `x`) is the greatest of.
    fn window(&self, y: usize, x: usize) -> impl Iterator<Item = usize> {
        let p = *self;
        let span = |i: usize, n: usize| (2 * i).saturating_sub(1)..(2 * i + 2).min(n);
        span(y, p.height).flat_map(move |row| span(x, p.width).map(move |column| row * p.width + column))
    }

    fn pool(&self, maps: &[f32]) -> Vec<f32> {
        let (height, width) = self.result();
        let mut out = vec![f32::NEG_INFINITY; self.images * height * width * self.channels];
        let image = self.height * self.width * self.channels;
        out.par_chunks_mut(height * width * self.channels).zip(maps.par_chunks(image)).for_each(|(out, maps)| {
            for (pixel, out) in out.chunks_exact_mut(self.channels).enumerate() {
                for place in self.window(pixel / width, pixel % width) {
                    let values = &maps[place * self.channels..(place + 1) * self.channels];
                    out.iter_mut().zip(values).for_each(|(o, v)| *o = o.max(*v));
                }
            }
        });
        out
    }

    /// Each output's gradient goes to the first of the greatest.
    fn spread(&self, maps: &[f32], pooled: &[f32], grad: &[f32]) -> Vec<f32> {
        let (height, width) = self.result();
        let (image, result) = (self.height * self.width * self.channels, height * width * self.channels);
        let mut out = vec![0.0; self.images * image];
        let sources = maps.par_chunks(image).zip(pooled.par_chunks(result)).zip(grad.par_chunks(result));
        out.par_chunks_mut(image).zip(sources).for_each(|(out, ((maps, pooled), grad))| {
            let mut given = vec![false; self.channels];
            for pixel in 0..height * width {
                let at = pixel * self.channels;
                given.fill(false);
                for place in self.window(pixel / width, pixel % width) {
                    let from = place * self.channels;
                    for c in 0..self.channels {
                        if !given[c] && maps[from + c] == pooled[at + c] {
                            out[from + c] += grad[at + c];
                            given[c] = true;
                        }
                    }
                }
            }
        });
        out
    }
}

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "max-pool"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (height, width) = self.result();
        let pooled = self.pool(slice(storage, layout)?);
        Ok((CpuStorage::F32(pooled), (self.images, height, width, self.channels).into()))
    }

    fn bwd(&self, arg: &Tensor, res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let maps = with_values(arg, |maps| {
            with_values(res, |pooled| with_values(grad, |grad| self.spread(maps, pooled, grad)))
        })???;
        Ok(Some(Tensor::from_vec(maps, arg.shape(), arg.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::wave;
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn as_candles_pool_and_each_gradient_goes_where_the_greatest_value_was() -> Result<()> {
        for (height, width) in [(8, 6), (7, 5), (1, 2)] {
            let (images, channels) = (2, 3);
            let values = wave(images * height * width * channels, 0.77);
            let x = Tensor::from_vec(values, (images, height, width, channels), &Device::Cpu)?;
            let x = Var::from_tensor(&x)?;
            let pool = MaxPool { images, height, width, channels };
            let ours = x.apply_op1(pool)?;
            // Padded with what is less than anything.
            let theirs = (x.permute((0, 3, 1, 2))? + 9.0)?.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1)?;
            let theirs = (theirs.max_pool2d_with_stride(3, 2)?.permute((0, 2, 3, 1))? - 9.0)?;
            assert!((&ours - &theirs)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-5);
            // The sum over the outputs of a constant gradient is kept, and moving along the gradient raises the result.
            let gradients = ours.sum_all()?.backward()?;
            let Some(gradient) = gradients.get(&x) else { panic!("no gradient") };
            assert_eq!(gradient.sum_all()?.to_scalar::<f32>()?, ours.elem_count() as f32);
            let moved = (x.as_tensor() + (gradient * 1e-3)?)?.apply_op1(pool)?;
            let rise = (moved - &ours)?.min_all()?.to_scalar::<f32>()?;
            assert!(rise > 0.9e-3, "{rise}");
        }
        Ok(())
    }
}
