//! Images that claim to be far larger than they are: looked at within bounds, or given up; never held back, never the end of the router.

#[path = "support/archive.rs"]
mod archive;
#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/objects.rs"]
mod objects;
#[path = "support/samples.rs"]
mod samples;
#[path = "support/wire.rs"]
mod wire;

use archive::Archive;
use daemon::{Router, Site, wait_for};
use objects::{CR, DEFLATED, EXPLICIT, Object, uid};
use samples::sample;

/// What looking at one image may cost beyond what the router needs anyway.
const BOUND: u64 = 400 << 20;

/// Sends it, waits until it has arrived as it came, and says how the peak of memory has grown.
fn through(router: &Router, archive: &Archive, what: &str, object: &Object) -> u64 {
    let before = router.peak_memory();
    let statuses = wire::send(router.port, "MODALITY", std::slice::from_ref(object)).unwrap();
    assert_eq!(statuses, [0], "{what}");
    wait_for(what, || archive.uids().contains(&object.uid()));
    let delivery = archive.stored().into_iter().find(|d| d.uid == object.uid()).unwrap();
    assert!(delivery.object() == *object, "{what}: it was altered");
    router.peak_memory() - before
}

/// Overwrites bytes of an element's value: at the place where `find` stands, `skip` further on.
fn patch(object: &mut Object, tag: u32, find: &[u8], skip: usize, with: &[u8]) {
    let raw = &mut object.elements.iter_mut().find(|(t, _)| *t == tag).unwrap().1;
    let at = raw.windows(find.len()).position(|w| w == find).expect("the marker") + skip;
    raw[at..at + with.len()].copy_from_slice(with);
}

#[test]
fn images_larger_than_they_are() {
    let archive = Archive::start();
    let Some(site) = Site::with_archive(archive.port) else { return };
    let router = site.start();
    // Once the usual way, so that what looking needs is there.
    let knee = sample("knee-1").object;
    through(
        &router,
        &archive,
        "a usual image",
        &knee.as_other(&uid(70, 3, 0), &uid(70, 2, 0), &uid(70, 1, 0), Some("KNEE")),
    );

    let mut bombs = Vec::new();
    let mut claims = Object::image(CR, &uid(70, 3, 1), &uid(70, 2, 1), &uid(70, 1, 1), 16);
    claims.set(0x0028_0010, "US", &65_535u16.to_le_bytes());
    claims.set(0x0028_0011, "US", &65_535u16.to_le_bytes());
    bombs.push(("rows and columns without pixels", claims));

    // JPEG 2000: SIZ (FF51) holds Xsiz and Ysiz 6 bytes on.
    let mut siz = knee.as_other(&uid(70, 3, 2), &uid(70, 2, 2), &uid(70, 1, 2), Some("KNEE"));
    patch(&mut siz, 0x7FE0_0010, &[0xFF, 0x51], 6, &[0, 0, 0xEA, 0x60, 0, 0, 0xEA, 0x60]);
    bombs.push(("a JPEG 2000 codestream of 60000 x 60000", siz.clone()));
    for tag in [0x0028_0010, 0x0028_0011] {
        siz.set(tag, "US", &60_000u16.to_le_bytes());
    }
    bombs.push((
        "the same, and the header agrees",
        siz.as_other(&uid(70, 3, 3), &uid(70, 2, 3), &uid(70, 1, 3), Some("KNEE")),
    ));

    // JPEG Lossless: SOF3 (FFC3) holds lines and samples a line 5 bytes on.
    let chest = sample("chest-1").object;
    let mut sof = chest.as_other(&uid(70, 3, 4), &uid(70, 2, 4), &uid(70, 1, 4), Some("CHEST"));
    patch(&mut sof, 0x7FE0_0010, &[0xFF, 0xC3], 5, &[0xFF, 0xDC, 0xFF, 0xDC]);
    for tag in [0x0028_0010, 0x0028_0011] {
        sof.set(tag, "US", &0xFFDCu16.to_le_bytes());
    }
    bombs.push(("a JPEG Lossless frame of 65500 x 65500", sof));
    let lspine = sample("lspine-1").object;
    let mut sof = lspine.as_other(&uid(70, 3, 5), &uid(70, 2, 5), &uid(70, 1, 5), Some("LSPINE"));
    patch(&mut sof, 0x7FE0_0010, &[0xFF, 0xC0], 5, &[0xFF, 0xDC, 0xFF, 0xDC]);
    for tag in [0x0028_0010, 0x0028_0011] {
        sof.set(tag, "US", &0xFFDCu16.to_le_bytes());
    }
    bombs.push(("a JPEG frame of 65500 x 65500", sof));

    // RLE that stops in the middle, under a header that promises more.
    let mut rle = sample("hand-1").object.as_other(&uid(70, 3, 6), &uid(70, 2, 6), &uid(70, 1, 6), Some("HAND"));
    for tag in [0x0028_0010, 0x0028_0011] {
        rle.set(tag, "US", &65_535u16.to_le_bytes());
    }
    bombs.push(("RLE of 65535 x 65535", rle));

    for (what, object) in &bombs {
        let grown = through(&router, &archive, what, object);
        assert!(grown < BOUND, "{what}: {} MiB more", grown >> 20);
    }
    let undecodable = router.events("verdict").iter().filter(|e| e.to_string().contains("undecodable")).count();
    assert!(undecodable >= bombs.len() - 1, "{undecodable} of {} are undecodable", bombs.len());
}

#[test]
fn a_deflated_data_set_that_swells() {
    let archive = Archive::start();
    let Some(site) = Site::with_archive(archive.port) else { return };
    let router = site.start();
    let mut small = Object::image(CR, &uid(71, 3, 0), &uid(71, 2, 0), &uid(71, 1, 0), 16);
    small.transfer_syntax = DEFLATED.into();
    through(&router, &archive, "a small one", &small);
    // 400 MiB of zeros are about 400 KiB deflated. It passes, or it is refused: within bounds either way.
    let mut bomb = small.as_other(&uid(71, 3, 1), &uid(71, 2, 1), &uid(71, 1, 1), None);
    bomb.set(0x7FE0_0010, "OW", &vec![0; 400 << 20]);
    let dataset = bomb.dataset();
    drop(std::mem::take(&mut bomb.elements));
    let before = router.peak_memory();
    let mut modality = wire::Modality::connect(router.port, "MODALITY", &[(CR, DEFLATED)]).unwrap();
    let context = modality.context(CR, DEFLATED);
    let status = modality.store_as(context, CR, &uid(71, 3, 1), &dataset).unwrap();
    modality.release().unwrap();
    if status == 0 {
        wait_for("it arrives", || archive.stored().iter().any(|d| d.uid == uid(71, 3, 1) && d.dataset == dataset));
    }
    let grown = router.peak_memory() - before;
    assert!(grown < BOUND / 2, "{} MiB more", grown >> 20);
    let plain = Object::image(CR, &uid(71, 3, 2), &uid(71, 2, 2), &uid(71, 1, 2), 16);
    assert_eq!(plain.transfer_syntax, EXPLICIT);
    through(&router, &archive, "the next one", &plain);
}

#[test]
fn sequences_nested_without_end() {
    let archive = Archive::start();
    let Some(site) = Site::with_archive(archive.port) else { return };
    let router = site.start();
    let good = Object::slice(72, 0);
    let mut nested = good.dataset();
    // Private sequences of undefined length within each other, 100,000 deep: a recursion would overflow its stack.
    for _ in 0..100_000 {
        nested.extend([
            0xE1, 0x7F, 0x10, 0x10, b'S', b'Q', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE, 0xFF, 0x00, 0xE0, 0xFF, 0xFF, 0xFF,
            0xFF,
        ]);
    }
    let mut modality = wire::Modality::for_object(router.port, "MODALITY", &good).unwrap();
    let context = modality.context(objects::CT, EXPLICIT);
    let status = modality.store_as(context, objects::CT, &good.uid(), &nested).unwrap();
    assert!((0xC000..=0xCFFF).contains(&status), "{status:04X}");
    drop(modality);
    through(&router, &archive, "the next one", &good);
}
