//! Credential helpers: programs `docker-credential-NAME` that answer `get`
//! (github.com/docker/docker-credential-helpers, protocol of v0.8).

use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Credential;
use crate::error::{Error, Result};

/// A helper may ask the user for a passphrase, but not for ever.
const TIMEOUT: Duration = Duration::from_secs(120);
/// The longest answer, in bytes.
const LIMIT: u64 = 64 * 1024;
/// The user's name that marks the secret as a refresh token.
const TOKEN_USER: &str = "<token>";

#[derive(Deserialize)]
struct Answer {
    #[serde(default, rename = "Username")]
    user: String,
    #[serde(default, rename = "Secret")]
    secret: String,
}

/// Asks the helper `name` for the credential of `server`; nothing if it has none.
///
/// # Errors
/// [`Error::Helper`]: a name that is not a plain word, a program that is not
/// there, fails, or answers nonsense.
pub async fn get(name: &str, server: &str) -> Result<Option<Credential>> {
    let failed = |reason: String| Error::Helper {
        helper: name.to_owned(),
        registry: server.to_owned(),
        reason,
    };
    if !is_name(name) {
        return Err(failed("not a name for a helper".to_owned()));
    }
    let program = format!("docker-credential-{name}");
    let mut child = tokio::process::Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(format!("cannot run {program}: {error}")))?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let exchange = async {
        if let Some(mut stdin) = stdin {
            // A helper that does not read its input has decided already.
            let _ = stdin.write_all(server.as_bytes()).await;
        }
        let mut answer = Vec::new();
        if let Some(stdout) = stdout {
            stdout.take(LIMIT).read_to_end(&mut answer).await?;
        }
        Ok::<_, std::io::Error>((child.wait().await?, answer))
    };
    let (status, answer) = tokio::time::timeout(TIMEOUT, exchange)
        .await
        .map_err(|_| failed("no answer in time".to_owned()))?
        .map_err(|error| failed(error.to_string()))?;
    if !status.success() {
        let text = String::from_utf8_lossy(&answer).to_lowercase();
        if text.contains("credentials not found") {
            return Ok(None);
        }
        return Err(failed(format!("ended with {status}")));
    }
    parse(&answer).ok_or_else(|| failed("the answer is no credential".to_owned()))
}

/// A helper's answer; nothing inside if it holds no secret.
pub fn parse(answer: &[u8]) -> Option<Option<Credential>> {
    let Answer { user, secret } = serde_json::from_slice(answer).ok()?;
    if secret.is_empty() {
        return Some(None);
    }
    Some(Some(match user.as_str() {
        TOKEN_USER => Credential::Identity { token: secret },
        _ => Credential::Basic {
            user,
            password: secret,
        },
    }))
}

/// A helper's name becomes part of a program's name: letters, digits, `-`, `_`,
/// `.` alone, and no path.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && !name.starts_with(['-', '.'])
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["pass", "ecr-login", "osxkeychain", "a_b.c"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "../x", "a/b", "a b", "-x", ".x", "x;y", "x\n", "é"] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn answers() {
        assert_eq!(
            parse(br#"{"ServerURL":"x","Username":"u","Secret":"s"}"#),
            Some(Some(Credential::Basic {
                user: "u".to_owned(),
                password: "s".to_owned()
            }))
        );
        assert_eq!(
            parse(br#"{"Username":"<token>","Secret":"t"}"#),
            Some(Some(Credential::Identity {
                token: "t".to_owned()
            }))
        );
        assert_eq!(parse(br#"{"Username":"","Secret":""}"#), Some(None));
        assert_eq!(parse(b"credentials"), None);
    }

    #[tokio::test]
    async fn a_missing_helper_is_a_clear_error() {
        let error = get("hako-has-no-such-helper", "r.example")
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("docker-credential-hako-has-no-such-helper"),
            "{error}"
        );
        let error = get("../../bin/sh", "r.example")
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("not a name"), "{error}");
    }
}
