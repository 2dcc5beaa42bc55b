//! What changing the sample rate of one 20 ms frame costs, on the live path and by rubato.

use divan::{Bencher, black_box};
use offhook::audio::resample::{Converter, Down2, Down3, Up2};

#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    // A constant passes unchanged once the filters have settled.
    let mut out = [0; 640];
    assert_eq!(Up2::new().process(&[1000; 160], &mut out), 320);
    assert_eq!(out[319], 1000);
    assert_eq!(Down2::new().process(&[1000; 320], &mut out), 160);
    assert_eq!(out[159], 1000);
    assert_eq!(Down3::new().process(&[1000; 480], &mut out), 160);
    assert_eq!(out[159], 1000);
    divan::main();
}

fn noise<const N: usize>() -> [i16; N] {
    let mut random = fastrand::Rng::with_seed(1);
    std::array::from_fn(|_| random.i16(..))
}

#[divan::bench]
fn up_8_to_16_khz(bencher: Bencher<'_, '_>) {
    let (input, mut out, mut filter) = (noise::<160>(), [0; 320], Up2::new());
    bencher.bench_local(|| filter.process(black_box(&input), black_box(&mut out)));
}

#[divan::bench]
fn down_16_to_8_khz(bencher: Bencher<'_, '_>) {
    let (input, mut out, mut filter) = (noise::<320>(), [0; 160], Down2::new());
    bencher.bench_local(|| filter.process(black_box(&input), black_box(&mut out)));
}

#[divan::bench]
fn down_24_to_8_khz(bencher: Bencher<'_, '_>) {
    let (input, mut out, mut filter) = (noise::<480>(), [0; 160], Down3::new());
    bencher.bench_local(|| filter.process(black_box(&input), black_box(&mut out)));
}

#[divan::bench(args = [(22_050, 8000), (44_100, 8000), (48_000, 8000), (16_000, 24_000)])]
fn by_rubato(bencher: Bencher<'_, '_>, (from_hz, to_hz): (u32, u32)) {
    let mut converter = Converter::new(from_hz, to_hz).expect("a voice's rates");
    let input = vec![1000; from_hz as usize / 50];
    let mut out = Vec::with_capacity(1000);
    bencher.bench_local(|| {
        out.clear();
        converter.process(black_box(&input), &mut out);
    });
}
