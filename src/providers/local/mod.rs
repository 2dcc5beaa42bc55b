//! The agent on this machine: voice and mind without a key and without the network.

pub mod g2p;
pub mod hibari;
pub mod minilm;
pub mod receptionist;
pub mod speech;
pub mod vocoder;
pub mod voice;
pub mod wordpiece;

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
