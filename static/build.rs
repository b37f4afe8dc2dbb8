//! Embeds the page and the official client: each file gets its type, its ETag and a compressed copy at build time, so
//! that serving it needs neither a file system nor a compressor. Writes `$OUT_DIR/assets.rs`, which `src/http/assets.rs`
//! includes. Run by cargo at the top of the repository.

use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::{env, fs, io::Write};

const CLIENT: &str = "static/node_modules/socket.io-client";

/// URL path and file. Other Socket.IO servers serve the client at the same paths, so a page written for them finds it here.
/// The client's source maps are left out: they are more than twice as large as all these files together.
const FILES: &[(&str, &str)] = &[
    ("/", "static/index.html"),
    ("/style.css", "static/style.css"),
    ("/main.js", "static/main.js"),
    ("/texts/de.js", "static/texts/de.js"),
    ("/texts/en.js", "static/texts/en.js"),
    ("/texts/es.js", "static/texts/es.js"),
    ("/texts/fr.js", "static/texts/fr.js"),
    ("/icon.svg", "static/icon.svg"),
    ("/socket.io/socket.io.min.js", "static/node_modules/socket.io-client/dist/socket.io.min.js"),
    ("/socket.io/socket.io.js", "static/node_modules/socket.io-client/dist/socket.io.js"),
    ("/socket.io/socket.io.esm.min.js", "static/node_modules/socket.io-client/dist/socket.io.esm.min.js"),
];

/// What `static/main.js` imports: each module before those that import it. They are sent in one file with it: a quarter
/// smaller, and one request instead of fourteen.
const MODULES: &[&str] = &[
    "texts",
    "me",
    "later",
    "connection",
    "door",
    "names",
    "markup",
    "log",
    "menu",
    "reading",
    "messages",
    "composer",
    "people",
    "mentions",
];

/// The packages whose code is in the client's bundle; their licences must be distributed with it.
const LICENCES: [&str; 7] = [
    "socket.io-client",
    "socket.io-parser",
    "engine.io-client",
    "engine.io-parser",
    "@socket.io/component-emitter",
    "debug",
    "ms",
];

fn main() {
    println!("cargo::rerun-if-changed=static/build.rs");
    if !Path::new(CLIENT).join("dist").is_dir() {
        // Cargo watches the missing folder, so that it runs this script again once `make build` has created it.
        println!("cargo::rerun-if-changed={CLIENT}");
        println!("cargo::error=the Socket.IO client is not in static/node_modules: run `make build`, which fetches it");
        return;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let mut table = format!("pub static ASSETS: [Asset; {}] = [\n", FILES.len() + 1);
    for &(url, file) in FILES {
        let text = read(file.as_ref());
        table += &match file.strip_prefix("static/").filter(|name| !name.starts_with("node_modules/")) {
            Some(name) => {
                let modules = if name == "main.js" { MODULES } else { &[] };
                let text =
                    modules.iter().map(|module| joined(module)).collect::<String>() + &String::from_utf8_lossy(&text);
                let text = lean(&imported(&text));
                let text = match name {
                    "main.js" => tight_script(&text),
                    _ if name.ends_with(".css") => tight(&text),
                    _ => text,
                };
                let file = out.join(name.replace('/', "_"));
                fs::write(&file, &text).expect("OUT_DIR is writable");
                row(&out, url, &file, text.as_bytes())
            }
            None => row(&out, url, file.as_ref(), &text),
        };
    }
    let mut licences = String::new();
    for package in LICENCES {
        let text = licence(&Path::new("static/node_modules").join(package));
        licences += &format!("{package}\n\n{}\n\n\n", String::from_utf8_lossy(&text).trim());
    }
    let file = out.join("LICENSE");
    fs::write(&file, &licences).expect("OUT_DIR is writable");
    table += &row(&out, "/socket.io/LICENSE", &file, licences.as_bytes());
    fs::write(out.join("assets.rs"), table + "];\n").expect("OUT_DIR is writable");
}

fn read(file: &Path) -> Vec<u8> {
    println!("cargo::rerun-if-changed={}", file.display());
    fs::read(file).unwrap_or_else(|error| {
        println!("cargo::error={}: {error}; `make build` fetches what is not in the repository", file.display());
        std::process::exit(0) // cargo fails the build with the line above and without a backtrace
    })
}

/// Returns a module as an expression: a function that runs at once and returns what the module exports.
fn joined(module: &str) -> String {
    let text = String::from_utf8_lossy(&read(format!("static/{module}.js").as_ref())).into_owned();
    let name = |line: &str| {
        line.split(|c: char| !(c.is_alphanumeric() || "$_".contains(c))).next().unwrap_or_default().to_owned()
    };
    let exported = |line: &str| {
        let line = line.strip_prefix("export ")?;
        let kinds = ["async function ", "function ", "const "];
        Some(name(kinds.iter().find_map(|kind| line.strip_prefix(kind)).expect("a function or a constant is exported")))
    };
    let names: Vec<_> = text.lines().filter_map(exported).collect();
    let text = text.replace("\nexport ", "\n");
    format!("const {module}_ = await (async () => {{\n{text}\nreturn {{ {} }};\n}})();\n", names.join(", "))
}

/// Replaces the `import` lines of a text by what they mean among joined modules.
fn imported(text: &str) -> String {
    let line = |line: &str| match line.strip_prefix("import ").and_then(|rest| rest.rsplit_once(" from './")) {
        Some((names, file)) => {
            format!("const {} = {}_;\n", names.trim_start_matches("* as "), file.trim_end_matches(".js';"))
        }
        None if line.starts_with("import './") => String::new(),
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// Returns a file's text without indentation, empty lines and comments: it is a quarter smaller. A real minifier would be
/// one more dependency. This is safe because no string in these files spans several lines or has two slashes between spaces.
fn lean(text: &str) -> String {
    let comment = |line: &str| line.starts_with("//") || (line.starts_with("/*") && line.ends_with("*/"));
    let lines = text.lines().map(|line| line.split(" // ").next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty() && !comment(line)).flat_map(|line| [line, "\n"]).collect()
}

/// Returns a style sheet without what separates its tokens and means nothing; none of its strings has such a pair.
fn tight(text: &str) -> String {
    let spaces =
        [("\n", ""), (": ", ":"), ("; ", ";"), (", ", ","), (" {", "{"), ("{ ", "{"), (" }", "}"), (";}", "}")];
    spaces.iter().fold(text.to_owned(), |text, (loose, tight)| text.replace(loose, tight))
}

/// Returns a script without spaces that separate nothing, and without the ends of lines after a semicolon, comma or bracket.
fn tight_script(text: &str) -> String {
    let lines = text.lines().map(|line| tight_line(line).unwrap_or_else(|| line.to_owned()));
    let end = |line: String| if line.ends_with([';', ',', '{', '(', '[']) { line } else { line + "\n" };
    lines.map(end).collect()
}

/// Returns a line of a script without such spaces outside its strings, or `None` if a string does not end in it: then the
/// quote is one of a regular expression. The text of a template within a template would lose spaces: only `texts` has some.
fn tight_line(line: &str) -> Option<String> {
    let (mut made, mut rest) = (String::new(), line);
    while let Some(start) = rest.find(['\'', '`', '"']) {
        let (code, string) = rest.split_at(start);
        let end = 2 + string[1..].find(&string[..1])?;
        made += &(tight_code(code) + &string[..end]);
        rest = &string[end..];
    }
    Some(made + &tight_code(rest))
}

/// Returns code without spaces that do not stand between two words.
fn tight_code(code: &str) -> String {
    let is_word = |other: Option<char>| other.is_some_and(|other| other.is_alphanumeric() || "$_".contains(other));
    let mut made = String::new();
    let mut rest = code.chars().peekable();
    while let Some(one) = rest.next() {
        if one != ' ' || is_word(made.chars().last()) && is_word(rest.peek().copied()) {
            made.push(one);
        }
    }
    made
}

/// Reads the licence file of a package; the name of this file differs between packages.
fn licence(package: &Path) -> Vec<u8> {
    let names = ["LICENSE", "LICENSE.md", "license.md"];
    let found = names.iter().map(|name| package.join(name)).find(|file| file.is_file());
    read(&found.unwrap_or_else(|| package.join("LICENSE")))
}

/// Returns the Rust source of one `Asset`. If the compressed copy of the file is smaller, writes the copy to OUT_DIR.
fn row(out: &Path, url: &str, file: &Path, plain: &[u8]) -> String {
    let content_type = match file.extension().and_then(|ending| ending.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/plain; charset=utf-8",
    };
    // The gzip header has neither a time nor a file name, so the same input gives the same bytes.
    let mut encoder = flate2::GzBuilder::new().write(Vec::new(), flate2::Compression::best());
    encoder.write_all(plain).expect("a Vec takes everything");
    let packed = encoder.finish().expect("a Vec takes everything");
    let mut gzip = String::from("None");
    if packed.len() < plain.len() {
        let name = out.join(format!("{}.gz", url.replace('/', "_")));
        fs::write(&name, &packed).expect("OUT_DIR is writable");
        gzip = format!("Some({})", copy(&name, &packed));
    }
    let file = fs::canonicalize(file).expect("it was read a moment ago");
    let plain = copy(&file, plain);
    let page = content_type.starts_with("text/html");
    format!("Asset {{ path: {url:?}, content_type: {content_type:?}, page: {page}, plain: {plain}, gzip: {gzip} }},\n")
}

/// Returns the Rust source of one `Copy`. Each encoding of a file needs an ETag of its own (RFC 9110 8.8.3.3).
fn copy(file: &Path, bytes: &[u8]) -> String {
    let mut hash = DefaultHasher::new(); // its keys are fixed, so the same bytes get the same tag
    hash.write(bytes);
    let bytes = format!("Bytes::from_static(include_bytes!({file:?}))");
    format!("Copy {{ etag: Cow::Borrowed(\"\\\"{:016x}\\\"\"), bytes: {bytes} }}", hash.finish())
}
