//! How the local voice sounds in figures: how well the local ears understand it over G.711, how soon its first audio comes, and
//! its level, peaks, offset and clicks.
//!
//! `cargo run --release --example own_voice`; `-- --wav DIR` keeps what was spoken, `--show` prints what was misheard.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a measuring program reads the clock and may stop")]

use clap::Parser;
use offhook::agent::VoiceEvent;
use offhook::agent::spoken::normalize::{Word, normalize};
use offhook::audio::g711::{decode_ulaw, encode_ulaw};
use offhook::audio::resample::Up2;
use offhook::ids::{CallId, TurnId};
use offhook::providers::local::{moonshine::Moonshine, one_thread, voice::HibariVoice};
use offhook::providers::{Events, Listener, Speaker, Stamped, Stop, VoiceCommand, VoiceIo};
use offhook::time::{Clock, Instant};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

#[derive(Parser)]
struct Options {
    /// Keep what was spoken here.
    #[arg(long)]
    wav: Option<PathBuf>,
    /// Print what was misheard.
    #[arg(long)]
    show: bool,
    /// Where the local models are; by default where the engine keeps them.
    #[arg(long)]
    models: Option<PathBuf>,
}

/// What agents say, with all that is hard to read aloud.
const SENTENCES: &[&str] = &[
    "Hello, this is Offhook. How can I help you?",
    "Your appointment is on Tuesday, March 5 at 3:30 p.m.",
    "That comes to $12.50, plus 8% tax.",
    "I heard 555-271-8346. Is that right?",
    "We're open from 9 a.m. to 5 p.m., Monday through Friday.",
    "Sure, I can take a message. What's your name?",
    "Thank you, John. What number can you be reached at?",
    "I have 5 5 5, 2 7 1, 8 3 4 6. What's the message?",
    "I'm sorry, I didn't catch that. Could you say it again?",
    "I can't transfer this call, but I can take a message.",
    "The doctor is out until Thursday, November 26th.",
    "Your order will arrive between 10 and 12 tomorrow morning.",
    "We are at 12 Oak Street, next to the old post office.",
    "Goodbye, and thanks for calling!",
    "Are you still there?",
    "I'll let you go now. Goodbye!",
    "A cleaning is $80, and it takes about 45 minutes.",
    "Please hold on while I look for your reservation.",
    "It's 72 degrees outside, and it may rain tonight.",
    "I can take a message, tell you the time and the date, and chat a little.",
    "You said that you would like a table for four at seven thirty.",
    "Your confirmation code is 4 7 1 9 2.",
    "I'm a computer program. I listen, and I answer with what I know.",
    "The next train leaves at 8:05 from platform 3.",
    "Would you like to leave a message?",
    "All right. Is there anything else I can do for you?",
    "Let me read that back. From Maria Lopez, number 5 5 5, 0 1 9 9.",
    "Our office was founded in 1998 and moved in 2015.",
    "You can return it within 30 days if you keep the receipt.",
    "My pleasure. Have a wonderful weekend.",
    "The meeting is on the first of June at noon.",
    "The total is one hundred and twenty three dollars.",
    "Why did the telephone go to school? It wanted to get a better connection.",
    "Today is Sunday, November 22nd.",
];

struct Wall(std::time::Instant);

impl Clock for Wall {
    fn now(&self) -> Instant {
        Instant::ZERO + self.0.elapsed()
    }
}

fn main() {
    let options = Options::parse();
    let named = options.models.clone().or_else(|| std::env::var_os("OFFHOOK_MODELS").map(Into::into));
    let models = named.unwrap_or_else(|| dirs::cache_dir().unwrap_or_default().join("offhook"));
    let began = std::time::Instant::now();
    let voice = HibariVoice::new(&models);
    voice.load().expect("the voice, which `offhook models` obtains; --models names another folder");
    println!("voice loaded in {:.0} ms", began.elapsed().as_secs_f64() * 1e3);
    understood(&options, &voice, &models);
    soon(&voice);
}

fn understood(options: &Options, voice: &HibariVoice, models: &std::path::Path) {
    let ears = Moonshine::load(&models.join("moonshine-tiny-en")).expect("the ears, which `offhook models` obtains");
    let pool = one_thread();
    let (mut errors, mut words, mut audio_s, mut spent) = (0, 0, 0.0, Duration::ZERO);
    let (mut levels, mut peak, mut offset, mut jump): (Vec<f64>, f64, f64, f64) = (Vec::new(), 0.0, 0.0, 0.0);
    for (i, sentence) in SENTENCES.iter().enumerate() {
        let began = std::time::Instant::now();
        let pcm = voice.render(sentence).expect("the voice speaks what it is given");
        spent += began.elapsed();
        audio_s += pcm.len() as f64 / 8000.0;
        let samples: Vec<f64> = pcm.iter().map(|sample| f64::from(*sample) / 32768.0).collect();
        levels.push(active_level_db(&samples));
        peak = samples.iter().fold(peak, |peak, sample| peak.max(sample.abs()));
        offset = offset.max((samples.iter().sum::<f64>() / samples.len() as f64).abs());
        jump = jump.max(edge_jump(&samples));
        if let Some(folder) = &options.wav {
            std::fs::create_dir_all(folder).unwrap();
            let format = hound::WavSpec {
                channels: 1,
                sample_rate: 8000,
                bits_per_sample: 16,
                sample_format: hound::SampleFormat::Int,
            };
            let mut wav = hound::WavWriter::create(folder.join(format!("{i:02}.wav")), format).unwrap();
            pcm.iter().for_each(|sample| wav.write_sample(*sample).unwrap());
            wav.finalize().unwrap();
        }
        let heard = ears.transcribe(&over_the_line(&pcm), &[], &pool, &|| false).unwrap().unwrap().text;
        let (said, heard_words) = (spoken_words(sentence), spoken_words(&heard));
        let wrong = distance(&said, &heard_words);
        if wrong > 0 && options.show {
            println!("{wrong} of {}: {sentence}\n    heard: {heard}", said.len());
        }
        errors += wrong;
        words += said.len();
    }
    levels.sort_by(f64::total_cmp);
    let db = |value: f64| 20.0 * value.log10();
    println!(
        "word error rate {:.1} % ({errors} of {words}) in {} sentences",
        100.0 * errors as f64 / words as f64,
        SENTENCES.len()
    );
    println!("{audio_s:.0} s of speech, {:.0} ms per second", spent.as_secs_f64() * 1e3 / audio_s);
    let (softest, loudest) = (levels[0], levels[levels.len() - 1]);
    println!(
        "active level {softest:.1} to {loudest:.1} dBFS, median {:.1}; peak {:.1} dBFS",
        levels[levels.len() / 2],
        db(peak)
    );
    println!("largest offset {offset:.5}; largest step at an edge of silence {:.1} dBFS", db(jump.max(1e-6)));
}

/// What a caller's ear, or ours, gets: µ-law, back, and up to 16 kHz, with a little silence around.
fn over_the_line(pcm: &[i16]) -> Vec<f32> {
    let mut line = vec![0_i16; 1600];
    line.extend_from_slice(pcm);
    line.resize((line.len() + 1600).next_multiple_of(160), 0);
    let mut up = Up2::new();
    let mut out = Vec::with_capacity(line.len() * 2);
    for frame in line.chunks_exact(160) {
        let (mut coded, mut heard, mut wide) = ([0; 160], [0; 160], [0; 320]);
        encode_ulaw(frame, &mut coded);
        decode_ulaw(&coded, &mut heard);
        up.process(&heard, &mut wide);
        out.extend(wide.iter().map(|sample| f32::from(*sample) / 32768.0));
    }
    out
}

/// RMS over the 10 ms blocks above -40 dBFS.
fn active_level_db(samples: &[f64]) -> f64 {
    let squares = samples.chunks_exact(80).map(|block| block.iter().map(|x| x * x).sum::<f64>() / 80.0);
    let active: Vec<f64> = squares.filter(|square| *square > 1e-4).collect();
    10.0 * (active.iter().sum::<f64>() / active.len() as f64).log10()
}

/// The largest step into or out of 5 ms of digital silence, the beginning and the end included.
fn edge_jump(samples: &[f64]) -> f64 {
    let silent = |part: &[f64]| part.iter().all(|x| x.abs() < 1e-9);
    let inside = samples.windows(42).filter(|part| silent(&part[..40]) || silent(&part[2..]));
    let steps = inside.map(|part| part.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f64::max));
    steps.fold(samples[0].abs().max(samples[samples.len() - 1].abs()), f64::max)
}

/// Both sides are compared as they are said: "3:30" is "three thirty", "p.m." is two letters, "good-bye" is one word.
fn spoken_words(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    for word in normalize(text).iter().flat_map(|token| &token.words) {
        match word {
            Word::Plain(word) if word.contains("ty-") => out.extend(word.to_lowercase().split('-').map(str::to_owned)),
            Word::Plain(word) if word == "o" => out.push("oh".to_owned()),
            Word::Plain(word) => out.push(word.to_lowercase().replace('-', "")),
            Word::Letters(letters) => out.extend(letters.to_lowercase().chars().map(String::from)),
            Word::Pause => {}
        }
    }
    out.retain(|word| word != "and");
    out
}

fn distance(a: &[String], b: &[String]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let cost = (corner + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
            corner = std::mem::replace(&mut row[j + 1], cost);
        }
    }
    row[b.len()]
}

/// Speaks each sentence as a turn's only clause, and takes the time from the order to the first audio.
fn soon(voice: &HibariVoice) {
    let clock: Arc<dyn Clock> = Arc::new(Wall(std::time::Instant::now()));
    let (order, commands) = crossbeam_channel::bounded(16);
    let (bell, listener) = Listener::new().unwrap();
    let (media, _other) = Listener::new().unwrap();
    let (sender, events) = crossbeam_channel::bounded::<Stamped<(TurnId, VoiceEvent)>>(4096);
    let (frames, mut ring) = rtrb::RingBuffer::new(4096);
    let stop = Stop::default();
    let io = VoiceIo {
        call: CallId(1),
        clock: clock.clone(),
        commands: commands.into(),
        listener,
        frames: frames.into(),
        media: media.clone(),
        events: Events::new(clock.clone(), sender, media, |event| event),
        stop: stop.clone(),
    };
    let mut first: Vec<f64> = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| voice.run(io));
        for (i, sentence) in SENTENCES.iter().enumerate() {
            let turn = TurnId(i as u32 + 1);
            let began = clock.now();
            order.send(VoiceCommand::Speak { turn, clause: 0, text: (*sentence).to_owned(), last: true }).unwrap();
            bell.ring();
            for Stamped { at, event: (_, event) } in events.iter() {
                match event {
                    VoiceEvent::FirstAudio => first.push(at.since(began).as_secs_f64() * 1e3),
                    VoiceEvent::Done { .. } => break,
                    _ => {}
                }
            }
            while ring.pop().is_ok() {}
        }
        stop.raise();
        bell.ring();
    });
    first.sort_by(f64::total_cmp);
    let at = |share: f64| first[((first.len() - 1) as f64 * share) as usize];
    println!("order to first audio: p50 {:.0} ms, p90 {:.0} ms, most {:.0} ms", at(0.5), at(0.9), at(1.0));
}
