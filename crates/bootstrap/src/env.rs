//! Reading the environment: every mistake is remembered, and all of them are reported at once.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Every mistake found in the environment.
#[derive(Debug)]
pub struct ConfigError(Vec<String>);

/// The environment of a process, and what was found wrong with it. A variable with a mistake counts as not set.
#[derive(Debug, Default)]
pub struct Env {
    variables: Vec<(String, String)>,
    mistakes: Vec<String>,
}

// === impl Env ===

impl Env {
    /// The process's own.
    pub fn of_process() -> Self {
        let text = |text: std::ffi::OsString| text.into_string().ok();
        let pairs =
            std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?)));
        Self::from_iter(pairs)
    }

    /// Whether a variable is there, and what it says.
    pub fn text(&self, name: &str) -> Option<String> {
        self.variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }

    /// A path.
    pub fn path(&self, name: &str, default: &str) -> PathBuf {
        self.text(name).unwrap_or_else(|| default.to_owned()).into()
    }

    /// A number.
    pub fn parse<T: FromStr>(&mut self, name: &str, default: T) -> T {
        match self.text(name) {
            None => default,
            Some(text) => text.trim().parse().unwrap_or_else(|_| {
                self.mistake(name, &text, "a number");
                default
            }),
        }
    }

    /// A truth value; one that is empty is false.
    pub fn flag(&mut self, name: &str, default: bool) -> bool {
        match self.text(name).as_deref() {
            None => default,
            Some("true" | "1" | "True" | "TRUE") => true,
            Some("false" | "0" | "False" | "FALSE" | "") => false,
            Some(other) => {
                self.mistake(name, other, "true or false");
                default
            }
        }
    }

    /// `90s`, `5m`, `24h`, `250ms` or bare seconds.
    pub fn duration(&mut self, name: &str, default: Duration) -> Duration {
        match self.text(name) {
            None => default,
            Some(text) => duration(&text).unwrap_or_else(|| {
                self.mistake(name, &text, "a duration such as 90s, 5m or 24h");
                default
            }),
        }
    }

    /// The variables whose names begin so, without that beginning.
    pub fn prefixed(&self, prefix: &str) -> Vec<(String, String)> {
        let strip = |(name, value): &(String, String)| {
            Some((name.strip_prefix(prefix)?.to_owned(), value.clone()))
        };
        self.variables.iter().filter_map(strip).collect()
    }

    /// Remembers that a variable is not what it should be.
    pub fn mistake(&mut self, name: &str, value: &str, expected: &str) {
        self.mistakes.push(format!("{name}={value:?}: expected {expected}"));
    }

    /// `config`, if nothing was wrong.
    ///
    /// # Errors
    /// Every mistake.
    pub fn checked<T>(self, config: T) -> Result<T, ConfigError> {
        if self.mistakes.is_empty() { Ok(config) } else { Err(ConfigError(self.mistakes)) }
    }
}

impl FromIterator<(String, String)> for Env {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self { variables: variables.into_iter().collect(), mistakes: Vec::new() }
    }
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" | "" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        "h" => Some(Duration::from_secs(number.checked_mul(3600)?)),
        _ => None,
    }
}

// === impl ConfigError ===

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "environment: {}", self.0.join("; "))
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [("5", 5000), ("250ms", 250), ("5m", 300_000), ("2h", 7_200_000)] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "-1s", "1d", "1.5s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
