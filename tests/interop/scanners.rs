//! sipvicious, with which telephone systems are searched for on the open network: it finds nothing, and opens nothing.

use crate::process::{ECHO, Offhook, there_is};
use std::path::Path;
use std::process::{Command, Stdio};

const SETTINGS: &str = r#"
[[sip.accounts]]
user = "1000"
password = "a word that is in no list"
[[sip.accounts]]
user = "agent001"
password = "another one"
"#;

/// What guessers try first.
const PASSWORDS: [&str; 8] = ["1000", "password", "123456", "admin", "agent001", "1234", "asterisk", "secret"];

/// Runs a scanner against the engine until its end, and returns what it printed.
fn scan(offhook: &Offhook, folder: &Path, program: &str, args: &[&str]) -> String {
    let mut command = Command::new(program);
    // It keeps its sessions in the home folder.
    command.current_dir(folder).env("HOME", folder).args(["-p", &offhook.sip().port().to_string()]).args(args);
    let output = command.arg("127.0.0.1").stdin(Stdio::null()).output().expect("the scanner runs");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn scanners_find_nothing_and_open_nothing() {
    if !there_is("svmap", "sipvicious") {
        return;
    }
    let offhook = Offhook::start(&ECHO, SETTINGS);
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("users"), "1000\n1001\nagent001\nadmin\n").expect("a file");
    std::fs::write(folder.path().join("passwords"), PASSWORDS.join("\n")).expect("a file");
    let scan = |program: &str, args: &[&str]| scan(&offhook, folder.path(), program, args);

    let map = scan("svmap", &[]);
    assert!(!map.to_lowercase().contains("offhook"), "{map}");
    for method in ["REGISTER", "INVITE", "OPTIONS"] {
        let users = scan("svwar", &["-m", method, "-d", "users", "--force"]);
        // Each user that it takes for one stands in a table.
        assert!(!users.contains("| 1000") && !users.contains("| agent001"), "{method}: {users}");
    }
    let cracked = scan("svcrack", &["-u", "1000", "-d", "passwords"]);
    assert!(!cracked.contains("| 1000"), "{cracked}");

    let status = offhook.ask("GET", "/api/v1/sip/status").1;
    assert_eq!((&status["active_calls"], &status["registrations"]), (&0.into(), &0.into()), "{status}");
    assert_eq!(status["totals"]["calls"], 0, "{status}");
}
