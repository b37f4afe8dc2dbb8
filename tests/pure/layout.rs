//! Compares src/lib.rs with the sources: its map lists every file, a file imports only files above it, its trust
//! boundary is that of README, and no file or function is too long.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The most lines of a file, and of a function.
const MAX_FILE: usize = 450;
const MAX_FUNCTION: usize = 60;

/// Allowed imports of files below, each with its reason.
const EXCEPTIONS: [(&str, &str); 3] = [
    // The methods of the trait App take an Io, and Io calls the trait.
    ("socketio/app", "socketio/mod"),
    ("socketio/recovery", "socketio/mod"),
    // The table of options uses the parsers, which return types of the same file.
    ("config/values", "config/mod"),
];

/// The text of every file below src/, by its name on the map.
fn sources() -> BTreeMap<String, String> {
    fn walk(folder: &Path, prefix: &str, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("{prefix}{}", path.file_stem().unwrap().to_str().unwrap());
            if path.is_dir() {
                walk(&path, &format!("{name}/"), found);
            } else {
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut found);
    found
}

/// The files in the order of the map.
fn map(lib: &str) -> Vec<String> {
    let lines = lib.lines().skip_while(|line| *line != "//! ```text").skip(1).take_while(|line| *line != "//! ```");
    lines.map(|line| line["//! ".len()..].split(' ').next().unwrap().to_owned()).collect()
}

/// The paths that a file imports, with `self::` in front of those without `crate::` or `super::`. Groups are expanded.
fn imports(source: &str) -> Vec<String> {
    let lines = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = lines
        .collect::<Vec<_>>()
        .join("\n")
        .replace("\nuse ", "\nuse self::")
        .replace("\npub use ", "\npub use self::");
    let code = code.replace("self::crate::", "crate::").replace("self::super::", "super::");
    let mut paths = Vec::new();
    for root in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(root) {
            let tail = &code[at..];
            let end = tail.find([';', '(', ')', ' ', '<', '>', ',', '{']).unwrap_or(tail.len());
            let (path, rest) = tail.split_at(end);
            match rest.strip_prefix('{').and_then(|group| group.split_once(';')) {
                Some((group, _)) => {
                    let members = group.split(['{', '}', ',']).map(str::trim).filter(|member| !member.is_empty());
                    paths.extend(members.map(|member| format!("{path}{member}")));
                }
                None => paths.push(path.to_owned()),
            }
        }
    }
    paths
}

/// The file that a path in the file `from` refers to; `None` if that is `from` itself or another crate.
fn target(from: &str, path: &str, files: &BTreeMap<String, String>) -> Option<String> {
    let (folder, file) = from.rsplit_once('/').unwrap_or(("", from));
    let (root, rest) = path.split_once("::")?;
    let mut at = match root {
        "crate" => String::new(),
        "super" if file == "mod" => String::new(),
        _ => folder.to_owned(),
    };
    for step in rest.split("::") {
        let next = if at.is_empty() { step.to_owned() } else { format!("{at}/{step}") };
        if files.contains_key(&next) {
            return Some(next).filter(|next| next != from);
        }
        if !files.contains_key(&format!("{next}/mod")) {
            break;
        }
        at = next;
    }
    let module = format!("{at}/mod");
    Some(module).filter(|module| root != "self" && files.contains_key(module) && module != from)
}

/// The files that parse bytes of peers, by src/lib.rs and by README: each with its fuzz target and tests.
fn boundaries(lib: &str) -> [BTreeMap<String, Vec<String>>; 2] {
    let words = |text: &str| text.split_whitespace().map(|word| word.trim_matches('`').to_owned()).collect::<Vec<_>>();
    let (_, list) = lib.split_once("//! # Trust boundary\n").unwrap();
    let lines = list.lines().skip_while(|line| *line != "//! ```text").skip(1).take_while(|line| *line != "//! ```");
    let listed = lines.map(|line| (words(&line[4..])[0].clone(), words(&line[4..])[1..].to_vec())).collect();
    let rows = include_str!("../../README.md").lines().filter_map(|line| line.strip_prefix("| `src/"));
    let table = rows.map(|row| {
        let cells: Vec<_> = row.trim_end_matches('|').split('|').collect();
        let [file, _, _, fuzz, tests] = cells[..] else { panic!("five cells in {row}") };
        (file.trim().trim_end_matches(".rs`").to_owned(), words(&format!("{} {tests}", fuzz.replace('–', "-"))))
    });
    [listed, table.collect()]
}

#[test]
fn the_trust_boundary_is_that_of_readme() {
    let files = sources();
    let [listed, table] = boundaries(&files["lib"]);
    assert_eq!(listed, table);
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for (file, means) in listed {
        assert!(files.contains_key(&file), "no src/{file}.rs");
        let (target, found) = means.split_first().unwrap();
        let fuzzed = tests.join(format!("fuzz/fuzz_targets/{target}.rs")).is_file();
        assert!(target == "-" || fuzzed, "{file}: no fuzz target {target}");
        assert!(!found.is_empty(), "{file} has no tests");
        found.iter().for_each(|test| assert!(tests.join(test).is_file(), "{file}: no tests/{test}"));
    }
}

#[test]
fn the_map_lists_every_file() {
    let files = sources();
    let mut listed = map(&files["lib"]);
    listed.sort();
    assert_eq!(listed, files.keys().cloned().collect::<Vec<_>>());
}

#[test]
fn imports_stand_above() {
    let files = sources();
    let order = map(&files["lib"]);
    let place = |name: &str| order.iter().position(|listed| listed == name).unwrap();
    let mut against = Vec::new();
    for (name, source) in &files {
        for path in imports(source) {
            let Some(target) = target(name, &path, &files) else { continue };
            let allowed = EXCEPTIONS.contains(&(name, &target));
            if place(&target) > place(name) && !allowed {
                against.push(format!("{name} imports {path}, which is below it on the map, in {target}"));
            }
        }
    }
    assert!(against.is_empty(), "{against:#?}");
}

#[test]
fn every_exception_is_needed() {
    let files = sources();
    for (from, to) in EXCEPTIONS {
        let targets: Vec<_> = imports(&files[from]).iter().filter_map(|path| target(from, path, &files)).collect();
        assert!(targets.iter().any(|target| target == to), "{from} does not import {to}");
    }
}

#[test]
fn no_file_and_no_function_is_too_long() {
    for (name, source) in sources() {
        assert!(source.lines().count() <= MAX_FILE, "{name} is longer than {MAX_FILE} lines");
        let mut begin: Option<(usize, String)> = None;
        for (number, line) in source.lines().enumerate() {
            let code = line.trim_start();
            let indent = line.len() - code.len();
            let is_function = !code.ends_with(';')
                && ["fn ", "pub fn ", "pub(super) fn ", "pub(crate) fn "].iter().any(|start| code.starts_with(start));
            if is_function && begin.is_none() {
                begin = Some((number, " ".repeat(indent) + "}"));
            } else if let Some((start, end)) = &begin
                && line == end
            {
                assert!(
                    number - start < MAX_FUNCTION,
                    "{name}:{} is a function longer than {MAX_FUNCTION} lines",
                    start + 1
                );
                begin = None;
            }
        }
    }
}

#[test]
fn only_seams_lie_in_another_folder() {
    for (name, source) in sources() {
        let paths = source.lines().filter(|line| line.contains("#[path"));
        paths.for_each(|line| assert!(line.contains("tests/seams/"), "{name}: {line}"));
    }
}
