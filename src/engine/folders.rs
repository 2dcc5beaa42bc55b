//! The folders in which calls are kept: whether they can be written is found out at the start, and not at the first call.

use crate::config::Config;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Makes the folders that the settings name, for their owner only, and finds out whether they can be written.
///
/// # Errors
/// Which setting is wrong, what it was, and what it may be.
pub fn check(config: &Config) -> Result<(), String> {
    let named = [(&config.records.folder, &config.records.named), (&config.capture.folder, &config.capture.named)];
    for (folder, name) in named {
        let Some(folder) = folder else { continue };
        probe(folder).map_err(|error| {
            format!("{name}: {} cannot be written ({error}); it may be a folder of yours", folder.display())
        })?;
    }
    Ok(())
}

fn probe(folder: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).recursive(true).create(folder)?;
    let probe = folder.join(format!(".probe-{}", std::process::id()));
    File::create(&probe)?;
    fs::remove_file(probe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_and_left_empty_and_one_that_is_none_is_told_by_its_setting() {
        let home = tempfile::tempdir().expect("a folder for the test");
        let mut config = Config::default();
        assert_eq!(check(&config), Ok(()));
        config.records.folder = Some(home.path().join("a/records"));
        config.capture.folder = Some(home.path().join("captures"));
        config.capture.named = "--capture".to_owned();
        assert_eq!(check(&config), Ok(()));
        for made in ["a/records", "captures"] {
            assert_eq!(fs::read_dir(home.path().join(made)).expect("it is made").count(), 0, "{made}");
        }
        fs::write(home.path().join("file"), "").expect("a file");
        config.capture.folder = Some(home.path().join("file"));
        let told = check(&config).expect_err("a file is no folder");
        assert!(told.starts_with("--capture: ") && told.ends_with("it may be a folder of yours"), "{told}");
    }
}
