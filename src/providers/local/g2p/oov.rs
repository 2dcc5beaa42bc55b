//! Words that no lexicon knows: a small network reads their letters.

use rten::{Model, NodeId, RunOptions};
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;
use std::path::Path;

/// The network and its two alphabets.
pub struct LetterReader {
    model: Model,
    input: NodeId,
    output: NodeId,
    letters: Vec<char>,
    phonemes: Vec<char>,
    /// Letters that it was trained on at most.
    length_max: usize,
}

#[derive(serde::Deserialize)]
struct Alphabets {
    r#in: Vec<char>,
    out: Vec<char>,
    maxlen: usize,
}

impl LetterReader {
    /// Reads `oov.onnx` and `oov.json` in `folder`.
    ///
    /// # Errors
    /// What is wrong with the files.
    pub fn read(folder: &Path) -> std::io::Result<Self> {
        let alphabets = std::fs::read(folder.join("oov.json"))?;
        let Alphabets { r#in: letters, out: phonemes, maxlen } = serde_json::from_slice(&alphabets)?;
        let model = Model::load_file(folder.join("oov.onnx")).map_err(std::io::Error::other)?;
        let input = model.node_id("chars").map_err(std::io::Error::other)?;
        let output = model.node_id("ids").map_err(std::io::Error::other)?;
        Ok(Self { model, input, output, letters, phonemes, length_max: maxlen })
    }

    /// Returns how `word` may sound; `None` where none of its letters is known.
    #[must_use]
    pub fn word(&self, word: &str, options: RunOptions) -> Option<String> {
        // Ids start at 1 in both alphabets; 0 is padding, and the blank of the connectionist output.
        let place = |letter: char| self.letters.iter().position(|known| *known == letter).map(|at| at as i32 + 1);
        let ids: Vec<i32> = word.chars().filter_map(place).take(self.length_max).collect();
        if ids.is_empty() {
            return None;
        }
        let input = NdTensor::from_data([1, ids.len()], ids);
        let [ids] = self.model.run_n(vec![(self.input, input.into())], [self.output], Some(options)).ok()?;
        let ids: NdTensor<i32, 2> = ids.try_into().ok()?;
        let mut out = String::new();
        let mut before = 0;
        for id in ids.iter().copied() {
            if id != before && id > 0 {
                out.extend(self.phonemes.get(id as usize - 1));
            }
            before = id;
        }
        Some(out)
    }
}
