//! AdamW (Loshchilov and Hutter 2019), one pass over each tensor: candle's makes a dozen.

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, Error, InplaceOp2, Layout, Result, Var};
use rayon::prelude::*;
use std::sync::Mutex;

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f32 = 1e-8;

struct Part {
    var: Var,
    /// Times the rate of the step.
    factor: f64,
    decay: f64,
    moments: Mutex<(Vec<f32>, Vec<f32>)>,
}

/// The optimiser's state.
#[derive(Default)]
pub struct AdamW {
    parts: Vec<Part>,
    steps: i32,
}

struct Update<'a> {
    rate: f32,
    decay: f32,
    correction: (f32, f32),
    moments: &'a Mutex<(Vec<f32>, Vec<f32>)>,
}

impl AdamW {
    /// Also moves `vars`: at `factor` times the rate of a step, with decoupled weight decay.
    pub fn add(&mut self, vars: impl IntoIterator<Item = Var>, factor: f64, decay: f64) {
        self.parts.extend(vars.into_iter().map(|var| {
            let zeros = vec![0.0; var.elem_count()];
            Part { var, factor, decay, moments: Mutex::new((zeros.clone(), zeros)) }
        }));
    }

    /// One step down the gradients.
    pub fn step(&mut self, gradients: &GradStore, rate: f64) -> Result<()> {
        self.steps += 1;
        let correction = ((1.0 - BETA1.powi(self.steps)) as f32, (1.0 - BETA2.powi(self.steps)) as f32);
        for part in &self.parts {
            let Some(gradient) = gradients.get(&part.var) else { continue };
            let rate = rate * part.factor;
            let update =
                Update { rate: rate as f32, decay: (rate * part.decay) as f32, correction, moments: &part.moments };
            part.var.inplace_op2(&gradient.contiguous()?, &update)?;
        }
        Ok(())
    }
}

impl InplaceOp2 for Update<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(&self, value: &mut CpuStorage, at: &Layout, gradient: &CpuStorage, from: &Layout) -> Result<()> {
        let contiguous = |l: &Layout| l.contiguous_offsets().ok_or(Error::RequiresContiguous { op: "adamw" }.bt());
        let ((start, end), (from, to)) = (contiguous(at)?, contiguous(from)?);
        let gradient = &gradient.as_slice::<f32>()?[from..to];
        let CpuStorage::F32(value) = value else { return Err(Error::Msg("adamw takes single precision".into())) };
        let mut moments = self.moments.lock().map_err(|_| Error::Msg("a thread failed within a step".into()))?;
        let (first, second) = &mut *moments;
        const CHUNK: usize = 1 << 14;
        let values = value[start..end].par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
        let moments = first.par_chunks_mut(CHUNK).zip(second.par_chunks_mut(CHUNK));
        values.zip(moments).for_each(|((value, gradient), (first, second))| {
            for (((v, g), m), s) in value.iter_mut().zip(gradient).zip(first).zip(second) {
                *m += (1.0 - BETA1 as f32) * (g - *m);
                *s += (1.0 - BETA2 as f32) * (g * g - *s);
                let (m, s) = (*m / self.correction.0, *s / self.correction.1);
                *v -= self.decay * *v + self.rate * m / (s.sqrt() + EPSILON);
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Tensor};
    use candle_nn::{Optimizer, ParamsAdamW};

    #[test]
    fn same_course_as_candles() -> Result<()> {
        let start = Tensor::new(&[[1.0f32, -2.0, 0.5], [3.0, 0.0, -1.0]], &Device::Cpu)?;
        let (a, b) = (Var::from_tensor(&start)?, Var::from_tensor(&start.copy()?)?);
        let mut ours = AdamW::default();
        ours.add([a.clone()], 2.0, 0.1);
        let params = ParamsAdamW { lr: 0.02, weight_decay: 0.1, ..ParamsAdamW::default() };
        let mut theirs = candle_nn::AdamW::new(vec![b.clone()], params)?;
        for _ in 0..20 {
            ours.step(&(a.as_tensor() - 0.3)?.sqr()?.sum_all()?.backward()?, 0.01)?;
            theirs.step(&(b.as_tensor() - 0.3)?.sqr()?.sum_all()?.backward()?)?;
        }
        let difference = (a.as_tensor() - b.as_tensor())?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(difference < 1e-5, "{difference}");
        assert!((a.as_tensor() - &start)?.abs()?.max_all()?.to_scalar::<f32>()? > 0.1);
        Ok(())
    }
}
