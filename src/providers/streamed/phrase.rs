//! A phrase that is to be kept, spoken whole by a provider while its caller waits.

use super::lines::{Lines, News};
use super::{Account, Speak, Vendor, What};
use crate::agent::spoken::aloud::aloud;
use crate::agent::{Failure, FailureKind};
use crate::audio::g711::linear_of_ulaw;
use crate::providers::Listener;
use std::time::Duration;

/// How long a phrase may take in all, and each step towards it.
const PHRASE_MAX: Duration = Duration::from_secs(20);
const STEP_MAX: Duration = Duration::from_secs(6);
/// Samples of such a phrase: a minute.
const SAMPLES_MAX: usize = 60 * 8000;

/// Speaks `text` whole: mono PCM at 8 kHz. Blocks.
///
/// # Errors
/// What kept the provider from speaking.
pub(super) fn render(vendor: &dyn Vendor, text: &str) -> Result<Vec<i16>, Failure> {
    let account: &Account = vendor.account();
    let failed = |kind, why: &dyn std::fmt::Display| Failure { kind, text: format!("{}: {why}", account.habits.name) };
    let (_, mut listener) = Listener::new().map_err(|error| failed(FailureKind::Dropped, &error))?;
    let start = account.clock.now();
    let mut lines = Lines::new(false, start);
    let words: Vec<String> = aloud(text).into_iter().map(|said| said.spoken).collect();
    let speak = Speak { context: "phrase".into(), transcript: words.join(" "), more: false, first: true, clause: None };
    let (mut pcm, mut step, mut sent, mut out) = (Vec::new(), start, false, Vec::new());
    loop {
        let now = account.clock.now();
        lines.tend(vendor, &listener, (true, true), now).map_err(|error| error.failure(account.habits.firm))?;
        let news = lines.poll(&listener, &*account.clock);
        if let Some(line) = lines.ready(now).filter(|_| !sent) {
            (sent, step) = (true, now);
            line.wire.speak(&speak, now, &mut out);
            line.send(&mut out, now).map_err(|error| error.failure(account.habits.firm))?;
        }
        match news {
            Some(News::Lost(_, error, true)) => return Err(error.failure(account.habits.firm)),
            Some(News::Lost(..)) => {}
            Some(News::Said(_, said)) => match said.what {
                What::Audio(bytes) => {
                    step = now;
                    let room = SAMPLES_MAX.saturating_sub(pcm.len());
                    pcm.extend(bytes.iter().take(room).map(|code| linear_of_ulaw(*code)));
                }
                What::Done => {
                    lines.close();
                    return Ok(pcm);
                }
                What::Error(trouble) => return Err(account.trouble(&trouble)),
                What::Words { .. } | What::FlushDone => {}
            },
            None => {
                let until = (step + STEP_MAX).min(start + PHRASE_MAX);
                if now >= until {
                    return Err(failed(FailureKind::Stalled, &"a phrase was not spoken in time"));
                }
                let due = lines.poll_timeout(account.habits.idle_max).unwrap_or(until).min(until);
                listener.wait(Some(due.since(now)));
            }
        }
    }
}
