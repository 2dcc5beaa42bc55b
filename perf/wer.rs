//! Word error rate and speed of the local ears over G.711, on human prompts with known texts.
use offhook::providers::local::{moonshine::Moonshine, one_thread};
use std::collections::BTreeMap;
use std::io::Read;
use std::time::Instant;

fn main() {
    let models = std::env::var("OFFHOOK_MODELS").unwrap_or("/tmp/models".into());
    let sounds = "/usr/share/asterisk/sounds/en_US_f_Allison";
    let texts = std::fs::File::open("/tmp/earsrc/core-sounds-en.txt.gz").unwrap();
    let mut t = String::new();
    flate2::read::GzDecoder::new(texts).read_to_string(&mut t).unwrap();
    let mut prompts = Vec::new();
    for line in t.lines() {
        if line.starts_with(';') { continue; }
        let Some((name, text)) = line.split_once(':') else { continue };
        let path = format!("{sounds}/{}.wav", name.trim().trim_end_matches(".wav"));
        let Ok(mut wav) = hound::WavReader::open(&path) else { continue };
        let pcm: Vec<i16> = wav.samples::<i16>().map(|s| s.unwrap()).collect();
        if text.contains('[') || text.contains('(') || text.contains('<') { continue; }
        let words = normalise(text);
        if words.len() < 3 || pcm.len() > 15 * 8000 { continue; }
        prompts.push((name.trim().to_string(), text.trim().to_string(), pcm));
    }
    let model = Moonshine::load(&std::path::Path::new(&models).join("moonshine-tiny-en")).unwrap();
    let pool = one_thread();
    let gain_target: f32 = std::env::var("LEVEL").ok().and_then(|v| v.parse().ok()).unwrap_or(0.0);
    let pad: f32 = std::env::var("PAD").ok().and_then(|v| v.parse().ok()).unwrap_or(0.15);
    let zero: bool = std::env::var("ZERO").is_ok();
    let atten: f32 = std::env::var("ATTEN").ok().and_then(|v| v.parse().ok()).unwrap_or(-6.0);
    let show = std::env::var("SHOW").is_ok();
    let (mut errors, mut total, mut audio, mut first_ms, mut again_ms, mut empty) = (0, 0, 0.0, 0.0, 0.0, 0);
    let mut slow = Vec::new();
    let mut differ = 0;
    for (name, text, pcm) in &prompts {
        let g = 10f32.powf(atten / 20.0);
        let coded: Vec<f32> = pcm.iter().map(|&s| ulaw_round((f32::from(s) * g) as i16)).collect();
        let wide = up2(&coded);
        let (a, b) = span(&wide);
        let p = (pad * 16000.0) as usize;
        let mut seg: Vec<f32> = wide[a.saturating_sub(p)..(b + p).min(wide.len())].to_vec();
        if zero { let mut z = vec![0.0; p]; z.extend_from_slice(&wide[a..b]); z.extend(vec![0.0; p]); seg = z; }
        if gain_target != 0.0 {
            let rms = (seg.iter().map(|s| s * s).sum::<f32>() / seg.len() as f32).sqrt();
            let k = 10f32.powf(gain_target / 20.0) / rms.max(1e-5);
            let peak = seg.iter().fold(0f32, |m, s| m.max(s.abs()));
            let k = k.min(0.99 / peak.max(1e-5));
            seg.iter_mut().for_each(|s| *s *= k);
        }
        let t0 = Instant::now();
        let h = model.transcribe(&seg, &[], &pool, &|| false).unwrap().unwrap();
        let d1 = t0.elapsed().as_secs_f64() * 1e3;
        let t0 = Instant::now();
        let h2 = if std::env::var("DRAFT").is_ok() { model.transcribe(&seg, &h.tokens, &pool, &|| false).unwrap().unwrap() } else { h.clone() };
        let d2 = t0.elapsed().as_secs_f64() * 1e3;
        if h2.text != h.text { differ += 1; }
        let (r, w) = (normalise(text), normalise(&h2.text));
        let e = distance(&r, &w);
        if w.is_empty() { empty += 1; }
        errors += e; total += r.len();
        audio += seg.len() as f64 / 16000.0; first_ms += d1; again_ms += d2;
        slow.push((seg.len() as f64 / 16000.0, d1, d2));
        if e > 0 && show { println!("{e} {name}: [{}] heard [{}]", r.join(" "), w.join(" ")); }
    }
    println!("{} prompts, {total} words, WER {:.2} %, empty {empty}, audio {audio:.0} s, first {:.0} ms/s, with draft {:.0} ms/s, differ {differ}", prompts.len(), 100.0 * errors as f64 / total as f64, first_ms / audio, again_ms / audio);
    slow.sort_by(|a, b| a.0.total_cmp(&b.0));
    for q in [0.1, 0.25, 0.5, 0.75, 0.9, 0.99] { let (s, a, b) = slow[(q * (slow.len() - 1) as f64) as usize]; println!("  {s:.1} s: {a:.0} ms, with draft {b:.0} ms"); }
    let _: BTreeMap<u8, u8> = BTreeMap::new();
}

fn ulaw_round(s: i16) -> f32 {
    let sign = if s < 0 { -1.0 } else { 1.0 };
    let m = (f32::from(s).abs() / 4.0).floor().min(8158.0) + 33.0;
    let exp = m.log2().floor();
    let step = 2f32.powf(exp - 4.0);
    let q = ((m / step).floor() + 0.5) * step - 33.0;
    sign * q * 4.0 / 32768.0
}

fn up2(x: &[f32]) -> Vec<f32> {
    let n = 24i32;
    let taps: Vec<f32> = (-n..n).map(|k| { let t = k as f32 + 0.5; let w = 0.5 + 0.5 * (std::f32::consts::PI * t / (n as f32 + 0.5)).cos(); (std::f32::consts::PI * t).sin() / (std::f32::consts::PI * t) * w }).collect();
    let mut out = Vec::with_capacity(x.len() * 2);
    for i in 0..x.len() as i32 {
        out.push(x[i as usize]);
        let mut s = 0.0;
        for (j, t) in taps.iter().enumerate() { let k = i + 1 + (j as i32 - n); if k >= 0 && (k as usize) < x.len() { s += x[k as usize] * t; } }
        out.push(s);
    }
    out
}

fn span(x: &[f32]) -> (usize, usize) {
    let mut vad = earshot::Detector::default();
    let (mut a, mut b) = (None, 0);
    for (i, f) in x.chunks_exact(256).enumerate() {
        if vad.predict_f32(f) >= 0.5 { a.get_or_insert(i * 256); b = i * 256 + 256; }
    }
    match a { Some(a) => (a, b), None => (0, x.len()) }
}

fn normalise(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let t = text.to_lowercase().replace("a.m.", "am").replace("p.m.", "pm").replace('’', "'");
    for w in t.split(|c: char| !(c.is_alphanumeric() || c == '\'')) {
        let w = w.replace('\'', "");
        if w.is_empty() { continue; }
        let w = match w.as_str() { "zero" | "oh" => "0", "one" => "1", "two" => "2", "three" => "3", "four" => "4", "five" => "5", "six" => "6", "seven" => "7", "eight" => "8", "nine" => "9", o => o }.to_string();
        out.push(w);
    }
    out
}

fn distance(a: &[String], b: &[String]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut last = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let v = (row[j] + 1).min(row[j + 1] + 1).min(last + usize::from(x != y));
            last = row[j + 1];
            row[j + 1] = v;
        }
    }
    row[b.len()]
}
