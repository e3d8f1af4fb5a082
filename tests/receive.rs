//! The receiving stage against a peer that speaks raw bytes: what is right is kept durably, what is wrong gets the right
//! status or abort and leaves nothing behind.

#[path = "support/receiving/mod.rs"]
mod support;

use dicom_ul::pdu::{AssociationRJ, AssociationRJResult, AssociationRJSource, Pdu};
use radroute::dimse::command::Command;
use radroute::verdict::Look;
use support::node::Node;
use support::object::{self, CR, DEFLATED, DX, EXPLICIT, IMPLICIT, JPEG_LOSSLESS, object};
use support::raw::{Got, Peer, VERIFICATION, pdu, pdv, request, store_rq};

fn node() -> Node {
    Node::start(|_| {})
}

#[test]
fn an_instance_is_kept_byte_for_byte_in_every_encoding() {
    let node = node();
    for (number, syntax) in [IMPLICIT, EXPLICIT, object::BIG_ENDIAN, DEFLATED, JPEG_LOSSLESS].into_iter().enumerate() {
        let object = object(number as u32).syntax(syntax).size(100, 70);
        let mut peer = Peer::for_object(node.addr, &object);
        assert_eq!(peer.store(&object), 0, "{syntax}");
        // what is answered 0000 is there before the release
        let [life] = &node.instances(&object.sop_instance)[..] else { panic!("not in the ledger: {syntax}") };
        let row = &life.row;
        assert_eq!(node.file(&row.spool_name)[row.dataset_offset as usize..], object.data_set(), "{syntax}");
        assert_eq!(row.facts.transfer_syntax_uid, syntax);
        assert_eq!(row.facts.series_instance_uid, object.series);
        assert_eq!((row.source.calling_ae.as_str(), row.source.called_ae.as_str()), ("XRAY1", "RADROUTE"));
        assert_eq!(row.source.peer, Some(std::net::IpAddr::from([127, 0, 0, 1])));
        let (meta, offset) =
            radroute::dataset::file_meta::read_file_meta(&mut std::io::Cursor::new(node.file(&row.spool_name)))
                .unwrap();
        assert_eq!((meta.transfer_syntax_uid.as_str(), offset), (syntax, row.dataset_offset));
        assert!(node.woken());
        peer.release();
    }
    assert_eq!(node.files().len(), 5);
    let association = node.event("association");
    assert_eq!((&association["outcome"], &association["received"]), (&"released".into(), &1.into()));
}

#[test]
fn what_is_never_to_be_looked_at_is_exempt_with_its_receipt() {
    let node = node();
    let (other, exempt) = (object(1).syntax(EXPLICIT), object(2).syntax(EXPLICIT));
    let mut peer = Peer::for_object(node.addr, &other);
    assert_eq!(peer.store(&other), 0);
    assert!(node.woken());
    node.reload(|config| config.classify.exempt.push(toml::from_str("calling_ae = [\"XRAY*\"]").unwrap()));
    assert_eq!(peer.store(&exempt), 0);
    assert!(node.woken());
    let look = |uid: &str| node.instances(uid)[0].row.look.clone();
    assert_eq!(look(&other.sop_instance), None);
    let reason = "excluded by classify.exempt".to_owned();
    assert_eq!(look(&exempt.sop_instance), Some(Look::Exempt { reason }));
    assert_eq!((node.events("received").len(), node.events("looked").len()), (2, 1));
    peer.release();
}

#[test]
fn a_c_echo_with_message_id_42_is_answered_with_42() {
    let node = node();
    let mut peer = Peer::associate(node.addr, &[(1, VERIFICATION, IMPLICIT)]);
    peer.echo(1, 42);
    peer.echo(1, 65535);
    peer.release();
}

#[test]
fn a_command_split_over_pdvs_and_pdus_is_put_together() {
    let node = node();
    let object = object(1);
    let mut peer = Peer::for_object(node.addr, &object);
    let command = store_rq(9, CR, &object.sop_instance).encode();
    let (a, b) = command.split_at(11);
    let (b, c) = b.split_at(30);
    peer.send(&pdu(4, &[pdv(1, 1, a), pdv(1, 1, b)].concat()));
    peer.send(&pdu(4, &pdv(1, 3, c)));
    peer.data(1, &object.data_set());
    assert_eq!(peer.store_status().0, 0);
}

#[test]
fn command_and_data_set_in_one_pdu_sent_byte_by_byte() {
    let node = node();
    let object = object(1).size(2, 2);
    let mut peer = Peer::for_object(node.addr, &object);
    let command = store_rq(9, CR, &object.sop_instance).encode();
    let data = object.data_set();
    let (a, b) = data.split_at(50);
    for byte in pdu(4, &[pdv(1, 3, &command), pdv(1, 0, a), pdv(1, 2, b)].concat()) {
        peer.send(&[byte]);
    }
    assert_eq!(peer.store_status().0, 0);
    let name = node.instances(&object.sop_instance)[0].row.spool_name.clone();
    assert!(node.file(&name).ends_with(&data));
}

#[test]
fn an_element_that_claims_two_gigabytes_is_answered_c000() {
    let node = node();
    let object = object(1);
    let mut data = object::DataSet { bytes: Vec::new(), explicit: true, big: false };
    data.header(0x0008, 0x0000, b"UN", 0x7FFF_FFFE);
    data.bytes.extend([0; 20]);
    let mut peer = Peer::for_object(node.addr, &object);
    peer.command(1, &store_rq(1, CR, &object.sop_instance));
    peer.data(1, &data.bytes);
    assert_eq!(peer.store_status().0, 0xC000);
    // the association lives on
    assert_eq!(peer.store(&object), 0);
    assert_eq!(node.files().len(), 1);
    assert_eq!(node.event("refused")["status"], "C000");
}

#[test]
fn a_truncated_or_senseless_data_set_is_answered_c000() {
    let node = node();
    for (number, syntax) in [EXPLICIT, IMPLICIT, DEFLATED, JPEG_LOSSLESS].into_iter().enumerate() {
        let object = object(number as u32).syntax(syntax);
        let data = object.data_set();
        let mut peer = Peer::for_object(node.addr, &object);
        for broken in [&data[..data.len() - 10], &data[..1], &[0xFF; 64][..], b"GET / HTTP/1.1\r\n\r\n"] {
            peer.command(1, &store_rq(1, CR, &object.sop_instance));
            peer.data(1, broken);
            assert_eq!(peer.store_status().0, 0xC000, "{syntax}, {} bytes", broken.len());
        }
    }
    node.assert_empty();
}

#[test]
fn an_empty_data_set_is_no_instance() {
    let node = node();
    let object = object(1);
    let mut peer = Peer::for_object(node.addr, &object);
    peer.command(1, &store_rq(1, CR, &object.sop_instance));
    peer.send(&pdu(4, &pdv(1, 2, &[])));
    assert!(matches!(peer.store_status().0, 0xA900 | 0xC000));
    node.assert_empty();
}

#[test]
fn a_uid_that_is_a_path_is_refused_and_not_sent_back() {
    let node = node();
    let object = object(1);
    let mut peer = Peer::for_object(node.addr, &object);
    for uid in ["../../x", "/tmp/x", "..", "1.2/../../../x", "", "1.2.3.4\n5", &"1".repeat(65)] {
        peer.command(1, &store_rq(1, CR, uid));
        peer.data(1, &object.data_set());
        let Command::CStoreRsp { status, sop_instance_uid, .. } = peer.response() else { panic!() };
        assert_eq!((status, sop_instance_uid.as_str()), (0x0117, ""), "{uid:?}");
    }
    node.assert_empty();
    assert!(!node.state_dir().parent().unwrap().join("x").exists());
    // the data set's own UID being a path is a mismatch
    let mut evil = object.clone();
    evil.sop_instance = "../../x".into();
    peer.command(1, &store_rq(1, CR, &object.sop_instance));
    peer.data(1, &evil.data_set());
    assert_eq!(peer.store_status().0, 0xA900);
    node.assert_empty();
}

#[test]
fn a_data_set_that_is_not_the_instance_announced_is_answered_a900() {
    let node = node();
    let object = object(1);
    let mut peer = Peer::for_object(node.addr, &object);
    peer.command(1, &store_rq(1, CR, "1.2.3.4"));
    peer.data(1, &object.data_set());
    assert_eq!(peer.store_status().0, 0xA900);
    let mut other = object.clone();
    other.sop_class = DX.into();
    peer.command(1, &store_rq(1, CR, &object.sop_instance));
    peer.data(1, &other.data_set());
    assert_eq!(peer.store_status().0, 0xA900);
    // announced on a context of another SOP class
    peer.command(1, &store_rq(1, DX, &object.sop_instance));
    peer.data(1, &other.data_set());
    assert_eq!(peer.store_status().0, 0x0122);
    // a C-STORE on the context of Verification
    peer.command(3, &store_rq(1, VERIFICATION, &object.sop_instance));
    peer.data(3, &object.data_set());
    assert_eq!(peer.store_status().0, 0x0122);
    node.assert_empty();
    assert_eq!(node.events("refused").len(), 4);
}

#[test]
fn other_requests_are_answered_0211_with_and_without_a_data_set() {
    let node = node();
    let object = object(1);
    let mut peer = Peer::for_object(node.addr, &object);
    // C-FIND with its identifier, N-GET without
    for (command_field, has_data_set) in [(0x0020, true), (0x0110, false)] {
        peer.command(1, &Command::Other { command_field, message_id: 77, has_data_set });
        if has_data_set {
            peer.data(1, &[8, 0, 0x52, 0, b'C', b'S', 0, 0]);
        }
        let Command::OtherRsp { command_field: answered, message_id, status, .. } = peer.response() else { panic!() };
        assert_eq!((answered, message_id, status), (command_field | 0x8000, 77, 0x0211));
    }
    peer.command(1, &Command::CancelRq { message_id: 77 });
    assert_eq!(peer.store(&object), 0);
    peer.release();
}

#[test]
fn an_instance_beyond_the_limit_is_answered_a700_and_the_next_is_taken() {
    let node = Node::start(|config| config.limits.max_instance = bytesize::ByteSize::kib(20));
    let (large, small) = (object(1).size(200, 200), object(2));
    let mut peer = Peer::for_object(node.addr, &large);
    assert_eq!(peer.store(&large), 0xA700);
    assert!(node.files().is_empty());
    assert_eq!(peer.store(&small), 0);
    peer.release();
    assert_eq!(node.files().len(), 1);
}

#[test]
fn a_disk_that_is_nearly_full_is_answered_a700_until_there_is_room() {
    let node = Node::start(|config| config.limits.min_free_disk = bytesize::ByteSize::pib(1000));
    let object = object(1).size(100, 100);
    let mut peer = Peer::for_object(node.addr, &object);
    for _ in 0..3 {
        assert_eq!(peer.store(&object), 0xA700);
    }
    node.assert_empty();
    node.reload(|config| config.limits.min_free_disk = bytesize::ByteSize::b(0));
    assert_eq!(peer.store(&object), 0);
    assert_eq!(node.files().len(), 1);
}

#[test]
fn what_the_ledger_cannot_enter_is_not_answered_0000_and_not_kept() {
    let node = node();
    let object = object(1);
    let mut peer = Peer::for_object(node.addr, &object);
    node.close_ledger();
    assert_eq!(peer.store(&object), 0xA700);
    node.assert_empty();
    // nothing of our insides goes out
    peer.command(1, &store_rq(1, CR, &object.sop_instance));
    peer.data(1, &object.data_set());
    assert_eq!(peer.store_status(), (0xA700, Some("out of resources".into())));
}

#[test]
fn an_association_that_ends_in_the_middle_leaves_nothing() {
    let node = node();
    let object = object(1).size(300, 300);
    let data = object.data_set();
    for end in ["abort", "close", "release", "garbage"] {
        let before = node.events("association").len();
        let mut peer = Peer::for_object(node.addr, &object);
        peer.command(1, &store_rq(1, CR, &object.sop_instance));
        peer.send(&pdu(4, &pdv(1, 0, &data[..50_000])));
        support::wait_until("a part in the spool", || !node.files().is_empty());
        match end {
            "abort" => peer.send(&[7, 0, 0, 0, 0, 4, 0, 0, 0, 0]),
            "close" => drop(peer),
            "release" => {
                peer.send(&[5, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
                peer.expect_abort(2);
            }
            _ => {
                peer.send(&[0x42; 100]);
                peer.expect_abort(1);
            }
        }
        support::wait_until("the end of the association", || node.events("association").len() > before);
        node.assert_empty();
    }
    let outcomes: Vec<_> = node.events("association").iter().map(|event| event["outcome"].clone()).collect();
    assert_eq!(outcomes, ["aborted", "closed", "violation", "violation"]);
}

#[test]
fn breaches_of_the_protocol_are_aborted_with_the_reason_of_the_standard() {
    let node = node();
    let object = object(1);
    let store = store_rq(1, CR, &object.sop_instance).encode();
    let echo = Command::CEchoRq { message_id: 1 }.encode();
    let rsp = Command::CEchoRsp { message_id: 1, status: 0 }.encode();
    let cases: [(&str, Vec<u8>, u8); 10] = [
        ("a PDU of a gigabyte", vec![4, 0, 0x40, 0, 0, 0], 6),
        ("a PDU beyond what was negotiated", pdu(4, &pdv(1, 3, &[0; 131_200])), 6),
        ("an unknown PDU", vec![0x99, 0, 0, 0, 0, 0], 1),
        ("a second A-ASSOCIATE-RQ", pdu(1, &[0; 80]), 2),
        ("an A-RELEASE-RP out of place", pdu(6, &[0; 4]), 2),
        ("data before a command", pdu(4, &pdv(1, 2, &[0; 8])), 5),
        ("a context that was not accepted", pdu(4, &pdv(5, 3, &echo)), 6),
        ("messages interleaved", pdu(4, &[pdv(1, 3, &store), pdv(3, 3, &echo)].concat()), 5),
        ("a response to nothing", pdu(4, &pdv(3, 3, &rsp)), 5),
        ("a fragment longer than its PDU", pdu(4, &[0, 0, 1, 0, 1, 3, 0, 0]), 6),
    ];
    for (name, bytes, reason) in cases {
        let mut peer = Peer::for_object(node.addr, &object);
        peer.try_send(&bytes);
        match peer.read() {
            Got::Pdu(7, body) => assert_eq!(body, [0, 0, 2, reason], "{name}"),
            got => panic!("{name}: {got:?}"),
        }
    }
    node.assert_empty();
}

#[test]
fn what_is_no_association_request_is_aborted() {
    let node = node();
    for (name, bytes, reason) in [
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), 1),
        ("P-DATA first", pdu(4, &pdv(1, 3, &[0; 8])), 2),
        ("an empty request", pdu(1, &[]), 6),
        ("a request of a megabyte", vec![1, 0, 0, 0x10, 0, 0], 6),
        ("a request with rubbish in it", pdu(1, &[0xEE; 200]), 6),
    ] {
        let mut peer = Peer::connect(node.addr);
        peer.try_send(&bytes);
        match peer.read() {
            Got::Pdu(7, body) => assert_eq!(body, [0, 0, 2, reason], "{name}"),
            got => panic!("{name}: {got:?}"),
        }
    }
    let even = Peer::connect(node.addr).request(&request(&[(2, CR, EXPLICIT)]));
    assert!(matches!(even, Pdu::AbortRQ { .. }), "{even:?}");
    support::wait_until("events", || node.events("aborted").len() == 6);
}

fn rejected(node: &Node, request: &dicom_ul::pdu::AssociationRQ) -> (AssociationRJResult, AssociationRJSource) {
    match Peer::connect(node.addr).request(request) {
        Pdu::AssociationRJ(AssociationRJ { result, source }) => (result, source),
        other => panic!("{other:?}"),
    }
}

#[test]
fn strangers_and_wrong_names_are_rejected() {
    use dicom_ul::pdu::AssociationRJServiceUserReason::{CalledAETitleNotRecognized, CallingAETitleNotRecognized};
    let node = Node::start(|config| {
        config.peer = vec![radroute::config::Peer {
            ae_title: Some("XRAY1".into()),
            network: Some("127.0.0.0/8".parse().unwrap()),
        }];
    });
    let mut asked = request(&[(1, CR, EXPLICIT)]);
    asked.called_ae_title = "SOMEBODY".into();
    let called = AssociationRJSource::ServiceUser(CalledAETitleNotRecognized);
    assert_eq!(rejected(&node, &asked), (AssociationRJResult::Permanent, called));
    asked.called_ae_title = "RADROUTE".into();
    asked.calling_ae_title = "STRANGER".into();
    let calling = AssociationRJSource::ServiceUser(CallingAETitleNotRecognized);
    assert_eq!(rejected(&node, &asked), (AssociationRJResult::Permanent, calling));
    assert_eq!(Peer::for_object(node.addr, &object(1)).store(&object(1)), 0);
    // a reload is for the next association
    node.reload(|config| config.peer.clear());
    assert!(matches!(Peer::connect(node.addr).request(&asked), Pdu::AssociationAC(_)));
    support::wait_until("events", || node.events("rejected").len() == 2);
}

#[test]
fn beyond_the_limits_the_reject_is_transient() {
    use dicom_ul::pdu::AssociationRJServiceProviderPresentationReason::LocalLimitExceeded;
    let limit = (AssociationRJResult::Transient, AssociationRJSource::ServiceProviderPresentation(LocalLimitExceeded));
    for (all, per_peer) in [(8, 1), (1, 8)] {
        let node = Node::start(|config| {
            config.listen.max_associations = all;
            config.listen.max_associations_per_peer = per_peer;
        });
        let asked = request(&[(1, CR, EXPLICIT)]);
        let mut first = Peer::for_object(node.addr, &object(1));
        assert_eq!(rejected(&node, &asked), limit);
        assert_eq!(rejected(&node, &asked), limit);
        // the one that stands is not disturbed, and its place is free once it is released
        assert_eq!(first.store(&object(1)), 0);
        first.release();
        Peer::for_object(node.addr, &object(2)).release();
        support::wait_until("events", || node.events("rejected").len() == 2);
    }
}

#[test]
fn silent_and_slow_peers_are_let_go() {
    let short = std::time::Duration::from_millis(200);
    // nothing after the connection, half a request: ARTIM
    let hasty = Node::start(|config| config.limits.artim = short);
    for sent in [&[][..], &[1, 0, 0, 0, 1][..]] {
        let mut peer = Peer::connect(hasty.addr);
        peer.send(sent);
        peer.expect_abort(0);
        assert_eq!(peer.read(), Got::Closed);
    }
    assert_eq!(hasty.events("aborted").len(), 2);
    // an association that goes quiet
    let hasty = Node::start(|config| {
        config.limits.idle = short;
        config.limits.artim = short;
    });
    let mut peer = Peer::for_object(hasty.addr, &object(1));
    peer.expect_abort(0);
    assert_eq!(peer.read(), Got::Closed);
    // quiet within a data set: nothing is left of it
    let mut peer = Peer::for_object(hasty.addr, &object(1));
    peer.command(1, &store_rq(1, CR, &object(1).sop_instance));
    peer.send(&pdu(4, &pdv(1, 0, &object(1).data_set())));
    peer.expect_abort(0);
    hasty.assert_empty();
    // a PDU that never ends although a byte comes now and then
    let hasty = Node::start(|config| config.limits.pdu = short);
    let mut peer = Peer::for_object(hasty.addr, &object(1));
    peer.send(&[4, 0, 0, 0, 0x10, 0]);
    let mut drip = peer.stream.try_clone().unwrap();
    let dripping = std::thread::spawn(move || {
        while std::io::Write::write_all(&mut drip, &[0]).is_ok() {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    });
    peer.expect_abort(0);
    peer.stream.shutdown(std::net::Shutdown::Both).unwrap();
    dripping.join().unwrap();
    assert_eq!(hasty.event("association")["outcome"], "timeout");
}

#[test]
fn stopping_lets_what_is_on_the_wire_end_and_then_aborts() {
    let mut node = node();
    let object = object(1).size(300, 300);
    let data = object.data_set();
    let mut busy = Peer::for_object(node.addr, &object);
    busy.command(1, &store_rq(1, CR, &object.sop_instance));
    busy.send(&pdu(4, &pdv(1, 0, &data[..50_000])));
    let mut idle = Peer::for_object(node.addr, &object);
    idle.echo(3, 1);
    node.begin_to_stop();
    support::wait_until("no longer listening", || std::net::TcpStream::connect(node.addr).is_err());
    idle.expect_abort(0);
    for (n, piece) in data[50_000..].chunks(40_000).enumerate() {
        std::thread::sleep(std::time::Duration::from_millis(300 * (n as u64 + 1)));
        let last = if 50_000 + (n + 1) * 40_000 >= data.len() { 2 } else { 0 };
        busy.send(&pdu(4, &pdv(1, last, piece)));
    }
    assert_eq!(busy.store_status().0, 0);
    busy.expect_abort(0);
    drop((busy, idle));
    node.stop();
    assert_eq!(node.instances(&object.sop_instance).len(), 1);
    let outcomes: Vec<_> = node.events("association").iter().map(|event| event["outcome"].clone()).collect();
    assert!(outcomes.iter().all(|outcome| outcome == "stopped"), "{outcomes:?}");
}

#[test]
fn stopping_has_an_end_even_if_a_peer_has_not() {
    let mut node = Node::start(|config| config.limits.drain = std::time::Duration::from_millis(100));
    let object = object(1);
    let mut peer = Peer::for_object(node.addr, &object);
    peer.command(1, &store_rq(1, CR, &object.sop_instance));
    peer.send(&pdu(4, &pdv(1, 0, &object.data_set())));
    support::wait_until("a part in the spool", || !node.files().is_empty());
    node.stop();
    peer.expect_abort(0);
    node.assert_empty();
}

#[test]
fn many_associations_at_once_lose_nothing() {
    let node = node();
    let addr = node.addr;
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                let mut peer = Peer::for_object(addr, &object(0));
                for n in 0..5 {
                    assert_eq!(peer.store(&object(thread * 100 + n)), 0);
                }
                peer.release();
            });
        }
    });
    assert_eq!(node.instances(&object(0).series).len(), 40);
    assert_eq!(node.files().len(), 40);
    let ids: std::collections::BTreeSet<_> =
        node.instances(&object(0).series).into_iter().map(|life| life.row.source.association).collect();
    assert_eq!(ids.len(), 8);
}
