//! Who may call: the accounts of `[[sip.accounts]]`, kept as the hashes that digest needs (RFC 7616 §3.4.2), not as passwords.

use super::given::Given;
use super::{Error, Secret};
use md5::Md5;
use serde::Deserialize;
use sha2::Sha256;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Accounts that the file may hold: more telephones than one engine serves.
const ACCOUNTS_MAX: usize = 10_000;
/// Characters of a user name or realm.
const NAME_MAX: usize = 64;
/// Characters of a password.
const PASSWORD_MAX: usize = 256;

/// A hash function of digest (RFC 7616 §3.3, RFC 8760 §2.1), strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DigestAlgorithm {
    /// SHA-256.
    Sha256,
    /// MD5, which is all that many telephones can do.
    Md5,
}

impl DigestAlgorithm {
    /// Both, in the order in which they are offered (RFC 8760 §2.4).
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Md5];

    /// Returns the name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA-256",
            Self::Md5 => "MD5",
        }
    }

    /// Returns H of `parts` with colons between them, in small hexadecimal digits.
    #[must_use]
    pub fn hash(self, parts: &[&str]) -> String {
        match self {
            Self::Sha256 => hash_with::<Sha256>(parts),
            Self::Md5 => hash_with::<Md5>(parts),
        }
    }

    const fn hex_digits(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Md5 => 32,
        }
    }
}

fn hash_with<D: md5::Digest>(parts: &[&str]) -> String {
    let mut hasher = D::new();
    for (at, part) in parts.iter().enumerate() {
        hasher.update(if at == 0 { "" } else { ":" });
        hasher.update(part);
    }
    let mut hex = String::with_capacity(64);
    for byte in hasher.finalize() {
        // Writing into a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Someone who may register and call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user name, which is also the user of the address-of-record.
    pub user: String,
    /// MD5 of `user:realm:password`, in small hexadecimal digits.
    pub ha1_md5: Option<Secret>,
    /// SHA-256 of the same.
    pub ha1_sha256: Option<Secret>,
}

impl Account {
    /// Makes an account of a password, of which the hashes are kept.
    #[must_use]
    pub fn with_password(user: &str, realm: &str, password: &str) -> Self {
        let ha1 = |algorithm: DigestAlgorithm| Some(Secret::new(algorithm.hash(&[user, realm, password])));
        Self { user: user.to_owned(), ha1_md5: ha1(DigestAlgorithm::Md5), ha1_sha256: ha1(DigestAlgorithm::Sha256) }
    }

    /// Returns H(A1) for `algorithm`, if it is known.
    #[must_use]
    pub const fn ha1(&self, algorithm: DigestAlgorithm) -> Option<&Secret> {
        match algorithm {
            DigestAlgorithm::Sha256 => self.ha1_sha256.as_ref(),
            DigestAlgorithm::Md5 => self.ha1_md5.as_ref(),
        }
    }
}

/// An account as the file has it.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FileAccount {
    user: String,
    password: Option<String>,
    ha1: Option<String>,
    ha1_sha256: Option<String>,
}

/// Says nothing of what is in it.
impl std::fmt::Debug for FileAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileAccount").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Reads a user name or a realm: it goes between colons and quotes.
pub fn name(given: &Given) -> Result<String, Error> {
    let name = &given.value;
    let fits = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | ':' | '@' | '<' | '>' | ',' | ';');
    if !name.is_empty() && name.chars().count() <= NAME_MAX && name.chars().all(fits) {
        Ok(name.clone())
    } else {
        Err(given
            .wrong(&format!("a name of 1 to {NAME_MAX} visible ASCII characters without : @ ; , < > \\ and quotes")))
    }
}

/// Reads the accounts; errors repeat neither passwords nor hashes.
pub fn read(accounts: &[FileAccount], realm: &str) -> Result<Vec<Account>, Error> {
    if accounts.len() > ACCOUNTS_MAX {
        let count = accounts.len();
        return Err(Error(format!("sip.accounts in offhook.toml: there are {count}, and there may be {ACCOUNTS_MAX}")));
    }
    let mut users = BTreeSet::new();
    accounts
        .iter()
        .map(|account| {
            let key = "sip.accounts.user in offhook.toml".to_owned();
            let user = name(&Given { name: key, value: account.user.clone() })?;
            if !users.insert(user.clone()) {
                return Err(Error(format!(
                    "sip.accounts in offhook.toml: there are two of {user:?}; one user may be one"
                )));
            }
            account.read(user, realm)
        })
        .collect()
}

impl FileAccount {
    fn read(&self, user: String, realm: &str) -> Result<Account, Error> {
        let wrong = |what: &str| Err(Error(format!("sip.accounts in offhook.toml: {user:?} {what}")));
        let hash = |given: &Option<String>, algorithm: DigestAlgorithm| match given {
            None => Ok(None),
            Some(hex) if hex.len() == algorithm.hex_digits() && hex.bytes().all(|b| b.is_ascii_hexdigit()) => {
                Ok(Some(Secret::new(hex.to_ascii_lowercase())))
            }
            Some(_) => Err(algorithm.hex_digits()),
        };
        match (&self.password, &self.ha1, &self.ha1_sha256) {
            (Some(password), None, None) if (1..=PASSWORD_MAX).contains(&password.chars().count()) => {
                Ok(Account::with_password(&user, realm, password))
            }
            (Some(_), None, None) => wrong(&format!("has a password that is not of 1 to {PASSWORD_MAX} characters")),
            (Some(_), _, _) => wrong("has a password and a hash of it; it may have either"),
            (None, None, None) => wrong("has no password; set password, or ha1 as offhook ha1 prints it"),
            (None, md5, sha256) => match (hash(md5, DigestAlgorithm::Md5), hash(sha256, DigestAlgorithm::Sha256)) {
                (Ok(ha1_md5), Ok(ha1_sha256)) => Ok(Account { user, ha1_md5, ha1_sha256 }),
                (Err(digits), _) => wrong(&format!("has a ha1 that is not {digits} hexadecimal digits")),
                (_, Err(digits)) => wrong(&format!("has a ha1_sha256 that is not {digits} hexadecimal digits")),
            },
        }
    }
}

/// Decides which algorithms are offered: those asked for, which every account must have, or else those that all have. An
/// offer that only some could take would tell which users there are.
pub fn algorithms(asked: Option<&[String]>, accounts: &[Account]) -> Result<Vec<DigestAlgorithm>, Error> {
    let lacks = |algorithm: DigestAlgorithm| accounts.iter().find(|account| account.ha1(algorithm).is_none());
    let Some(asked) = asked else {
        let all: Vec<_> = DigestAlgorithm::ALL.into_iter().filter(|algorithm| lacks(*algorithm).is_none()).collect();
        return if all.is_empty() {
            Err(Error(
                "sip.accounts in offhook.toml: some have ha1 only and some ha1_sha256 only; all may have one of them, or both".into(),
            ))
        } else {
            Ok(all)
        };
    };
    let mut algorithms = Vec::new();
    for name in asked {
        let given = Given { name: "sip.algorithms in offhook.toml".into(), value: name.clone() };
        let algorithm = given.choice(&DigestAlgorithm::ALL.map(|algorithm| (algorithm.name(), algorithm)))?;
        if let Some(account) = lacks(algorithm) {
            return Err(Error(format!(
                "sip.algorithms in offhook.toml: {name}, for which {:?} has no hash; it may be left out, or the hash added",
                account.user
            )));
        }
        algorithms.push(algorithm);
    }
    algorithms.sort_unstable();
    algorithms.dedup();
    if algorithms.is_empty() {
        return Err(Error(
            "sip.algorithms in offhook.toml: none; it may be [\"SHA-256\", \"MD5\"] or one of them".into(),
        ));
    }
    Ok(algorithms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(toml: &str) -> Result<Account, String> {
        let file: FileAccount = toml::from_str(toml).expect("an account");
        read(&[file], "offhook").map(|mut all| all.remove(0)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_password_becomes_both_hashes_and_is_gone() {
        let account = account("user = \"agent001\"\npassword = \"hunter2\"").expect("right");
        assert_eq!(account, Account::with_password("agent001", "offhook", "hunter2"));
        let ha1 = account.ha1(DigestAlgorithm::Md5).expect("a hash").expose();
        assert_eq!(ha1, DigestAlgorithm::Md5.hash(&["agent001:offhook:hunter2"]));
        assert_eq!(account.ha1(DigestAlgorithm::Sha256).map(|ha1| ha1.expose().len()), Some(64));
        assert!(!format!("{account:?}").contains(ha1));
    }

    #[test]
    fn hashes_are_those_of_the_rfcs() {
        assert_eq!(DigestAlgorithm::Md5.hash(&["message digest"]), "f96b697d7cb7938d525a2f31aaf161d0");
        assert_eq!(
            DigestAlgorithm::Sha256.hash(&["abc"]),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn a_wrong_account_is_named_and_its_secret_is_not() {
        let hex = "0123456789abcdef0123456789abcdef";
        for (toml, what) in [
            ("password = \"hunter2\"".to_owned(), "is not a name of 1 to 64"),
            ("user = \"a b\"\npassword = \"hunter2\"".to_owned(), "is not a name of 1 to 64"),
            ("user = \"a:b\"\npassword = \"hunter2\"".to_owned(), "is not a name of 1 to 64"),
            ("user = \"a\"".to_owned(), "has no password"),
            ("user = \"a\"\npassword = \"\"".to_owned(), "not of 1 to 256"),
            (format!("user = \"a\"\npassword = \"hunter2\"\nha1 = \"{hex}\""), "either"),
            ("user = \"a\"\nha1 = \"hunter2\"".to_owned(), "32 hexadecimal"),
            (format!("user = \"a\"\nha1_sha256 = \"{hex}\""), "64 hexadecimal"),
        ] {
            let error = account(&toml).expect_err(&toml);
            assert!(error.contains(what) && error.starts_with("sip.accounts"), "{error}");
            assert!(!error.contains("hunter2") && !error.contains(hex) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn what_not_every_account_has_is_not_offered() {
        let both = Account::with_password("a", "r", "p");
        let md5_only = Account { ha1_sha256: None, user: "b".into(), ..both.clone() };
        let sha256_only = Account { ha1_md5: None, user: "c".into(), ..both.clone() };
        assert_eq!(algorithms(None, std::slice::from_ref(&both)), Ok(DigestAlgorithm::ALL.to_vec()));
        assert_eq!(algorithms(None, &[both.clone(), md5_only.clone()]), Ok(vec![DigestAlgorithm::Md5]));
        assert!(algorithms(None, &[sha256_only, md5_only.clone()]).is_err());
        let asked = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(algorithms(Some(&asked(&["MD5", "SHA-256"])), &[both]), Ok(DigestAlgorithm::ALL.to_vec()));
        for (names, what) in
            [(asked(&["SHA-256"]), "\"b\" has no hash"), (asked(&[]), "none"), (asked(&["md5"]), "one of")]
        {
            let error = algorithms(Some(&names), std::slice::from_ref(&md5_only)).expect_err("wrong").to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}
