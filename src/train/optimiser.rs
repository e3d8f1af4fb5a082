//! How a step is made from its gradients: AdamW (Loshchilov and Hutter 2019) or SGD with momentum. On the CPU one pass over each
//! tensor, where candle's makes a dozen; elsewhere candle's own operations.

use super::recipe::Optimiser as Kind;
use crate::model::weights::Raw;
use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, Error, InplaceOp2, Layout, Result, Tensor, Var};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::Mutex;

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// First and second moments of each value (SGD: the momentum, and nothing).
type Moments = (Vec<f32>, Vec<f32>);

struct Part {
    var: Var,
    /// Times the rate of the step.
    factor: f64,
    decay: f64,
    state: State,
}

enum State {
    Cpu(Mutex<Moments>),
    Other(Mutex<[Tensor; 2]>),
}

/// The optimiser and its state.
pub struct Optimiser {
    kind: Kind,
    parts: Vec<Part>,
    steps: i32,
}

/// What a step does to each value.
#[derive(Clone, Copy)]
struct Rule {
    kind: Kind,
    rate: f64,
    decay: f64,
    correction: (f64, f64),
}

struct Update<'a> {
    rule: Rule,
    moments: &'a Mutex<Moments>,
}

impl Optimiser {
    /// Without anything to move.
    pub fn new(kind: Kind) -> Optimiser {
        Optimiser { kind, parts: Vec::new(), steps: 0 }
    }

    /// Also moves `vars`: at `factor` times the rate of a step, with decoupled weight decay.
    pub fn add(&mut self, vars: impl IntoIterator<Item = Var>, factor: f64, decay: f64) -> Result<()> {
        for var in vars {
            let state = if var.device().is_cpu() {
                let zeros = vec![0.0; var.elem_count()];
                State::Cpu(Mutex::new((zeros.clone(), zeros)))
            } else {
                State::Other(Mutex::new([var.zeros_like()?, var.zeros_like()?]))
            };
            self.parts.push(Part { var, factor, decay, state });
        }
        Ok(())
    }

    /// One step down the gradients.
    pub fn step(&mut self, gradients: &GradStore, rate: f64) -> Result<()> {
        self.steps += 1;
        let correction = (1.0 - BETA1.powi(self.steps), 1.0 - BETA2.powi(self.steps));
        for part in &self.parts {
            let Some(gradient) = gradients.get(&part.var) else { continue };
            let rate = rate * part.factor;
            let rule = Rule { kind: self.kind, rate, decay: rate * part.decay, correction };
            match &part.state {
                State::Cpu(moments) => part.var.inplace_op2(&gradient.contiguous()?, &Update { rule, moments })?,
                State::Other(moments) => {
                    let mut moments = moments.lock().map_err(|_| failed())?;
                    rule.apply(&part.var, gradient, &mut moments)?;
                }
            }
        }
        Ok(())
    }
}

/// What a checkpoint calls the number of steps, and the moments of a part.
const STEPS: &str = "optimiser.steps";
fn moment_name(part: usize, which: usize) -> String {
    format!("optimiser.{part}.{which}")
}

impl Optimiser {
    /// Puts what it remembers into `into`: the number of steps and the moments of every value.
    pub fn export(&self, into: &mut BTreeMap<String, Raw>) -> Result<()> {
        into.insert(STEPS.into(), Raw { shape: vec![1], data: vec![self.steps as f32] });
        for (i, part) in self.parts.iter().enumerate() {
            let moments = match &part.state {
                State::Cpu(moments) => {
                    let (first, second) = moments.lock().map_err(|_| failed())?.clone();
                    [first, second]
                }
                State::Other(moments) => {
                    let moments = moments.lock().map_err(|_| failed())?;
                    [moments[0].flatten_all()?.to_vec1()?, moments[1].flatten_all()?.to_vec1()?]
                }
            };
            for (which, data) in moments.into_iter().enumerate() {
                into.insert(moment_name(i, which), Raw { shape: vec![data.len()], data });
            }
        }
        Ok(())
    }

    /// Remembers again what [`Optimiser::export`] gave, for the same variables.
    pub fn restore(&mut self, from: &BTreeMap<String, Raw>) -> Result<()> {
        let get = |name: String| from.get(&name).ok_or_else(|| Error::Msg(format!("the checkpoint has no {name}")));
        self.steps = get(STEPS.into())?.data.first().map_or(0, |steps| *steps as i32);
        for (i, part) in self.parts.iter().enumerate() {
            let [first, second] = [get(moment_name(i, 0))?, get(moment_name(i, 1))?];
            if [first, second].iter().any(|m| m.data.len() != part.var.elem_count()) {
                return Err(Error::Msg(format!("the checkpoint's {} has another size", moment_name(i, 0))));
            }
            match &part.state {
                State::Cpu(moments) => {
                    *moments.lock().map_err(|_| failed())? = (first.data.clone(), second.data.clone());
                }
                State::Other(moments) => {
                    let tensor = |raw: &Raw| Tensor::from_vec(raw.data.clone(), part.var.shape(), part.var.device());
                    *moments.lock().map_err(|_| failed())? = [tensor(first)?, tensor(second)?];
                }
            }
        }
        Ok(())
    }
}

fn failed() -> Error {
    Error::Msg("a thread failed within a step".into())
}

impl Rule {
    /// In candle's operations.
    fn apply(&self, var: &Var, gradient: &Tensor, moments: &mut [Tensor; 2]) -> Result<()> {
        let mixed = |old: &Tensor, new: &Tensor, keep: f64| (old * keep)? + (new * (1.0 - keep))?;
        let kept = (var.as_tensor() * (1.0 - self.decay))?;
        let down = match self.kind {
            Kind::AdamW => {
                moments[0] = mixed(&moments[0], gradient, BETA1)?.detach();
                moments[1] = mixed(&moments[1], &gradient.sqr()?, BETA2)?.detach();
                let root = ((&moments[1] / self.correction.1)?.sqrt()? + EPSILON)?;
                ((&moments[0] / self.correction.0)? / root)?
            }
            Kind::Sgd => {
                moments[0] = ((&moments[0] * BETA1)? + gradient)?.detach();
                moments[0].clone()
            }
        };
        var.set(&(kept - (down * self.rate)?)?)
    }

    fn run(&self, value: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) {
        let (rate, decay, epsilon) = (self.rate as f32, self.decay as f32, EPSILON as f32);
        let correction = (self.correction.0 as f32, self.correction.1 as f32);
        match self.kind {
            Kind::AdamW => {
                for (((v, g), m), s) in value.iter_mut().zip(gradient).zip(first).zip(second) {
                    *m += (1.0 - BETA1 as f32) * (g - *m);
                    *s += (1.0 - BETA2 as f32) * (g * g - *s);
                    let (m, s) = (*m / correction.0, *s / correction.1);
                    *v -= decay * *v + rate * m / (s.sqrt() + epsilon);
                }
            }
            Kind::Sgd => {
                for ((v, g), m) in value.iter_mut().zip(gradient).zip(first) {
                    *m = BETA1 as f32 * *m + g;
                    *v -= decay * *v + rate * *m;
                }
            }
        }
    }
}

impl InplaceOp2 for Update<'_> {
    fn name(&self) -> &'static str {
        "optimiser"
    }

    fn cpu_fwd(&self, value: &mut CpuStorage, at: &Layout, gradient: &CpuStorage, from: &Layout) -> Result<()> {
        let contiguous = |l: &Layout| l.contiguous_offsets().ok_or(Error::RequiresContiguous { op: "optimiser" }.bt());
        let ((start, end), (from, to)) = (contiguous(at)?, contiguous(from)?);
        let gradient = &gradient.as_slice::<f32>()?[from..to];
        let CpuStorage::F32(value) = value else { return Err(Error::Msg("a step takes single precision".into())) };
        let mut moments = self.moments.lock().map_err(|_| failed())?;
        let (first, second) = &mut *moments;
        const CHUNK: usize = 1 << 14;
        let values = value[start..end].par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
        let moments = first.par_chunks_mut(CHUNK).zip(second.par_chunks_mut(CHUNK));
        values.zip(moments).for_each(|((v, g), (m, s))| self.rule.run(v, g, m, s));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use candle_nn::{Optimizer, ParamsAdamW, SGD};

    fn difference(a: &Tensor, b: &Tensor) -> Result<f32> {
        (a - b)?.abs()?.max_all()?.to_scalar::<f32>()
    }

    fn loss(var: &Var) -> Result<GradStore> {
        (var.as_tensor() - 0.3)?.sqr()?.sum_all()?.backward()
    }

    #[test]
    fn same_course_as_candles() -> Result<()> {
        let start = Tensor::new(&[[1.0f32, -2.0, 0.5], [3.0, 0.0, -1.0]], &Device::Cpu)?;
        let (a, b) = (Var::from_tensor(&start)?, Var::from_tensor(&start.copy()?)?);
        let mut ours = Optimiser::new(Kind::AdamW);
        ours.add([a.clone()], 2.0, 0.1)?;
        let params = ParamsAdamW { lr: 0.02, weight_decay: 0.1, ..ParamsAdamW::default() };
        let mut theirs = candle_nn::AdamW::new(vec![b.clone()], params)?;
        for _ in 0..20 {
            ours.step(&loss(&a)?, 0.01)?;
            theirs.step(&loss(&b)?)?;
        }
        assert!(difference(&a, &b)? < 1e-5);
        assert!(difference(&a, &start)? > 0.1);
        // The first step of SGD has no momentum yet.
        let (a, b) = (Var::from_tensor(&start.copy()?)?, Var::from_tensor(&start.copy()?)?);
        let mut ours = Optimiser::new(Kind::Sgd);
        ours.add([a.clone()], 1.0, 0.0)?;
        ours.step(&loss(&a)?, 0.01)?;
        SGD::new(vec![b.clone()], 0.01)?.step(&loss(&b)?)?;
        assert!(difference(&a, &b)? < 1e-6);
        Ok(())
    }

    #[test]
    fn candles_operations_make_the_same_steps() -> Result<()> {
        for kind in [Kind::AdamW, Kind::Sgd] {
            let start = Tensor::new(&[1.0f32, -2.0, 0.5], &Device::Cpu)?;
            let (a, b) = (Var::from_tensor(&start)?, Var::from_tensor(&start.copy()?)?);
            let mut ours = Optimiser::new(kind);
            ours.add([a.clone()], 1.0, 0.1)?;
            let mut moments = [b.zeros_like()?, b.zeros_like()?];
            for step in 1..10 {
                ours.step(&loss(&a)?, 0.01)?;
                let correction = (1.0 - BETA1.powi(step), 1.0 - BETA2.powi(step));
                let rule = Rule { kind, rate: 0.01, decay: 0.001, correction };
                let gradients = loss(&b)?;
                rule.apply(&b, gradients.get(&b).expect("a gradient"), &mut moments)?;
            }
            assert!(difference(&a, &b)? < 1e-5, "{kind:?}");
        }
        Ok(())
    }
}
