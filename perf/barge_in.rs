//! How soon the agent is silent when the caller speaks into its reply, and what does not silence it, measured by the caller.
//!
//! `cargo run --release --example barge_in`: an engine in this process talks to stand-ins of the three providers. Forty
//! interruptions by several voices, loud and soft, in the middle of replies, in greetings, and over the agent's own echo; forty
//! sounds that interrupt nothing: listeners' words, coughs, clicks, slammed doors, and the echo of a loudspeaker. The voices are
//! espeak-ng's, by way of sox. An interruption is timed from the caller's first packet with speech to the last packet with agent
//! speech. It ends with a line for each bar, and fails where one is missed.
#![expect(clippy::disallowed_methods, reason = "a measurement lives in real time")]

#[path = "../tests/support/engine.rs"]
mod engine;
#[path = "../tests/support/phone.rs"]
mod phone;
#[path = "../tests/standin/mod.rs"]
mod standin;
#[path = "../tests/support/voice.rs"]
mod voice;

use offhook::audio::g711::Codec;
use offhook::control::Bridge;
use offhook::engine::Engine;
use offhook::metrics::Kind;
use phone::{Phone, Weather};
use standin::{cartesia, flux, groq};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The stand-in speaks this for a quarter of a minute; replies are it four times over.
const REPLY: &str = "Let me tell you a long story about a telephone that rang every morning at nine. Nobody ever answered it, \
                     because nobody knew where it was. One day a child followed the sound through the whole house, and found it. ";
/// What is said into it.
const PHRASES: [&str; 10] = [
    "Stop, please stop.",
    "Can I ask you something else?",
    "Excuse me, I have another question.",
    "No, that is not what I meant.",
    "What about Sunday evening?",
    "Wait, wait a moment.",
    "I would like to book a table for two.",
    "Sorry, could you say that again?",
    "How much would that be in total?",
    "Do you have anything earlier?",
];
const BACKCHANNELS: [&str; 8] = ["Yeah.", "Okay.", "Mhm.", "I see.", "Right.", "Uh huh.", "Yeah, okay.", "Sure."];
const VOICES: [(&str, u32, u32); 6] = [
    ("en-us", 160, 50),
    ("en-gb", 175, 40),
    ("en-us+f2", 165, 60),
    ("en-gb+f4", 185, 70),
    ("en-us+m5", 140, 30),
    ("en-us+m3", 170, 45),
];
/// The bars: the median of the silences, and the interruptions and non-interruptions that may go wrong.
const CUT_P50_MAX: Duration = Duration::from_millis(120);
const FALSE_CUTS_MAX: usize = 2;
const MISSED_MAX: usize = 2;

fn main() {
    let agent = voice::spoken("en-us+m7", 155, 45, REPLY, -18.0);
    let plan =
        groq::Plan { replies: vec![REPLY.repeat(4)], first_token: Duration::from_millis(50), ..groq::Plan::default() };
    let (_flux, ears, flux_url) = flux::start(flux::Plan::default());
    let (_groq, _, groq_url) = groq::start(plan);
    let (_cartesia, _, cartesia_url) = cartesia::start(cartesia::Plan { speech: agent, ..cartesia::Plan::default() });
    let mut env = standin::env(flux_url, groq_url, cartesia_url);
    env.extend([
        ("OFFHOOK_LOG", "error".to_owned()),
        ("OFFHOOK_GREETING", REPLY.to_owned()),
        ("OFFHOOK_MODELS", "no-models".to_owned()),
    ]);
    let (engine, server) = engine::start(&[], &env);
    let trial = Trial { engine: engine.clone(), server, ears };
    let (silenced, missed) = trial.interruptions();
    let false_cuts = trial.non_interruptions();
    let at = |q: f64| silenced.get(((silenced.len() as f64 - 1.0) * q).round() as usize).copied().unwrap_or_default();
    for (name, q) in [("p50", 0.5), ("p90", 0.9), ("max", 1.0)] {
        println!("cut {name}: {:.0} ms from the caller's onset to the last packet of agent speech", millis(at(q)));
    }
    let said = engine.board().distribution(Kind::BargeIn).percentiles();
    println!("the engine says, onset to silence: {said:?}");
    engine.stop();
    let (p50, p50_max) = (millis(at(0.5)), millis(CUT_P50_MAX));
    let passed = [
        bar("median of the cuts, in ms", p50, p50_max),
        bar("interruptions missed, of 40", missed as f64, MISSED_MAX as f64),
        bar("other sounds that cut the agent, of 40", false_cuts as f64, FALSE_CUTS_MAX as f64),
    ];
    std::process::exit(i32::from(passed.contains(&false)));
}

/// Prints a figure beside its bar. Returns whether it is kept.
fn bar(what: &str, figure: f64, most: f64) -> bool {
    let kept = figure <= most;
    println!("{} {what}: {figure:.0}, at most {most:.0}", if kept { "kept" } else { "MISSED" });
    kept
}

struct Trial {
    engine: Arc<Engine>,
    server: SocketAddr,
    ears: Arc<flux::Plan>,
}

impl Trial {
    /// Returns how long the agent went on speaking, shortest first, and how many interruptions it did not heed.
    fn interruptions(&self) -> (Vec<Duration>, usize) {
        let (mut silenced, mut missed) = (Vec::new(), 0);
        let mut take = |outcome: Option<Duration>, what: &str| match outcome {
            Some(after) => {
                if after > CUT_P50_MAX {
                    println!("{:.0} ms: {what}", millis(after));
                }
                silenced.push(after);
            }
            None => {
                missed += 1;
                println!("missed: {what}");
            }
        };
        // In the middle of replies, loud and soft; each one is what the next reply answers.
        let phone = self.call(None);
        for n in 0..24 {
            let level_db = if n % 3 == 2 { -28.0 } else { -18.0 };
            let what = format!("in a reply, at {level_db} dBov: {}", PHRASES[n % PHRASES.len()]);
            take(self.interrupt(&phone, n, level_db, 1200 + 37 * n as u64), &what);
        }
        phone.hang_up();
        for n in 24..32 {
            let phone = self.call(None);
            let what = format!("in the greeting: {}", PHRASES[n % PHRASES.len()]);
            take(self.interrupt(&phone, n, -18.0, 150 + 220 * (n as u64 - 24)), &what);
            phone.hang_up();
        }
        for n in 32..40 {
            let echo = (6.0 + 3.0 * (n - 32) as f32, 20 + 40 * (n as u64 - 32));
            let phone = self.call(Some(echo));
            take(
                self.interrupt(&phone, n, -16.0, 1500),
                &format!("over an echo of {} dB, {} ms: {}", echo.0, echo.1, PHRASES[n % PHRASES.len()]),
            );
            phone.hang_up();
        }
        silenced.sort_unstable();
        (silenced, missed)
    }

    fn interrupt(&self, phone: &Phone, n: usize, level_db: f32, after_ms: u64) -> Option<Duration> {
        let speaking = |phone: &Phone| phone.last_loud().is_some_and(|at| at.elapsed() < Duration::from_millis(60));
        assert!(phone.wait_until(Duration::from_secs(15), |phone| !phone.saying() && speaking(phone)), "no reply");
        std::thread::sleep(Duration::from_millis(after_ms));
        let (voice, speed, pitch) = VOICES[n % VOICES.len()];
        let words = PHRASES[n % PHRASES.len()];
        let pcm = voice::spoken(voice, speed, pitch, words, level_db);
        phone.forget();
        let cuts = self.cuts(phone);
        self.say(phone, words, &pcm);
        phone.wait_until(Duration::from_secs(2), |phone| phone.first_loud_sent().is_some());
        let onset = phone.first_loud_sent().unwrap_or_else(Instant::now);
        let cut = phone.wait_until(Duration::from_secs(3), |phone| self.cuts(phone) > cuts);
        // The last packet before the agent has been silent for as long as it never is between words.
        let mut last = onset;
        for packet in phone.heard().iter().filter(|packet| packet.at >= onset && packet.loud()) {
            if packet.at > last + Duration::from_millis(400) {
                break;
            }
            last = packet.at;
        }
        phone.wait_until(Duration::from_secs(5), |phone| !phone.saying());
        cut.then(|| last - onset)
    }

    /// Returns how many of forty sounds made the agent give up its reply.
    fn non_interruptions(&self) -> usize {
        let mut false_cuts = 0;
        let phone = self.call(None);
        for n in 0..24 {
            let (what, words, pcm) = self.sound(n);
            let speaking = |phone: &Phone| phone.last_loud().is_some_and(|at| at.elapsed() < Duration::from_millis(60));
            if !phone.wait_until(Duration::from_secs(3), speaking) {
                let question = voice::spoken("en-us", 160, 50, "And then?", -18.0);
                self.say(&phone, "And what happened then?", &question);
                assert!(
                    phone.wait_until(Duration::from_secs(15), |phone| !phone.saying() && speaking(phone)),
                    "no reply"
                );
            }
            std::thread::sleep(Duration::from_millis(900 + 31 * n as u64));
            let cuts = self.cuts(&phone);
            self.say(&phone, words, &pcm);
            std::thread::sleep(Duration::from_millis(2600));
            if self.cuts(&phone) > cuts {
                false_cuts += 1;
                println!("cut by {what}: {words}");
            }
            phone.forget();
        }
        phone.hang_up();
        for n in 0..16 {
            let (loss_db, delay_ms) = (6.0 + 8.0 * (n / 4) as f32, [20, 90, 180, 300][n % 4]);
            *self.ears.said.lock() = Some(REPLY.to_owned());
            let phone = self.call(Some((loss_db, delay_ms)));
            std::thread::sleep(Duration::from_millis(5000));
            let echo = self.view(&phone).and_then(|call| call.quality.echo);
            let gaps = longest_gap(&phone);
            let cut = self.cuts(&phone) > 0 || self.turns(&phone) > 1;
            println!("echo of {loss_db} dB, {delay_ms} ms: {echo:?}, longest silence {:.0} ms", millis(gaps));
            if cut {
                false_cuts += 1;
                println!("cut by the echo");
            }
            phone.hang_up();
        }
        false_cuts
    }

    /// Returns a sound that interrupts nothing: its name, what the recogniser makes of it, and itself.
    fn sound(&self, n: usize) -> (&'static str, &'static str, Vec<i16>) {
        let mut rng = fastrand::Rng::with_seed(n as u64);
        let mut noise = |millis: usize, peak: f32, decay_ms: f32| -> Vec<i16> {
            let mut low = 0.0f32;
            (0..millis * 8)
                .map(|at| {
                    low = 0.7 * low + (rng.f32() - 0.5);
                    (peak * low * (-(at as f32) / 8.0 / decay_ms).exp()) as i16
                })
                .collect()
        };
        match n % 3 {
            0 | 1 => {
                let words = BACKCHANNELS[(n / 3 * 2 + n % 3) % BACKCHANNELS.len()];
                let (voice, speed, pitch) = VOICES[n % VOICES.len()];
                ("a backchannel", words, voice::spoken(voice, speed, pitch, words, -20.0))
            }
            _ => match n / 3 % 3 {
                0 => ("a cough", "", [noise(140, 30_000.0, 90.0), vec![0; 800], noise(180, 26_000.0, 80.0)].concat()),
                1 => ("a click", "", noise(30, 30_000.0, 8.0)),
                _ => ("a slammed door", "", noise(400, 32_000.0, 70.0)),
            },
        }
    }

    fn call(&self, echo: Option<(f32, u64)>) -> Phone {
        let phone = Phone::call(self.server, Codec::Pcmu, Weather::default()).expect("an answer");
        if let Some((loss_db, delay_ms)) = echo {
            phone.echo(loss_db, Duration::from_millis(delay_ms));
        }
        phone
    }

    fn say(&self, phone: &Phone, words: &str, pcm: &[i16]) {
        *self.ears.said.lock() = Some(words.to_owned());
        phone.say(pcm);
    }

    fn view(&self, phone: &Phone) -> Option<offhook::metrics::CallView> {
        self.engine.board().find(phone.call_id(), offhook::time::Instant::ZERO)
    }

    fn cuts(&self, phone: &Phone) -> usize {
        self.view(phone).map_or(0, |call| call.turns.iter().filter(|turn| turn.record.interrupted).count())
    }

    fn turns(&self, phone: &Phone) -> usize {
        self.view(phone).map_or(0, |call| call.turns.len())
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Returns the longest time without a loud packet between two.
fn longest_gap(phone: &Phone) -> Duration {
    let loud: Vec<Instant> = phone.heard().iter().filter(|packet| packet.loud()).map(|packet| packet.at).collect();
    loud.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}
