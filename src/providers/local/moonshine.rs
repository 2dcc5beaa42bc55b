//! Speech to text by Moonshine tiny: an encoder over the whole of a piece of speech, and a decoder that writes its text.
//!
//! Moonshine does not stream: each look at a growing turn encodes all of it anew. What makes repeated looks cheap is that
//! the text of the look before is handed to the decoder as a draft. It is checked in one pass, since all its tokens are known, and
//! only where the decoder disagrees does it go on token by token. The text is the same as without a draft, up to the
//! rounding of the network's 8 bit arithmetic.

use super::{Error, load, on, read};
use rten::{Model, NodeId, ThreadPool, Value, ValueOrView};
use rten_tensor::prelude::*;
use rten_tensor::{NdTensor, NdTensorView};
use std::path::Path;
use std::sync::Arc;

/// Samples per second of the audio that Moonshine hears.
pub const SAMPLE_RATE: usize = 16_000;

/// The shortest audio that the encoder's three convolutions can reduce to at least one frame, with room to spare.
const SAMPLES_MIN: usize = SAMPLE_RATE / 10;

/// The longest audio that is looked at, in samples: 30 s. Cost and memory grow with its square; turns are split long before.
const SAMPLES_MAX: usize = 30 * SAMPLE_RATE;

/// Layers, heads and width of a head of the tiny model's decoder.
const LAYERS: usize = 6;
const HEADS: usize = 8;
const HEAD_DIM: usize = 36;

/// Tokens that begin and end a text.
const START: u32 = 1;
const END: u32 = 2;

/// The most tokens per second of audio, as the model's authors advise against its habit of repeating itself.
const TOKENS_PER_SECOND_MAX: f32 = 6.5;

/// The fewest tokens that the limit allows. "Nine one one." said fast in half a second has seven.
const TOKENS_MAX_AT_LEAST: usize = 12;

/// A text and its tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hypothesis {
    /// The text, trimmed.
    pub text: String,
    /// Its tokens, without start and end; the draft of the next look.
    pub tokens: Vec<u32>,
    /// Whether the decoder ended the text itself, and not the limit on its length.
    pub ended: bool,
}

/// The networks, their names resolved, and the vocabulary. Shared by all threads: a run borrows it only.
pub struct Moonshine {
    encoder: Model,
    encoder_in: NodeId,
    encoder_out: NodeId,
    decoder: Model,
    names: DecoderNames,
    pieces: Pieces,
}

struct DecoderNames {
    input_ids: NodeId,
    hidden: NodeId,
    use_cache: NodeId,
    logits: NodeId,
    /// Keys and values of what was written: two per layer.
    written: Vec<Cached>,
    /// Keys and values of what is heard: two per layer.
    heard: Vec<Cached>,
}

/// An entry of the decoder's cache: the input and the output that carry it.
struct Cached {
    past: NodeId,
    present: NodeId,
}

impl Moonshine {
    /// Loads it from its folder.
    ///
    /// # Errors
    /// What keeps it from running.
    pub fn load(folder: &Path) -> Result<Self, Error> {
        let (encoder_path, decoder_path) =
            (folder.join("encoder_model.onnx"), folder.join("decoder_model_merged.onnx"));
        let encoder = load(&encoder_path)?;
        let decoder = load(&decoder_path)?;
        let vocabulary = folder.join("tokenizer.json");
        let shape = |what: &str| Error::Shape { path: encoder_path.clone(), what: what.to_owned() };
        let encoder_in = *encoder.input_ids().first().ok_or_else(|| shape("it has no input"))?;
        let encoder_out = *encoder.output_ids().first().ok_or_else(|| shape("it has no output"))?;
        let names = DecoderNames::resolve(&decoder)
            .map_err(|error| Error::Shape { path: decoder_path.clone(), what: error.to_string() })?;
        let pieces =
            Pieces::parse(&read(&vocabulary)?).map_err(|what| Error::Shape { path: vocabulary.clone(), what })?;
        Ok(Self { encoder, encoder_in, encoder_out, decoder, names, pieces })
    }

    /// Writes down what is said in `pcm` (mono, 16 kHz, ±1), beginning with `draft` as far as it is confirmed.
    ///
    /// Runs on `pool`, which is the calling thread's own. Returns `None` as soon as `cancelled` says so; it is asked
    /// between two steps of the networks, some milliseconds apart, the encoder's run excepted.
    ///
    /// # Errors
    /// [`Error::Run`], which a sane model file never causes.
    pub fn transcribe(
        &self,
        pcm: &[f32],
        draft: &[u32],
        pool: &Arc<ThreadPool>,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Option<Hypothesis>, Error> {
        if pcm.len() < SAMPLES_MIN {
            return Ok(Some(Hypothesis { ended: true, ..Hypothesis::default() }));
        }
        let pcm = &pcm[pcm.len().saturating_sub(SAMPLES_MAX)..];
        let input = NdTensorView::from_data([1, pcm.len()], pcm);
        let hidden = self.encoder.run(vec![(self.encoder_in, input.into())], &[self.encoder_out], on(pool))?;
        let Some(hidden) = hidden.into_iter().next() else { return Ok(None) };
        let limit = ((pcm.len() as f32 / SAMPLE_RATE as f32 * TOKENS_PER_SECOND_MAX) as usize).max(TOKENS_MAX_AT_LEAST);
        let mut decoding = Decoding { model: self, hidden: &hidden, written: Vec::new(), heard: Vec::new(), pool };
        let mut tokens: Vec<u32> = draft.iter().copied().take(limit).collect();
        if cancelled() {
            return Ok(None);
        }
        let mut next = decoding.check(&mut tokens)?;
        while next != END && tokens.len() < limit {
            if cancelled() {
                return Ok(None);
            }
            tokens.push(next);
            next = decoding.step(next)?;
        }
        Ok(Some(Hypothesis { text: self.pieces.text(&tokens), tokens, ended: next == END }))
    }
}

impl DecoderNames {
    fn resolve(decoder: &Model) -> Result<Self, rten::RunError> {
        let cached = |part: &str| {
            (0..LAYERS)
                .flat_map(|layer| ["key", "value"].map(|kind| format!("{layer}.{part}.{kind}")))
                .map(|name| {
                    let past = decoder.node_id(&format!("past_key_values.{name}"))?;
                    Ok(Cached { past, present: decoder.node_id(&format!("present.{name}"))? })
                })
                .collect::<Result<Vec<Cached>, rten::RunError>>()
        };
        Ok(Self {
            input_ids: decoder.node_id("input_ids")?,
            hidden: decoder.node_id("encoder_hidden_states")?,
            use_cache: decoder.node_id("use_cache_branch")?,
            logits: decoder.node_id("logits")?,
            written: cached("decoder")?,
            heard: cached("encoder")?,
        })
    }
}

/// One text in the making.
struct Decoding<'a> {
    model: &'a Moonshine,
    hidden: &'a Value,
    /// Moved into each run, which appends to it in place.
    written: Vec<Value>,
    /// Made by the first run, lent to the others.
    heard: Vec<Value>,
    pool: &'a Arc<ThreadPool>,
}

impl Decoding<'_> {
    /// Runs the start token and the draft in one pass, shortens `tokens` to what the decoder would have written itself, and
    /// returns the token that it writes next.
    fn check(&mut self, tokens: &mut Vec<u32>) -> Result<u32, Error> {
        let ids: Vec<i32> = std::iter::once(START).chain(tokens.iter().copied()).map(|token| token as i32).collect();
        let names = &self.model.names;
        let nothing = || Value::from(NdTensor::<f32, 4>::zeros([1, HEADS, 0, HEAD_DIM]));
        let mut inputs = Vec::with_capacity(names.written.len() + names.heard.len() + 3);
        let mut outputs = vec![names.logits];
        for entry in names.written.iter().chain(&names.heard) {
            inputs.push((entry.past, nothing().into()));
            outputs.push(entry.present);
        }
        let (choices, mut cache) = self.run(&ids, false, inputs, &outputs)?;
        self.heard = cache.split_off(names.written.len());
        self.written = cache;
        let agreed = tokens.iter().zip(&choices).take_while(|(token, choice)| token == choice).count();
        if agreed < tokens.len() {
            tokens.truncate(agreed);
            for value in &mut self.written {
                *value = shortened(value, agreed + 1).ok_or_else(odd)?;
            }
        }
        choices.get(agreed).copied().ok_or_else(odd)
    }

    /// Runs one more token and returns the next.
    fn step(&mut self, token: u32) -> Result<u32, Error> {
        let names = &self.model.names;
        let mut inputs = Vec::with_capacity(names.written.len() + names.heard.len() + 3);
        let mut outputs = vec![names.logits];
        for (entry, value) in names.written.iter().zip(std::mem::take(&mut self.written)) {
            inputs.push((entry.past, value.into()));
            outputs.push(entry.present);
        }
        inputs.extend(names.heard.iter().zip(&self.heard).map(|(entry, value)| (entry.past, value.into())));
        let (choices, written) = self.run(&[token as i32], true, inputs, &outputs)?;
        self.written = written;
        choices.last().copied().ok_or_else(odd)
    }

    /// Runs the decoder over `ids` and returns the most likely token after each, and the other outputs.
    fn run<'v>(
        &'v self,
        ids: &'v [i32],
        use_cache: bool,
        mut inputs: Vec<(NodeId, ValueOrView<'v>)>,
        outputs: &[NodeId],
    ) -> Result<(Vec<u32>, Vec<Value>), Error> {
        let names = &self.model.names;
        inputs.push((names.input_ids, NdTensorView::from_data([1, ids.len()], ids).into()));
        inputs.push((names.hidden, self.hidden.into()));
        inputs.push((names.use_cache, NdTensor::from_data([1], vec![i32::from(use_cache)]).into()));
        let mut values = self.model.decoder.run(inputs, outputs, on(self.pool))?.into_iter();
        let logits: NdTensor<f32, 3> = values.next().ok_or_else(odd)?.try_into().map_err(|_| odd())?;
        let choices = (0..logits.size(1)).map(|row| most_likely(logits.slice((0, row)).iter().copied())).collect();
        Ok((choices, values.collect()))
    }
}

fn odd() -> Error {
    Error::Shape { path: "decoder_model_merged.onnx".into(), what: "an output has an odd shape".to_owned() }
}

/// Cuts keys or values `[1, heads, length, width]` to the first `length`.
fn shortened(value: &Value, length: usize) -> Option<Value> {
    let tensor: NdTensorView<f32, 4> = value.as_view().try_into().ok()?;
    (tensor.size(2) >= length).then(|| tensor.slice((.., .., ..length, ..)).to_tensor().into())
}

fn most_likely(logits: impl Iterator<Item = f32>) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (token, logit) in (0..).zip(logits) {
        if logit > best.1 {
            best = (token, logit);
        }
    }
    best.0
}

/// The vocabulary: what each token writes.
struct Pieces(Vec<Piece>);

/// What a token writes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// Bytes of UTF-8, a whole word part, or one byte of a character that the vocabulary does not have.
    Bytes(Vec<u8>),
    /// Nothing: it steers.
    Special,
}

impl Pieces {
    /// Reads `tokenizer.json`: pieces of a SentencePiece kind, `▁` for a space, `<0x41>` for a byte.
    fn parse(json: &[u8]) -> Result<Self, String> {
        let json: serde_json::Value = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let vocabulary =
            json.pointer("/model/vocab").and_then(|vocab| vocab.as_object()).ok_or("it has no vocabulary")?;
        let mut pieces = Vec::new();
        let mut put = |id: u64, piece: Piece| {
            // The model has 32768 tokens; a larger id would only waste memory.
            let id = usize::try_from(id).ok().filter(|&id| id < 65_536).ok_or("an id is out of range")?;
            if pieces.len() <= id {
                pieces.resize(id + 1, Piece::Special);
            }
            pieces[id] = piece;
            Ok::<(), String>(())
        };
        for (piece, id) in vocabulary {
            let id = id.as_u64().ok_or("an id is no number")?;
            let byte = piece.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
            let bytes = match byte.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                Some(byte) => vec![byte],
                None => piece.replace('▁', " ").into_bytes(),
            };
            put(id, Piece::Bytes(bytes))?;
        }
        for added in json.pointer("/added_tokens").and_then(|added| added.as_array()).into_iter().flatten() {
            if let (Some(id), Some(true)) = (added["id"].as_u64(), added["special"].as_bool()) {
                put(id, Piece::Special)?;
            }
        }
        Ok(Self(pieces))
    }

    /// Returns what `tokens` write, trimmed. Bytes that are no UTF-8 become U+FFFD.
    fn text(&self, tokens: &[u32]) -> String {
        let mut bytes = Vec::new();
        for &token in tokens {
            if let Some(Piece::Bytes(piece)) = self.0.get(token as usize) {
                bytes.extend_from_slice(piece);
            }
        }
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces() -> Pieces {
        let json = r#"{
            "model": {"vocab": {"<unk>": 0, "<s>": 1, "</s>": 2, "<0xE2>": 3, "<0x82>": 4, "<0xAC>": 5,
                                "▁I": 6, "'": 7, "d": 8, "▁like": 9, "▁5": 10, "<0xFF>": 11}},
            "added_tokens": [{"id": 0, "special": true}, {"id": 1, "special": true}, {"id": 2, "special": true},
                             {"id": 14, "special": true}]
        }"#;
        Pieces::parse(json.as_bytes()).expect("a vocabulary")
    }

    #[test]
    fn pieces_join_to_words() {
        assert_eq!(pieces().text(&[6, 7, 8, 9]), "I'd like");
    }

    #[test]
    fn bytes_that_the_vocabulary_lacks_join_to_a_character() {
        assert_eq!(pieces().text(&[10, 3, 4, 5]), "5€");
        assert_eq!(pieces().text(&[10, 11]), "5\u{fffd}");
    }

    #[test]
    fn special_and_unknown_tokens_write_nothing() {
        assert_eq!(pieces().text(&[1, 6, 14, 12, 13, 60_000, u32::MAX, 2]), "I");
        assert_eq!(pieces().text(&[]), "");
    }

    #[test]
    fn a_file_that_is_no_vocabulary_is_refused() {
        for json in ["", "[]", "{}", r#"{"model":{"vocab":{"a":-1}}}"#, r#"{"model":{"vocab":{"a":999999999999}}}"#] {
            assert!(Pieces::parse(json.as_bytes()).is_err(), "{json}");
        }
    }

    #[test]
    fn the_most_likely_token_is_the_first_of_equals_and_never_a_nan() {
        assert_eq!(most_likely([0.0, 2.0, f32::NAN, 2.0].into_iter()), 1);
        assert_eq!(most_likely([].into_iter()), 0);
    }

    #[test]
    fn a_cache_is_cut_along_its_third_axis() {
        let value = Value::from(NdTensor::<f32, 4>::from_data([1, 2, 3, 1], vec![1., 2., 3., 4., 5., 6.]));
        let cut: NdTensor<f32, 4> = shortened(&value, 2).expect("long enough").try_into().expect("four axes");
        assert_eq!(cut.shape(), [1, 2, 2, 1]);
        assert_eq!(cut.to_vec(), [1., 2., 4., 5.]);
        assert!(shortened(&value, 4).is_none());
    }
}
