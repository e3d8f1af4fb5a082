//! `radroute bench`: what this machine can do, for people who size one and for scripts.

mod measure;
mod report;

use super::exit;
use crate::config::{Config, DeviceChoice, PrecisionChoice};
use crate::dataset::file_meta::read_file_meta;
use crate::model::engine::isa::Isa;
use crate::model::precision::{self, Precision};
use crate::model::{Classifier, device};
use crate::pixels::probe::Picture;
use clap::builder::RangedU64ValueParser;
use dicom_dictionary_std::uids;
use measure::{MeasureError, decode, handle, median};
use report::{Capacity, Engine, Report, Speed, per_hour, rounded};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tempfile::TempDir;

/// What `--help` says beyond the options.
const HOW: &str = "\
Measured: images a second of the network at 224×224, one orientation each, preprocessing not counted (median over two seconds);
milliseconds from a file in memory to what the network sees, for generated images of 3000×2500 pixels on one core; milliseconds
to make such an image durable.

Images an hour are an estimate from measured stages. The cores copy an image from a socket to the spool and from the spool to a
socket and read its pixels, side by side, and the network takes all of them, at the card's size, in the arithmetic that the
configuration's precision comes to, and in all of the card's orientations (most images need fewer); the disk makes one image
durable after the other; both work at the same time, and the slower one counts. This assumes uncompressed images (DX of 3000×2500,
CR of 1024×1024), one destination, several associations at once, and a network and an archive that keep up. The sender and the
receiver of the copies run on the same cores and are counted.";

/// Arguments of `radroute bench`.
#[derive(clap::Args)]
#[command(after_long_help = HOW)]
pub struct Args {
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
    /// Threads to compute on; default: as many as there are cores for this process
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024))]
    threads: Option<usize>,
    /// Images that the network is given at once
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = RangedU64ValueParser::<usize>::new().range(1..=256))]
    batch: usize,
    /// Weights; their card lies beside them
    ///
    /// Default: the configuration's, if there is one, else the shipped ones.
    #[arg(long, value_name = "F")]
    model: Option<PathBuf>,
    /// A folder on the disk that is to hold the spool; nothing stays in it
    ///
    /// Default: the configuration's state_dir, if it is there, else the folder for temporary files.
    #[arg(long, value_name = "D")]
    state_dir: Option<PathBuf>,
    /// Also read these DICOM files; the median by transfer syntax takes the place of the generated image's
    #[arg(long, value_name = "F", num_args = 1..)]
    images: Vec<PathBuf>,
}

/// Columns and rows of the usual DX and CR.
const DX: (u16, u16) = (3000, 2500);
const CR: (u16, u16) = (1024, 1024);
/// The least time for which the reading of an image is repeated.
const READING: Duration = Duration::from_millis(250);

/// What an image may come in, with a short name. Those that are not written here have a figure only by `--images`.
const SYNTAXES: [(&str, &str); 15] = [
    (uids::IMPLICIT_VR_LITTLE_ENDIAN, "uncompressed, implicit VR"),
    (uids::EXPLICIT_VR_LITTLE_ENDIAN, "uncompressed, explicit VR"),
    (uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, "deflated"),
    (uids::RLE_LOSSLESS, "RLE"),
    (uids::JPEG_BASELINE8_BIT, "JPEG Baseline, 8 bits"),
    (uids::JPEG_EXTENDED12_BIT, "JPEG Extended"),
    (uids::JPEG_LOSSLESS, "JPEG Lossless"),
    (uids::JPEG_LOSSLESS_SV1, "JPEG Lossless, first order"),
    (uids::JPEGLS_LOSSLESS, "JPEG-LS"),
    (uids::JPEGLS_NEAR_LOSSLESS, "JPEG-LS, near-lossless"),
    (uids::JPEG2000_LOSSLESS, "JPEG 2000, lossless"),
    (uids::JPEG2000, "JPEG 2000"),
    (uids::HTJ2K_LOSSLESS, "HTJ2K, lossless"),
    (uids::HTJ2K_LOSSLESS_RPCL, "HTJ2K, lossless, RPCL"),
    (uids::HTJ2K, "HTJ2K"),
];

/// Why the command ends without a result.
struct Failure(u8, String);

/// Runs the command.
pub fn run(args: Args, config: PathBuf) -> ExitCode {
    let report = match bench(&args, &config) {
        Ok(report) => report,
        Err(Failure(code, why)) => {
            eprintln!("radroute bench: {why}");
            return ExitCode::from(code);
        }
    };
    // A reader that has gone away wants no more.
    let mut out = io::stdout().lock();
    let _ = if args.json {
        serde_json::to_writer(&mut out, &report).map_err(io::Error::from).and_then(|()| writeln!(out))
    } else {
        writeln!(out, "{}, {} threads\n{}", report.cpu, report.threads, report.table(name))
    };
    ExitCode::SUCCESS
}

fn bench(args: &Args, config: &Path) -> Result<Report, Failure> {
    // Without any configuration it goes by what is so by default; one that was named must be there.
    let none = config == Path::new(super::SYSTEM_CONFIG) && !config.exists();
    let config =
        if none { None } else { Some(Config::load(config).map_err(|e| Failure(exit::CONFIG, e.to_string()))?) };
    let configured = args.model.clone().or_else(|| config.as_ref().map(|c| c.classify.model.clone()));
    let model = super::demo::find_model(configured.as_deref()).map_err(|e| Failure(exit::CONFIG, e.to_string()))?;
    if let Some(threads) = args.threads {
        let built = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
        built.map_err(|e| Failure(exit::SOFTWARE, format!("cannot start {threads} threads: {e}")))?;
    }
    let threads = rayon::current_num_threads();
    let load = |device, precision| {
        Classifier::load(&model, device, precision).map_err(|e| Failure(exit::CONFIG, e.to_string()))
    };
    let single = load(DeviceChoice::Cpu, PrecisionChoice::F32)?;
    let whole = single.card().int8.is_some().then(|| load(DeviceChoice::Cpu, PrecisionChoice::Int8)).transpose()?;
    // The one that the daemon would take.
    let wanted = config.as_ref().map_or(PrecisionChoice::Auto, |c| c.classify.precision);
    let (arithmetic, _) = precision::chosen(wanted, single.card(), Some(Isa::best()))
        .map_err(|e| Failure(exit::CONFIG, e.to_string()))?;
    let classifier = whole.as_ref().filter(|_| arithmetic == Precision::Int8).unwrap_or(&single);
    let folder = scratch(args.state_dir.as_deref(), config.as_ref())?;
    let software = |e: MeasureError| Failure(exit::SOFTWARE, e.to_string());

    say("the network");
    let speed = |classifier: &Classifier| -> Result<Speed, Failure> {
        let rate = measure::engine(classifier, args.batch).map_err(|e| software(e.into()))?;
        Ok(Speed { images_per_s: Some(rounded(rate)) })
    };
    let f32 = speed(&single)?;
    let int8 = whole.as_ref().map(speed).transpose()?.unwrap_or_default();
    // `None` where this build has no CUDA, or no device answers: then nothing is loaded once more.
    let on_cuda = device(DeviceChoice::Cuda).is_ok().then(|| load(DeviceChoice::Cuda, PrecisionChoice::F32));
    let cuda = on_cuda.transpose()?.as_ref().map(speed).transpose()?;
    let classify = measure::classify(classifier).map_err(|e| software(e.into()))?;
    let dx = Picture::new(DX.0, DX.1);
    let decode_ms = read_all(&args.images, &dx, folder.path(), classifier.wanted_pixels())?;
    say(&format!("the spool, in {}", folder.path().parent().unwrap_or(folder.path()).display()));
    let disk = |e: MeasureError| match e {
        MeasureError::Spool(_) | MeasureError::File { .. } => Failure(exit::IOERR, e.to_string()),
        _ => software(e),
    };
    let dx = handle(classifier, &dx, &folder.path().join("dx")).map_err(disk)?;
    let cr = handle(classifier, &Picture::new(CR.0, CR.1), &folder.path().join("cr")).map_err(disk)?;
    Ok(Report {
        engine: Engine { f32, int8, cuda },
        decode_ms,
        spool_sync_ms: Some(rounded(dx.sync * 1e3)),
        capacity_per_hour: Capacity {
            dx: Some(per_hour(&dx, classify, threads)),
            cr: Some(per_hour(&cr, classify, threads)),
        },
        cpu: cpu(),
        threads,
    })
}

/// Milliseconds by transfer syntax: of the generated image, or of the files given.
fn read_all(
    files: &[PathBuf],
    picture: &Picture,
    folder: &Path,
    wanted: usize,
) -> Result<BTreeMap<String, Option<f64>>, Failure> {
    let mut given: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for file in files {
        let why = |e: &dyn std::fmt::Display| Failure(exit::DATAERR, format!("{}: {e}", file.display()));
        let mut opened = std::fs::File::open(file).map_err(|e| why(&e))?;
        let (meta, _) = read_file_meta(&mut opened).map_err(|e| why(&e))?;
        let seconds = decode(file, wanted, Duration::ZERO).map_err(|e| why(&e))?;
        given.entry(meta.transfer_syntax_uid).or_default().push(seconds);
    }
    let mut figures: BTreeMap<String, Option<f64>> = BTreeMap::new();
    for (syntax, name) in SYNTAXES {
        let milliseconds = match picture.file(syntax).filter(|_| !given.contains_key(syntax)) {
            Some(bytes) => {
                say(&format!("reading {name}"));
                let path = folder.join("image.dcm");
                std::fs::write(&path, bytes).map_err(|source| {
                    Failure(exit::IOERR, MeasureError::File { path: path.display().to_string(), source }.to_string())
                })?;
                let seconds = decode(&path, wanted, READING).map_err(|e| Failure(exit::SOFTWARE, e.to_string()))?;
                Some(rounded(seconds * 1e3))
            }
            None => None,
        };
        figures.insert(syntax.to_owned(), milliseconds);
    }
    figures.extend(given.into_iter().map(|(syntax, mut all)| (syntax, Some(rounded(median(&mut all) * 1e3)))));
    Ok(figures)
}

/// A folder of our own on the disk that counts; it goes with the value.
fn scratch(given: Option<&Path>, config: Option<&Config>) -> Result<TempDir, Failure> {
    let configured = config.map(|c| c.node.state_dir.as_path()).filter(|d| d.is_dir());
    let parent = given.or(configured).map_or_else(std::env::temp_dir, Path::to_owned);
    tempfile::Builder::new().prefix("radroute-bench-").tempdir_in(&parent).map_err(|e| {
        Failure(exit::IOERR, format!("cannot write to {}: {e}; give another folder with --state-dir", parent.display()))
    })
}

/// What is being measured, for whoever waits.
fn say(what: &str) {
    eprintln!("measuring: {what}");
}

/// A transfer syntax in words; its UID where there are none.
fn name(syntax: &str) -> &str {
    SYNTAXES.iter().find(|(uid, _)| *uid == syntax).map_or(syntax, |(_, name)| *name)
}

/// The processor as it calls itself; its architecture where it does not.
fn cpu() -> String {
    let told = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = told.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}
