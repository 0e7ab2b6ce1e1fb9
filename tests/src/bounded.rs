//! The command line of programs that run for a bounded time: `--seconds N`, and words of their own.

use std::time::{Duration, Instant};

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Bounded {
    /// How long to run.
    pub time: Duration,
    /// The seed, where one is given.
    pub seed: Option<u64>,
    /// Whatever else is given, as pairs of a name and a value.
    pub others: Vec<(String, String)>,
}

impl Bounded {
    /// Reads the arguments of this process.
    ///
    /// # Errors
    /// What is wrong with them, for people.
    pub fn from_args(default_seconds: u64) -> Result<Self, String> {
        Self::parse(std::env::args().skip(1), default_seconds)
    }

    fn parse(args: impl IntoIterator<Item = String>, default_seconds: u64) -> Result<Self, String> {
        let mut this = Self {
            time: Duration::from_secs(default_seconds),
            seed: None,
            others: Vec::new(),
        };
        let mut args = args.into_iter();
        while let Some(name) = args.next() {
            let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
            let number = || {
                value
                    .parse::<u64>()
                    .map_err(|_| format!("{name}: {value} is no number"))
            };
            match name.as_str() {
                "--seconds" => this.time = Duration::from_secs(number()?),
                "--seed" => this.seed = Some(number()?),
                _ => this.others.push((name, value)),
            }
        }
        Ok(this)
    }

    /// The seed given, or one from the clock.
    pub fn seed(&self) -> u64 {
        let clock = || {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.map_or(0, |since| {
                since.as_secs() << 20 | u64::from(since.subsec_micros())
            })
        };
        self.seed.unwrap_or_else(clock)
    }

    /// When to stop.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_read_and_refused() {
        let parse = |text: &str| Bounded::parse(text.split_whitespace().map(str::to_owned), 5);
        let read = parse("--seconds 2 --seed 9 --engine epoch").unwrap();
        assert_eq!((read.time.as_secs(), read.seed()), (2, 9));
        assert_eq!(read.others, [("--engine".into(), "epoch".into())]);
        assert_eq!(parse("").unwrap().time.as_secs(), 5);
        assert!(parse("--seconds").is_err() && parse("--seconds x").is_err());
    }
}
