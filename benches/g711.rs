//! What a G.711 frame costs: 20 ms at 8 kHz, against the recommendation's own way of searching segments.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use offhook::audio::g711::Codec;

#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

const FRAME: usize = 160;
const LAWS: [Codec; 2] = [Codec::Pcmu, Codec::Pcma];

fn main() {
    for codec in LAWS {
        for sample in i16::MIN..=i16::MAX {
            let mut byte = [0];
            codec.encode(&[sample], &mut byte);
            assert_eq!(byte[0], searched(codec, sample), "{codec:?} of {sample}");
        }
    }
    divan::main();
}

fn noise() -> [i16; FRAME] {
    let mut random = fastrand::Rng::with_seed(1);
    std::array::from_fn(|_| random.i16(..))
}

#[divan::bench(args = LAWS)]
fn encode(bencher: Bencher<'_, '_>, codec: Codec) {
    let (pcm, mut out) = (noise(), [0u8; FRAME]);
    bencher.counter(ItemsCount::new(FRAME)).bench_local(|| codec.encode(black_box(&pcm), black_box(&mut out)));
}

#[divan::bench(args = LAWS)]
fn encode_by_segment_search(bencher: Bencher<'_, '_>, codec: Codec) {
    let (pcm, mut out) = (noise(), [0u8; FRAME]);
    bencher.counter(ItemsCount::new(FRAME)).bench_local(|| {
        for (byte, &sample) in black_box(&mut out).iter_mut().zip(black_box(&pcm)) {
            *byte = searched(codec, sample);
        }
    });
}

#[divan::bench(args = LAWS)]
fn decode(bencher: Bencher<'_, '_>, codec: Codec) {
    let mut random = fastrand::Rng::with_seed(1);
    let codes: [u8; FRAME] = std::array::from_fn(|_| random.u8(..));
    let mut out = [0i16; FRAME];
    bencher.counter(ItemsCount::new(FRAME)).bench_local(|| codec.decode(black_box(&codes), black_box(&mut out)));
}

/// Looks the segment up in the tables of decision values (G.711 tables 1a and 2a).
fn searched(codec: Codec, sample: i16) -> u8 {
    const ULAW_ENDS: [i32; 8] = [31, 95, 223, 479, 991, 2015, 4063, 8159];
    const ALAW_ENDS: [i32; 8] = [16, 32, 64, 128, 256, 512, 1024, 2048];
    let magnitude = i32::from(sample ^ (sample >> 15));
    let positive = if sample < 0 { 0 } else { 0x80 };
    match codec {
        Codec::Pcmu => {
            let magnitude = (magnitude / 4).min(8158);
            let segment = ULAW_ENDS.iter().position(|&end| magnitude < end).unwrap_or(7);
            let start = if segment == 0 { -1 } else { ULAW_ENDS[segment - 1] };
            (127 - (16 * segment as i32 + (magnitude - start) / (2 << segment)) + positive) as u8
        }
        Codec::Pcma => {
            let magnitude = magnitude / 16;
            let segment = ALAW_ENDS.iter().position(|&end| magnitude < end).unwrap_or(7);
            let (start, step) = if segment == 0 { (0, 1) } else { (ALAW_ENDS[segment - 1], 1 << (segment - 1)) };
            (16 * segment as i32 + (magnitude - start) / step + positive) as u8 ^ 0x55
        }
    }
}
