//! The agent on this machine: ears, mind and voice that need no key and, once their models are there, no network.
//!
//! All networks run on rten with a thread pool of one thread each: a second core would shorten a decode by a few per
//! cent only, and costs a third more work (`RTEN_NUM_THREADS` is not touched, a pool is handed to every run).

pub mod ears;
pub mod g2p;
pub mod hibari;
pub mod minilm;
pub mod models;
pub mod moonshine;
pub mod receptionist;
pub mod segmenter;
pub mod smart_turn;
pub mod speech;
pub mod vocoder;
pub mod voice;
pub mod wordpiece;
pub mod work;

use std::fmt;
use std::path::{Path, PathBuf};

/// Why a model cannot be used.
#[derive(Debug)]
pub enum Error {
    /// A file of the model is not there or cannot be read.
    Read { path: PathBuf, source: std::io::Error },
    /// rten refuses the network.
    Load { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    /// The network has no input or output of that name, or a vocabulary file is not what it should be.
    Shape { path: PathBuf, what: String },
    /// A run failed.
    Run(rten::RunError),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, .. } => {
                write!(f, "cannot read {}; `offhook models` obtains the local models", path.display())
            }
            Self::Load { path, .. } => write!(f, "{} is not a network that can be run", path.display()),
            Self::Shape { path, what } => write!(f, "{}: {what}", path.display()),
            Self::Run(_) => f.write_str("a network failed to run"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            Self::Load { source, .. } => Some(source.as_ref()),
            Self::Shape { .. } => None,
            Self::Run(source) => Some(source),
        }
    }
}

impl From<rten::RunError> for Error {
    fn from(source: rten::RunError) -> Self {
        Self::Run(source)
    }
}

/// Reads a file of a model whole.
///
/// # Errors
/// [`Error::Read`].
pub fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

/// Loads an ONNX network.
///
/// # Errors
/// [`Error::Read`] or [`Error::Load`].
pub fn load(path: &Path) -> Result<rten::Model, Error> {
    let bytes = read(path)?;
    rten::Model::load(bytes).map_err(|source| Error::Load { path: path.to_owned(), source: Box::new(source) })
}

/// Returns the options of a run that uses one thread: `pool` belongs to the thread that runs, and to no other.
#[must_use]
pub fn on(pool: &std::sync::Arc<rten::ThreadPool>) -> Option<rten::RunOptions> {
    Some(rten::RunOptions::default().with_thread_pool(Some(pool.clone())))
}

/// Makes a pool of one thread for [`on`].
#[must_use]
pub fn one_thread() -> std::sync::Arc<rten::ThreadPool> {
    std::sync::Arc::new(rten::ThreadPool::with_num_threads(1))
}

/// The folder of the model `set` for a test that needs it; where it is missing, the test says so and is skipped.
#[cfg(test)]
pub(crate) fn models_for_tests(set: &str) -> Option<std::path::PathBuf> {
    let folder = std::env::var_os("OFFHOOK_MODELS")
        .map(std::path::PathBuf::from)
        .or_else(|| dirs::cache_dir().map(|cache| cache.join("offhook")))?
        .join(set);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED: no {}; `offhook models` obtains it", folder.display());
    None
}
