//! Which shard this is: as given, or as the engine that carries it says.

use std::str::FromStr;

/// The shard that an option asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The one that the variables of an engine name.
    Auto,
    /// This one.
    Part {
        /// Its number, counted from 1.
        index: usize,
        /// How many there are.
        total: usize,
    },
}

/// An engine that runs a job several times, and the variables that say which of them this is.
struct Engine {
    name: &'static str,
    index: &'static str,
    /// The index of the first job.
    first: First,
    total: &'static str,
    /// What to do if the total is missing.
    help: &'static str,
}

/// The index of the first job.
enum First {
    Is(usize),
    /// It is in this variable.
    In(&'static str),
}

/// The engines; the first one whose index is set is used.
const ENGINES: [Engine; 5] = [
    Engine {
        name: "Slurm",
        index: "SLURM_ARRAY_TASK_ID",
        first: First::In("SLURM_ARRAY_TASK_MIN"),
        total: "SLURM_ARRAY_TASK_COUNT",
        help: "submit the job with `--array=1-N`",
    },
    Engine {
        name: "Kubernetes",
        index: "JOB_COMPLETION_INDEX",
        first: First::Is(0),
        total: "LOCKSTEP_SHARDS",
        help: "Kubernetes does not tell it, so set it to the job's `completions`",
    },
    Engine {
        name: "Buildkite",
        index: "BUILDKITE_PARALLEL_JOB",
        first: First::Is(0),
        total: "BUILDKITE_PARALLEL_JOB_COUNT",
        help: "give the step `parallelism`",
    },
    Engine {
        name: "CircleCI",
        index: "CIRCLE_NODE_INDEX",
        first: First::Is(0),
        total: "CIRCLE_NODE_TOTAL",
        help: "give the job `parallelism`",
    },
    Engine {
        name: "GitLab",
        index: "CI_NODE_INDEX",
        first: First::Is(1),
        total: "CI_NODE_TOTAL",
        help: "give the job `parallel: N`",
    },
];

/// The shard of a run.
pub(super) type Part = (usize, usize, Option<String>);

impl Wanted {
    /// The number of the shard, how many there are, and what said so. `variable` reads the environment.
    ///
    /// # Errors
    /// When the variables of the engines do not name a shard; the message says what to give.
    pub fn part(self, variable: &dyn Fn(&str) -> Option<String>) -> Result<Part, String> {
        match self {
            Self::Part { index, total } => Ok((index, total, None)),
            Self::Auto => ENGINES.iter().find(|engine| variable(engine.index).is_some()).map_or_else(
                || Err(format!("found none of {}; write K/N", all(|engine| engine.index))),
                |engine| engine.part(variable),
            ),
        }
    }
}

/// A word of each engine.
fn all(word: fn(&Engine) -> &str) -> String {
    ENGINES.iter().map(|engine| format!("{} ({})", word(engine), engine.name)).collect::<Vec<_>>().join(", ")
}

impl Engine {
    fn part(&self, variable: &dyn Fn(&str) -> Option<String>) -> Result<Part, String> {
        let Self { name, index, total, help, .. } = self;
        let number = |variable_name: &str, help: &str| {
            let text = variable(variable_name)
                .ok_or_else(|| format!("{index} of {name} is set, but {variable_name} is not: {help}"))?;
            text.parse::<usize>().map_err(|_| format!("{variable_name}={text} is not a number"))
        };
        let (at, count) = (number(index, "")?, number(total, help)?);
        let (first, mut used) = match self.first {
            First::Is(first) => (first, vec![*index, *total]),
            First::In(other) => (number(other, help)?, vec![*index, other, *total]),
        };
        if at < first || at - first >= count {
            let range = format!("from {first} to {}", (first + count).saturating_sub(1));
            return Err(format!("{index}={at} does not fit {total}={count}: it must be {range}"));
        }
        used.dedup();
        Ok((at - first + 1, count, Some(format!("{name}: {}", used.join(", ")))))
    }
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let part =
            text.split_once('/').and_then(|(index, total)| Some((index.parse().ok()?, total.parse().ok()?)));
        match part {
            Some((index, total)) if (1..=total).contains(&index) => Ok(Self::Part { index, total }),
            _ => Err("write K/N with K from 1 to N, such as 2/4, or `auto`".to_owned()),
        }
    }
}
