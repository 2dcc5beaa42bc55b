//! What a bad line costs: the length of the recogniser's stream, and the delay, lateness and concealment that it adds.

use super::support::{Script, Weather, World, ms, seeds};
use offhook::audio::g711::Codec;
use offhook::config;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
/// Samples of a minute at 8 kHz.
const MINUTE_SAMPLES: usize = 60 * 8000;

/// A caller who makes noise of which no two pieces are alike, a second of it and a second of silence in turn.
fn noise(seed: u64, seconds: usize) -> Vec<i16> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let sample = |n: usize| if (n / 8000).is_multiple_of(2) { rng.i16(-6000..6000) } else { 0 };
    (0..seconds * 8000).map(sample).collect()
}

/// A call on a line with this weather, in which nothing but the caller is heard.
fn line(seed: u64, weather: Weather) -> World {
    let settings = config::Agent {
        greeting: String::new(),
        reprompt_after: 100 * MINUTE,
        call_max: 100 * MINUTE,
        ..config::Agent::default()
    };
    let mut world = World::talking(seed, settings, Script::default());
    world.network.to_agent = weather;
    world.line().providers.keep_audio = true;
    world
}

fn bad() -> Weather {
    Weather { loss: 0.05, delay: ms(20), jitter: ms(30), reorder: 0.02, duplicate: 0.0 }
}

/// Returns where the recogniser heard what the caller said at sample `at` or soon after, as samples later than that.
fn shift(said: &[u8], heard: &[u8], at: usize) -> isize {
    // A piece that was lost is nowhere to be found; the next will do.
    (0..100)
        .find_map(|piece| {
            let at = at + piece * 80;
            let wanted = &said[at..at + 64];
            let from = at.saturating_sub(4000);
            let found = heard[from..].windows(64).take(12_000).position(|window| window == wanted)?;
            Some((from + found) as isize - at as isize)
        })
        .expect("a piece of the caller is heard")
}

#[test]
fn ten_bad_minutes_keep_their_length_within_20_ms_a_minute() {
    for seed in seeds(1) {
        let mut world = line(seed, bad());
        world.caller().say(&noise(seed, 601));
        world.run_for(10 * MINUTE + ms(500));
        let said = world.caller().said.clone();
        let heard = &world.line().providers.heard;
        let (frames, concealed) = (heard.frames, heard.concealed);
        let heard = heard.ulaw.clone();
        let mut codes = vec![0; said.len()];
        Codec::Pcmu.encode(&said, &mut codes);
        let shifts: Vec<isize> = (0..=10).map(|minute| shift(&codes, &heard, minute * MINUTE_SAMPLES + 800)).collect();
        println!("shifts per minute in samples: {shifts:?}; {concealed} of {frames} frames concealed");
        for pair in shifts.windows(2) {
            assert!(pair[0].abs_diff(pair[1]) <= 160, "{shifts:?}");
        }
        let length = frames as usize * 160;
        let sent = said.len();
        assert!(length.abs_diff(sent) <= 10 * 160, "{length} samples of {sent}");
        assert!((frames / 40..frames / 8).contains(&concealed), "{concealed} of {frames} frames are concealed");
    }
}

#[test]
fn a_good_line_is_passed_on_at_once_and_untouched() {
    let mut world = line(1, Weather { delay: ms(20), ..Weather::default() });
    world.caller().say(&noise(1, 20));
    world.run_for(Duration::from_secs(19));
    let heard = &world.line().providers.heard;
    assert!(heard.waits.iter().skip(10).all(|wait| wait.is_zero()), "in order is at once");
    let stats = *world.line().call.as_ref().expect("it lives").stats();
    assert_eq!((stats.concealed_samples, stats.packets_lost, stats.packets_discarded), (0, 0, 0));
}

const JITTERS: [(&str, u64, f64); 5] =
    [("none", 0, 0.0), ("10 ms", 10, 0.0), ("30 ms", 30, 0.0), ("30 ms + 2 % held back", 30, 0.02), ("80 ms", 80, 0.0)];
const LOSSES: [u32; 4] = [0, 1, 5, 10];
/// How long each cell is measured, in seconds.
const CELL_S: u64 = 30;

/// Returns the table: what each kind of line adds.
fn table() -> String {
    let mut text = format!(
        "{CELL_S} s of packets in each row; delay from a packet's arrival to the recogniser\n\n\
         {:<22} {:>6} {:>9} {:>9} {:>7} {:>11}\n",
        "jitter", "loss", "mean ms", "p99 ms", "late %", "concealed %"
    );
    for (name, jitter, reorder) in JITTERS {
        for loss in LOSSES {
            let weather =
                Weather { loss: f64::from(loss) / 100.0, delay: ms(20), jitter: ms(jitter), reorder, duplicate: 0.0 };
            let mut world = line(7, weather);
            world.caller().say(&noise(7, CELL_S as usize));
            world.run_for(Duration::from_secs(CELL_S));
            let stats = *world.line().call.as_ref().expect("it lives").stats();
            let mut waits = world.line().providers.heard.waits.clone();
            waits.sort();
            let mean = waits.iter().sum::<Duration>().as_secs_f64() * 1000.0 / waits.len() as f64;
            let p99 = waits[waits.len() * 99 / 100].as_secs_f64() * 1000.0;
            let share = |part: u64, of: u64| part as f64 * 100.0 / of as f64;
            let late = share(stats.packets_discarded, stats.packets_received + stats.packets_discarded);
            let concealed = share(stats.concealed_samples, CELL_S * 8000);
            let _ = writeln!(text, "{name:<22} {loss:>4} % {mean:>9.1} {p99:>9.1} {late:>7.2} {concealed:>11.2}");
        }
    }
    text
}

#[test]
fn the_cost_of_each_kind_of_line_is_known() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sim/golden/jitter.txt");
    let table = table();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &table).expect("the table can be written");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(table == golden, "the table has changed; UPDATE_GOLDEN=1 keeps it\n\n{golden}\n{table}");
}
