//! Series and studies: one verdict per series, and a study that stays together.

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
use objects::{BODY_PART, Object, uid};
use samples::{judge, sample};

fn send(router: &Router, objects: &[Object]) {
    let statuses = wire::send(router.port, "XRAY1", objects).unwrap();
    assert!(statuses.iter().all(|s| *s == 0), "{statuses:04X?}");
}

/// Destinations `upper` (hand, elbow, shoulder), `lower` (knee, pelvis) and `rest` (default).
fn site(by: &str, archives: &[&Archive; 3]) -> Option<Site> {
    let mut site = Site::new()?;
    for (name, archive) in ["upper", "lower", "rest"].iter().zip(archives) {
        site.destination(name, archive.port, "");
    }
    site.tables += "[[route]]\nname = \"upper limb\"\nregion = [\"HAND\", \"ELBOW\", \"SHOULDER\"]\nto = [\"upper\"]\n\
                    [[route]]\nname = \"lower limb\"\nregion = [\"KNEE\", \"PELVIS\"]\nto = [\"lower\"]\n";
    site.routing = format!("by = \"{by}\"\ndefault = [\"rest\"]\n");
    Some(site)
}

#[test]
fn a_late_series_brings_the_earlier_ones_along() {
    let (upper, lower, rest) = (Archive::start(), Archive::start(), Archive::start());
    let Some(site) = site("study", &[&upper, &lower, &rest]) else { return };
    let router = site.start();
    let study = uid(60, 1, 1);
    let knee = sample("knee-2").object.as_other(&uid(60, 3, 1), &uid(60, 2, 1), &study, Some("ANKLE"));
    let hand = sample("hand-1").object.as_other(&uid(60, 3, 2), &uid(60, 2, 2), &study, Some("HAND"));
    send(&router, std::slice::from_ref(&knee));
    wait_for("the knee is at lower", || lower.uids() == [knee.uid()]);
    assert!(upper.uids().is_empty());
    send(&router, std::slice::from_ref(&hand));
    let mut both = vec![knee.uid(), hand.uid()];
    both.sort();
    wait_for("both are at both", || upper.uids() == both && lower.uids() == both);
    // The earlier series arrives with its correction, and the same bytes everywhere.
    let at = |a: &Archive| a.stored().into_iter().find(|d| d.uid == knee.uid()).unwrap();
    assert!(at(&upper).dataset == at(&lower).dataset);
    judge("knee", &knee, &at(&upper).object(), "KNEE");
    assert!(rest.uids().is_empty(), "default counts only while no series chose");
    assert_eq!((upper.stored().len(), lower.stored().len()), (2, 2), "once each");
    drop(router);
}

#[test]
fn series_of_one_study_in_one_association_are_together_too() {
    let (upper, lower, rest) = (Archive::start(), Archive::start(), Archive::start());
    let Some(site) = site("study", &[&upper, &lower, &rest]) else { return };
    let router = site.start();
    let study = uid(66, 1, 1);
    let knee = sample("knee-2").object.as_other(&uid(66, 3, 1), &uid(66, 2, 1), &study, Some("KNEE"));
    let elbow = sample("elbow-2").object.as_other(&uid(66, 3, 2), &uid(66, 2, 2), &study, Some("ELBOW"));
    let slice = Object::image(objects::CT, &uid(66, 3, 3), &uid(66, 2, 3), &study, 8);
    send(&router, &[knee.clone(), elbow.clone(), slice.clone()]);
    let mut all = vec![knee.uid(), elbow.uid(), slice.uid()];
    all.sort();
    wait_for("all are at both", || upper.uids() == all && lower.uids() == all);
    drop(router);
}

#[test]
fn by_series_each_goes_its_own_way() {
    let (upper, lower, rest) = (Archive::start(), Archive::start(), Archive::start());
    let Some(site) = site("series", &[&upper, &lower, &rest]) else { return };
    let router = site.start();
    let study = uid(61, 1, 1);
    let knee = sample("knee-2").object.as_other(&uid(61, 3, 1), &uid(61, 2, 1), &study, Some("KNEE"));
    let hand = sample("hand-1").object.as_other(&uid(61, 3, 2), &uid(61, 2, 2), &study, Some("HAND"));
    let slice = Object::image(objects::CT, &uid(61, 3, 3), &uid(61, 2, 3), &study, 8);
    send(&router, &[knee.clone(), hand.clone(), slice.clone()]);
    wait_for("each has arrived", || {
        lower.uids() == [knee.uid()] && upper.uids() == [hand.uid()] && rest.uids() == [slice.uid()]
    });
    wait_for("the queue is empty", || site.json(&["queue", "list", "--json"]).is_empty());
    assert_eq!(lower.stored().len() + upper.stored().len() + rest.stored().len(), 3);
    drop(router);
}

#[test]
fn images_of_one_series_that_disagree_are_a_conflict_and_nothing_is_written() {
    let archive = Archive::start();
    let Some(site) = Site::with_archive(archive.port) else { return };
    let router = site.start();
    let (series, study) = (uid(62, 2, 1), uid(62, 1, 1));
    let objects = [
        sample("knee-2").object.as_other(&uid(62, 3, 1), &series, &study, None),
        sample("hand-1").object.as_other(&uid(62, 3, 2), &series, &study, None),
    ];
    send(&router, &objects);
    wait_for("both arrive", || archive.uids().len() == 2);
    for object in &objects {
        let delivery = archive.stored().into_iter().find(|d| d.uid == object.uid()).unwrap();
        assert_eq!(delivery.object(), *object, "as it came");
    }
    assert!(
        router.events("verdict").iter().any(|e| e.to_string().contains("conflict")),
        "{:?}",
        router.events("verdict")
    );
}

#[test]
fn a_latecomer_inherits_the_verdict_of_its_series() {
    let archive = Archive::start();
    let Some(site) = Site::with_archive(archive.port) else { return };
    let router = site.start();
    let (series, study) = (uid(63, 2, 1), uid(63, 1, 1));
    let first = sample("knee-2").object.as_other(&uid(63, 3, 1), &series, &study, Some("ANKLE"));
    // By itself the second would be left alone: it cannot even be decoded.
    let mut second = Object::image(objects::CR, &uid(63, 3, 2), &series, &study, 16);
    second.set_text(BODY_PART, "CS", "ANKLE");
    second.remove(0x0028_0010);
    send(&router, std::slice::from_ref(&first));
    wait_for("the first arrives", || archive.uids().len() == 1);
    send(&router, std::slice::from_ref(&second));
    wait_for("the second arrives", || archive.uids().len() == 2);
    for object in [&first, &second] {
        let delivery = archive.stored().into_iter().find(|d| d.uid == object.uid()).unwrap();
        judge("of one series", object, &delivery.object(), "KNEE");
    }
}

#[test]
fn an_image_that_cannot_be_decoded_is_not_held_back() {
    let archive = Archive::start();
    let Some(site) = Site::with_archive(archive.port) else { return };
    let router = site.start();
    let mut broken = Object::image(objects::CR, &uid(64, 3, 1), &uid(64, 2, 1), &uid(64, 1, 1), 64);
    broken.set(0x7FE0_0010, "OW", &[0; 10]);
    let mut without = Object::image(objects::CR, &uid(64, 3, 2), &uid(64, 2, 2), &uid(64, 1, 1), 64);
    without.remove(0x7FE0_0010);
    send(&router, &[broken.clone(), without.clone()]);
    wait_for("both arrive", || archive.uids().len() == 2);
    for delivery in archive.stored() {
        assert!([&broken, &without].contains(&&delivery.object()), "as it came");
    }
    assert!(router.events("verdict").iter().any(|e| e.to_string().contains("undecodable")));
}

#[test]
fn the_same_instance_sent_twice_is_delivered_and_told() {
    let archive = Archive::start();
    let Some(site) = Site::with_archive(archive.port) else { return };
    let router = site.start();
    let object = Object::slice(65, 1);
    send(&router, std::slice::from_ref(&object));
    send(&router, std::slice::from_ref(&object));
    wait_for("it is told twice that it came", || router.events("received").len() == 2);
    wait_for("the queue is empty", || {
        !archive.stored().is_empty() && site.json(&["queue", "list", "--json"]).is_empty()
    });
    assert!(archive.stored().iter().all(|d| d.object() == object));
}
