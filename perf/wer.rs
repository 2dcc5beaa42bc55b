//! How well and how soon the local ears understand human speech over G.711, on prompts with known texts.
//!
//! `cargo run --release --example wer` transcribes each prompt in one piece; `-- --live` feeds them in real time, 20 ms by
//! 20 ms, through the whole of the ears, and measures the time from the last speech to the end of turn; `--calls N` does so
//! in N calls at once, `--every N` takes each N-th prompt, `--show` prints what was misheard. `-- --telephone` speaks each
//! prompt into a call of its own over real RTP, through the whole engine; `--loss`, `--jitter-ms` and `--reorder` spoil the line.
//!
//! The prompts are those of Debian's `asterisk-core-sounds-en-wav`, the texts those of `asterisk-core-sounds-en`.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a measuring program reads the clock and may stop")]

#[path = "../tests/support/engine.rs"]
mod engine;
#[path = "../tests/support/phone.rs"]
mod phone;

use clap::Parser;
use offhook::agent::EarsEvent;
use offhook::audio::activity::Activity;
use offhook::audio::g711::{Codec, decode_ulaw, encode_ulaw};
use offhook::audio::resample::Up2;
use offhook::call::{EarFrame, FRAME_8K, FRAME_16K};
use offhook::control::Bridge;
use offhook::ids::CallId;
use offhook::providers::local::{ears::Ears, moonshine::Moonshine, one_thread, smart_turn::SmartTurn};
use offhook::providers::{EarsIo, Events, Listener, Stamped, Stop, Transcriber};
use offhook::time::{Clock, Instant};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

#[derive(Parser)]
struct Options {
    /// Feed the prompts in real time.
    #[arg(long)]
    live: bool,
    /// Speak each prompt into a call of its own.
    #[arg(long)]
    telephone: bool,
    /// Packets lost on the way, of 1000, with --telephone.
    #[arg(long, default_value_t = 0)]
    loss: u32,
    /// Largest delay added to a packet, in milliseconds, with --telephone.
    #[arg(long, default_value_t = 0)]
    jitter_ms: u64,
    /// Packets overtaken by the next, of 1000, with --telephone.
    #[arg(long, default_value_t = 0)]
    reorder: u32,
    /// Calls at once, with --live.
    #[arg(long, default_value_t = 1)]
    calls: usize,
    /// Take each N-th prompt only.
    #[arg(long, default_value_t = 1)]
    every: usize,
    /// Give the text of the first two thirds as a draft of the whole.
    #[arg(long)]
    draft: bool,
    /// Print what was misheard.
    #[arg(long)]
    show: bool,
    /// Print the events, with --live.
    #[arg(long)]
    events: bool,
    /// Change of the prompts' level in dB before the codec.
    #[arg(long, default_value_t = -6.0, allow_negative_numbers = true)]
    level_db: f32,
    /// Where the local models are; by default where the engine keeps them.
    #[arg(long)]
    models: Option<PathBuf>,
    #[arg(long, default_value = "/usr/share/asterisk/sounds/en_US_f_Allison")]
    sounds: PathBuf,
    #[arg(long, default_value = "/usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz")]
    texts: PathBuf,
}

struct Prompt {
    name: String,
    words: Vec<String>,
    pcm: Vec<i16>,
}

/// The fewest words and the longest prompt that count.
const WORDS_MIN: usize = 3;
const SECONDS_MAX: usize = 15;

/// Silence before and after each prompt, in frames: longer than any pause that ends a turn.
const LEAD_FRAMES: usize = 40;
const TAIL_FRAMES: usize = 150;

fn main() {
    let options = Options::parse();
    let prompts = prompts(&options);
    if options.telephone {
        telephone(&options, &prompts);
    } else if options.live {
        live(&options, &prompts);
    } else {
        offline(&options, &prompts);
    }
}

/// Speaks each prompt into a call, and reads from the table of calls what was heard.
fn telephone(options: &Options, prompts: &[Prompt]) {
    let models = options.models().to_string_lossy().into_owned();
    let env = [("OFFHOOK_MODELS", models), ("OFFHOOK_LOG", "error".to_owned()), ("OFFHOOK_GREETING", String::new())];
    let (engine, server) = engine::start(&[], &env);
    let mut score = Score::default();
    for (n, prompt) in prompts.iter().enumerate() {
        let weather = phone::Weather {
            loss: options.loss,
            jitter: Duration::from_millis(options.jitter_ms),
            reorder: options.reorder,
            seed: n as u64,
        };
        let phone = phone::Phone::call(server, Codec::Pcma, weather).expect("an answer");
        std::thread::sleep(Duration::from_millis(300));
        phone.say(&prompt.pcm);
        phone.wait_until(Duration::from_secs(30), |phone| !phone.saying());
        std::thread::sleep(Duration::from_millis(1800));
        let view = engine.board().find(phone.call_id(), engine.now());
        phone.hang_up();
        let turns = view.map(|view| view.turns).unwrap_or_default();
        let heard: Vec<String> = turns.into_iter().map(|turn| turn.record.caller).collect();
        score.add(prompt, &heard.join(" "), options.show);
    }
    println!("by telephone: {score}");
    engine.stop();
}

impl Options {
    fn models(&self) -> PathBuf {
        let named = self.models.clone().or_else(|| std::env::var_os("OFFHOOK_MODELS").map(Into::into));
        named.unwrap_or_else(|| dirs::cache_dir().unwrap_or_default().join("offhook"))
    }
}

fn prompts(options: &Options) -> Vec<Prompt> {
    let mut text = String::new();
    let file = std::fs::File::open(&options.texts).expect("the texts of the prompts; see --texts");
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("gzipped text; see --texts");
    let prompt = |line: &str| {
        let (name, text) = line.split_once(':')?;
        let name = name.trim().trim_end_matches(".wav");
        // Texts in brackets describe a sound, and * and # are spoken as words that differ.
        if line.starts_with(';') || text.contains(['[', '(', '<', '*', '#']) {
            return None;
        }
        let mut wav = hound::WavReader::open(options.sounds.join(format!("{name}.wav"))).ok()?;
        let gain = 10_f32.powf(options.level_db / 20.0);
        let pcm: Vec<i16> = wav
            .samples::<i16>()
            .map(|sample| (f32::from(sample.expect("16-bit samples; see --sounds")) * gain) as i16)
            .collect();
        let words = normalised(text);
        let fits = words.len() >= WORDS_MIN && pcm.len() <= SECONDS_MAX * 8000;
        fits.then(|| Prompt { name: name.to_owned(), words, pcm })
    };
    text.lines().filter_map(prompt).step_by(options.every).collect()
}

/// The caller's end of a call: silence, a prompt and silence again as the frames that the ears get.
fn frames(prompt: &Prompt) -> Vec<EarFrame> {
    let mut pcm = vec![0_i16; LEAD_FRAMES * FRAME_8K];
    pcm.extend_from_slice(&prompt.pcm);
    pcm.resize(pcm.len().next_multiple_of(FRAME_8K) + TAIL_FRAMES * FRAME_8K, 0);
    let (mut up, mut activity) = (Up2::new(), Activity::new());
    let frame = |narrow: &[i16]| {
        let mut frame = EarFrame {
            pcm: [0; FRAME_16K],
            ulaw: [0; FRAME_8K],
            arrived: Instant::ZERO,
            speech: false,
            concealed: false,
        };
        encode_ulaw(narrow, &mut frame.ulaw);
        let mut heard = [0; FRAME_8K];
        decode_ulaw(&frame.ulaw, &mut heard);
        up.process(&heard, &mut frame.pcm);
        frame.speech = activity.push(&frame.pcm).speech;
        frame
    };
    pcm.chunks_exact(FRAME_8K).map(frame).collect()
}

fn offline(options: &Options, prompts: &[Prompt]) {
    let model = Moonshine::load(&options.models().join("moonshine-tiny-en")).expect("Moonshine; see --models");
    let judge = SmartTurn::load(&options.models().join("turn")).expect("smart-turn; see --models");
    let pool = one_thread();
    let (mut score, mut whole, mut cut, mut judging) = (Score::default(), Vec::new(), Vec::new(), Duration::ZERO);
    let (mut audio_s, mut decode) = (0.0, Duration::ZERO);
    for prompt in prompts {
        let frames = frames(prompt);
        let first = frames.iter().position(|frame| frame.speech).unwrap_or(0).saturating_sub(5);
        let last = frames.iter().rposition(|frame| frame.speech).unwrap_or(frames.len() - 1) + 6;
        let speech = frames[first..last.min(frames.len())].iter().flat_map(|frame| frame.pcm);
        let pcm: Vec<f32> = speech.map(|sample| f32::from(sample) / 32_768.0).collect();
        let two_thirds = &pcm[..pcm.len() * 2 / 3];
        let draft = match options.draft {
            true => model.transcribe(two_thirds, &[], &pool, &|| false).unwrap().unwrap().tokens,
            false => Vec::new(),
        };
        let began = std::time::Instant::now();
        let heard = model.transcribe(&pcm, &draft, &pool, &|| false).unwrap().unwrap();
        decode += began.elapsed();
        audio_s += pcm.len() as f64 / 16_000.0;
        score.add(prompt, &heard.text, options.show);
        let began = std::time::Instant::now();
        whole.push(f64::from(judge.completeness(&pcm, &pool).unwrap()));
        judging += began.elapsed();
        cut.push(f64::from(judge.completeness(two_thirds, &pool).unwrap()));
    }
    println!("{score}, {audio_s:.0} s of speech, {:.0} ms per second", decode.as_secs_f64() * 1e3 / audio_s);
    let share = |values: &[f64], least: f64| {
        100.0 * values.iter().filter(|&&value| value >= least).count() as f64 / values.len() as f64
    };
    for least in [0.2, 0.5, 0.8] {
        println!(
            "judged whole by {least}: {:.0} % of prompts, {:.0} % of two thirds of them",
            share(&whole, least),
            share(&cut, least)
        );
    }
    println!("{:.0} ms per judgement", judging.as_secs_f64() * 1e3 / prompts.len() as f64);
}

fn live(options: &Options, prompts: &[Prompt]) {
    let began = std::time::Instant::now();
    let ears =
        Ears::load(&options.models()).expect("the ears, which `offhook models` obtains; --models names another folder");
    println!("loaded in {:.0} ms", began.elapsed().as_secs_f64() * 1e3);
    let wall = Arc::new(Wall(std::time::Instant::now()));
    let began = cpu_seconds();
    let calls: Vec<(Score, Latencies)> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..options.calls)
            .map(|call| {
                let (ears, wall) = (&ears, wall.clone());
                scope.spawn(move || {
                    let (mut score, mut latencies) = (Score::default(), Latencies::default());
                    for prompt in prompts.iter().skip(call).step_by(options.calls) {
                        let heard = call_with(ears, &wall, prompt, options.events, &mut latencies);
                        score.add(prompt, &heard, options.show);
                    }
                    (score, latencies)
                })
            })
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    let (mut score, mut all) = (Score::default(), Latencies::default());
    for (one, latencies) in calls {
        score.merge(&one);
        all.merge(latencies);
    }
    let (wall_s, cpu_s) = (wall.0.elapsed().as_secs_f64(), cpu_seconds() - began);
    println!("{score}");
    println!("speech to first words {}", quantiles(&mut all.start));
    println!("last speech to end of turn {}", quantiles(&mut all.end));
    println!("last speech to eager end of turn {}", quantiles(&mut all.eager));
    println!("{} prompts had {} turns; {} resumed", score.prompts, all.turns, all.resumed);
    println!("{:.2} cores per call over {wall_s:.0} s", cpu_s / wall_s / options.calls as f64);
}

#[derive(Default)]
struct Latencies {
    start: Vec<f64>,
    end: Vec<f64>,
    eager: Vec<f64>,
    turns: usize,
    resumed: usize,
}

impl Latencies {
    fn merge(&mut self, other: Self) {
        self.start.extend(other.start);
        self.end.extend(other.end);
        self.eager.extend(other.eager);
        self.turns += other.turns;
        self.resumed += other.resumed;
    }
}

/// Runs one prompt through the ears in real time and returns the text of its turns.
fn call_with(ears: &Ears, wall: &Arc<Wall>, prompt: &Prompt, show: bool, latencies: &mut Latencies) -> String {
    let clock: Arc<dyn Clock> = wall.clone();
    let (mut ring, consumer) = rtrb::RingBuffer::new(256);
    let (bell, listener) = Listener::new().unwrap();
    let (_, other) = Listener::new().unwrap();
    let (sender, events) = crossbeam_channel::bounded::<Stamped<EarsEvent>>(1024);
    let stop = Stop::default();
    let io = EarsIo {
        call: CallId(1),
        clock: clock.clone(),
        frames: consumer.into(),
        commands: crossbeam_channel::never(),
        listener,
        events: Events::new(clock, sender, other.bell(), |event| event),
        stop: stop.clone(),
    };
    let mut speech = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| ears.run(io));
        let began = wall.now();
        for (index, mut frame) in frames(prompt).into_iter().enumerate() {
            let due = began + Duration::from_millis(20 * index as u64);
            std::thread::sleep(due - wall.now());
            frame.arrived = wall.now();
            if frame.speech {
                speech.push(frame.arrived);
            }
            ring.push(frame).ok();
            bell.ring();
        }
        stop.raise();
        bell.ring();
    });
    let (mut text, mut first, mut eager) = (String::new(), true, None);
    for Stamped { at, event } in events.try_iter() {
        let since_last = |at: Instant| {
            let last = speech.iter().rev().find(|&&arrived| arrived <= at).copied().unwrap_or(at);
            (at - last).as_secs_f64() * 1e3
        };
        if show {
            println!("{:8.0} ms after speech: {event:?}", since_last(at));
        }
        match event {
            EarsEvent::StartOfTurn { .. } if first => {
                first = false;
                latencies.start.push((at - speech[0]).as_secs_f64() * 1e3);
            }
            EarsEvent::EagerEndOfTurn { .. } => eager = Some(since_last(at)),
            EarsEvent::TurnResumed { .. } => latencies.resumed += 1,
            EarsEvent::EndOfTurn { transcript, speech } => {
                let end = (at - speech.arrived).as_secs_f64() * 1e3;
                latencies.end.push(end);
                latencies.eager.push(eager.take().unwrap_or(end));
                latencies.turns += 1;
                text.push_str(&transcript);
                text.push(' ');
            }
            _ => {}
        }
    }
    text
}

struct Wall(std::time::Instant);

impl Clock for Wall {
    fn now(&self) -> Instant {
        Instant::ZERO + self.0.elapsed()
    }
}

/// Processor time that this process has used, from `/proc`; zero elsewhere.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string(Path::new("/proc/self/stat")).unwrap_or_default();
    let ticks = |n: usize| stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(n)?.parse::<f64>().ok());
    // utime and stime are fields 14 and 15, counted in hundredths of a second.
    (ticks(11).unwrap_or(0.0) + ticks(12).unwrap_or(0.0)) / 100.0
}

fn quantiles(values: &mut [f64]) -> String {
    values.sort_by(f64::total_cmp);
    let at = |q: f64| values.get(((values.len().max(1) - 1) as f64 * q).round() as usize).copied().unwrap_or(f64::NAN);
    format!("p10 {:.0} p50 {:.0} p90 {:.0} p99 {:.0} ms ({})", at(0.1), at(0.5), at(0.9), at(0.99), values.len())
}

#[derive(Default)]
struct Score {
    prompts: usize,
    words: usize,
    errors: usize,
    empty: usize,
}

impl Score {
    fn add(&mut self, prompt: &Prompt, heard: &str, show: bool) {
        let heard = normalised(heard);
        let errors = distance(&prompt.words, &heard);
        if errors > 0 && show {
            println!("{errors} in {}: [{}] heard [{}]", prompt.name, prompt.words.join(" "), heard.join(" "));
        }
        self.prompts += 1;
        self.words += prompt.words.len();
        self.errors += errors;
        self.empty += usize::from(heard.is_empty());
    }

    fn merge(&mut self, other: &Self) {
        self.prompts += other.prompts;
        self.words += other.words;
        self.errors += other.errors;
        self.empty += other.empty;
    }
}

impl std::fmt::Display for Score {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rate = 100.0 * self.errors as f64 / self.words as f64;
        write!(f, "{} prompts, {} words, WER {rate:.2} %, {} empty", self.prompts, self.words, self.empty)
    }
}

/// Returns the words as they are compared: lower case, no punctuation, digits for the names of digits.
fn normalised(text: &str) -> Vec<String> {
    const DIGITS: [&str; 10] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
    let plain = text.to_lowercase().replace("a.m.", "am").replace("p.m.", "pm").replace(['\'', '’'], "");
    let words = plain.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words
        .map(|word| DIGITS.iter().position(|digit| *digit == word).map_or(word.to_owned(), |n| n.to_string()))
        .collect()
}

/// Returns how many words must be put in, taken out or replaced to make `a` of `b`.
fn distance(a: &[String], b: &[String]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let least = (row[j] + 1).min(row[j + 1] + 1).min(diagonal + usize::from(x != y));
            diagonal = std::mem::replace(&mut row[j + 1], least);
        }
    }
    row[b.len()]
}
