//! all-MiniLM-L6-v2: the meaning of a sentence as a direction in 384 dimensions.

use super::wordpiece::WordPiece;
use rten::{Model, ModelOptions, NodeId, RunOptions, ThreadPool};
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;
use std::path::Path;
use std::sync::Arc;

/// The model; shared by all calls. One sentence takes about 5 ms.
pub struct MiniLm {
    words: WordPiece,
    model: Model,
    /// Ids, mask, types.
    inputs: [NodeId; 3],
    output: NodeId,
    options: RunOptions,
}

impl MiniLm {
    /// Reads the model in `folder`.
    ///
    /// # Errors
    /// Which file is missing or unusable.
    pub fn read(folder: &Path) -> std::io::Result<Self> {
        let words = WordPiece::read(&folder.join("tokenizer.json"))?;
        let model = ModelOptions::with_all_ops().prepack_weights(true).load_file(folder.join("model.onnx"));
        let model = model.map_err(std::io::Error::other)?;
        let node = |name: &str| model.node_id(name).map_err(std::io::Error::other);
        let inputs = [node("input_ids")?, node("attention_mask")?, node("token_type_ids")?];
        let output = node("last_hidden_state")?;
        // One thread for all calls: a turn asks for one sentence, and waits its turn for milliseconds.
        let options = RunOptions::default().with_thread_pool(Some(Arc::new(ThreadPool::with_num_threads(1))));
        Ok(Self { words, model, inputs, output, options })
    }

    /// Returns the direction of `text`, of length 1; the cosine of two is the sum of their products.
    #[must_use]
    pub fn direction(&self, text: &str) -> Option<Vec<f32>> {
        let ids = self.words.ids(text);
        let count = ids.len();
        let filled = |value: i32| NdTensor::from_data([1, count], vec![value; count]);
        let [ids_node, mask_node, types_node] = self.inputs;
        let inputs = vec![
            (ids_node, NdTensor::from_data([1, count], ids).into()),
            (mask_node, filled(1).into()),
            (types_node, filled(0).into()),
        ];
        let [states] = self.model.run_n(inputs, [self.output], Some(self.options.clone())).ok()?;
        let states: NdTensor<f32, 3> = states.try_into().ok()?;
        let width = states.size(2);
        let mut mean = vec![0.0f32; width];
        for (i, value) in states.iter().enumerate() {
            mean[i % width] += value;
        }
        let length = mean.iter().map(|x| x * x).sum::<f32>().sqrt();
        mean.iter_mut().for_each(|x| *x /= length.max(f32::MIN_POSITIVE));
        Some(mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::local::models_for_tests;

    #[test]
    fn questions_of_one_meaning_lie_closer_than_others() {
        let Some(folder) = models_for_tests("minilm") else { return };
        let model = MiniLm::read(&folder).expect("usable files");
        let cosine = |a: &str, b: &str| -> f32 {
            let (a, b) = (model.direction(a).expect("a run"), model.direction(b).expect("a run"));
            a.iter().zip(&b).map(|(a, b)| a * b).sum()
        };
        // The reference implementation has 0.63, 0.12 and 1.0.
        assert!(cosine("When do you open?", "What are your opening hours?") > 0.5);
        assert!(cosine("When do you open?", "My dog likes to swim.") < 0.25);
        assert!(cosine("When do you open?", "when do you OPEN?") > 0.999);
    }
}
