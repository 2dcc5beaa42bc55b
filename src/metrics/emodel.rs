//! How good a call sounds, by the E-model (ITU-T G.107): from loss and delay to R and MOS.
//!
//! The narrow-band model, also for G.722: the agent's voice is 8 kHz whatever carries it, and R is comparable over all calls.
//! Impairment factors are those of ITU-T G.113 Appendix I.

use std::time::Duration;

/// What a codec costs (ITU-T G.113 Appendix I).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Impairment {
    /// Ie: the codec itself, without loss.
    pub equipment: f64,
    /// Bpl: how well it bears random loss.
    pub robustness: f64,
}

/// G.711 with its Appendix I's concealment (Table I.3): what we do here, and G.722 is concealed alike.
pub const G711_CONCEALED: Impairment = Impairment { equipment: 0.0, robustness: 25.1 };
/// G.711 whose losses are silence.
pub const G711_BARE: Impairment = Impairment { equipment: 0.0, robustness: 4.3 };

/// What is known of one direction of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conditions {
    /// The codec.
    pub codec: Impairment,
    /// Packets lost or discarded, 0 to 100.
    pub loss_percent: f64,
    /// From mouth to ear, one way.
    pub delay: Duration,
}

/// The parameters of G.107 Table 2 that are not measured here, at their default values.
mod default {
    pub const SEND_LOUDNESS: f64 = 8.0;
    pub const RECEIVE_LOUDNESS: f64 = 2.0;
    pub const SIDETONE_MASKING: f64 = 15.0;
    /// D of the telephone at the sending side, and at the receiving side.
    pub const D_FACTORS: (f64, f64) = (3.0, 3.0);
    pub const TALKER_ECHO_LOUDNESS: f64 = 65.0;
    pub const WEIGHTED_ECHO_PATH_LOSS: f64 = 110.0;
    pub const CIRCUIT_NOISE_DBM0P: f64 = -70.0;
    pub const NOISE_FLOOR_DBMP: f64 = -64.0;
    /// Room noise at either side, dB(A).
    pub const ROOM_NOISE: f64 = 35.0;
    /// Quantizing distortion units of one coding.
    pub const QDU: f64 = 1.0;
}

/// Returns the rating R, 0 to 93.2 (G.107 §7.1): talker, listener and whole delay are the one that is given.
#[must_use]
pub fn rating(conditions: &Conditions) -> f64 {
    let noise = noise();
    let signal_to_noise = 15.0 - 1.5 * (default::SEND_LOUDNESS + noise);
    let ms = conditions.delay.as_secs_f64() * 1000.0;
    let r = signal_to_noise
        - simultaneous(signal_to_noise, noise, ms)
        - delayed(signal_to_noise, noise, ms)
        - equipment(&conditions.codec, conditions.loss_percent);
    r.clamp(0.0, 100.0)
}

/// Returns the mean opinion score, 1 to 4.5, of a rating (G.107 Annex B).
#[must_use]
pub fn mean_opinion_score(r: f64) -> f64 {
    match r {
        r if r <= 0.0 => 1.0,
        r if r >= 100.0 => 4.5,
        // Between 0 and 6.5 the polynomial dips below 1.
        r => (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).max(1.0),
    }
}

/// All noise at the 0 dBr point: circuit, both rooms, floor (§7.2).
fn noise() -> f64 {
    let overall = default::SEND_LOUDNESS + default::RECEIVE_LOUDNESS;
    let (sending_d, receiving_d) = default::D_FACTORS;
    let room = default::ROOM_NOISE;
    let sending =
        room - default::SEND_LOUDNESS - sending_d - 100.0 + 0.004 * (room - overall - sending_d - 14.0).powi(2);
    let listener_sidetone = default::SIDETONE_MASKING + receiving_d;
    let effective = room + 10.0 * (1.0 + 10f64.powf((10.0 - listener_sidetone) / 10.0)).log10();
    let receiving = default::RECEIVE_LOUDNESS - 121.0 + effective + 0.008 * (effective - 35.0).powi(2);
    let floor = default::NOISE_FLOOR_DBMP + default::RECEIVE_LOUDNESS;
    let powers = [default::CIRCUIT_NOISE_DBM0P, sending, receiving, floor].map(|level| 10f64.powf(level / 10.0));
    10.0 * powers.iter().sum::<f64>().log10()
}

/// Is: loudness, sidetone and quantizing, which come with the speech (§7.3).
fn simultaneous(ro: f64, noise: f64, ms: f64) -> f64 {
    let overall = default::SEND_LOUDNESS + default::RECEIVE_LOUDNESS;
    let x = overall + 0.2 * (64.0 + noise - default::RECEIVE_LOUDNESS);
    let loudness = 20.0 * ((1.0 + (x / 8.0).powi(8)).powf(1.0 / 8.0) - x / 8.0);
    let echo = (-ms / 4.0).exp() * 10f64.powf(-default::TALKER_ECHO_LOUDNESS / 10.0);
    let stmr = -10.0 * (10f64.powf(-default::SIDETONE_MASKING / 10.0) + echo).log10();
    let sidetone = 12.0 * (1.0 + ((stmr - 13.0) / 6.0).powi(8)).powf(1.0 / 8.0)
        - 28.0 * (1.0 + ((stmr + 1.0) / 19.4).powi(35)).powf(1.0 / 35.0)
        - 13.0 * (1.0 + ((stmr - 3.0) / 33.0).powi(13)).powf(1.0 / 13.0)
        + 29.0;
    let q = 37.0 - 15.0 * default::QDU.log10();
    let g = 1.07 + 0.258 * q + 0.0602 * q * q;
    let y = (ro - 100.0) / 15.0 + 46.0 / 8.4 - g / 9.0;
    let z = 46.0 / 30.0 - g / 40.0;
    let quantizing = 15.0 * (1.0 + 10f64.powf(y) + 10f64.powf(z)).log10();
    loudness + sidetone + quantizing
}

/// Id: talker echo, listener echo, and the delay itself (§7.4).
fn delayed(ro: f64, noise: f64, ms: f64) -> f64 {
    let terv = default::TALKER_ECHO_LOUDNESS - 40.0 * ((1.0 + ms / 10.0) / (1.0 + ms / 150.0)).log10()
        + 6.0 * (-0.3 * ms * ms).exp();
    let half = (-1.5 * (noise - default::RECEIVE_LOUDNESS) - (80.0 + 2.5 * (terv - 14.0))) / 2.0;
    let talker = (half + (half * half + 100.0).sqrt() - 1.0) * (1.0 - (-ms).exp());
    let rle = 10.5 * (default::WEIGHTED_ECHO_PATH_LOSS + 7.0) * (2.0 * ms + 1.0).powf(-0.25);
    let half = (ro - rle) / 2.0;
    let listener = half + (half * half + 169.0).sqrt();
    let absolute = if ms <= 100.0 {
        0.0
    } else {
        let x = (ms / 100.0).log2();
        25.0 * ((1.0 + x.powi(6)).powf(1.0 / 6.0) - 3.0 * (1.0 + (x / 3.0).powi(6)).powf(1.0 / 6.0) + 2.0)
    };
    talker + listener + absolute
}

/// Ie-eff: the codec with its loss, taken as random (§7.5, BurstR = 1).
fn equipment(codec: &Impairment, loss_percent: f64) -> f64 {
    let loss = loss_percent.clamp(0.0, 100.0);
    codec.equipment + (95.0 - codec.equipment) * loss / (loss + codec.robustness)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn r(codec: Impairment, loss_percent: f64, ms: u64) -> f64 {
        rating(&Conditions { codec, loss_percent, delay: Duration::from_millis(ms) })
    }

    #[test]
    fn all_defaults_give_the_reference_rating() {
        // G.107 §7.7 and Annex B: R = 93.2, MOS = 4.41.
        let r = r(G711_CONCEALED, 0.0, 0);
        assert!((r - 93.2).abs() < 0.05, "{r}");
        assert!((mean_opinion_score(r) - 4.41).abs() < 0.005);
    }

    #[test]
    fn scores_follow_annex_b() {
        // G.107 Table B.1, the steps of user satisfaction; its 4.03 is 4.024 by the formula.
        for (r, mos) in [(90.0, 4.34), (80.0, 4.03), (70.0, 3.60), (60.0, 3.10), (50.0, 2.58)] {
            assert!((mean_opinion_score(r) - mos).abs() < 0.0065, "{r}: {}", mean_opinion_score(r));
        }
        assert_eq!((mean_opinion_score(-3.0), mean_opinion_score(100.0)), (1.0, 4.5));
        assert!((1..=1000).all(|r| mean_opinion_score(f64::from(r) / 10.0) >= 1.0));
    }

    #[test]
    fn loss_costs_what_the_codec_s_robustness_says() {
        let clean = r(G711_CONCEALED, 0.0, 0);
        assert!((clean - r(G711_CONCEALED, 25.1, 0) - 47.5).abs() < 1e-9, "half of 95 at Ppl = Bpl");
        assert!(r(G711_BARE, 1.0, 0) < r(G711_CONCEALED, 1.0, 0) - 10.0);
        assert_eq!(r(G711_BARE, 500.0, 0), r(G711_BARE, 100.0, 0));
    }

    #[test]
    fn delay_costs_little_up_to_150_ms_and_much_from_there_on() {
        // G.114 §5: essentially transparent up to 150 ms; 400 ms is the limit that planners keep.
        let at = |ms| r(G711_CONCEALED, 0.0, ms);
        assert!(at(0) - at(150) < 5.0, "{}", at(150));
        assert!((15.0..35.0).contains(&(at(0) - at(400))), "{}", at(400));
        assert!((0..60).all(|n| at(n * 20 + 20) <= at(n * 20) + 1e-6));
    }
}
