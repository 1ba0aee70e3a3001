//! Each check finds a planted fault, and passes what is right.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::path::Path;

use codex_k8s_lint::arrows::{forbidden, modules_without_room};
use codex_k8s_lint::circles::{circles, counted, edges, problems};
use codex_k8s_lint::config::{AvoidedNames, CrateRules, Limits, Room, Rules};
use codex_k8s_lint::figures::Figures;
use codex_k8s_lint::findings::{Difference, Findings};
use codex_k8s_lint::functions::{distribution, functions, long_functions};
use codex_k8s_lint::repository::{Crate, Repository};
use codex_k8s_lint::source::Source;
use codex_k8s_lint::summaries::{doc_lines, question_summaries};
use codex_k8s_lint::{identifiers, prose};

fn parse(path: &str, files: &[(&str, &str)]) -> Crate {
    let files = files.iter().map(|(file, text)| (format!("{path}/{file}"), (*text).to_owned())).collect();
    Crate::parse(path, &format!("demo_{path}"), &files).unwrap()
}

fn repository(files: &[(&str, &str)]) -> Repository {
    Repository { crates: vec![parse("app", files)], texts: BTreeMap::new() }
}

fn rules() -> Rules {
    toml::from_str(include_str!("../rules.toml")).unwrap()
}

/// The circles of a crate: the number of files of each, and the uses.
fn circles_of(files: &[(&str, &str)]) -> (Vec<usize>, Vec<String>) {
    let edges = counted(edges(&parse("app", files).tree));
    let found = circles(&edges);
    let uses = found.iter().flat_map(|circle| problems(circle, &edges));
    (found.iter().map(std::collections::BTreeSet::len).collect(), uses.map(|use_| use_.to_string()).collect())
}

mod circles_of_files {
    use super::*;

    #[test]
    fn two_files_that_use_each_other_are_a_circle_with_the_lines_of_the_uses() {
        let (sizes, uses) = circles_of(&[
            ("src/lib.rs", "mod a;\nmod b;\n"),
            ("src/a.rs", "use crate::b::B;\npub struct A(B);\n"),
            ("src/b.rs", "pub struct B;\nfn f() -> Option<crate::a::A> { None }\n"),
        ]);
        assert_eq!(sizes, [2]);
        assert!(uses[0].starts_with("app/src/a.rs:1: uses app/src/b.rs"), "{uses:?}");
        assert!(uses[1].starts_with("app/src/b.rs:2: uses app/src/a.rs"), "{uses:?}");
    }

    #[test]
    fn a_use_through_a_re_export_leads_to_the_file_that_defines_the_item() {
        let (sizes, uses) = circles_of(&[
            ("src/lib.rs", "mod room;\n"),
            ("src/room/mod.rs", "mod a;\nmod b;\npub use a::A;\n"),
            ("src/room/a.rs", "use super::b;\npub struct A(b::B);\n"),
            ("src/room/b.rs", "pub struct B;\nuse super::A;\n"),
        ]);
        assert_eq!(sizes, [2], "{uses:?}");
    }

    #[test]
    fn paths_inside_macros_and_groups_count() {
        let (sizes, _) = circles_of(&[
            ("src/lib.rs", "mod a;\nmod b;\n"),
            ("src/a.rs", "use crate::{b::{self}};\npub fn a() { b::b() }\n"),
            ("src/b.rs", "pub fn b() { println!(\"{:?}\", crate::a::a()) }\n"),
        ]);
        assert_eq!(sizes, [2]);
    }

    #[test]
    fn a_chain_is_no_circle_and_a_part_may_use_the_module_around_it() {
        let (sizes, uses) = circles_of(&[
            ("src/lib.rs", "mod a;\nmod b;\npub struct Shared;\n"),
            ("src/a.rs", "mod part;\npub struct A;\npub use part::Part;\n"),
            ("src/a/part.rs", "pub struct Part(super::A, crate::Shared);\n"),
            ("src/b.rs", "use crate::a::{A, Part};\n"),
        ]);
        assert!(sizes.is_empty(), "{uses:?}");
    }

    #[test]
    fn uses_in_tests_do_not_count() {
        let (sizes, uses) = circles_of(&[
            ("src/lib.rs", "mod a;\nmod b;\n"),
            ("src/a.rs", "use crate::b::B;\npub struct A(B);\n"),
            (
                "src/b.rs",
                "pub struct B;\n#[cfg(test)]\nmod tests;\n#[cfg(test)]\nmod more { use crate::a::A; }\n",
            ),
            ("src/b/tests.rs", "use crate::a::A;\n"),
        ]);
        assert!(sizes.is_empty(), "{uses:?}");
    }
}

mod arrows {
    use super::*;

    fn two_rooms() -> Rules {
        let room = |modules: &[&str], uses: &[&str]| Room {
            modules: modules.iter().map(ToString::to_string).collect(),
            uses: uses.iter().map(ToString::to_string).collect(),
        };
        let rooms =
            [("top".to_owned(), room(&["top"], &["base"])), ("base".to_owned(), room(&["base"], &[]))];
        let crates = vec![
            CrateRules { path: "app".to_owned(), rooms: rooms.into(), ..CrateRules::default() },
            CrateRules { path: "core".to_owned(), ..CrateRules::default() },
        ];
        Rules { crates, ..Rules::default() }
    }

    #[test]
    fn a_use_against_the_table_is_found_in_a_room_and_in_a_crate() {
        let app = parse(
            "app",
            &[
                ("src/lib.rs", "mod top;\nmod base;\n"),
                ("src/top.rs", "use crate::base::Base;\npub struct Top(Base);\n"),
                ("src/base.rs", "pub struct Base;\nuse crate::top::Top;\nuse demo_core::Core;\n"),
            ],
        );
        let core = parse("core", &[("src/lib.rs", "pub struct Core;\n")]);
        let found = forbidden(&Repository { crates: vec![app, core], texts: BTreeMap::new() }, &two_rooms());
        let names: Vec<_> = found.keys().map(String::as_str).collect();
        assert_eq!(names, ["app -> core", "app::base -> app::top"]);
        assert_eq!((found["app -> core"][0].line, found["app::base -> app::top"][0].line), (3, 2));
    }

    #[test]
    fn allowed_uses_pass_and_each_module_needs_a_room() {
        let app = repository(&[
            ("src/lib.rs", "mod top;\nmod base;\nmod attic;\n"),
            ("src/top.rs", "use crate::base::Base;\n"),
            ("src/base.rs", "pub struct Base;\n"),
            ("src/attic.rs", ""),
        ]);
        assert!(forbidden(&app, &two_rooms()).is_empty());
        let problems = modules_without_room(&app, &two_rooms());
        assert_eq!(problems.len(), 1);
        assert!(problems[0].message.starts_with("module attic is in no room"), "{}", problems[0]);
    }
}

mod text {
    use super::*;

    #[test]
    fn a_summary_that_begins_with_a_question_word_is_found_and_its_second_line_is_not_a_summary() {
        let text = "//! The module.\n//! What it does.\n\n/// What is told.\nfn f() {}\n/// Returns it.\nfn g() {}\n";
        let (problems, all) = question_summaries(&Source::parse("a.rs", text).unwrap(), &rules());
        assert_eq!((problems.len(), problems[0].line, all), (1, 4, 3));
        assert!(problems[0].message.contains("What is told."), "{}", problems[0]);
    }

    #[test]
    fn doc_comments_inside_macros_are_read() {
        let source = Source::parse("a.rs", "identifier! {\n    /// How it is.\n    Name\n}\n").unwrap();
        let lines = doc_lines(&source);
        assert_eq!((lines[0].line, lines[0].text.as_str(), lines[0].is_summary), (2, "How it is.", true));
    }

    #[test]
    fn avoided_prose_is_found_in_documents_and_doc_comments_but_not_inside_longer_ones() {
        let mut repository = repository(&[("src/lib.rs", "//! Nobody's fault.\n\n// nobody reads this\n")]);
        repository.texts.insert("README.md".to_owned(), "One\nall, save one; saved\n".to_owned());
        let found = prose::uses(&repository, &rules());
        let lines = |word: &str| found[word].iter().map(|p| (p.file.as_str(), p.line)).collect::<Vec<_>>();
        assert_eq!(lines("nobody"), [("app/src/lib.rs", 1)]);
        assert_eq!(lines("save"), [("README.md", 2)]);
        assert!(found["whoever"].is_empty());
    }
}

mod names {
    use super::*;

    fn uses(code: &str) -> BTreeMap<String, usize> {
        let names = ["place", "step_aside", "Sent"].map(ToOwned::to_owned).to_vec();
        let rules = Rules {
            names: vec![AvoidedNames { names, instead: "reservation".to_owned() }],
            ..Rules::default()
        };
        let found = identifiers::uses(&repository(&[("src/lib.rs", code)]), &rules);
        found.into_iter().map(|(word, problems)| (word, problems.len())).collect()
    }

    #[test]
    fn an_identifier_is_split_into_its_parts() {
        assert_eq!(identifiers::parts("NoPlace"), ["no", "place"]);
        assert_eq!(identifiers::parts("r#first_place2"), ["first", "place2"]);
        assert_eq!(identifiers::parts("MAX_JUMP"), ["max", "jump"]);
    }

    #[test]
    fn avoided_parts_sequences_and_whole_names_are_found() {
        let found = uses("struct NoPlace; fn step_aside(place: u8) { log!(place); } struct Sent;");
        assert_eq!(
            found,
            [("place", 3), ("step_aside", 1), ("Sent", 1)].map(|(w, n)| (w.to_owned(), n)).into()
        );
    }

    #[test]
    fn comments_strings_and_longer_names_pass() {
        let found =
            uses("/// A place.\nfn placement(sent: u8) -> &str { \"place\" } struct SentAt; fn step() {}");
        assert!(found.values().all(|count| *count == 0), "{found:?}");
    }
}

mod function_lengths {
    use super::*;

    #[test]
    fn a_function_is_counted_from_its_fn_line_to_its_closing_brace() {
        let text = "/// Doc.\n#[inline]\npub fn f(\n    a: u8,\n) {\n    a;\n}\nimpl A {\n    fn g() {}\n}\n";
        let source = Source::parse("a.rs", text).unwrap();
        let found: Vec<_> = functions(&source).into_iter().map(|f| (f.name, f.line, f.lines)).collect();
        assert_eq!(found, [("f".to_owned(), 3, 5), ("g".to_owned(), 9, 1)]);
        assert_eq!(long_functions(&source, 4).len(), 1);
        assert!(long_functions(&source, 5).is_empty());
    }

    #[test]
    fn the_distribution_has_median_and_ninetieth_percentile() {
        assert_eq!(distribution((1..=11).collect()), (6, 10, 11));
        assert_eq!(distribution(Vec::new()), (0, 0, 0));
    }
}

mod limits {
    use super::*;

    fn findings() -> Findings {
        let code = "/// What it is.\npub fn place() {}\n/// The door.\nfn b() {}\n/// The rest.\nfn c() {}\n";
        Findings::collect(&repository(&[("src/lib.rs", code)]), &rules())
    }

    #[test]
    fn the_present_figures_are_met_exactly() {
        let findings = findings();
        assert_eq!(findings.compare(&findings.figures), []);
        assert_eq!(findings.figures.names, [("place".to_owned(), 1)].into());
    }

    #[test]
    fn a_figure_above_its_limit_is_an_excess_with_its_problems() {
        let differences = findings().compare(&Limits { question_summaries: 34.0, ..Limits::default() });
        let [Difference::Excess { heading, problems }] = differences.as_slice() else {
            panic!("{differences:?}")
        };
        assert_eq!(heading, "names.place: 1, more than the limit 0 in tests/lint/limits.toml");
        assert_eq!(problems[0].line, 2);
    }

    #[test]
    fn a_limit_above_its_figure_should_be_lowered_and_the_percentage_by_more_than_one_point_only() {
        let findings = findings();
        let share = findings.figures.question_summaries;
        let with = |circles, question_summaries| {
            findings.compare(&Limits { circles, question_summaries, ..findings.figures.clone() })
        };
        let slack = |key: &str, figure: &str| Difference::Slack {
            key: key.to_owned(),
            advice: format!("lower the limit to {figure}"),
        };
        assert_eq!(with(2, share + 0.9), [slack("circles", "0")]);
        assert_eq!(with(0, share + 1.1), [slack("question_summaries", &share.to_string())]);
    }

    #[test]
    fn an_allowed_arrow_that_is_gone_should_be_removed() {
        let mut limits = findings().figures;
        limits.arrows.insert("app::a -> app::b".to_owned());
        let advice = "remove it from the arrows: there is no such use".to_owned();
        let expected = Difference::Slack { key: "app::a -> app::b".to_owned(), advice };
        assert_eq!(findings().compare(&limits), [expected]);
    }
}

#[test]
fn the_figures_leave_out_tests_comments_and_blank_lines() {
    let lib = "//! About quotas.\n\n// comment\npub struct A {\n    /// Doc.\n    a: u8,\n}\n\nimpl A {\n    pub fn a() {}\n}\n\
               pub(crate) fn b() {}\n#[cfg(test)]\nmod tests {\n    pub fn c() {}\n}\n";
    let repository = repository(&[("src/lib.rs", lib), ("tests/a.rs", "pub fn d() {}\n")]);
    let figures = Figures::count(&repository, &rules());
    assert_eq!(figures.public_items, 2);
    assert_eq!(figures.product_lines, [("app".to_owned(), 7)].into());
    assert_eq!(figures.quota_files, ["app/src/lib.rs".to_owned()].into());
    assert_eq!(figures.quota_folders, ["app/src".to_owned()].into());
}

#[test]
fn this_program_keeps_its_own_rules() {
    let crates = vec![CrateRules { path: "tests/lint".to_owned(), ..CrateRules::default() }];
    let rules = Rules { crates, ..rules() };
    let mut repository = Repository::read(Path::new("../.."), &rules).unwrap();
    assert!(repository.crates[0].sources.len() > 10, "the sources of this crate are found");
    repository.texts.clear();
    let findings = Findings::collect(&repository, &rules);
    assert_eq!(findings.compare(&Limits::default()), []);
}
