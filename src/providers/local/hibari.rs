//! hibari, the acoustic model: phonemes into 8 kHz speech, and when each word ends.

use super::g2p::{Reader, Spoken};
use super::speech::Speech;
use super::vocoder::{HOP, NETWORK_BINS, Spectra, Vocoder};
use rten::{Model, NodeId, RunOptions, ThreadPool};
use rten_tensor::NdTensor;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Phonemes in one run at most: the network was trained on sentences, and its time grows with them.
pub const PHONEMES_MAX: usize = 400;

/// The id that stands in front of and behind every sentence.
const PAD: i32 = 0;

/// The node that sums up the durations: after how many steps each id's sound ends. The network does not name it as an
/// output; it was found as the only sum over durations, and [`Hibari::read`] refuses a model without it.
const ENDS_NODE: &str = "/CumSum_output_0";

/// The model, its vocabulary and the reader of text. Shared by all calls; each call brings its [`Session`].
pub struct Hibari {
    reader: Reader,
    model: Model,
    ids: NodeId,
    speed: NodeId,
    /// Harmonic, its phase, noise, free part, its phase, pitch, ends.
    outputs: [NodeId; 7],
    vocabulary: BTreeMap<char, i32>,
    vocoder: Vocoder,
}

/// One call's use of the model: a thread of its own for the network, so that calls do not wait for each other.
pub struct Session {
    options: RunOptions,
}

impl Session {
    /// Starts the thread. More than one would make a reply no faster and cost a third more (measured).
    #[must_use]
    pub fn new() -> Self {
        Self { options: RunOptions::default().with_thread_pool(Some(Arc::new(ThreadPool::with_num_threads(1)))) }
    }
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl Hibari {
    /// Reads the model in `folder`.
    ///
    /// # Errors
    /// Which file is missing or unusable.
    pub fn read(folder: &Path) -> std::io::Result<Self> {
        let other = std::io::Error::other;
        let reader = Reader::read(folder)?;
        let model =
            Model::load_file(folder.join("hibari.onnx")).map_err(|error| other(format!("hibari.onnx: {error}")))?;
        let node = |name: &str| model.node_id(name).map_err(|error| other(format!("hibari.onnx: {error}")));
        let outputs =
            [node("lh")?, node("theta")?, node("ln")?, node("lr")?, node("phi")?, node("f0")?, node(ENDS_NODE)?];
        let (ids, speed) = (node("ids")?, node("speed")?);
        let vocabulary = std::fs::read(folder.join("vocab.json"))
            .and_then(|text| Ok(serde_json::from_slice(&text)?))
            .map_err(|error| other(format!("vocab.json: {error}")))?;
        Ok(Self { reader, model, ids, speed, outputs, vocabulary, vocoder: Vocoder::new() })
    }

    /// Returns how `text` sounds, stretch by stretch.
    #[must_use]
    pub fn phonemes(&self, text: &str, session: &Session) -> Vec<Spoken> {
        self.reader.phonemes(text, &session.options)
    }

    /// Speaks `words` in one go, without the silence around; about 25 ms per second of speech. The same words sound the same.
    ///
    /// # Errors
    /// What the network says of its input.
    pub fn speak(&self, words: &[Spoken], session: &Session) -> Result<Speech, rten::RunError> {
        let (ids, word_ends) = self.ids(words);
        if ids.len() < 3 {
            return Ok(Speech::default());
        }
        let seed = ids.iter().fold(0u64, |seed, id| seed.wrapping_mul(31).wrapping_add(*id as u64));
        let count = ids.len();
        let input = NdTensor::from_data([1, count], ids);
        let speed = NdTensor::from_data([1], vec![1.0f32]);
        let inputs = vec![(self.ids, input.into()), (self.speed, speed.into())];
        let [harmonic, harmonic_phase, noise, free, free_phase, pitch, ends] =
            self.model.run_n(inputs, self.outputs, Some(session.options.clone()))?;
        let flat = |value: rten::Value| value.into_tensor::<f32>().map(|tensor| tensor.into_data()).unwrap_or_default();
        let pitch = flat(pitch);
        let frames = pitch.len();
        let ends = ends.into_tensor::<i32>().map(|tensor| tensor.into_data()).unwrap_or_default();
        let [harmonic, harmonic_phase, noise, free, free_phase] =
            [harmonic, harmonic_phase, noise, free, free_phase].map(flat);
        let whole = [&harmonic, &harmonic_phase, &noise, &free, &free_phase];
        if whole.iter().any(|spectrum| spectrum.len() != NETWORK_BINS * frames) || ends.len() != count {
            return Ok(Speech::default());
        }
        let spectra = Spectra {
            frames,
            harmonic: &harmonic,
            harmonic_phase: &harmonic_phase,
            noise: &noise,
            free: &free,
            free_phase: &free_phase,
            pitch: &pitch,
        };
        let samples = self.vocoder.speak(&spectra, &mut fastrand::Rng::with_seed(seed));
        // Durations count steps of their own, a whole number of frames each.
        let steps = ends.last().map_or(1, |steps| (*steps).max(1) as usize);
        let samples_per_step = frames * HOP / steps;
        let sample_at = |id: usize| ends.get(id).map_or(0, |steps| (*steps).max(0) as usize * samples_per_step);
        let words = words.iter().zip(&word_ends).map(|(word, id)| (word.source.clone(), sample_at(*id))).collect();
        Ok(Speech { samples, words }.trimmed())
    }

    /// Returns the ids of `words` with pads around, and for each word the place of its last sound (not its punctuation).
    fn ids(&self, words: &[Spoken]) -> (Vec<i32>, Vec<usize>) {
        let mut ids = vec![PAD];
        let mut ends = Vec::with_capacity(words.len());
        for word in words {
            if let Some(space) = self.vocabulary.get(&' ').filter(|_| ids.len() > 1 && !word.phonemes.is_empty()) {
                ids.push(*space);
            }
            let mut end = ids.len() - 1;
            for c in word.phonemes.chars() {
                let Some(id) = self.vocabulary.get(&c) else { continue };
                if ids.len() > PHONEMES_MAX {
                    break;
                }
                ids.push(*id);
                if c.is_alphabetic() {
                    end = ids.len() - 1;
                }
            }
            ends.push(end);
        }
        ids.push(PAD);
        (ids, ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::local::models_for_tests;

    fn hibari() -> Option<Hibari> {
        models_for_tests("hibari").map(|folder| Hibari::read(&folder).expect("usable files"))
    }

    #[test]
    fn awkward_sentences_sound_as_in_the_reference() {
        let Some(hibari) = hibari() else { return };
        let session = Session::new();
        // Read by the model's own Python reader, except for what it says otherwise than an American on the telephone.
        for (text, phonemes) in [
            (
                "I read the record you recorded yesterday; please read it again.",
                "ˌI ɹˈɛd ðə ɹˈɛkəɹd ju ɹəkˈɔɹdᵻd jˈɛstəɹdˌA; plˈiz ɹˈid ɪt əɡˈɛn.",
            ),
            ("She used to live in an hour, the end.", "ʃˌi jˈust tə lˈɪv ɪn ɐn ˈWəɹ, ði ˈɛnd."),
            ("Twenty-one customers wouldn't've called, y'all.", "twˌɛntiwˈʌn kˈʌstəməɹz wˈʊdntv kˈɔld, jˈɔl."),
            ("555-0199", "fˈIv fˈIv fˈIv, zˈɪɹO wˈʌn nˈIn nˈIn"),
        ] {
            let said: Vec<String> = hibari.phonemes(text, &session).into_iter().map(|word| word.phonemes).collect();
            assert_eq!(said.join(" "), phonemes, "{text}");
        }
    }

    #[test]
    fn speech_is_as_long_as_its_words_and_the_same_each_time() {
        let Some(hibari) = hibari() else { return };
        let session = Session::new();
        let words = hibari.phonemes("Hello, this is Offhook. How can I help you?", &session);
        let speech = hibari.speak(&words, &session).expect("a run");
        let seconds = speech.samples.len() as f32 / 8000.0;
        assert!((1.8..3.2).contains(&seconds), "{seconds}");
        assert!(speech.words.windows(2).all(|pair| pair[0].1 < pair[1].1), "{:?}", speech.words);
        assert_eq!(speech.words.last().map(|word| word.1), Some(speech.samples.len()));
        assert_eq!(hibari.speak(&words, &session).expect("a run"), speech);
        assert!(speech.samples.iter().all(|sample| sample.is_finite() && sample.abs() < 1.0));
    }

    #[test]
    fn nothing_to_say_is_silence() {
        let Some(hibari) = hibari() else { return };
        let session = Session::new();
        for text in ["", " ", "🙂", "...", "—"] {
            let words = hibari.phonemes(text, &session);
            assert!(hibari.speak(&words, &session).expect("a run").samples.len() < 8000, "{text}");
        }
    }
}
