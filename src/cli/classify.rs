//! `radroute classify`: names the region of image files, with the verdict that each would get by itself.

use super::cam::{Image, Pictures};
use super::exit;
use crate::anatomy::Region;
use crate::config::Config;
use crate::dataset::{Facts, file_meta::read_file_meta};
use crate::judge::rules;
use crate::look::radiograph;
use crate::model::Classifier;
use crate::pixels::{self, PixelsError};
use crate::verdict::{self, Look, Mode, Rules, Seen, Verdict};
use comfy_table::Table;
use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `radroute classify`.
#[derive(clap::Args)]
pub struct Args {
    /// Files or folders: DICOM, PNG, JPEG
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Weights; their card lies beside them
    ///
    /// Default: the configuration's, if there is one, else weights/radroute.safetensors.
    #[arg(long, value_name = "F")]
    model: Option<PathBuf>,
    /// One JSON object a line on standard output
    #[arg(long)]
    json: bool,
    /// With --json: also the scores of the further heads, and the reason of the verdict
    #[arg(long, requires = "json")]
    details: bool,
    /// Write here a PNG for each file and each of the five regions scored over a half: where the network found it
    ///
    /// Named <file>-<REGION>.png, with a number where a name comes twice.
    #[arg(long, value_name = "DIR")]
    cam: Option<PathBuf>,
}

/// How many files are read and classified at once.
const BATCH: usize = 8;
/// Folders within folders are followed so deep: a loop of links ends there.
const DEEPEST: usize = 32;

/// One file that was looked at.
struct Row {
    path: PathBuf,
    facts: Option<Facts>,
    look: Look,
    verdict: Verdict,
    image: Option<Image>,
    /// The pictures of `--cam`.
    cams: Option<Vec<PathBuf>>,
}

/// Runs the command.
pub fn run(args: Args, config: PathBuf) -> ExitCode {
    let looker = match Looker::new(args.model.as_deref(), &config) {
        Ok(looker) => looker,
        Err(error) => {
            eprintln!("radroute classify: {error}");
            return ExitCode::from(exit::CONFIG);
        }
    };
    let mut failed = 0;
    let mut tell = |path: &Path, why: &str| {
        eprintln!("radroute classify: {}: {why}", path.display());
        failed += 1;
    };
    let mut files = Vec::new();
    for path in &args.paths {
        collect(path, DEEPEST, &mut files, &mut tell);
    }
    let mut pictures = match args.cam.as_ref().map(|folder| Pictures::new(folder, &files)).transpose() {
        Ok(pictures) => pictures,
        Err(error) => {
            eprintln!("radroute classify: {error}");
            return ExitCode::from(exit::IOERR);
        }
    };
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
    table.set_header(["path", "region", "score", "BodyPartExamined", "verdict", "best outside"]);
    let mut rows = 0;
    for part in files.chunks(BATCH) {
        for (path, mut result) in part.iter().zip(looker.look(part)) {
            if let Ok(Row { look: Look::Undecodable { reason }, .. }) = &result {
                tell(path, reason);
            }
            if let (Ok(row), Some(pictures)) = (&mut result, &mut pictures) {
                match looker.draw(row, pictures) {
                    Ok(cams) => row.cams = Some(cams),
                    Err(why) => tell(path, &why),
                }
            }
            match result {
                Ok(row) if args.json => {
                    // A reader that has gone away wants no more.
                    let mut out = io::stdout().lock();
                    let written = serde_json::to_writer(&mut out, &line(&row, args.details));
                    if written.is_err() || writeln!(out).is_err() {
                        return ExitCode::SUCCESS;
                    }
                }
                Ok(row) => {
                    table.add_row(cells(&row));
                    rows += 1;
                }
                // In a folder much lies about; what was named was meant.
                Err(why) if why == PixelsError::Foreign.to_string() && !args.paths.contains(path) => {
                    eprintln!("radroute classify: {} is skipped: {why}", path.display());
                }
                Err(why) => tell(path, &why),
            }
        }
    }
    if rows > 0 {
        // A reader that has gone away wants no table.
        let _ = writeln!(io::stdout().lock(), "{table}");
    }
    if failed > 0 { ExitCode::from(exit::DATAERR) } else { ExitCode::SUCCESS }
}

/// The files of a path in order, folders with all that is in them. Hidden entries of folders are left out.
fn collect(path: &Path, depth: usize, files: &mut Vec<PathBuf>, tell: &mut impl FnMut(&Path, &str)) {
    match std::fs::metadata(path) {
        Err(error) => tell(path, &error.to_string()),
        Ok(meta) if meta.is_file() => files.push(path.to_owned()),
        Ok(meta) if !meta.is_dir() => tell(path, "neither a file nor a folder"),
        Ok(_) if depth == 0 => tell(path, "too many folders within folders"),
        Ok(_) => match std::fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
            Err(error) => tell(path, &error.to_string()),
            Ok(mut entries) => {
                entries.sort_by_key(std::fs::DirEntry::file_name);
                let shown = |e: &&std::fs::DirEntry| !e.file_name().as_encoded_bytes().starts_with(b".");
                entries.iter().filter(shown).for_each(|e| collect(&e.path(), depth - 1, files, tell));
            }
        },
    }
}

/// What one file gave before the network.
enum Read {
    Image(Option<Facts>, Image, f32),
    Not(Option<Facts>, Look),
}

/// The network, and the rules that a single image is judged by.
struct Looker {
    classifier: Classifier,
    rules: Rules,
    secondary_capture: Vec<String>,
}

impl Looker {
    /// By the configuration if there is one (in mode `correct`, whatever it says), else by what is so by default.
    fn new(model: Option<&Path>, config: &Path) -> Result<Looker, Box<dyn std::error::Error>> {
        // Without any configuration it goes by what is so by default; one that was named must be there.
        let none = config == Path::new(super::SYSTEM_CONFIG) && !config.exists();
        let config = if none { None } else { Some(Config::load(config)?) };
        let settings = config.as_ref().map(|c| c.classify.clone()).unwrap_or_default();
        let classifier = Classifier::load(model.unwrap_or(&settings.model), settings.device, settings.precision)?;
        let rules = match &config {
            Some(config) => Rules { mode: Mode::Correct, ..config.verdict_rules(classifier.thresholds()) },
            None => rules(classifier.thresholds(), Mode::Correct),
        };
        Ok(Looker { classifier, rules, secondary_capture: settings.secondary_capture })
    }

    /// Reads some files side by side and classifies them together. An error belongs to its file alone.
    fn look(&self, files: &[PathBuf]) -> Vec<Result<Row, String>> {
        let read: Vec<Result<Read, String>> = files.par_iter().map(|file| self.read(file)).collect();
        let inputs: Vec<Vec<f32>> = read
            .iter()
            .filter_map(|r| match r {
                Ok(Read::Image(_, image, _)) => Some(image.input.clone()),
                _ => None,
            })
            .collect();
        let begun = std::time::Instant::now();
        let mut scores = self.classifier.scores(&inputs).map(Vec::into_iter).map_err(|e| e.to_string());
        let classify_ms = begun.elapsed().as_secs_f32() * 1e3 / inputs.len().max(1) as f32;
        let one = |(file, read): (&PathBuf, Result<Read, String>)| {
            let (facts, look, image) = match read? {
                Read::Not(facts, look) => (facts, look, None),
                Read::Image(facts, image, decode_ms) => {
                    let scores = scores.as_mut().map_err(|e| e.clone())?.next().ok_or("the network gave no answer")?;
                    let model = self.classifier.identity();
                    (facts, Look::Scored { scores, model, decode_ms, classify_ms }, Some(image))
                }
            };
            let verdict = judge(facts.as_ref(), &look, &self.rules);
            Ok(Row { path: file.clone(), facts, look, verdict, image, cams: None })
        };
        files.iter().zip(read).map(one).collect()
    }

    fn draw(&self, row: &Row, pictures: &mut Pictures) -> Result<Vec<PathBuf>, String> {
        let Some(image) = &row.image else { return Ok(Vec::new()) };
        pictures.draw(&self.classifier, &row.path, image, &row.look)
    }

    fn read(&self, file: &Path) -> Result<Read, String> {
        let begun = std::time::Instant::now();
        let facts = facts(file)?;
        if let Some(Err(reason)) = facts.as_ref().map(|f| radiograph(f, &self.secondary_capture)) {
            return Ok(Read::Not(facts, Look::Exempt { reason }));
        }
        match pixels::read_any(file, self.classifier.wanted_pixels()) {
            Ok(plane) => {
                let (input, framed) = self.classifier.framed_input(&plane);
                Ok(Read::Image(facts, Image { plane, input, framed }, begun.elapsed().as_secs_f32() * 1e3))
            }
            Err(PixelsError::Unsuitable(reason)) => Ok(Read::Not(facts, Look::Exempt { reason })),
            // A DICOM object has a verdict even so, as in the daemon.
            Err(PixelsError::Undecodable(reason)) if facts.is_some() => {
                Ok(Read::Not(facts, Look::Undecodable { reason }))
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The header of a DICOM file; `None` for another sort of file.
fn facts(file: &Path) -> Result<Option<Facts>, String> {
    let mut reader = File::open(file).map_err(|e| e.to_string())?;
    let mut start = [0; 132];
    match io::Read::read_exact(&mut reader, &mut start) {
        Ok(()) if &start[128..] == b"DICM" => {}
        _ => return Ok(None),
    }
    io::Seek::rewind(&mut reader).map_err(|e| e.to_string())?;
    let (meta, begin) = read_file_meta(&mut reader).map_err(|e| e.to_string())?;
    let length = reader.metadata().map_err(|e| e.to_string())?.len();
    io::Seek::seek(&mut reader, io::SeekFrom::Start(begin)).map_err(|e| e.to_string())?;
    let facts = Facts::read(&mut reader, length.saturating_sub(begin), &meta.transfer_syntax_uid);
    facts.map(Some).map_err(|e| e.to_string())
}

fn judge(facts: Option<&Facts>, look: &Look, rules: &Rules) -> Verdict {
    let seen = Seen {
        look,
        tag: facts.map_or("", |f| f.body_part_examined.as_str()),
        anatomic_region: facts.and_then(|f| f.anatomic_region.as_ref()),
        signed: facts.is_some_and(|f| f.signed),
    };
    verdict::decide(&[seen], rules, None)
}

/// Scores by head.
type Scores<'a> = BTreeMap<&'a str, f32>;

/// The scores of the five regions, and those of the further heads.
fn parted(look: &Look) -> Option<(Scores<'_>, Scores<'_>)> {
    let Look::Scored { scores, .. } = look else { return None };
    Some(scores.iter().map(|(name, p)| (name.as_str(), *p)).partition(|(name, _)| Region::from_term(name).is_some()))
}

/// One line of `--json`. Numbers are printed as short as they can be read back.
#[derive(Serialize)]
struct Line<'a> {
    path: String,
    sop_instance_uid: Option<&'a str>,
    scores: Option<Scores<'a>>,
    region: Option<&'static str>,
    body_part_examined: Option<&'a str>,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cams: Option<Vec<String>>,
    #[serde(flatten)]
    details: Option<Details<'a>>,
}

/// What `--details` adds.
#[derive(Serialize)]
struct Details<'a> {
    other: Option<Scores<'a>>,
    reason: &'a str,
}

fn line(row: &Row, details: bool) -> Line<'_> {
    fn text(s: &str) -> Option<&str> {
        (!s.is_empty()).then_some(s)
    }
    let (scores, other) = parted(&row.look).unzip();
    Line {
        path: row.path.to_string_lossy().into_owned(),
        sop_instance_uid: row.facts.as_ref().and_then(|f| text(&f.sop_instance_uid)),
        scores,
        region: row.verdict.region.map(Region::term),
        body_part_examined: row.facts.as_ref().and_then(|f| text(&f.body_part_examined)),
        verdict: row.verdict.kind.name(),
        cams: row.cams.as_ref().map(|cams| cams.iter().map(|p| p.to_string_lossy().into_owned()).collect()),
        details: details.then_some(Details { other, reason: &row.verdict.reason }),
    }
}

fn cells(row: &Row) -> [String; 6] {
    let best = |scores: &Scores| {
        let best = scores.iter().max_by(|a, b| a.1.total_cmp(b.1));
        best.map_or(("–".to_owned(), 0.0), |(name, p)| ((*name).to_owned(), *p))
    };
    let (score, other) = match parted(&row.look) {
        Some((five, others)) => {
            let ((region, p), (other, q)) = (best(&five), best(&others));
            (format!("{region} {p:.2}"), format!("{other} {q:.2}"))
        }
        None => ("–".to_owned(), "–".to_owned()),
    };
    [
        row.path.display().to_string(),
        row.verdict.region.map_or("–", Region::term).to_owned(),
        score,
        row.facts.as_ref().map_or("–".to_owned(), |f| f.body_part_examined.clone()),
        row.verdict.kind.name().to_owned(),
        other,
    ]
}
