//! Several requests in flight (PS3.7 D.3.3.3): matched by their Message IDs, and on any loss all that was not answered goes back,
//! counted and told once each.

use crate::node::*;
use crate::receivers::{self, answering, storescp};
use crate::scripted::{Conversation, End, scripted};
use radroute::ledger::DeliveryState;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// One association, a short timeout, and a destination that is not left alone for long.
fn one(port: u16, more: &str) -> String {
    destination("archive", port, &format!("max_associations = 1\n{more}")).replace("\"5s\"", "\"1s\"")
}

/// A node with so many instances for the destination, entered before it is served.
async fn node(port: u16, more: &str, count: u32) -> (Node, Vec<Sample>) {
    let node = Node::start(config(&[]));
    let samples: Vec<Sample> = (0..count).map(|number| radiograph(number, 12)).collect();
    for sample in &samples {
        node.put(sample, None, &["archive"]).await;
    }
    node.config.send(config(&[one(port, more)])).unwrap();
    (node, samples)
}

/// How often each kind of attempt was told.
async fn told(node: &Node, sample: &Sample) -> BTreeMap<String, usize> {
    let mut told = BTreeMap::new();
    for kind in node.kinds(sample).await {
        if ["delivered", "retry", "dead"].contains(&kind.as_str()) {
            *told.entry(kind).or_default() += 1;
        }
    }
    told
}

fn counts(of: &[(&str, usize)]) -> BTreeMap<String, usize> {
    of.iter().map(|(kind, count)| (kind.to_string(), *count)).collect()
}

/// Takes the rest and answers at once.
fn oblige(c: &mut Conversation, count: usize) {
    for _ in 0..count {
        let (id, _) = c.store();
        c.answer(id, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_as_granted_are_in_flight_and_each_gets_its_own_answer() {
    let refused = radiograph(2, 12).uid;
    let (port, ends) = scripted(Some(4), move |_, c| {
        assert_eq!(c.proposed, Some(vec![0, 8, 0, 1]), "the default is proposed");
        for _ in 0..3 {
            let four = c.stores(4);
            c.silence();
            for (id, uid) in four.into_iter().rev() {
                c.answer(id, if uid == refused { 0xC000 } else { 0 });
            }
        }
    });
    let (node, samples) = node(port, "", 12).await;
    for (number, sample) in samples.iter().enumerate() {
        let wanted = if number == 2 { DeliveryState::Dead } else { DeliveryState::Delivered };
        assert_eq!(node.state(sample, "archive", wanted).await.attempts, 1);
    }
    node.stop().await;
    assert_eq!(ends.recv().unwrap(), End::Released);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_than_wanted_are_in_flight_and_who_wants_one_does_not_ask() {
    for (more, proposed, room) in [("max_outstanding = 3", Some(vec![0, 3, 0, 1]), 3), ("max_outstanding = 1", None, 1)]
    {
        // 0: any number
        let (port, ends) = scripted(Some(0), move |_, c| {
            assert_eq!(c.proposed, proposed);
            let some = c.stores(room);
            c.silence();
            some.into_iter().for_each(|(id, _)| c.answer(id, 0));
            oblige(c, 6 - room);
        });
        let (node, samples) = node(port, more, 6).await;
        for sample in &samples {
            assert_eq!(node.state(sample, "archive", DeliveryState::Delivered).await.attempts, 1);
        }
        node.stop().await;
        assert_eq!(ends.recv().unwrap(), End::Released);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_grants_nothing_gets_one_at_a_time() {
    let (port, ends) = scripted(None, |_, c| {
        let (id, _) = c.store();
        c.silence();
        c.answer(id, 0);
        oblige(c, 3);
    });
    let (node, samples) = node(port, "", 4).await;
    for sample in &samples {
        assert_eq!(node.state(sample, "archive", DeliveryState::Delivered).await.attempts, 1);
    }
    node.stop().await;
    assert_eq!(ends.recv().unwrap(), End::Released);
}

/// A peer that answers what was not asked, or twice, or says something else: what it has answered before stands, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_to_nothing_ends_the_association_and_marks_nothing() {
    for how in ["twice", "unasked"] {
        let answered = Arc::new(Mutex::new(String::new()));
        let first = answered.clone();
        let (port, ends) = scripted(Some(4), move |connection, c| {
            if connection > 0 {
                return oblige(c, 3);
            }
            let four = c.stores(4);
            first.lock().unwrap().clone_from(&four[1].1);
            c.answer(four[1].0, 0);
            c.answer(if how == "twice" { four[1].0 } else { 999 }, 0);
        });
        let (node, samples) = node(port, "", 4).await;
        for sample in &samples {
            let life = node.state(sample, "archive", DeliveryState::Delivered).await;
            let once = sample.uid == *answered.lock().unwrap();
            assert_eq!(life.attempts, if once { 1 } else { 2 }, "{how}: {}", sample.uid);
            let wanted = if once { counts(&[("delivered", 1)]) } else { counts(&[("delivered", 1), ("retry", 1)]) };
            assert_eq!(told(&node, sample).await, wanted, "{how}");
        }
        node.stop().await;
        assert_eq!([ends.recv().unwrap(), ends.recv().unwrap()], [End::Aborted, End::Released], "{how}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_never_answered_goes_back_once_each() {
    let (port, ends) = scripted(Some(4), |connection, c| {
        if connection > 0 {
            return oblige(c, 4);
        }
        c.stores(4);
    });
    let (node, samples) = node(port, "", 4).await;
    for sample in &samples {
        assert_eq!(node.state(sample, "archive", DeliveryState::Delivered).await.attempts, 2);
        assert_eq!(told(&node, sample).await, counts(&[("delivered", 1), ("retry", 1)]));
        let events = node.ledger.events_of(&sample.uid).await.unwrap();
        let why = &events.iter().find(|event| event.kind == "retry").unwrap().detail["detail"];
        assert!(why.as_str().unwrap().contains("waiting for the response"), "{why}");
    }
    node.stop().await;
    assert_eq!(ends.recv().unwrap(), End::Aborted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_goes_takes_no_answer_back_and_gives_none() {
    let answered = Arc::new(Mutex::new(Vec::new()));
    let some = answered.clone();
    let (port, _ends) = scripted(Some(4), move |connection, c| {
        if connection > 0 {
            return oblige(c, 4);
        }
        let four = c.stores(4);
        for (id, uid) in [&four[3], &four[1]] {
            some.lock().unwrap().push(uid.clone());
            c.answer(*id, 0);
        }
        // the next two come once both answers are heard, and then the connection goes
        c.stores(2);
        c.close();
    });
    let (node, samples) = node(port, "", 6).await;
    let mut lost = 0;
    for sample in &samples {
        let life = node.state(sample, "archive", DeliveryState::Delivered).await;
        if answered.lock().unwrap().contains(&sample.uid) {
            assert_eq!((life.attempts, told(&node, sample).await), (1, counts(&[("delivered", 1)])));
        } else {
            let retries = life.attempts as usize - 1;
            assert!(retries <= 1, "{}: {retries}", sample.uid);
            lost += retries;
            let wanted = if retries == 0 { vec![("delivered", 1)] } else { vec![("delivered", 1), ("retry", 1)] };
            assert_eq!(told(&node, sample).await, counts(&wanted));
        }
    }
    assert_eq!(lost, 4);
    node.stop().await;
}

/// A file that is shorter than it was is found out before anything of it goes out: the association goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_was_cut_costs_the_others_nothing() {
    let (port, ends) = scripted(Some(4), |_, c| oblige(c, 3));
    let (node, samples) = cut_later(3 << 20).await;
    let file = spooled(&node, &samples[2]).await;
    file.set_len(file.metadata().unwrap().len() - 100).unwrap();
    node.config.send(config(&[one(port, "")])).unwrap();
    one_is_dead(&node, &samples).await;
    node.stop().await;
    assert_eq!(ends.recv().unwrap(), End::Released);
}

/// A file that is cut while it goes out: none of its PDUs is begun that cannot be ended, so the association ends with an A-ABORT. The
/// others are answered first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_fails_half_way_costs_the_others_nothing() {
    let failing: Arc<Mutex<Option<std::fs::File>>> = Arc::default();
    let cut = failing.clone();
    let (port, ends) = scripted(Some(4), move |connection, c| {
        if connection > 0 {
            return oblige(c, 1);
        }
        let two = c.stores(2);
        c.begins();
        // what is beyond this no socket holds yet
        cut.lock().unwrap().take().unwrap().set_len(60 << 20).unwrap();
        two.into_iter().for_each(|(id, _)| c.answer(id, 0));
    });
    let (node, samples) = cut_later(64 << 20).await;
    *failing.lock().unwrap() = Some(spooled(&node, &samples[2]).await);
    node.config.send(config(&[one(port, "")])).unwrap();
    one_is_dead(&node, &samples).await;
    node.stop().await;
    assert_eq!([ends.recv().unwrap(), ends.recv().unwrap()], [End::Aborted, End::Released]);
}

/// Four radiographs, the third of so many bytes.
async fn cut_later(length: usize) -> (Node, Vec<Sample>) {
    let node = Node::start(config(&[]));
    let mut samples: Vec<Sample> = (0..4).map(|number| radiograph(number, 12)).collect();
    samples[2].file.resize(length, 0);
    for sample in &samples {
        node.put(sample, None, &["archive"]).await;
    }
    (node, samples)
}

async fn spooled(node: &Node, sample: &Sample) -> std::fs::File {
    let row = node.ledger.instances_of(&sample.uid).await.unwrap().remove(0).row;
    std::fs::OpenOptions::new().write(true).open(node.spool.path(&row.spool_name).unwrap()).unwrap()
}

/// The third is damaged, the others arrive at the first attempt.
async fn one_is_dead(node: &Node, samples: &[Sample]) {
    let life = node.state(&samples[2], "archive", DeliveryState::Dead).await;
    assert!(life.detail.contains("damaged"), "{}", life.detail);
    for number in [0, 1, 3] {
        assert_eq!(node.state(&samples[number], "archive", DeliveryState::Delivered).await.attempts, 1, "{number}");
    }
}

/// dcmtk's storescp does not know the item; pynetdicom grants what it is told to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_receivers_with_and_without_a_window() {
    let mut receivers = Vec::new();
    if receivers::dcmtk() {
        receivers.push(storescp(None, &["+xa"]));
    }
    if receivers::pynetdicom() {
        receivers.push(answering(None, "0000", &["--window", "5"]));
        receivers.push(answering(None, "0000", &["--window", "0", "--sleep", "0.01"]));
    }
    for receiver in receivers {
        let node = Node::start(config(&[destination("archive", receiver.port, "")]));
        let samples: Vec<Sample> = (0..30).map(|number| radiograph(number, 12)).collect();
        for sample in &samples {
            node.put(sample, Some(sample.overlay()), &["archive"]).await;
        }
        for sample in &samples {
            assert_eq!(node.state(sample, "archive", DeliveryState::Delivered).await.attempts, 1);
            assert!(Sample::open(&receiver.file(&sample.uid).unwrap()).data_set() == sample.corrected());
        }
        node.stop().await;
    }
}

/// A router that receives grants a window, and answers in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_own_sink_grants_one() {
    use radroute::receive::sink::{Options, Sink};
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start(Options::new(([127, 0, 0, 1], 0).into(), folder.path())).await.unwrap();
    let peer = radroute::deliver::association::Peer {
        called_ae: "SINK".into(),
        calling_ae: "RADROUTE".into(),
        address: sink.local_addr().to_string(),
        timeout: std::time::Duration::from_secs(20),
        window: 8,
    };
    let need = radroute::deliver::contexts::Need::new(DX, EXPLICIT);
    let association = radroute::deliver::association::Association::request(&peer, &[need]).await.unwrap();
    assert_eq!(association.window(), 8);
    association.release().await;
    let node = Node::start(config(&[destination("archive", sink.local_addr().port(), "")]));
    let samples: Vec<Sample> = (0..40).map(|number| radiograph(number, 12)).collect();
    for sample in &samples {
        node.put(sample, Some(sample.overlay()), &["archive"]).await;
    }
    for sample in &samples {
        assert_eq!(node.state(sample, "archive", DeliveryState::Delivered).await.attempts, 1);
        let file = folder.path().join(format!("{}.dcm", sample.uid));
        assert!(Sample::open(&file).data_set() == sample.corrected());
    }
    assert_eq!(sink.stored(), 40);
    node.stop().await;
    sink.stop().await;
}
