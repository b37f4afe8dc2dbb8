//! README against the repository: its length, the files that it links, and the numbers that it gives of the sources.

use std::fs;
use std::path::{Path, PathBuf};

const README: &str = include_str!("../../README.md");

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Lines of a file below the top directory.
fn lines(path: &str) -> usize {
    fs::read_to_string(top().join(path)).unwrap_or_else(|error| panic!("{path}: {error}")).lines().count()
}

/// README may be out of date by this part of a number, or by ten lines of a small file.
const PART: usize = 20;

fn check(what: &str, said: &str, is: usize) {
    let said: usize = said.replace(',', "").parse().unwrap_or_else(|_| panic!("README: {said} lines of {what}"));
    assert!(said.abs_diff(is) <= (is / PART).max(10), "README says {said} lines of {what}, but there are {is}");
}

/// The cells of each row of the table on the trust boundary: file, lines, bytes, fuzz target, tests.
fn boundary() -> Vec<Vec<&'static str>> {
    let (_, table) = README.split_once("### Trust boundary\n").expect("a chapter");
    let table = table.split("\n## ").next().unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `src/"));
    rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

/// What stands between backquotes.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[test]
fn at_most_450_lines() {
    let lines = README.lines().count();
    assert!(lines <= 450, "README has {lines} lines");
}

#[test]
fn every_link_leads_to_a_file() {
    let links = README.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    let pictures = README.split("src=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let files: Vec<_> = links.chain(pictures).filter(|to| !to.is_empty() && !to.starts_with("http")).collect();
    assert!(files.len() > 10, "{files:?}");
    for file in files {
        assert!(top().join(file).is_file(), "README links {file}");
    }
}

#[test]
fn trust_boundary() {
    let rows = boundary();
    assert!(rows.len() > 10, "{rows:#?}");
    let mut targets: Vec<PathBuf> = Vec::new();
    for row in rows {
        let [file, said, bytes, fuzz, tests] = row[..] else { panic!("five cells in {row:?}") };
        let file = file.trim_matches('`');
        check(file, said, lines(file));
        assert!(!bytes.is_empty(), "{file}: which bytes");
        targets.extend(quoted(fuzz).map(|name| top().join(format!("tests/fuzz/fuzz_targets/{name}.rs"))));
        let mut tests = quoted(tests).peekable();
        assert!(tests.peek().is_some(), "{file}: which tests");
        tests.for_each(|test| assert!(top().join("tests").join(test).is_file(), "{file}: no tests/{test}"));
    }
    targets.sort();
    targets.dedup();
    let mut all: Vec<_> =
        fs::read_dir(top().join("tests/fuzz/fuzz_targets")).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    assert_eq!(targets, all, "the fuzz targets of the table are those that there are");
}

/// What a build without features leaves out.
#[test]
fn lines_of_the_core() {
    fn count(folder: &Path, core: &mut usize, all: &mut usize) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                count(&path, core, all);
                continue;
            }
            let name = path.strip_prefix(top().join("src")).unwrap().to_str().unwrap();
            let optional = name.starts_with("cluster/")
                || ["net/tls.rs", "server/cluster.rs", "socketio/remote.rs"].contains(&name);
            let lines = lines(path.to_str().unwrap());
            *all += lines;
            *core += if optional { 0 } else { lines };
        }
    }
    let (mut core, mut all) = (0, 0);
    count(&top().join("src"), &mut core, &mut all);
    let (_, sentence) = README.split_once("small core without Redis and TLS:").expect("a sentence");
    let numbers: Vec<_> =
        sentence.split_whitespace().filter(|word| word.starts_with(|first: char| first.is_ascii_digit())).collect();
    check("the core", numbers[1], core);
    check("src/", numbers[2].trim_end_matches(','), all);
}
