//! Codec, filters, voice activity and concealment ask nothing of the heap, whatever they are given.

#[path = "support/heap.rs"]
mod heap;

use heap::counted;
use offhook::audio::activity::{Activity, FRAME_SAMPLES};
use offhook::audio::comfort_noise::ComfortNoise;
use offhook::audio::g711::Codec;
use offhook::audio::resample::{Down2, Down3, Up2};
use offhook::audio::{g722, tone};
use offhook::jitter::conceal::Concealer;

#[test]
fn a_minute_of_audio_with_losses_makes_no_heap_call() {
    let mut random = fastrand::Rng::with_seed(11);
    let (mut up, mut two, mut three) = (Up2::new(), Down2::new(), Down3::new());
    let (mut concealer, mut activity) = (Concealer::new(), Activity::new());
    let (mut encoder, mut decoder) = (g722::Encoder::new(), g722::Decoder::new());
    let (mut wide_concealer, mut noise, mut tones) = (Concealer::wide(), ComfortNoise::new(), tone::Detector::new());
    let mut codes = [0u8; 160];
    let (mut pcm, mut wide, mut narrow, mut voice) = ([0i16; 160], [0i16; FRAME_SAMPLES], [0i16; 160], [0i16; 480]);
    let minute = || {
        for frame in 0..3000u32 {
            // Noise, bursts and pauses: everything that makes a decision go either way.
            let loudness = [0, 300, 20_000][frame as usize / 25 % 3];
            pcm.fill_with(|| random.i16(-loudness..=loudness));
            voice.fill_with(|| random.i16(..));
            let codec = if frame % 2 == 0 { Codec::Pcmu } else { Codec::Pcma };
            codec.encode(&pcm, &mut codes);
            codec.decode(&codes, &mut pcm);
            if random.u8(..10) == 0 {
                concealer.conceal(&mut pcm)
            } else {
                concealer.good(&mut pcm)
            }
            up.process(&pcm, &mut wide);
            activity.push(&wide);
            encoder.encode(&wide, &mut codes);
            decoder.decode(&codes, &mut wide);
            if random.u8(..10) == 0 {
                wide_concealer.conceal(&mut wide)
            } else {
                wide_concealer.good(&mut wide)
            }
            noise.begin(&codes);
            noise.fill(&mut wide);
            tones.push(&pcm);
            two.process(&wide, &mut narrow);
            three.process(&voice[..random.usize(..=480)], &mut narrow);
            if frame % 500 == 499 {
                (up, two, three) = (Up2::new(), Down2::new(), Down3::new());
                concealer.reset();
                activity.reset();
            }
        }
    };
    assert_eq!(counted(minute).1, 0);
    // The counter does count.
    assert_eq!(counted(|| drop(std::hint::black_box(vec![0u8; 10]))).1, 2);
}
