//! Every input that fuzzing has kept, as an ordinary test, and a few deterministic mutations of each.
//!
//! `lab/fuzz` grows the corpora; an input that made a target fail is added to its corpus with the fix.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use molt_lab::fuzz::{TARGETS, Target};

/// Mutations of each file. More find more, and cost more; growing the corpus is the better way.
const MUTATIONS: u64 = 16;

/// Values at the edges of fields.
const EDGES: [u8; 6] = [0, 1, 0x7f, 0x80, 0xfe, 0xff];

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let list = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = list.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Names the input when the target panics.
struct Input<'a> {
    target: &'a str,
    of: &'a Path,
    bytes: &'a [u8],
}

impl Drop for Input<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let hex: String = self.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            eprintln!("{} fails on {} or a mutation of it:\n{hex}", self.target, self.of.display());
        }
    }
}

/// Changes some bytes, or the length.
fn mutate(bytes: &mut Vec<u8>, rng: &mut fastrand::Rng) {
    for _ in 0..rng.usize(1..4) {
        let at = rng.usize(..=bytes.len());
        let Some(byte) = bytes.get_mut(at) else {
            bytes.extend((0..rng.usize(..9)).map(|_| rng.u8(..)));
            continue;
        };
        match rng.u8(..8) {
            0..3 => *byte ^= 1 << rng.u8(..8),
            3..5 => *byte = EDGES[rng.usize(..EDGES.len())],
            5 => *byte = rng.u8(..),
            6 => bytes.truncate(at),
            _ => drop(bytes.splice(at..at, [rng.u8(..)])),
        }
    }
}

fn replay(name: &str, target: Target) {
    for (number, path) in entries(&corpora().join(name)).iter().enumerate() {
        let original = fs::read(path).unwrap();
        let mut rng = fastrand::Rng::with_seed(number as u64);
        for mutation in 0..=MUTATIONS {
            let mut bytes = original.clone();
            if mutation > 0 {
                mutate(&mut bytes, &mut rng);
            }
            let input = Input { target: name, of: path, bytes: &bytes };
            target(input.bytes);
        }
    }
}

#[test]
fn every_target_has_a_corpus_and_every_corpus_a_target() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(targets.len(), TARGETS.len(), "two targets have one name");
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(entries(&corpora()).iter().map(name).collect::<BTreeSet<_>>(), targets);
    for target in &targets {
        assert!(!entries(&corpora().join(target)).is_empty(), "the corpus of {target} is empty");
    }
    // Each has its entry point for cargo-fuzz, too.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let stem = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    assert_eq!(entries(&folder.join("fuzz_targets")).iter().map(stem).collect::<BTreeSet<_>>(), targets);
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    for target in &targets {
        assert!(manifest.contains(&format!("name = \"{target}\"")), "{target} is missing in the manifest");
    }
}

#[test]
fn no_kept_input_and_no_mutation_of_one_violates_a_property() {
    let workers: Vec<_> =
        TARGETS.iter().map(|(name, target)| (name, thread::spawn(|| replay(name, *target)))).collect();
    let failed: Vec<_> =
        workers.into_iter().filter_map(|(name, worker)| worker.join().is_err().then_some(name)).collect();
    assert!(failed.is_empty(), "{failed:?}: the inputs are above");
}
