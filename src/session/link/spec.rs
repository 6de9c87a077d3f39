//! The specification of a link.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{Size, Span};

/// A relay of byte streams between two sides of the scenario, for network faults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkSpec {
    /// The target of its connections: `tcp:HOST:PORT` or `unix:PATH`. May name `port.…` and `case.dir`. Absent:
    /// `migrate: {link: NAME}` sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Where it listens: at a free port of 127.0.0.1, or at a unix socket in the case's directory. Default: `tcp`.
    #[serde(default)]
    pub listen: Listen,
    /// The delay of each byte, in each direction. Default: `0s`.
    #[serde(default = "none")]
    pub delay: Span,
    /// The rate limit in bytes per second, in each direction, over all its connections. Default: `0`, no limit.
    #[serde(default = "unlimited")]
    pub rate: Size,
    /// Its initial state. Default: `open`.
    #[serde(default)]
    pub state: State,
}

const fn none() -> Span {
    Span::from_secs(0)
}

const fn unlimited() -> Size {
    Size(0)
}

/// The listening address of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Listen {
    /// A free port of 127.0.0.1.
    #[default]
    Tcp,
    /// A unix socket in the case's directory.
    Unix,
}

/// The state of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Bytes flow.
    #[default]
    Open,
    /// All connections are reset (TCP) or closed (unix), and new ones are refused.
    Cut,
    /// Connections stay up, but nothing is delivered: the link neither reads nor writes, so a sender blocks once the
    /// buffers are full. When opened again, the pending data is delivered.
    Blackhole,
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Open => "open",
            Self::Cut => "cut",
            Self::Blackhole => "blackhole",
        })
    }
}

/// The settings of a link that a step can change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The state.
    pub state: State,
    /// See [`LinkSpec::delay`].
    pub delay: Span,
    /// See [`LinkSpec::rate`].
    pub rate: Size,
}

impl std::fmt::Display for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.state.fmt(f)?;
        if !self.delay.0.is_zero() {
            write!(f, ", delay {}", self.delay)?;
        }
        if self.rate.0 > 0 {
            write!(f, ", rate {}", self.rate)?;
        }
        Ok(())
    }
}
