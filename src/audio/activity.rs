//! Is anyone speaking in this frame: when the caller's voice begins, and when it has ended.

/// Samples of one frame: 20 ms at 16 kHz.
pub const FRAME_SAMPLES: usize = 320;

/// What one frame of the caller's audio says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// Whether this frame itself holds speech, without hang-over: its last `true` dates the caller's last sound.
    pub speech: bool,
    /// Whether the caller is speaking: set by a sustained onset, held over short pauses.
    pub speaking: bool,
    /// The frame's level in dBov, 0 for a full-scale square wave, never below [`LEVEL_FLOOR_DB`].
    pub level_db: f32,
}

/// The level reported for digital silence, in dBov (RFC 6464 §3 ends its scale there).
pub const LEVEL_FLOOR_DB: f32 = -127.0;

/// Hears whether the caller speaks. About 10 KiB; holds no heap.
pub struct Activity {}

impl Default for Activity {
    fn default() -> Self {
        Self::new()
    }
}

impl Activity {
    /// Makes one that has heard nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {}
    }

    /// Forgets everything heard.
    pub fn reset(&mut self) {}

    /// Takes the next 20 ms: [`FRAME_SAMPLES`] mono samples at 16 kHz.
    ///
    /// # Real-time
    /// No heap, no panic, constant time.
    pub fn push(&mut self, _frame: &[i16]) -> Decision {
        Decision { speech: false, speaking: false, level_db: LEVEL_FLOOR_DB }
    }
}
