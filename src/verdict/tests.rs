use super::*;
use proptest::prelude::*;

fn rules() -> Rules {
    Rules {
        thresholds: Region::ALL
            .iter()
            .map(|r| (r.term().to_string(), Threshold { accept: 0.9, reject: 0.3 }))
            .collect(),
        mode: Mode::Correct,
        regions: Region::ALL.into(),
        normalise_synonyms: false,
        same_as: BTreeMap::new(),
        neighbours: BTreeMap::new(),
    }
}

/// Probabilities of SHOULDER, ELBOW, HAND, PELVIS, KNEE.
fn scored(p: [f32; 5]) -> Look {
    let scores = Region::ALL.iter().zip(p).map(|(r, p)| (r.term().to_string(), p)).collect();
    Look::Scored { scores, model: "0".repeat(16), decode_ms: 1.0, classify_ms: 1.0 }
}

fn with_head(look: Look, head: &str, p: f32) -> Look {
    let Look::Scored { mut scores, model, decode_ms, classify_ms } = look else { panic!("not scored") };
    scores.insert(head.into(), p);
    Look::Scored { scores, model, decode_ms, classify_ms }
}

fn knee(p: f32) -> Look {
    scored([0.01, 0.01, 0.01, 0.01, p])
}

fn pelvis() -> Look {
    scored([0.01, 0.01, 0.01, 0.97, 0.01])
}

fn undecodable() -> Look {
    Look::Undecodable { reason: "truncated".into() }
}

fn exempt() -> Look {
    Look::Exempt { reason: "colour".into() }
}

/// Verdict of a series of (look, tag).
fn verdict(series: &[(Look, &str)], rules: &Rules) -> Verdict {
    let seen: Vec<_> =
        series.iter().map(|(look, tag)| Seen { look, tag, anatomic_region: None, signed: false }).collect();
    decide(&seen, rules, None)
}

/// Kind, region and what is written, for a series of (look, tag) in mode `correct`.
fn outcome(series: &[(Look, &str)]) -> (Kind, Option<Region>, Option<Region>) {
    let verdict = verdict(series, &rules());
    assert!(!verdict.reason.is_empty());
    (verdict.kind, verdict.region, verdict.write)
}

const KNEE: Option<Region> = Some(Region::Knee);

#[test]
fn one_image_beside_every_sort_of_tag() {
    for (tag, kind, write) in [
        ("KNEE", Kind::Confirmed, None),
        ("KNEE ", Kind::Confirmed, None),
        ("", Kind::Filled, KNEE),
        (" ", Kind::Filled, KNEE),
        ("CHEST", Kind::Corrected, KNEE),
        ("L HAND", Kind::Corrected, KNEE),
        ("FOOT", Kind::Corrected, KNEE),
        ("LEG", Kind::Corrected, KNEE),
        ("EXTREMITY", Kind::Corrected, KNEE),
        ("OTHER", Kind::Corrected, KNEE),
        ("XXXX", Kind::Corrected, KNEE),
        ("knee", Kind::Synonym, None),
        ("L KNEE", Kind::Synonym, None),
        ("GENOU", Kind::Synonym, None),
        ("PATELLA", Kind::Neighbour, None),
        ("TIB/FIB", Kind::Neighbour, None),
        ("QWERTY", Kind::Abstained, None),
        ("KNEE/HAND", Kind::Abstained, None),
    ] {
        assert_eq!(outcome(&[(knee(0.97), tag)]), (kind, KNEE, write), "{tag:?}");
    }
    for tag in ["HIP", "WHOLE SPINE", "BABYGRAM", "WHOLEBODY", "TRUNK"] {
        assert_eq!(outcome(&[(pelvis(), tag)]), (Kind::Neighbour, Some(Region::Pelvis), None), "{tag}");
    }
    assert_eq!(outcome(&[(knee(0.97), "WHOLEBODY")]), (Kind::Corrected, KNEE, KNEE));
}

#[test]
fn what_the_images_show_decides_whether_tags_are_looked_at() {
    let doubt = || knee(0.6);
    let none = || knee(0.1);
    let two = || scored([0.01, 0.01, 0.95, 0.01, 0.95]);
    for (series, kind) in [
        (vec![knee(0.9)], Kind::Corrected),
        (vec![knee(0.899)], Kind::Abstained),
        (vec![knee(0.3)], Kind::Abstained),
        (vec![knee(0.299)], Kind::Outside),
        (vec![none(), none()], Kind::Outside),
        (vec![none(), doubt()], Kind::Abstained),
        (vec![two()], Kind::Abstained),
        (vec![knee(0.99), two()], Kind::Abstained),
        (vec![knee(0.97), pelvis()], Kind::Conflict),
        (vec![knee(0.97), pelvis(), doubt()], Kind::Conflict),
        (vec![knee(0.97), none()], Kind::Conflict),
        // A weak view beside a strong one: only if they come to `accept` together.
        (vec![knee(0.99), knee(0.85)], Kind::Corrected),
        (vec![knee(0.99), doubt()], Kind::Abstained),
        // Another view that excludes the region, and doubts about another.
        (vec![knee(0.99), scored([0.5, 0.01, 0.01, 0.01, 0.1])], Kind::Abstained),
        (vec![undecodable()], Kind::Undecodable),
        (vec![undecodable(), undecodable()], Kind::Undecodable),
        (vec![undecodable(), knee(0.97)], Kind::Abstained),
        (vec![undecodable(), none()], Kind::Abstained),
        (vec![undecodable(), knee(0.97), pelvis()], Kind::Conflict),
        (vec![exempt()], Kind::Exempt),
        (vec![exempt(), undecodable()], Kind::Undecodable),
        (vec![exempt(), knee(0.97)], Kind::Exempt),
        (vec![], Kind::Abstained),
    ] {
        let series: Vec<_> = series.into_iter().map(|look| (look, "CHEST")).collect();
        let (found, _, write) = outcome(&series);
        assert_eq!(found, kind, "{series:?}");
        assert_eq!(write, (kind == Kind::Corrected).then_some(Region::Knee), "{series:?}");
    }
}

#[test]
fn tags_that_differ_within_a_series() {
    for (tags, kind, write) in [
        (vec!["KNEE", ""], Kind::Filled, KNEE),
        (vec!["L KNEE", ""], Kind::Filled, KNEE),
        (vec!["KNEE", "CHEST"], Kind::Corrected, KNEE),
        (vec!["", "CHEST"], Kind::Corrected, KNEE),
        (vec!["KNEE", "L KNEE"], Kind::Synonym, None),
        (vec!["", "PATELLA"], Kind::Neighbour, None),
        (vec!["CHEST", "PATELLA"], Kind::Neighbour, None),
        (vec!["", "QWERTY"], Kind::Abstained, None),
    ] {
        let series: Vec<_> = tags.iter().map(|tag| (knee(0.97), *tag)).collect();
        assert_eq!(outcome(&series), (kind, KNEE, write), "{tags:?}");
    }
}

#[test]
fn modes() {
    for (tags, correct, fill) in [
        (vec!["CHEST"], KNEE, None),
        (vec!["LEG"], KNEE, None),
        (vec![""], KNEE, KNEE),
        (vec!["", "KNEE"], KNEE, KNEE),
        (vec!["", "L KNEE"], KNEE, None),
        (vec!["KNEE"], None, None),
    ] {
        let series: Vec<_> = tags.iter().map(|tag| (knee(0.97), *tag)).collect();
        let in_mode = |mode| verdict(&series, &Rules { mode, ..rules() });
        assert_eq!(in_mode(Mode::Correct).write, correct, "{tags:?}");
        assert_eq!(in_mode(Mode::Fill).write, fill, "{tags:?}");
        assert_eq!(in_mode(Mode::Observe).write, None, "{tags:?}");
        assert_eq!(in_mode(Mode::Observe).kind, in_mode(Mode::Correct).kind);
        assert_eq!(in_mode(Mode::Observe).reason, in_mode(Mode::Correct).reason);
    }
}

#[test]
fn synonyms_are_normalised_when_asked() {
    let asked = Rules { normalise_synonyms: true, ..rules() };
    let found = verdict(&[(knee(0.97), "GENOU")], &asked);
    assert_eq!((found.kind, found.write), (Kind::Synonym, KNEE));
    let fill = Rules { mode: Mode::Fill, ..asked };
    assert_eq!(verdict(&[(knee(0.97), "GENOU")], &fill).write, None);
}

#[test]
fn what_the_site_takes_as_one_is_a_synonym() {
    let mut site = rules();
    site.same_as.insert(Region::Pelvis, vec!["HIP".into(), "BU 2E".into()]);
    for tag in ["HIP", "L HIP", "HÜFTE", "bu 2e"] {
        let found = verdict(&[(pelvis(), tag)], &site);
        assert_eq!((found.kind, found.write), (Kind::Synonym, None), "{tag}");
    }
    assert_eq!(verdict(&[(pelvis(), "SACRUM")], &site).kind, Kind::Neighbour);
    // It is declared for the pelvis alone.
    assert_eq!(verdict(&[(knee(0.97), "HIP")], &site).kind, Kind::Corrected);
    site.normalise_synonyms = true;
    assert_eq!(verdict(&[(pelvis(), "HIP")], &site).write, Some(Region::Pelvis));
}

#[test]
fn neighbours_are_what_the_site_says_for_the_regions_that_it_names() {
    let mut site = rules();
    site.neighbours.insert(Region::Knee, vec!["ANKLE", "LEG"]);
    for (tag, write) in [("ANKLE", None), ("L ANKLE", None), ("LEG", None), ("PATELLA", KNEE), ("FOOT", KNEE)] {
        let found = verdict(&[(knee(0.97), tag)], &site);
        let kind = if write.is_none() { Kind::Neighbour } else { Kind::Corrected };
        assert_eq!((found.kind, found.region, found.write), (kind, KNEE, write), "{tag}");
    }
    // The others keep what is so by default, and a code speaks as a tag does.
    assert_eq!(verdict(&[(pelvis(), "HIP")], &site).kind, Kind::Neighbour);
    let (look, ankle) = (knee(0.97), Code { value: "70258002".into(), scheme: "SCT".into() });
    let seen = [Seen { look: &look, tag: "", anatomic_region: Some(&ankle), signed: false }];
    assert_eq!(decide(&seen, &site, None).kind, Kind::Neighbour);
    assert_eq!(decide(&seen, &rules(), None).kind, Kind::Corrected);
    // What is one with a region is not next door to it.
    site.same_as.insert(Region::Knee, vec!["ANKLE".into()]);
    assert_eq!(verdict(&[(knee(0.97), "ANKLE")], &site).kind, Kind::Synonym);
    // No neighbours at all: everything else is another part.
    site.neighbours.insert(Region::Pelvis, vec![]);
    assert_eq!(verdict(&[(pelvis(), "HIP")], &site).kind, Kind::Corrected);
}

#[test]
fn a_neighbour_is_never_written_whatever_else_the_series_holds() {
    for region in Region::ALL {
        let p = Region::ALL.map(|r| if r == region { 0.97 } else { 0.01 });
        for neighbour in region.neighbours() {
            for other in ["", "CHEST", "LEG", region.term()] {
                let found = verdict(&[(scored(p), neighbour), (scored(p), other)], &rules());
                assert_eq!((found.kind, found.write), (Kind::Neighbour, None), "{neighbour} {other}");
            }
        }
    }
}

#[test]
fn a_placeholder_declared_is_that_word_alone() {
    let mut site = rules();
    site.same_as.insert(Region::Knee, vec!["OTHER".into()]);
    assert_eq!(verdict(&[(knee(0.97), "OTHER")], &site).kind, Kind::Synonym);
    assert_eq!(verdict(&[(knee(0.97), "XXXX")], &site).kind, Kind::Corrected);
}

#[test]
fn a_region_that_is_not_enabled_is_seen_and_never_written() {
    let mut site = rules();
    site.regions.remove(&Region::Knee);
    let found = verdict(&[(knee(0.97), "CHEST")], &site);
    assert_eq!((found.kind, found.region, found.write), (Kind::Corrected, KNEE, None));
    assert!(found.reason.contains("classify.regions"));
}

#[test]
fn a_signed_instance_keeps_its_series_as_it_came() {
    let (a, b) = (knee(0.97), knee(0.97));
    let seen = |signed| {
        [
            Seen { look: &a, tag: "", anatomic_region: None, signed: false },
            Seen { look: &b, tag: "", anatomic_region: None, signed },
        ]
    };
    assert_eq!(decide(&seen(false), &rules(), None).write, KNEE);
    let found = decide(&seen(true), &rules(), None);
    assert_eq!((found.kind, found.region, found.write), (Kind::Exempt, KNEE, None));
}

#[test]
fn further_heads_can_only_raise_doubt() {
    // A region that is likely but not accepted is a rival as well.
    for (head, p) in [("FOOT", 0.51), ("FOOT", 0.99), ("FOOT", f32::NAN), ("ELBOW", 0.6)] {
        assert_eq!(outcome(&[(with_head(knee(0.97), head, p), "")]).0, Kind::Abstained, "{head} {p}");
    }
    assert_eq!(outcome(&[(with_head(knee(0.97), "FOOT", 0.5), "")]).0, Kind::Filled);
    // Two weak views may not hide it.
    assert_eq!(outcome(&[(knee(0.99), ""), (with_head(knee(0.95), "FOOT", 0.96), "")]).0, Kind::Abstained);
    assert_eq!(outcome(&[(with_head(knee(0.01), "FOOT", 0.99), "")]).0, Kind::Outside);
}

#[test]
fn scores_or_thresholds_that_are_missing_or_no_numbers_are_doubt() {
    for p in [f32::NAN, f32::INFINITY, -1.0, 1.5] {
        assert_eq!(outcome(&[(knee(p), "")]).0, Kind::Abstained, "{p}");
        assert_eq!(outcome(&[(knee(0.99), ""), (knee(p), "")]).0, Kind::Abstained, "{p}");
    }
    let empty = Look::Scored { scores: BTreeMap::new(), model: String::new(), decode_ms: 0.0, classify_ms: 0.0 };
    assert_eq!(outcome(&[(empty, "")]).0, Kind::Abstained);
    let no_thresholds = Rules { thresholds: BTreeMap::new(), ..rules() };
    assert_eq!(verdict(&[(knee(0.99), "")], &no_thresholds).kind, Kind::Abstained);
    let mut zero = rules();
    zero.thresholds.insert("KNEE".into(), Threshold { accept: 0.0, reject: 0.0 });
    assert_eq!(verdict(&[(knee(0.99), "")], &zero).write, None);
}

#[test]
fn the_code_of_the_anatomic_region_speaks_where_the_tag_does_not() {
    let code =
        |value: &str| Code { value: value.into(), scheme: if value.starts_with('T') { "SRT" } else { "SCT" }.into() };
    for (tag, value, kind, write) in [
        ("", "72696002", Kind::Filled, KNEE),
        ("", "T-D9200", Kind::Filled, KNEE),
        // An item is there, but no short code: a long one, a URN.
        ("", "", Kind::Abstained, None),
        ("LEG", "", Kind::Abstained, None),
        ("KNEE", "", Kind::Confirmed, None),
        ("", "85562004", Kind::Corrected, KNEE),
        ("", "66019005", Kind::Corrected, KNEE),
        ("", "64234005", Kind::Neighbour, None),
        ("", "1234", Kind::Abstained, None),
        ("LEG", "1234", Kind::Abstained, None),
        ("CHEST", "1234", Kind::Corrected, KNEE),
        ("CHEST", "64234005", Kind::Neighbour, None),
        ("KNEE", "85562004", Kind::Confirmed, None),
        ("GENOU", "64234005", Kind::Neighbour, None),
    ] {
        let (look, code) = (knee(0.97), code(value));
        let seen = [Seen { look: &look, tag, anatomic_region: Some(&code), signed: false }];
        let found = decide(&seen, &rules(), None);
        assert_eq!((found.kind, found.write), (kind, write), "{tag:?} {value}");
    }
    let (look, code) = (knee(0.97), code("85562004"));
    let seen = [Seen { look: &look, tag: "", anatomic_region: Some(&code), signed: false }];
    assert_eq!(decide(&seen, &Rules { mode: Mode::Fill, ..rules() }, None).write, None);
}

fn late(look: &Look, tag: &str, verdict: &Verdict, rules: &Rules) -> Inherits {
    inherit(verdict, &Seen { look, tag, anatomic_region: None, signed: false }, rules)
}

#[test]
fn a_verdict_that_is_there_stays_whatever_comes() {
    let first = verdict(&[(knee(0.97), "CHEST")], &rules());
    for (look, mode) in [(pelvis(), Mode::Correct), (knee(0.97), Mode::Observe), (exempt(), Mode::Fill)] {
        let seen = [Seen { look: &look, tag: "", anatomic_region: None, signed: false }];
        assert_eq!(decide(&seen, &Rules { mode, ..rules() }, Some(&first)), first);
    }
}

#[test]
fn a_latecomer_inherits_unless_it_shows_something_else() {
    let first = verdict(&[(knee(0.97), "CHEST")], &rules());
    let two = scored([0.01, 0.01, 0.95, 0.01, 0.95]);
    for look in [knee(0.97), knee(0.6), knee(0.3), undecodable(), two, with_head(knee(0.95), "FOOT", 0.99)] {
        assert_eq!(late(&look, "CHEST", &first, &rules()), Inherits::Region(Region::Knee), "{look:?}");
    }
    let hand_and_doubt = scored([0.01, 0.01, 0.95, 0.01, 0.6]);
    for look in [pelvis(), hand_and_doubt, knee(0.299), exempt()] {
        let Inherits::LeftAlone(why) = late(&look, "CHEST", &first, &rules()) else { panic!("{look:?}") };
        assert!(why.starts_with("a latecomer that shows something else: "), "{why}");
    }
    let confirmed = verdict(&[(knee(0.97), "KNEE")], &rules());
    assert_eq!(late(&knee(0.97), "CHEST", &confirmed, &rules()), Inherits::Nothing);
    assert_eq!(late(&pelvis(), "CHEST", &confirmed, &rules()), Inherits::Nothing);
}

#[test]
fn a_latecomer_is_written_as_the_rules_of_today_allow() {
    let [correct, fill, observe] = [Mode::Correct, Mode::Fill, Mode::Observe].map(|mode| Rules { mode, ..rules() });
    let no_knee = Rules { regions: BTreeSet::from([Region::Hand]), ..rules() };
    let corrected = verdict(&[(knee(0.97), "CHEST")], &correct);
    let filled = verdict(&[(knee(0.97), "")], &correct);
    let only_filled = verdict(&[(knee(0.97), "CHEST")], &fill);
    let observed = verdict(&[(knee(0.97), "")], &observe);
    assert_eq!((only_filled.write, observed.write), (None, None));
    let written = Inherits::Region(Region::Knee);
    let alone = |found: Inherits| matches!(found, Inherits::LeftAlone(_));
    let look = knee(0.97);
    for forbidding in [&observe, &no_knee] {
        assert!(alone(late(&look, "CHEST", &corrected, forbidding)));
        assert!(alone(late(&look, "", &filled, forbidding)));
    }
    // Each instance for itself, and no value that is there changes.
    for series in [&corrected, &filled] {
        assert_eq!(late(&look, "", series, &fill), written);
        assert_eq!(late(&look, "KNEE", series, &fill), written);
        assert!(alone(late(&look, "CHEST", series, &fill)));
        assert!(alone(late(&look, "L KNEE", series, &fill)));
    }
    // A series that fill left alone is left alone by fill, and corrected once the mode is.
    assert_eq!(late(&look, "", &only_filled, &fill), Inherits::Nothing);
    assert_eq!(late(&look, "", &only_filled, &correct), written);
    // Observing froze nothing.
    assert_eq!(late(&look, "", &observed, &observe), Inherits::Nothing);
    assert_eq!(late(&look, "", &observed, &correct), written);
    let asked = Rules { normalise_synonyms: true, ..rules() };
    let synonym = verdict(&[(look.clone(), "GENOU")], &asked);
    assert_eq!(late(&look, "GENOU", &synonym, &asked), written);
    assert!(alone(late(&look, "GENOU", &synonym, &correct)));
}

#[test]
fn names_of_kinds_are_those_of_the_configuration() {
    for kind in Kind::ALL {
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
    }
}

prop_compose! {
    fn any_look()(sort in 0..12u8, p in proptest::array::uniform5(prop_oneof![0.0f32..=0.3, 0.0f32..=1.0, Just(0.9), Just(0.97)]), one in 0..5usize, foot in 0.0f32..=1.0) -> Look {
        match sort {
            0 => undecodable(),
            1 => exempt(),
            2..=4 => scored(p),
            5 => with_head(scored(p), "FOOT", foot),
            6 => knee(0.05),
            _ => {
                let mut p = p.map(|p| p * 0.3);
                p[one % 2] = 0.9 + 0.1 * foot;
                scored(p)
            }
        }
    }
}

fn any_tag() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        3 => Just(""), 2 => Just("SHOULDER"), 1 => Just("ELBOW"), 1 => Just("L SHOULDER"), 1 => Just("HUMERUS"),
        1 => Just("CHEST"), 1 => Just("ARM"), 1 => Just("QWERTY"), 1 => Just("KNEE"),
    ]
}

fn any_rules() -> impl Strategy<Value = Rules> {
    (
        prop_oneof![3 => Just(Mode::Correct), 1 => Just(Mode::Fill), 1 => Just(Mode::Observe)],
        any::<bool>(),
        0.5f32..0.99,
        0.0f32..0.5,
    )
        .prop_map(|(mode, normalise_synonyms, accept, reject)| {
            let thresholds = Region::ALL.iter().map(|r| (r.term().to_string(), Threshold { accept, reject })).collect();
            Rules { mode, normalise_synonyms, thresholds, ..rules() }
        })
}

type Series = Vec<(Look, &'static str, bool)>;

fn any_series() -> impl Strategy<Value = Series> {
    proptest::collection::vec((any_look(), any_tag(), prop_oneof![9 => Just(false), 1 => Just(true)]), 0..5)
}

fn decided(series: &Series, rules: &Rules) -> Verdict {
    let seen: Vec<_> =
        series.iter().map(|(look, tag, signed)| Seen { look, tag, anatomic_region: None, signed: *signed }).collect();
    decide(&seen, rules, None)
}

/// The highest probability of a region in a series.
fn most(series: &Series, region: Region) -> f32 {
    let of = |look: &Look| match look {
        Look::Scored { scores, .. } => scores[region.term()],
        _ => 0.0,
    };
    series.iter().map(|(look, ..)| of(look)).fold(0.0, f32::max)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn writes_only_where_it_may(series in any_series(), rules in any_rules()) {
        let found = decided(&series, &rules);
        if let Some(region) = found.write {
            prop_assert_eq!(found.region, Some(region));
            prop_assert!(rules.mode != Mode::Observe);
            let allowed = match found.kind {
                Kind::Filled => true,
                Kind::Corrected => rules.mode == Mode::Correct,
                Kind::Synonym => rules.mode == Mode::Correct && rules.normalise_synonyms,
                _ => false,
            };
            prop_assert!(allowed, "{:?}", found);
            prop_assert!(most(&series, region) >= rules.thresholds[region.term()].accept);
            let touched = |(look, _, signed): &(Look, _, bool)| matches!(look, Look::Scored { .. }) && !signed;
            prop_assert!(series.iter().all(touched), "wrote to what was not seen or is signed");
            if rules.mode == Mode::Fill {
                prop_assert!(series.iter().all(|(_, tag, _)| tag.is_empty() || *tag == region.term()));
            }
        }
        prop_assert!(found.region.is_none() || found.kind.can_have_region());
    }

    #[test]
    fn the_order_of_arrival_does_not_matter(series in any_series(), rules in any_rules(), seed in any::<u64>()) {
        let mut other = series.clone();
        for i in (1..other.len()).rev() {
            other.swap(i, (seed.rotate_left(i as u32) % (i as u64 + 1)) as usize);
        }
        prop_assert_eq!(decided(&series, &rules), decided(&other, &rules));
    }

    #[test]
    fn a_doubt_more_never_makes_a_write(series in any_series(), rules in any_rules(), doubt in 0..5u8, p in 0.0f32..1.0, which in any::<usize>()) {
        prop_assume!(!series.is_empty());
        let before = decided(&series, &rules);
        let accept = rules.thresholds["KNEE"].accept;
        let look = match doubt {
            0 => undecodable(),
            1 => exempt(),
            2 => knee(0.0),
            3 => scored([p.min(accept * 0.999); 5]),
            _ => scored([1.0; 5]),
        };
        let mut with_doubt = series.clone();
        with_doubt.push((look, series[which % series.len()].1, doubt == 3 && p < 0.1));
        if before.write.is_none() {
            prop_assert_eq!(decided(&with_doubt, &rules).write, None);
        }
    }
}
