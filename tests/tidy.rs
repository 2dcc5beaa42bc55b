//! The shape of the tree: imports point one way, the machines are pure, each foreign crate has its home, README names real paths.

use std::fs;
use std::path::{Path, PathBuf};

/// A folder (or file) of `src/` imports from rows above its own only; neighbours in one row do not know each other.
const ROWS: &[&[&str]] = &[
    &["time", "ids"],
    &["config"],
    &["sdp", "rtp", "audio", "sip", "turn", "agent"],
    &["jitter"],
    &["call"],
    &["metrics", "capture"],
    &["providers"],
    &["engine"],
    &["control", "phone", "replay"],
];

/// Who may touch the world: sockets, threads, files, clocks, the process.
const WORLDLY: &[&str] = &["src/engine", "src/providers", "src/control", "src/phone", "src/replay", "src/main.rs"];
/// Signs of touching it, and who else may show them. Addresses are plain data and may be anywhere.
const WORLD: &[(&str, &[&str])] = &[
    ("UdpSocket", &[]),
    ("TcpListener", &[]),
    ("TcpStream", &[]),
    ("std::thread", &[]),
    ("thread::spawn", &[]),
    ("std::fs", &["src/config"]),
    ("std::env", &[]),
    ("std::process", &[]),
    ("Instant::now", &[]),
    ("SystemTime", &[]),
    ("println!", &[]),
];

/// Where a foreign crate is used, and nowhere else.
const HOMES: &[(&str, &[&str])] = &[
    ("rsip", &["src/sip/message"]),
    ("md5", &["src/config/accounts.rs"]),
    ("rubato", &["src/audio/resample"]),
    ("earshot", &["src/audio/activity"]),
    ("hdrhistogram", &["src/metrics/histogram"]),
    ("tiny_http", &["src/control/server.rs"]),
    ("tungstenite", &["src/control/server.rs", "src/providers"]),
    ("socket2", &["src/control/server.rs", "src/engine"]),
    ("mio", &["src/engine", "src/providers"]),
    ("libc", &["src/engine"]),
    ("nix", &["src/engine/arrival.rs", "src/engine/datagrams.rs", "src/engine/descriptors.rs"]),
    ("signal_hook", &["src/engine", "src/main.rs"]),
    ("hound", &["src/engine", "src/phone", "src/providers/local"]),
    ("rten", &["src/providers/local"]),
    ("rten_tensor", &["src/providers/local"]),
    ("realfft", &["src/providers/local"]),
    ("ureq", &["src/providers", "src/control/webhooks.rs"]),
    ("aes", &["src/rtp/srtp"]),
    ("ctr", &["src/rtp/srtp"]),
    ("sha1", &["src/rtp/srtp"]),
    ("getrandom", &["src/engine"]),
    ("etherparse", &["src/capture/pcap.rs"]),
    ("rustls", &["src/providers", "src/engine"]),
    ("rcgen", &["src/engine/certificate.rs", "src/providers"]),
    ("webpki_roots", &["src/providers"]),
    ("strsim", &["src/config/mistake.rs"]),
    ("clap", &["src/config/cli.rs", "src/config/call.rs", "src/config/capture.rs"]),
];

/// What may stand at the top, beside dot-files and what a build or a user's settings leave there.
const TOP: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "benches",
    "perf",
    "src",
    "tests",
    "target",
    "offhook.toml",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns every Rust file under `folder`: its path from the top, with `/`, and its text.
fn sources(folder: &str) -> Vec<(String, String)> {
    let (mut files, mut folders) = (Vec::new(), vec![PathBuf::from(folder)]);
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(root().join(&folder)) else { continue };
        for entry in entries {
            let entry = entry.expect("a readable folder");
            let path = folder.join(entry.file_name());
            if entry.file_type().expect("a file type").is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(root().join(&path)).expect("a file of text");
                files.push((path.to_str().expect("a path of text").replace('\\', "/"), text));
            }
        }
    }
    assert!(folder != "src" || files.len() > 10, "src is not found");
    files.sort();
    files
}

/// Returns `text` without whole-line comments.
fn code(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Returns `code` without the tests at its end.
fn without_tests(code: &str) -> &str {
    code.find("#[cfg(test)]\nmod tests {").map_or(code, |at| &code[..at])
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether `code` holds `word`, not as a part of a longer word.
fn has_word(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let (before, after) = (&code[..at], &code[at + word.len()..]);
        !before.ends_with(is_word) && (word.ends_with('!') || !after.starts_with(is_word))
    })
}

/// Whether `code` names the crate: in `use krate...`, or as `krate::` that is not a module of our own.
fn uses_crate(code: &str, krate: &str) -> bool {
    code.match_indices(krate).any(|(at, _)| {
        let (before, after) = (&code[..at], &code[at + krate.len()..]);
        let path = after.starts_with("::") && !before.ends_with(is_word) && !before.ends_with("::");
        path || before.ends_with("use ") && after.starts_with([';', ' '])
    })
}

/// Returns the folders (or files) of `src/` that `code` imports from: what follows `crate::`, in braces too.
fn imports(code: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for (at, found) in code.match_indices("crate::") {
        if code[..at].ends_with(|c| is_word(c) || c == '$') {
            continue;
        }
        let rest = &code[at + found.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            names.extend(rest.split(|c| !is_word(c)).next());
            continue;
        };
        let mut depth = 0;
        let mut starts_name = true;
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => starts_name = true,
                c if starts_name && is_word(c) => {
                    names.extend(group[at..].split(|c| !is_word(c)).next());
                    starts_name = false;
                }
                _ => {}
            }
        }
    }
    names
}

fn row_of(name: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&name))
}

/// Returns the folder (or file) of `src/` that `path` belongs to.
fn folder_of(path: &str) -> &str {
    let inner = path.strip_prefix("src/").unwrap_or(path);
    inner.split('/').next().unwrap_or(inner).trim_end_matches(".rs")
}

fn report(offences: &[String]) {
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

#[test]
fn imports_point_one_way() {
    let mut offences = Vec::new();
    for (path, text) in sources("src") {
        let folder = folder_of(&path);
        if matches!(folder, "main" | "lib") {
            continue;
        }
        let Some(own) = row_of(folder) else {
            offences.push(format!("{path}: {folder} has no row in ROWS"));
            continue;
        };
        for name in imports(&code(&text)) {
            if name != folder && row_of(name).is_none_or(|row| row >= own) {
                offences.push(format!("{path} imports crate::{name}"));
            }
        }
    }
    report(&offences);
}

#[test]
fn machines_do_not_touch_the_world() {
    let mut offences = Vec::new();
    for (path, text) in sources("src") {
        if WORLDLY.iter().any(|folder| path.starts_with(folder)) {
            continue;
        }
        let code = code(&text);
        for (sign, also) in WORLD {
            if has_word(without_tests(&code), sign) && !also.iter().any(|folder| path.starts_with(folder)) {
                offences.push(format!("{path} shows {sign}"));
            }
        }
    }
    report(&offences);
}

#[test]
fn each_foreign_crate_stays_at_home() {
    let mut offences = Vec::new();
    for (path, text) in sources("src") {
        let code = code(&text);
        for (krate, homes) in HOMES {
            if uses_crate(&code, krate) && !homes.iter().any(|home| path.starts_with(home)) {
                offences.push(format!("{path} uses {krate}, whose home is {}", homes.join(", ")));
            }
        }
    }
    report(&offences);
}

#[test]
fn each_file_begins_with_what_it_is_for() {
    let files = ["src", "tests", "benches", "perf"].into_iter().flat_map(sources);
    let offences: Vec<_> = files
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(path, _)| format!("{path}: its first line is not `//! what it is for`"))
        .collect();
    report(&offences);
}

#[test]
fn the_top_holds_what_it_may() {
    let offences: Vec<_> = fs::read_dir(root())
        .expect("a readable folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name of text"))
        .filter(|name| !name.starts_with('.') && !TOP.contains(&name.as_str()))
        .collect();
    report(&offences);
}

#[test]
fn readme_names_paths_that_exist() {
    let Ok(readme) = fs::read_to_string(root().join("README.md")) else {
        println!("skipped: there is no README.md");
        return;
    };
    let in_tree = |path: &str| ["src/", "tests/", "benches/", "perf/", ".ci/"].iter().any(|top| path.starts_with(top));
    let offences: Vec<_> = readme
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|quoted| in_tree(quoted) && !quoted.contains(['*', '{', '<', ' ']))
        .filter(|path| !root().join(path.split(':').next().unwrap_or(path)).exists())
        .map(|path| format!("README.md names {path}"))
        .collect();
    report(&offences);
}

#[test]
fn the_rules_see_what_they_are_to_see() {
    assert_eq!(imports("use crate::{a::{b, c}, d}; crate::e::f(); my_crate::g"), ["a", "d", "e"]);
    assert!(has_word("use std::fs;", "std::fs") && !has_word("std::fstat", "std::fs"));
    assert!(uses_crate("use rten;", "rten") && uses_crate("x(rten::y)", "rten"));
    assert!(!uses_crate("rten_tensor::x", "rten") && !uses_crate("audio::mio::x", "mio"));
    assert_eq!(without_tests("a\n#[cfg(test)]\nmod tests {\nstd::fs"), "a\n");
    assert_eq!((folder_of("src/time.rs"), folder_of("src/sip/mod.rs")), ("time", "sip"));
}
