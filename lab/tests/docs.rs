//! README.md and ARCHITECTURE.md name nothing that does not exist.
//!
//! Looked at is every code span (`` `like this` ``) and every link. What looks like a path must be there, from the root or
//! as the end of a path somewhere. What looks like Rust (`Type::method`, `function()`, `snake_case`, `Type`) must be found
//! in the sources. Absolute paths, addresses, URLs and ports belong to the system and are passed over.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

const DOCUMENTS: [&str; 2] = ["README.md", "ARCHITECTURE.md"];

/// Files with these endings are read for words.
const SOURCES: [&str; 3] = ["rs", "toml", "sol"];

/// A word with one of these endings is a file.
const ENDINGS: [&str; 11] =
    [".rs", ".toml", ".md", ".sh", ".yml", ".yaml", ".jsonl", ".hex", ".service", ".sol", ".lock"];

/// What the repository holds.
struct Tree {
    root: PathBuf,
    /// Files and folders from the root, each with a `/` in front.
    paths: BTreeSet<String>,
    /// Names of packages that we depend on, as Rust writes them.
    crates: BTreeSet<String>,
    sources: Vec<Source>,
}

/// A file of ours.
struct Source {
    words: BTreeSet<String>,
    /// Names of its module path: `tun/src/output/udp.rs` is `tun`, `output`, `udp`.
    modules: BTreeSet<String>,
}

impl Tree {
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap();
        let lock = fs::read_to_string(root.join("Cargo.lock")).unwrap();
        let names = lock.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
        let mut tree = Self {
            paths: BTreeSet::new(),
            crates: names.map(|name| name.replace('-', "_")).chain(["std".into(), "core".into()]).collect(),
            sources: Vec::new(),
            root: root.clone(),
        };
        tree.walk(&root);
        tree
    }

    fn walk(&mut self, folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if matches!(name, ".git" | "target" | "corpus") {
                continue;
            }
            let from_root = path.strip_prefix(&self.root).unwrap().to_str().unwrap().to_owned();
            self.paths.insert(format!("/{from_root}"));
            if path.is_dir() {
                self.walk(&path);
            } else if is_source(&path, &from_root) {
                let text = fs::read_to_string(&path).unwrap();
                let modules = from_root.trim_end_matches(".rs").split(['/', '-']);
                self.sources.push(Source {
                    words: words(&text).map(str::to_owned).collect(),
                    modules: modules.map(str::to_owned).collect(),
                });
            }
        }
    }

    fn has_path(&self, path: &str) -> bool {
        let path = path.trim_start_matches("./").trim_end_matches('/');
        let end = format!("/{path}");
        self.paths.iter().any(|known| known.ends_with(&end))
    }

    fn has_word(&self, word: &str) -> bool {
        self.sources.iter().any(|source| source.words.contains(word))
    }

    /// Whether one file knows all segments, as words or as the modules it is in.
    fn has_rust_path(&self, segments: &[&str]) -> bool {
        let ours = |segment: &str| segment.strip_prefix("molt_").unwrap_or(segment).to_owned();
        if self.crates.contains(segments[0]) && !segments[0].starts_with("molt_") && segments[0] != "meshd" {
            return self.has_word(segments[0]);
        }
        let knows = |source: &Source, segment: &str| {
            source.words.contains(segment)
                || source.modules.contains(&ours(segment))
                || matches!(segment, "crate" | "self")
        };
        self.sources.iter().any(|source| segments.iter().all(|segment| knows(source, segment)))
    }

    /// What is wrong with a document.
    fn complaints(&self, document: &str) -> Vec<String> {
        let spans = spans(document);
        let spans = spans.iter().filter_map(|span| Some(format!("`{span}`: {}", self.doubt(span)?)));
        let links = links(document).into_iter().filter(|link| {
            let path = link.split('#').next().unwrap_or_default();
            !link.contains("://") && !path.is_empty() && !self.paths.contains(&format!("/{path}"))
        });
        spans.chain(links.map(|link| format!("link {link}: no such file"))).collect()
    }

    /// What is wrong with a code span, if anything.
    fn doubt(&self, span: &str) -> Option<&'static str> {
        if span.contains(char::is_whitespace) {
            // A command line: its words may be paths, for example of a script.
            let from_root = |word: &&str| {
                word.split_once('/').is_some_and(|(first, _)| self.paths.contains(&format!("/{first}")))
            };
            let missing = span.split_whitespace().filter(from_root).any(|word| !self.has_path(word));
            return missing.then_some("a word of it is no path of this repository");
        }
        if looks_like_path(span) {
            return (!self.has_path(span)).then_some("no such path");
        }
        let call = span.split_once('(').map_or(span, |(name, _)| name).trim_end_matches('!');
        let segments: Vec<&str> = call.split("::").collect();
        if !segments.iter().all(|segment| is_identifier(segment)) || span.parse::<Ipv6Addr>().is_ok() {
            return None;
        }
        let is_code = segments.len() > 1
            || span.contains('(')
            || call.contains('_')
            || call.starts_with(char::is_uppercase) && call.contains(char::is_lowercase);
        (is_code && !self.has_rust_path(&segments)).then_some("not found in the sources")
    }
}

fn is_source(path: &Path, from_root: &str) -> bool {
    // This file names what does not exist, and a lock file names everything.
    let code = path.extension().is_some_and(|ending| SOURCES.iter().any(|source| ending == *source));
    code && from_root != "lab/tests/docs.rs"
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

fn is_identifier(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|first| first.is_alphabetic() || first == '_')
        && chars.all(|c| c.is_alphanumeric() || c == '_')
}

fn looks_like_path(span: &str) -> bool {
    let plain = span.chars().all(|c| c.is_alphanumeric() || matches!(c, '/' | '.' | '-' | '_'));
    let ends_as_file = ENDINGS.iter().any(|ending| span.ends_with(ending) && span.len() > ending.len());
    // `6803/udp` and `molt.status/1` are no paths.
    let is_number = |part: &str| part.chars().all(|c| c.is_ascii_digit());
    let has_folders = span.contains('/') && !span.trim_end_matches('/').split('/').any(is_number);
    plain && !span.starts_with('/') && (ends_as_file || has_folders)
}

/// The code spans outside of code blocks.
fn spans(document: &str) -> Vec<&str> {
    let mut spans = Vec::new();
    let mut in_block = false;
    for line in document.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            spans.extend(line.split('`').skip(1).step_by(2).filter(|span| !span.is_empty()));
        }
    }
    assert!(!in_block, "a code block does not end");
    spans
}

/// Where `[text](target)` leads.
fn links(document: &str) -> Vec<&str> {
    document.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target).collect()
}

#[test]
fn the_documents_name_only_what_exists() {
    let tree = Tree::read();
    let mut complaints = Vec::new();
    for name in DOCUMENTS {
        let document = match fs::read_to_string(tree.root.join(name)) {
            Ok(document) => document,
            Err(error) => {
                complaints.push(format!("{name}: {error}"));
                continue;
            }
        };
        assert!(!spans(&document).is_empty(), "{name} names no code: it is not what this test is for");
        complaints.extend(tree.complaints(&document).into_iter().map(|what| format!("{name}: {what}")));
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn what_exists_is_found() {
    let document = "
`lab/tests/docs.rs`, `tun/src/dataplane/`, `dataplane/receive.rs`, `Cargo.toml` and [the lab](lab/src/lib.rs#L1);
`Dataplane::handle_datagram`, `molt_tun::output::TunBatch`, `TunBatch`, `poll_timeout()`, `boringtun::noise::Tunn`,
`handle_timeout`, `ospf::packet`, `std::fmt`; not ours: `/run/meshd/meshd.sock`, `fd00:6d6f:6c74::/48`, `fe80::1`,
`6803/udp`, `molt.status/1`, `ping bob.molt`, `https://example.org/x`, `::1`, `molt`, [elsewhere](https://example.org).
```sh
no/such/path
```
";
    assert_eq!(Tree::read().complaints(document), [] as [String; 0]);
}

#[test]
fn what_does_not_exist_is_noticed() {
    let tree = Tree::read();
    for wrong in [
        "`lab/tests/no_such_file.rs`",
        "`no_such_file.rs`",
        "`rooting/src`",
        "`lab/no-such-folder/`",
        "`sh lab/no-such-script --fast`",
        "`Dataplane::handle_no_such_thing`",
        "`NoSuchType`",
        "`no_such_function()`",
        "`no_such_name`",
        "`no_such_crate::Thing`",
        "`molt_tun::output::NoSuchType`",
        "[text](lab/no-such-file.md)",
    ] {
        assert_eq!(tree.complaints(wrong).len(), 1, "{wrong}");
    }
}
