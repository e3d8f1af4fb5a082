//! `radroute train`: makes weights and their card from a manifest of images.

use super::exit;
use crate::config::DeviceChoice;
use crate::model::device;
use crate::train::manifest::Manifest;
use crate::train::recipe::Recipe;
use crate::train::{Progress, Run, TrainError, run as train};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// Arguments of `radroute train`.
#[derive(clap::Args)]
pub struct Args {
    /// Table of images: path, region, group, source, licence, split, parted by tabs
    #[arg(long, value_name = "F", required_unless_present = "root")]
    manifest: Option<PathBuf>,
    /// Folder that the manifest's paths are relative to (default: where it lies); without a manifest: a folder of folders
    /// named by region
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Initial weights: a ResNet-18 in safetensors under torchvision's names, whole or partial; `none`: random values
    #[arg(long, value_name = "F|none")]
    init: PathBuf,
    /// Where weights, card and recipe go
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Recipe in TOML, or `yi2019`, the experiment of Yi et al. 2019; default: all keys as by default
    #[arg(long, value_name = "F|NAME")]
    recipe: Option<PathBuf>,
    /// Passes over the augmented images, instead of the recipe's
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Where the steps are computed
    #[arg(long, value_enum, default_value = "auto")]
    device: DeviceChoice,
    /// Seed, instead of the recipe's
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// Runs the command.
pub fn run(args: Args, _config: PathBuf) -> ExitCode {
    match prepared(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("radroute train: {error}");
            ExitCode::from(match error {
                TrainError::Write { .. } => exit::IOERR,
                TrainError::Recipe(_) => exit::CONFIG,
                TrainError::Candle(_) | TrainError::Features(_) => exit::SOFTWARE,
                TrainError::Stopped => exit::TEMPFAIL,
                _ => exit::DATAERR,
            })
        }
    }
}

fn prepared(args: &Args) -> Result<(), TrainError> {
    let mut recipe = match &args.recipe {
        Some(recipe) => read(recipe).map_err(|why| TrainError::Recipe(format!("{}: {why}", recipe.display())))?,
        None => Recipe::default(),
    };
    recipe.epochs = args.epochs.unwrap_or(recipe.epochs).max(1);
    recipe.seed = args.seed.unwrap_or(recipe.seed);
    let manifest = match (&args.manifest, &args.root) {
        (None, root) => Manifest::from_folders(root.as_deref().unwrap_or(Path::new(".")))?,
        (Some(file), Some(root)) => Manifest::read(file, root)?,
        (Some(file), None) => Manifest::read(file, file.parent().unwrap_or(Path::new(".")))?,
    };
    let progress = Progress::default();
    let device = device(args.device)?;
    let init = Some(args.init.as_path()).filter(|init| *init != Path::new("none"));
    let out = &args.out;
    stop_on_signals();
    let run = Run { recipe: &recipe, manifest: &manifest, init, out, device, progress: &progress, stop: &STOP };
    let report = train(&run)?;
    let mean = report.mean_auc.unwrap_or(0.0);
    progress.tell(&format!("weights and card are in {}; mean AUC of the regions {mean:.4}", args.out.display()));
    Ok(())
}

/// A recipe by its name, or from a file.
fn read(recipe: &Path) -> Result<Recipe, String> {
    match recipe.to_str().and_then(Recipe::named) {
        Some(named) => named,
        None => Recipe::parse(&std::fs::read_to_string(recipe).map_err(|e| e.to_string())?),
    }
}

/// Whether the run is to stop after the present step.
static STOP: AtomicBool = AtomicBool::new(false);

/// Ctrl-C and SIGTERM stop the run, with a checkpoint. Where they cannot be waited for they end the process, and the last checkpoint
/// stands.
fn stop_on_signals() {
    use tokio::signal::unix::{SignalKind, signal};
    std::thread::spawn(|| {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            if let (Ok(mut interrupt), Ok(mut terminate)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
            {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                STOP.store(true, Ordering::Relaxed);
                eprintln!("radroute train: stops after this step");
            }
        });
    });
}
