//! radroute's row of `engine.sh`: images a second of the CPU engine, asked for line by line, so that it takes turns with others.
//!
//! Arguments: weights, threads, instructions (`best`, or a name of `Isa`); for whole numbers also a file of images, which
//! the steps are taken from, and their side: as many blocks as the card says stay in single precision. Each line of standard input, `side batch seconds file`
//! (the file holds the images, single precision, row after row), is answered by a JSON object: `images_per_s`, the median over
//! the seconds, and `logits`.

use radroute::model::ModelError;
use radroute::model::card::Card;
use radroute::model::engine::Network;
use radroute::model::engine::int8::WholeNetwork;
use radroute::model::engine::int8::range::Ranges;
use radroute::model::engine::isa::Isa;
use radroute::model::folded::Folded;
use radroute::model::weights::Weights;
use std::error::Error;
use std::io::BufRead;
use std::path::Path;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [weights, threads, instructions, calibration @ ..] = &arguments[..] else {
        return Err("arguments: weights, threads, instructions".into());
    };
    rayon::ThreadPoolBuilder::new().num_threads(threads.parse()?).build_global()?;
    let isa = match instructions.as_str() {
        "best" => Isa::best(),
        name => {
            Isa::available().into_iter().find(|isa| isa.name() == name).ok_or("this CPU has no such instructions")?
        }
    };
    let card = Card::read(&Card::beside(Path::new(weights)))?;
    let folded = Folded::new(&Weights::read(Path::new(weights))?, card.heads.len())?;
    let network = Network::with(&folded, isa)?;
    match calibration {
        [file, side] => {
            let side = side.parse()?;
            let images = images(file, side)?;
            let mut ranges = Ranges::default();
            ranges.watch(&network, &images, side)?;
            let single = card.int8.as_ref().ok_or("the card has no int8")?.single;
            let whole = WholeNetwork::new(&folded, &ranges.steps(0.5), single, isa)?;
            serve(|images, side| whole.logits(images, side))
        }
        _ => serve(|images, side| network.logits(images, side)),
    }
}

/// Images and their side → logits.
type Logits<'a> = dyn Fn(&[Vec<f32>], usize) -> Result<Vec<Vec<f32>>, ModelError> + 'a;

fn serve(network: impl Fn(&[Vec<f32>], usize) -> Result<Vec<Vec<f32>>, ModelError>) -> Result<(), Box<dyn Error>> {
    for line in std::io::stdin().lock().lines() {
        println!("{}", answer(&network, &line?)?);
    }
    Ok(())
}

/// The squares of a file.
fn images(file: &str, side: usize) -> Result<Vec<Vec<f32>>, Box<dyn Error>> {
    let bytes = std::fs::read(file)?;
    let values: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    Ok(values.chunks_exact(side * side).map(<[f32]>::to_vec).collect())
}

fn answer(network: &Logits, line: &str) -> Result<serde_json::Value, Box<dyn Error>> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [side, batch, seconds, file] = words[..] else { return Err("a line: side batch seconds file".into()) };
    let (side, batch, seconds): (usize, usize, f64) = (side.parse()?, batch.parse()?, seconds.parse()?);
    let mut images = images(file, side)?;
    images.truncate(batch);
    let logits = network(&images, side)?;
    let mut times = Vec::new();
    let begun = Instant::now();
    while begun.elapsed().as_secs_f64() < seconds || times.len() < 3 {
        let one = Instant::now();
        network(&images, side)?;
        times.push(one.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(serde_json::json!({ "images_per_s": images.len() as f64 / times[times.len() / 2], "logits": logits }))
}
