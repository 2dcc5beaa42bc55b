//! How loud samples are: root mean square over a short window that slides, in dBov.
//!
//! A single sample crosses any threshold by chance; a window of 5 ms does not (draft-nygate-ippm-mrl §7.6).

/// Samples of the window: 5 ms.
pub const WINDOW: usize = 40;
/// The level of digital silence, in dBov.
pub const FLOOR_DBOV: f64 = -127.0;

/// Returns the level of `pcm` in dBov: 0 is the root mean square of a full-scale square wave.
#[must_use]
pub fn dbov(pcm: &[i16]) -> f64 {
    let power: f64 = pcm.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    power_dbov(power, pcm.len())
}

/// Returns the level in dBov of `samples` samples whose squares add up to `power`.
#[must_use]
pub fn power_dbov(power: f64, samples: usize) -> f64 {
    if samples == 0 || power <= 0.0 {
        return FLOOR_DBOV;
    }
    (10.0 * (power / samples as f64 / (32_768.0 * 32_768.0)).log10()).max(FLOOR_DBOV)
}

/// The level over the last [`WINDOW`] samples, sample by sample.
#[derive(Clone, Debug)]
pub struct Sliding {
    squares: [f64; WINDOW],
    at: usize,
    power: f64,
}

impl Default for Sliding {
    fn default() -> Self {
        Self { squares: [0.0; WINDOW], at: 0, power: 0.0 }
    }
}

impl Sliding {
    /// Takes a sample, and returns the level of the window that ends with it, in dBov.
    pub fn push(&mut self, sample: i16) -> f64 {
        let square = f64::from(sample).powi(2);
        // Squares of integers below 2^30 add up exactly in a double, so nothing is left over when they leave again.
        self.power += square - self.squares[self.at];
        self.squares[self.at] = square;
        self.at = (self.at + 1) % WINDOW;
        power_dbov(self.power, WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_square_wave_of_full_scale_is_0_dbov_and_silence_is_the_floor() {
        assert!(dbov(&[32_767, -32_768, 32_767, -32_768]).abs() < 0.001);
        assert_eq!((dbov(&[]), dbov(&[0; 10])), (FLOOR_DBOV, FLOOR_DBOV));
        assert!((dbov(&[3277; 160]) + 20.0).abs() < 0.01);
    }

    #[test]
    fn what_has_left_the_window_leaves_nothing_behind() {
        let mut sliding = Sliding::default();
        for n in 0..10_000i32 {
            sliding.push((n * 37 % 30_000) as i16);
        }
        let level = (0..WINDOW).map(|_| sliding.push(0)).last();
        assert_eq!(level, Some(FLOOR_DBOV));
    }
}
