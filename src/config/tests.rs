use super::*;
use crate::anatomy::Region;
use crate::verdict::Kind;

const LEAST: &str = r#"
[node]
ae_title = "RADROUTE"
state_dir = "state"

[[destination]]
name = "archive"
ae_title = "ARCHIVE"
address = "127.0.0.1:11113"

[routing]
default = ["archive"]
"#;

/// (line, message) of every problem, with a mark before warnings.
fn problems(text: &str) -> Vec<(usize, String)> {
    let found = match Config::parse(text) {
        Ok(loaded) => loaded.warnings,
        Err(problems) => problems,
    };
    let mark = |p: &Problem| if p.severity == Severity::Warning { "warning: " } else { "" };
    found.iter().map(|p| (p.line, format!("{}{}", mark(p), p.message))).collect()
}

/// Asserts the problems of a text: (line, part of the message).
#[track_caller]
fn finds(text: &str, expected: &[(usize, &str)]) {
    let found = problems(text);
    let fits = found.len() == expected.len()
        && found.iter().zip(expected).all(|((line, message), (at, part))| line == at && message.contains(part));
    assert!(fits, "found {found:#?}\nexpected {expected:#?}");
}

/// [`LEAST`] with lines behind it: their numbers begin at 1.
#[track_caller]
fn finds_in(tail: &str, expected: &[(usize, &str)]) {
    let before = LEAST.lines().count();
    let expected: Vec<_> = expected.iter().map(|(line, part)| (line + before, *part)).collect();
    finds(&format!("{LEAST}{tail}"), &expected);
}

#[test]
fn the_least_configuration_has_the_documented_defaults() {
    let loaded = Config::parse(LEAST).unwrap();
    assert_eq!(loaded.warnings, []);
    let config = loaded.config;
    assert_eq!(config.listen.address.port(), 11112);
    assert_eq!(config.limits.max_instance.as_u64(), 2 << 30);
    assert_eq!(config.classify.settle, std::time::Duration::from_secs(2));
    assert_eq!(config.classify.regions, Region::ALL);
    assert_eq!((config.classify.mode, config.routing.by), (Mode::Correct, RoutingBy::Study));
    assert_eq!(config.destination[0].max_associations, 2);
}

#[test]
fn every_wrong_key_is_told_with_its_line_not_only_the_first() {
    let text = r#"[nod]
x = 1
[listen]
adress = "x"
max_associations = -3
[[destination]]
name = "a"
[[destination]]
name = 3
ae_title = "X"
address = "a:1"
retry = { frist = "1s" }
[classify]
settle = 2
mode = "corect"
regions = ["KNE"]
exempt = [{ modalty = ["X"] }]
[classify.same_as]
PELVS = ["X"]
[limits]
max_instance = "2 GIG"
[[route]]
name = "x"
to = "y"
finale = true
"#;
    finds(
        text,
        &[
            (1, "unknown key `nod`; did you mean `node`?"),
            (1, "[node] is missing"),
            (4, "unknown key `adress`; did you mean `address`?"),
            (5, "integer `-3`, expected a whole number"),
            (6, "`ae_title` is missing"),
            (9, "integer `3`, expected a string"),
            (12, "unknown key `frist`; did you mean `first`?"),
            (14, "integer `2`, expected a duration such as \"30s\""),
            (15, "unknown value `corect`; did you mean `correct`?"),
            (16, "unknown value `KNE`; did you mean `KNEE`?"),
            (17, "unknown key `modalty`; did you mean `modality`?"),
            (19, "unknown value `PELVS`; did you mean `PELVIS`?"),
            (21, "\"2 GIG\", expected a size such as"),
            (24, "string \"y\", expected a list"),
            (25, "unknown key `finale`; did you mean `final`?"),
        ],
    );
}

#[test]
fn what_is_no_toml_is_told_with_every_line() {
    let found = problems("[node\nae_title = \"X\"\n[listen]\naddress = = 3\n");
    assert!(found.len() >= 2, "{found:#?}");
    assert_eq!((found[0].0, found.last().map(|last| last.0)), (1, Some(4)));
}

#[test]
fn neighbours_are_parts_beside_the_region_and_what_they_drop_is_told() {
    let tail = r#"[classify.same_as]
PELVIS = ["HIP"]
[classify.neighbours]
PELVIS = ["HIP", "BECKEN", "", "OTHER", "QWERTY"]
ELBOW = ["FOREARM", "RADIUSULNA", "RADIUS", "ULNA", "HUMERUS", "UPPERARM", "ARM"]
HANDS = []
"#;
    finds_in(
        tail,
        &[
            (4, "\"BECKEN\" names PELVIS itself"),
            (4, "an empty tag is filled"),
            (4, "\"OTHER\" names no part"),
            (6, "unknown value `HANDS`"),
        ],
    );
    let tail = tail.replace("\"BECKEN\", \"\", \"OTHER\", ", "").replace("HANDS = []", "");
    finds_in(
        &tail,
        &[
            (4, "warning: \"HIP\" is one with PELVIS by classify.same_as"),
            (4, "warning: \"QWERTY\" is no part that is known"),
            (4, "warning: classify.neighbours.PELVIS takes the place of the default"),
        ],
    );
}

#[test]
fn neighbours_reach_the_rules_as_defined_terms() {
    let tail = "[classify.neighbours]\nKNEE = [\"l ankle\", \"PATELLA\"]\n";
    let config = Config::parse(&format!("{LEAST}{tail}")).unwrap().config;
    let rules = config.verdict_rules(&std::collections::BTreeMap::new());
    assert_eq!(rules.neighbours, [(Region::Knee, vec!["ANKLE", "PATELLA"])].into());
}

#[test]
fn harvest_is_off_by_default_and_its_cap_is_checked() {
    assert!(!Config::parse(LEAST).unwrap().config.harvest.enabled);
    finds_in("[harvest]\nenabled = true\nmax_images = 0\n", &[(3, "harvest.max_images must be at least 1")]);
    finds_in(
        "[harvest]\nmax_images = 2000000\n",
        &[(2, "warning: harvest.max_images: 2000000 thumbnails take some 100 GB")],
    );
    finds_in("[harvest]\nmax_image = 5\n", &[(2, "did you mean `max_images`?")]);
}

#[test]
fn a_key_twice_is_an_error() {
    finds_in("\n[log]\nlevel = \"info\"\nlevel = \"debug\"\n", &[(4, "duplicate key")]);
}

#[test]
fn a_table_that_lacks_a_key_is_told_once_and_the_next_is_read() {
    let tail = "[[route]]\nname = \"a\"\n[[route]]\nto = [\"archive\"]\n[[route]]\nname = \"c\"\nto = [\"nowhere\"]\n";
    finds_in(tail, &[(1, "`to` is missing"), (3, "`name` is missing"), (7, "no [[destination]] named \"nowhere\"")]);
}

#[test]
fn a_route_may_name_a_destination_that_is_wrong_in_itself() {
    let tail = "[[destination]]\nname = \"b\"\nport = 3\n[[route]]\nname = \"r\"\nto = [\"b\"]\n";
    finds_in(tail, &[(1, "`ae_title` is missing"), (3, "unknown key `port`")]);
}

#[test]
fn a_route_reads_all_its_keys() {
    let tail = r#"[[route]]
name = "all"
region = ["KNEE"]
verdict = ["corrected", "filled"]
modality = ["DX"]
sop_class = ["1.2.840.10008.5.1.4.1.1.1.1"]
calling_ae = ["XRAY*"]
called_ae = ["RADROUTE"]
station_name = ["Room ?"]
institution_name = ["*"]
study_description = ["*knee*"]
body_part_examined = [""]
to = ["archive"]
final = true
"#;
    let config = Config::parse(&format!("{LEAST}{tail}")).unwrap().config;
    let rule = &config.rules()[0];
    assert!(rule.last);
    assert_eq!(rule.matches.verdict, [Kind::Corrected, Kind::Filled]);
    for list in [
        &rule.matches.modality,
        &rule.matches.sop_class,
        &rule.matches.calling_ae,
        &rule.matches.called_ae,
        &rule.matches.station_name,
        &rule.matches.institution_name,
        &rule.matches.study_description,
        &rule.matches.body_part_examined,
    ] {
        assert_eq!(list.len(), 1);
    }
    assert!(config.router().is_ok());
}

#[test]
fn values_out_of_range() {
    let tail = r#"[listen]
max_associations = 0
[[peer]]
[[peer]]
network = "10.1.2.3/16"
[limits]
artim = "0s"
max_pdu = 100
max_instance = "1 MiB"
idle = "100years"
[classify]
settle = "2m"
secondary_capture = ["dx"]
exempt = [{ region = ["KNEE"] }, {}]
[classify.same_as]
PELVIS = ["HIP", "HAND", "BECKEN", ""]
[log]
level = "radroute=loud"
"#;
    finds_in(
        tail,
        &[
            (2, "at least 1"),
            (3, "needs an ae_title, a network"),
            (5, "warning: 10.1.2.3/16 has bits"),
            (7, "longer than nothing"),
            (8, "between 4096 and"),
            (9, "warning: limits.max_instance is below"),
            (10, "ten years"),
            (12, "settle is longer than classify.settle_max"),
            (13, "\"dx\" is no modality"),
            (14, "before there is a region"),
            (14, "warning: an exemption without any key"),
            (16, "\"HAND\" names HAND"),
            (16, "warning: \"BECKEN\" is known as PELVIS"),
            (16, "an empty tag is filled"),
            (18, "is no log filter"),
        ],
    );
}

#[test]
fn ae_titles() {
    for (title, wrong) in [
        ("", "1 to 16"),
        ("ABCDEFGHIJKLMNOPQ", "1 to 16"),
        (" A", "spaces around"),
        ("A\\\\B", "backslash"),
        ("Ä", "ASCII"),
        ("A\\tB", "ASCII"),
    ] {
        finds(&LEAST.replace("\"ARCHIVE\"", &format!("\"{title}\"")), &[(8, wrong)]);
    }
    for title in ["A", "ABCDEFGHIJKLMNOP", "A B", "a.b-c_d"] {
        finds(&LEAST.replace("\"ARCHIVE\"", &format!("\"{title}\"")), &[]);
    }
}

#[test]
fn addresses_and_loops() {
    for (address, wrong) in [
        ("archive", "is no address"),
        ("archive:0", "is no address"),
        ("archive:99999", "is no address"),
        (":104", "is no address"),
        ("::1:104", "is no address"),
        ("http://archive:104", "is no address"),
        ("127.0.0.1:11112", "every instance would come back"),
        ("localhost:11112", "every instance would come back"),
        ("[::1]:11112", "every instance would come back"),
        ("0.0.0.0:11112", "every instance would come back"),
    ] {
        finds(&LEAST.replace("127.0.0.1:11113", address), &[(9, wrong)]);
    }
    for address in ["archive:104", "archive.example.org:11112", "10.0.0.1:11112", "[2001:db8::1]:104", "pacs_1:104"] {
        finds(&LEAST.replace("127.0.0.1:11113", address), &[]);
    }
    finds(&LEAST.replace("\"ARCHIVE\"", "\"RADROUTE\""), &[(8, "warning: RADROUTE is an AE title of this router")]);
    let bound = "[listen]\naddress = \"10.0.0.1:11112\"\n";
    let to = |address: &str| format!("{}{bound}", LEAST.replace("127.0.0.1:11113", address));
    finds(&to("127.0.0.1:11112"), &[]);
    finds(&to("10.0.0.1:11112"), &[(9, "every instance would come back")]);
}

#[test]
fn destinations_that_are_double_unused_or_missing() {
    let tail = r#"[[destination]]
name = "archive"
ae_title = "OTHER"
address = "127.0.0.1:104"
retry = { first = "1h" }
[[destination]]
name = "idle"
ae_title = "ARCHIVE"
address = "127.0.0.1:11113"
max_associations = 0
max_outstanding = 65
"#;
    finds_in(
        tail,
        &[
            (2, "a destination \"archive\" stands in line 7 already"),
            (5, "retry.first is longer than retry.most"),
            (7, "warning: nothing goes to \"idle\""),
            (9, "warning: the same AE title and address as \"archive\""),
            (10, "at least 1"),
            (11, "max_outstanding must be 1"),
        ],
    );
    let none = "[node]\nae_title = \"R\"\nstate_dir = \"s\"\n";
    finds(none, &[(1, "warning: there is no [[destination]]")]);
    finds(
        &format!("{none}[routing]\ndefault = [\"x\", \"x\"]\n"),
        &[(1, "warning: there is no [[destination]]"), (5, "no [[destination]] named \"x\"")],
    );
}

#[test]
fn routes_that_lead_nowhere_or_never_match() {
    let tail = r#"[[route]]
name = "all"
to = ["archive"]
final = true
[[route]]
name = "all"
to = []
[[route]]
name = "odd"
region = ["KNEE"]
verdict = ["outside"]
calling_ae = ["XRAY2", "XRAY*"]
called_ae = ["OTHER"]
station_name = ["ok", "room["]
sop_class = ["CR"]
modality = ["C*"]
to = ["archive", "archive"]
[[peer]]
ae_title = "XRAY1"
"#;
    finds_in(
        tail,
        &[
            (5, "warning: route \"all\": never reached: \"all\" before it is final"),
            (6, "a route \"all\" stands in line 14 already"),
            (7, "nothing is dropped silently"),
            (8, "warning: route \"odd\": never reached"),
            (8, "warning: route \"odd\": never matches: a verdict outside names no region"),
            (12, "warning: \"XRAY2\" is not among the [[peer]]"),
            (13, "warning: nobody can call this router \"OTHER\""),
            (14, "\"room[\" is not a pattern"),
            (15, "\"CR\" is no SOP Class UID"),
            (16, "\"C*\" is no modality"),
            (17, "warning: \"archive\" is named twice"),
        ],
    );
}

#[test]
fn what_matches_no_route_must_have_somewhere_to_go() {
    let without = LEAST.replace("default = [\"archive\"]", "");
    let route = |more: &str| format!("{without}[[route]]\nname = \"r\"\nto = [\"archive\"]\n{more}");
    finds(&route("region = [\"KNEE\"]\n"), &[(11, "warning: no routing.default")]);
    finds(&route(""), &[]);
}

#[cfg(not(feature = "cuda"))]
#[test]
fn cuda_in_a_build_without_it_is_an_error() {
    finds_in("[classify]\ndevice = \"cuda\"\n", &[(2, "built without CUDA")]);
}

#[test]
fn precision_is_one_of_three_and_whole_numbers_are_for_the_cpu() {
    let of = |text: &str| Config::parse(&format!("{LEAST}[classify]\n{text}\n")).unwrap().config.classify.precision;
    assert_eq!([of(""), of("precision = \"auto\"")], [PrecisionChoice::Auto; 2]);
    assert_eq!(of("precision = \"f32\""), PrecisionChoice::F32);
    assert_eq!(of("precision = \"int8\"\ndevice = \"cpu\""), PrecisionChoice::Int8);
    finds_in("[classify]\nprecision = \"f16\"\n", &[(2, "f16")]);
    let both = problems(&format!("{LEAST}[classify]\ndevice = \"cuda\"\nprecision = \"int8\"\n"));
    assert!(both.iter().any(|(_, told)| told.contains("is for the CPU")), "{both:?}");
}

#[test]
fn what_a_reload_cannot_change() {
    let parse = |text: &str| Config::parse(text).unwrap().config;
    let old = parse(LEAST);
    assert_eq!(old.needs_restart(&old), [""; 0]);
    let reloadable = parse(&format!("{LEAST}[classify]\nmode = \"observe\"\n[limits]\nartim = \"10s\"\n"));
    assert_eq!(old.needs_restart(&reloadable), [""; 0]);
    let new = LEAST.replace("\"state\"", "\"elsewhere\"");
    let new = parse(&format!(
        "{new}[listen]\naddress = \"0.0.0.0:104\"\n[classify]\nmodel = \"m\"\ndevice = \"cpu\"\nprecision = \"f32\"\n\
         [metrics]\nlisten = \"127.0.0.1:9104\"\n"
    ));
    assert_eq!(
        old.needs_restart(&new),
        [
            "node.state_dir",
            "listen.address",
            "classify.model",
            "classify.device",
            "classify.precision",
            "metrics.listen"
        ]
    );
}

#[test]
fn a_file_that_is_not_there_or_not_text_is_an_error_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    let error = Config::load(&path).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}:0: cannot be read: ", path.display())), "{error}");
    std::fs::write(&path, b"[node]\nae_title = \"\xff\"\n").unwrap();
    let error = Config::load(&path).unwrap_err().to_string();
    assert!(error.contains("config.toml:2: not UTF-8"), "{error}");
    std::fs::write(&path, LEAST).unwrap();
    assert_eq!(Config::load(&path).unwrap(), Config::parse(LEAST).unwrap().config);
}

#[test]
fn the_shipped_configuration_is_right_and_shows_the_defaults() {
    let loaded = Config::parse(include_str!("../../config.toml")).unwrap();
    assert_eq!(loaded.warnings, []);
    let (shipped, defaults) = (loaded.config, Config::parse(LEAST).unwrap().config);
    assert_eq!(shipped.listen, defaults.listen);
    assert_eq!(shipped.limits, defaults.limits);
    assert_eq!(shipped.classify, defaults.classify);
    assert_eq!(shipped.destination, defaults.destination);
    assert_eq!((shipped.retention, shipped.log), (defaults.retention, defaults.log));
    assert_eq!(shipped.harvest, defaults.harvest);
}

#[test]
fn the_shipped_configuration_shows_the_default_neighbours() {
    let text = include_str!("../../config.toml");
    let begin = text.find("# [classify.neighbours]").unwrap();
    let commented = text[begin..].lines().map_while(|line| line.strip_prefix("# "));
    let table: String = commented.map(|line| format!("{line}\n")).collect();
    let loaded = Config::parse(&format!("{LEAST}{table}")).unwrap();
    assert_eq!(loaded.warnings, []);
    let rules = loaded.config.verdict_rules(&std::collections::BTreeMap::new());
    for region in Region::ALL {
        assert_eq!(rules.neighbours[&region], region.neighbours(), "{region:?}");
    }
}

#[test]
fn the_examples_are_right() {
    for text in [include_str!("../../docs/examples/observe.toml"), include_str!("../../docs/examples/hospital.toml")] {
        finds(text, &[]);
    }
}

proptest::proptest! {
    /// Whatever the text, there is an answer, and an error has at least one problem that is one.
    #[test]
    fn any_text_has_an_answer(cut in 0..LEAST.len(), junk in "[\\[\\]a-z=\"\n.{},0-9]{0,20}", length in 0usize..30) {
        let end = (cut + length).min(LEAST.len());
        let text = format!("{}{junk}{}", &LEAST[..cut], &LEAST[end..]);
        if let Err(problems) = Config::parse(&text) {
            proptest::prop_assert!(problems.iter().any(|p| p.severity == Severity::Error));
            proptest::prop_assert!(problems.iter().all(|p| p.line <= text.lines().count() + 1));
        }
    }
}
