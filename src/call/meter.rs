//! How loud both sides of a call are, for whoever watches it: atomics that the media path raises and the table of calls takes.

use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

/// The level of silence, in dBFS: the quantisation step of 16-bit PCM.
pub const LEVEL_FLOOR_DB: f32 = -90.0;

/// The loudest sample of each side since it was last taken.
#[derive(Debug, Default)]
pub struct Meter {
    watched: AtomicBool,
    caller: AtomicU16,
    agent: AtomicU16,
}

/// The loudest moment of each side of a call, in dBFS of its peak: 0.0 is full scale, [`LEVEL_FLOOR_DB`] silence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Levels {
    /// The caller.
    pub caller_db: f32,
    /// The agent.
    pub agent_db: f32,
}

impl Meter {
    /// Takes the largest magnitude of a caller's frame, which the ingress knows anyway.
    ///
    /// # Real-time
    /// One atomic operation.
    pub fn caller(&self, peak: u16) {
        self.caller.fetch_max(peak, Ordering::Relaxed);
    }

    /// Takes a frame of the agent; looks at it only while somebody watches.
    ///
    /// # Real-time
    /// One atomic operation; while somebody watches one pass over the frame.
    pub fn agent(&self, pcm: &[i16]) {
        if self.watched.load(Ordering::Relaxed) {
            let peak = pcm.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or(0);
            self.agent.fetch_max(peak, Ordering::Relaxed);
        }
    }

    /// Returns the levels since the last time; from here on somebody watches.
    pub fn take(&self) -> Levels {
        self.watched.store(true, Ordering::Relaxed);
        let level = |peak: &AtomicU16| decibels(peak.swap(0, Ordering::Relaxed));
        Levels { caller_db: level(&self.caller), agent_db: level(&self.agent) }
    }

    /// Nobody watches any more.
    pub fn rest(&self) {
        self.watched.store(false, Ordering::Relaxed);
    }
}

/// Returns the level of a peak in dBFS, to a tenth: more says nothing to an eye.
fn decibels(peak: u16) -> f32 {
    let level = 20.0 * (f32::from(peak) / 32_768.0).log10();
    ((level * 10.0).round() / 10.0).max(LEVEL_FLOOR_DB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loudest_moment_counts_until_it_is_taken() {
        let meter = Meter::default();
        meter.caller(328);
        meter.caller(16_384);
        meter.caller(3);
        meter.agent(&[5, -3277, 9]);
        let silent = meter.take();
        assert_eq!(silent, Levels { caller_db: -6.0, agent_db: LEVEL_FLOOR_DB }, "nobody watched the agent");
        meter.agent(&[5, -3277, 9]);
        assert_eq!(meter.take(), Levels { caller_db: LEVEL_FLOOR_DB, agent_db: -20.0 });
        meter.agent(&[i16::MIN]);
        assert_eq!(meter.take().agent_db, 0.0);
        meter.rest();
        meter.agent(&[i16::MAX]);
        assert_eq!(meter.take().agent_db, LEVEL_FLOOR_DB);
    }
}
