//! Distributions as a log that HdrHistogram's tools read and plot: V2, compressed, base64, one line each.

use super::Distribution;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use std::time::Duration;

/// What the log's readers divide the column of the largest values by: values are in µs, and people read ms.
const MAX_DIVISOR: f64 = 1_000.0;

/// Returns the log of what was counted from `start`, since the Unix epoch, for `length`: each distribution in a line, the first
/// without a tag, the others with theirs. A tag is a word of letters, digits, `-` and `_`.
#[must_use]
pub fn write(name: &str, start: Duration, length: Duration, lines: &[(Option<&str>, &Distribution)]) -> String {
    let (mut text, mut serializer) = (Vec::new(), V2DeflateSerializer::new());
    let mut builder = IntervalLogWriterBuilder::new();
    builder.add_comment(&format!("offhook: {name}, in microseconds"));
    builder.add_comment(&format!("[StartTime: {:.3} (seconds since epoch)]", start.as_secs_f64()));
    builder.add_comment(&format!("[BaseTime: {:.3} (seconds since epoch)]", start.as_secs_f64()));
    builder.with_max_value_divisor(MAX_DIVISOR);
    let mut writer = builder.begin_log_with(&mut text, &mut serializer).expect("a vector takes everything");
    for (tag, distribution) in lines {
        let tag = tag.and_then(Tag::new);
        let written = writer.write_histogram(&distribution.histogram, Duration::ZERO, length, tag);
        written.expect("a histogram within its bounds can be written");
    }
    String::from_utf8(text).expect("base64 and digits are ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    #[test]
    fn a_log_is_read_back_as_it_was_written() {
        let (mut all, mut one) = (Distribution::new(), Distribution::new());
        for ms in 1..=1_000 {
            all.record(Duration::from_millis(ms));
        }
        one.record(Duration::from_millis(250));
        let start = Duration::from_millis(1_795_367_956_250);
        let log = write("llm", start, Duration::from_secs(90), &[(None, &all), (Some("groq"), &one)]);
        assert!(
            log.starts_with("#offhook: llm, in microseconds\n#[StartTime: 1795367956.250 (seconds since epoch)]\n"),
            "{log}"
        );
        let mut read = Vec::new();
        for entry in IntervalLogIterator::new(log.as_bytes()) {
            if let LogEntry::Interval(interval) = entry.expect("a line as it should be") {
                let bytes = STANDARD.decode(interval.encoded_histogram()).expect("base64");
                let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).expect("V2");
                let tag = interval.tag().map(|tag| tag.as_str().to_owned());
                read.push((tag, interval.duration().as_secs(), interval.max(), histogram));
            }
        }
        let [(None, 90, max, whole), (Some(tag), 90, _, single)] = &read[..] else { panic!("{log}") };
        assert!((max - 1_000.0).abs() < 10.0, "{max} ms");
        assert_eq!((whole.len(), whole.value_at_quantile(0.5)), (1_000, all.histogram.value_at_quantile(0.5)));
        assert_eq!((tag.as_str(), single.len()), ("groq", 1));
    }

    #[test]
    fn an_empty_one_is_a_log_too() {
        let log = write("turn", Duration::ZERO, Duration::ZERO, &[(None, &Distribution::new())]);
        assert!(log.lines().last().is_some_and(|line| line.starts_with("0.000,0.000,0.000,")), "{log}");
    }
}
