//! What was found, as a table for people and as JSON for programs.

use super::{BUDGET_MS, END_OF_TURN_MS, Finding, OWN_PATH_MS};
use serde::Serialize;
use std::fmt;

/// Everything that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// One for each provider of each stage, each tool, and each port.
    pub findings: Vec<Finding>,
    /// What a reply is to take, from the caller's last sound to the first packet, in milliseconds; `None` where a stage does not
    /// work, or is one of this machine, which is not measured here.
    pub reply_ms: Option<f64>,
    /// Whether everything works.
    pub ok: bool,
}

impl Report {
    pub(super) fn new(findings: Vec<Finding>) -> Self {
        let ok = findings.iter().all(|finding| finding.ok);
        let first = |what: &str| findings.iter().find(|finding| finding.what == what && finding.place == 0);
        let warm = |what: &str| first(what)?.warm_ms;
        // The ears are as far away as their server; what they take to be sure is theirs.
        let ears = first("ears").filter(|finding| finding.ok).and_then(|finding| finding.tcp_ms);
        let sum = || Some(ears? + END_OF_TURN_MS + warm("mind")? + warm("voice")? + OWN_PATH_MS);
        let reply_ms = sum().map(|sum| (sum * 10.0).round() / 10.0);
        Self { findings, reply_ms, ok }
    }

    /// Returns it as JSON.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<[String; 9]> = self.findings.iter().map(row).collect();
        let heads = ["", "who", "at", "dns", "tcp", "tls", "cold", "warm", ""];
        let heads = heads.map(str::to_owned);
        let width = |column: usize| {
            let cells = rows.iter().chain([&heads]).map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let widths: [usize; 9] = std::array::from_fn(width);
        for row in [&heads].into_iter().chain(&rows) {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let pad = " ".repeat(widths[column] - cell.chars().count());
                // Figures stand to the right.
                let is_figure = (3..8).contains(&column);
                line.push_str(&if is_figure { format!("{pad}{cell}  ") } else { format!("{cell}{pad}  ") });
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        writeln!(f)?;
        match self.reply_ms {
            Some(sum) if sum > BUDGET_MS => writeln!(
                f,
                "a reply is to take about {sum:.0} ms, which is more than {BUDGET_MS:.0}: callers will talk over the agent; the \
                 largest parts are the providers to be nearer to, or to be exchanged"
            )?,
            Some(sum) => writeln!(
                f,
                "a reply is to take about {sum:.0} ms: the way to the ears and {END_OF_TURN_MS:.0} for their end of turn, warm \
                 mind, warm voice, {OWN_PATH_MS:.0} of our own"
            )?,
            None => {}
        }
        let wrong = self.findings.iter().filter(|finding| !finding.ok).count();
        match wrong {
            0 => writeln!(f, "everything works; times are in ms, each mind and voice was asked for one word, twice"),
            1 => writeln!(f, "one thing does not work"),
            wrong => writeln!(f, "{wrong} things do not work"),
        }
    }
}

fn row(finding: &Finding) -> [String; 9] {
    let figure = |ms: Option<f64>| ms.map_or_else(String::new, |ms| format!("{ms:.1}"));
    let mark = if finding.ok { "ok  " } else { "FAIL" };
    let what = match finding.place {
        0 => finding.what.to_owned(),
        place => format!("{}, fallback {place}", finding.what),
    };
    [
        format!("{mark}  {what}"),
        finding.name.clone(),
        finding.at.clone(),
        figure(finding.dns_ms),
        figure(finding.tcp_ms),
        figure(finding.tls_ms),
        figure(finding.cold_ms),
        figure(finding.warm_ms),
        finding.note.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(what: &'static str, warm_ms: f64) -> Finding {
        let (tcp_ms, warm_ms) = (Some(20.0), Some(warm_ms));
        Finding { what, name: "x".into(), at: "x.example".into(), tcp_ms, warm_ms, ok: true, ..Finding::default() }
    }

    #[test]
    fn a_slow_sum_is_warned_of_and_a_stage_that_fails_has_none() {
        let findings = vec![provider("ears", 0.0), provider("mind", 300.0), provider("voice", 90.0)];
        let report = Report::new(findings.clone());
        assert_eq!((report.reply_ms, report.ok), (Some(679.0), true));
        assert!(report.to_string().contains("about 679 ms: the way to the ears"), "{report}");
        let slow = Report::new(vec![provider("ears", 0.0), provider("mind", 500.0), provider("voice", 90.0)]);
        assert!(slow.to_string().contains("about 879 ms, which is more than 800"), "{slow}");
        let mut findings = findings;
        (findings[1].ok, findings[1].warm_ms) = (false, None);
        findings[1].note = "groq: the key is refused".into();
        let report = Report::new(findings);
        assert_eq!((report.reply_ms, report.ok), (None, false));
        let text = report.to_string();
        assert!(text.contains("FAIL  mind") && text.contains("one thing does not work"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&report.json()).expect("it is JSON");
        assert_eq!(json["findings"][1]["note"], "groq: the key is refused");
    }

    #[test]
    fn the_table_is_aligned() {
        let mut fallback = provider("voice", 90.0);
        fallback.place = 1;
        let text = Report::new(vec![provider("ears", 1.0), fallback]).to_string();
        let lines: Vec<&str> = text.lines().collect();
        let at = |line: &str, word: &str| line.find(word).map(|at| at + word.len());
        assert_eq!(at(lines[0], "tcp"), at(lines[1], "20.0"), "{text}");
        assert_eq!(at(lines[1], "20.0"), at(lines[2], "20.0"), "{text}");
        assert!(lines[2].starts_with("ok    voice, fallback 1"), "{text}");
    }
}
