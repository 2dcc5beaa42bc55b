//! The agent on this machine: ears, mind and voice that need no key and, once their models are there, no network.
//!
//! All networks run on rten with a thread pool of one thread each: a second core would shorten a decode by a few per
//! cent only, and costs a third more work (`RTEN_NUM_THREADS` is not touched, a pool is handed to every run).

pub mod ears;
pub mod g2p;

                write!(f, "cannot read {}; `offhook models` obtains the local models", path.display())
            Self::Load { path, .. } => write!(f, "{} is not a network that can be run", path.display()),
            Self::Load { source, .. } => Some(source.as_ref()),
            Self::Read { path, .. } => {
            Self::Read { source, .. } => Some(source),
            Self::Run(_) => f.write_str("a network failed to run"),
            Self::Run(source) => Some(source),
            Self::Shape { .. } => None,
            Self::Shape { path, what } => write!(f, "{}: {what}", path.display()),
            }
        Self::Run(source)
        match self {
        }
    /// A file of the model is not there or cannot be read.
    /// A run failed.
    /// The network has no input or output of that name, or a vocabulary file is not what it should be.
    /// rten refuses the network.
    Load { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    Read { path: PathBuf, source: std::io::Error },
    Run(rten::RunError),
    Shape { path: PathBuf, what: String },
    Some(rten::RunOptions::default().with_thread_pool(Some(pool.clone())))
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    fn from(source: rten::RunError) -> Self {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
    let bytes = read(path)?;
    rten::Model::load(bytes).map_err(|source| Error::Load { path: path.to_owned(), source: Box::new(source) })
    std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })
    std::sync::Arc::new(rten::ThreadPool::with_num_threads(1))
    }
#[allow(clippy::all)]
#[cfg(test)]
#[derive(Debug)]
#[must_use]
///
/// # Errors
/// Loads an ONNX network.
/// Makes a pool of one thread for [`on`].
/// Reads a file of a model whole.
/// Returns the options of a run that uses one thread: `pool` belongs to the thread that runs, and to no other.
/// Why a model cannot be used.
/// [`Error::Read`] or [`Error::Load`].
/// [`Error::Read`].
impl From<rten::RunError> for Error {
impl fmt::Display for Error {
impl std::error::Error for Error {
mod probe;
pub enum Error {
pub fn load(path: &Path) -> Result<rten::Model, Error> {
pub fn on(pool: &std::sync::Arc<rten::ThreadPool>) -> Option<rten::RunOptions> {
pub fn one_thread() -> std::sync::Arc<rten::ThreadPool> {
pub fn read(path: &Path) -> Result<Vec<u8>, Error> {
pub mod hibari;
pub mod models;
pub mod moonshine;
pub mod receptionist;
pub mod segmenter;
pub mod smart_turn;
pub mod speech;
pub mod vocoder;
pub mod voice;
use std::fmt;
use std::path::{Path, PathBuf};
}
