//! Which of the known topics an utterance is nearest to: by meaning where the model is there, else by the words in common.

use super::words::stems;
use crate::providers::local::minilm::MiniLm;
use std::collections::BTreeMap;
use std::sync::Arc;

/// From this cosine on an utterance belongs to a topic.
///
/// Measured with all-MiniLM-L6-v2 on the tables of this folder: of 20 utterances that belong to no topic, 18 stay below 0.50 (most
/// below 0.40) with the nearest example; of 33 paraphrases that belong to one, 24 lie above, and 20 above 0.56. A paraphrase that is missed
/// is said back with an offer, which costs less than a wrong answer.
pub const NEAR_BY_MEANING: f32 = 0.50;
/// From this share of common words on, each weighed by its rarity, an utterance belongs to a topic.
pub const NEAR_BY_WORDS: f32 = 0.62;

/// The examples of all topics, in the space where they are compared.
pub struct Meaning {
    space: Space,
    /// Topic of each example.
    topics: Vec<usize>,
    topic_count: usize,
}

enum Space {
    Directions { model: Arc<MiniLm>, examples: Vec<Vec<f32>> },
    Words { rarity: BTreeMap<String, f32>, examples: Vec<Vec<String>> },
}

impl Meaning {
    /// Places `examples`, each with the number of its topic.
    #[must_use]
    pub fn new(examples: &[(usize, String)], model: Option<Arc<MiniLm>>) -> Self {
        let topics: Vec<usize> = examples.iter().map(|(topic, _)| *topic).collect();
        let topic_count = topics.iter().max().map_or(0, |topic| topic + 1);
        let directions =
            |model: &MiniLm| examples.iter().map(|(_, text)| model.direction(text)).collect::<Option<Vec<_>>>();
        let space = match model.and_then(|model| directions(&model).map(|examples| (model, examples))) {
            Some((model, examples)) => Space::Directions { model, examples },
            None => by_words(examples),
        };
        Self { space, topics, topic_count }
    }

    /// Whether utterances are compared by meaning.
    #[must_use]
    pub fn by_meaning(&self) -> bool {
        matches!(self.space, Space::Directions { .. })
    }

    /// From which score on an utterance belongs to a topic.
    #[must_use]
    pub fn near(&self) -> f32 {
        if self.by_meaning() { NEAR_BY_MEANING } else { NEAR_BY_WORDS }
    }

    /// Returns for each topic how near `utterance` is to its nearest example, at most 1.
    #[must_use]
    pub fn scores(&self, utterance: &str) -> Vec<f32> {
        let nearness: Vec<f32> = match &self.space {
            Space::Directions { model, examples } => match model.direction(utterance) {
                Some(here) => examples.iter().map(|there| here.iter().zip(there).map(|(a, b)| a * b).sum()).collect(),
                None => Vec::new(),
            },
            Space::Words { rarity, examples } => {
                let here = stems(utterance);
                examples.iter().map(|there| in_common(&here, there, rarity)).collect()
            }
        };
        let mut scores = vec![0.0f32; self.topic_count];
        for (topic, near) in self.topics.iter().zip(nearness) {
            scores[*topic] = scores[*topic].max(near);
        }
        scores
    }
}

fn by_words(examples: &[(usize, String)]) -> Space {
    let examples: Vec<Vec<String>> = examples.iter().map(|(_, text)| stems(text)).collect();
    let mut found_in: BTreeMap<&String, usize> = BTreeMap::new();
    for example in &examples {
        let mut seen: Vec<&String> = example.iter().collect();
        seen.sort_unstable();
        seen.dedup();
        for word in seen {
            *found_in.entry(word).or_default() += 1;
        }
    }
    let count = examples.len() as f32;
    let rarity =
        found_in.into_iter().map(|(word, in_examples)| (word.clone(), (1.0 + count / in_examples as f32).ln()));
    Space::Words { rarity: rarity.collect(), examples }
}

/// The cosine of two bags of words, each word weighed by its rarity; a word that no example has weighs as the rarest.
fn in_common(here: &[String], there: &[String], rarity: &BTreeMap<String, f32>) -> f32 {
    let rarest = rarity.values().copied().fold(1.0, f32::max);
    let weight = |word: &String| rarity.get(word).copied().unwrap_or(rarest);
    let square = |words: &[String]| words.iter().map(|word| weight(word).powi(2)).sum::<f32>();
    let common: f32 = here.iter().filter(|word| there.contains(word)).map(|word| weight(word).powi(2)).sum();
    common / (square(here) * square(there)).sqrt().max(f32::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_the_model_rare_words_in_common_decide() {
        let examples =
            [(0, "What are your opening hours?"), (1, "Where are you located?"), (1, "What is your address?")];
        let meaning = Meaning::new(&examples.map(|(topic, text)| (topic, text.to_owned())), None);
        assert!(!meaning.by_meaning());
        let scores = meaning.scores("tell me the opening hours please");
        assert!(scores[0] > meaning.near() && scores[1] < 0.2, "{scores:?}");
        let scores = meaning.scores("so what's the address");
        assert!(scores[1] > meaning.near() && scores[0] < 0.2, "{scores:?}");
        assert!(meaning.scores("the weather in Paris").iter().all(|score| *score < 0.2));
        assert_eq!(meaning.scores(""), [0.0, 0.0]);
    }
}
