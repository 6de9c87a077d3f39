//! What CI engines tell a job of itself.

use anyhow::{bail, ensure};

/// An engine that numbers the jobs of a group.
struct Engine {
    name: &'static str,
    /// The variable with the job's number.
    index: &'static str,
    first: First,
    /// The variable with the number of jobs, if the engine has one.
    count: Option<&'static str>,
}

/// The number of the first job.
enum First {
    Number(usize),
    /// Variables with the first number, and with the distance of two.
    Variables(&'static str, &'static str),
}

/// The engines, with the variables that their documentation names.
const ENGINES: [Engine; 5] = [
    Engine {
        name: "Slurm",
        index: "SLURM_ARRAY_TASK_ID",
        first: First::Variables("SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP"),
        count: Some("SLURM_ARRAY_TASK_COUNT"),
    },
    Engine { name: "GitLab", index: "CI_NODE_INDEX", first: First::Number(1), count: Some("CI_NODE_TOTAL") },
    Engine {
        name: "CircleCI",
        index: "CIRCLE_NODE_INDEX",
        first: First::Number(0),
        count: Some("CIRCLE_NODE_TOTAL"),
    },
    Engine {
        name: "Buildkite",
        index: "BUILDKITE_PARALLEL_JOB",
        first: First::Number(0),
        count: Some("BUILDKITE_PARALLEL_JOB_COUNT"),
    },
    Engine { name: "Kubernetes", index: "JOB_COMPLETION_INDEX", first: First::Number(0), count: None },
];

/// The part of this job, counted from 1, how many there are, and what says so. `given` is the number of parts if the user
/// gave it; `variable` reads the environment.
pub(super) fn find(
    given: Option<usize>,
    variable: &dyn Fn(&str) -> Option<String>,
) -> anyhow::Result<(usize, usize, String)> {
    let found: Vec<&Engine> = ENGINES.iter().filter(|engine| variable(engine.index).is_some()).collect();
    let engine = match found.as_slice() {
        [one] => one,
        [] => {
            let names: Vec<&str> = ENGINES.iter().map(|engine| engine.index).collect();
            bail!("none of {} is set; write --shard K/N", names.join(", "))
        }
        [one, other, ..] => bail!("both {} and {} are set; write --shard K/N", one.index, other.index),
    };
    let number = |name: &str| match variable(name) {
        None => bail!("{} sets {}, but not {name}; write --shard K/N", engine.name, engine.index),
        Some(text) => match text.parse::<usize>() {
            Ok(number) => Ok(number),
            Err(_) => bail!("{name} is `{text}`, which is not a number; write --shard K/N"),
        },
    };
    let index = number(engine.index)?;
    let mut used = vec![engine.index];
    let (first, step) = match engine.first {
        First::Number(first) => (first, 1),
        First::Variables(first, step) => {
            used.push(first);
            // Older versions do not set it.
            (number(first)?, if variable(step).is_some() { number(step)?.max(1) } else { 1 })
        }
    };
    let count = match (engine.count, given) {
        (Some(name), _) => {
            used.push(name);
            number(name)?
        }
        (None, Some(given)) => given,
        (None, None) => {
            bail!("{} does not say how many jobs there are; write --shard auto/N", engine.name)
        }
    };
    ensure!(
        given.is_none_or(|given| given == count),
        "{} has {count} jobs, not {}",
        engine.name,
        given.unwrap_or(0)
    );
    let part =
        index.checked_sub(first).filter(|offset| offset.is_multiple_of(step)).map(|offset| offset / step + 1);
    match part.filter(|part| *part <= count) {
        Some(part) => Ok((part, count, format!("{} ({})", engine.name, used.join(", ")))),
        None => bail!(
            "{} is {index}, which is not one of {count} jobs that follow each other; write --shard K/N",
            engine.index
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find_in(given: Option<usize>, variables: &[(&str, &str)]) -> Result<(usize, usize, String), String> {
        let variable =
            |name: &str| variables.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned());
        find(given, &variable).map_err(|error| error.to_string())
    }

    #[test]
    fn each_engine_numbers_its_jobs_in_its_own_way() {
        let slurm = |id: &'static str, min: &'static str, count: &'static str, step: &'static str| {
            find_in(
                None,
                &[
                    ("SLURM_ARRAY_TASK_ID", id),
                    ("SLURM_ARRAY_TASK_MIN", min),
                    ("SLURM_ARRAY_TASK_COUNT", count),
                    ("SLURM_ARRAY_TASK_STEP", step),
                ],
            )
        };
        let by = "Slurm (SLURM_ARRAY_TASK_ID, SLURM_ARRAY_TASK_MIN, SLURM_ARRAY_TASK_COUNT)";
        assert_eq!(slurm("4", "4", "3", "1"), Ok((1, 3, by.to_owned())));
        assert_eq!(slurm("9", "1", "5", "2"), Ok((5, 5, by.to_owned())));
        // `--array=1,5`: the numbers do not say which one this is.
        assert!(
            slurm("5", "1", "2", "1")
                .unwrap_err()
                .contains("SLURM_ARRAY_TASK_ID is 5, which is not one of 2 jobs")
        );
        let part =
            |found: Result<(usize, usize, String), String>| found.map(|(part, count, _)| (part, count));
        let gitlab = [("CI_NODE_INDEX", "3"), ("CI_NODE_TOTAL", "3")];
        assert_eq!(part(find_in(None, &gitlab)), Ok((3, 3)));
        let circle = [("CIRCLE_NODE_INDEX", "0"), ("CIRCLE_NODE_TOTAL", "2")];
        assert_eq!(part(find_in(None, &circle)), Ok((1, 2)));
        let buildkite = [("BUILDKITE_PARALLEL_JOB", "1"), ("BUILDKITE_PARALLEL_JOB_COUNT", "2")];
        assert_eq!(part(find_in(None, &buildkite)), Ok((2, 2)));
        let kubernetes = [("JOB_COMPLETION_INDEX", "7")];
        assert_eq!(part(find_in(Some(8), &kubernetes)), Ok((8, 8)));
    }

    #[test]
    fn what_is_missing_or_contradicts_is_said() {
        let wrong = |given, variables: &[(&str, &str)], part: &str| {
            let error = find_in(given, variables).unwrap_err();
            assert!(error.contains(part), "{error}");
        };
        wrong(None, &[], "none of SLURM_ARRAY_TASK_ID, CI_NODE_INDEX, ");
        wrong(None, &[("JOB_COMPLETION_INDEX", "0")], "write --shard auto/N");
        wrong(None, &[("CI_NODE_INDEX", "1")], "GitLab sets CI_NODE_INDEX, but not CI_NODE_TOTAL");
        wrong(
            None,
            &[("CI_NODE_INDEX", "x"), ("CI_NODE_TOTAL", "2")],
            "CI_NODE_INDEX is `x`, which is not a number",
        );
        wrong(
            None,
            &[("CI_NODE_INDEX", "0"), ("CI_NODE_TOTAL", "2")],
            "CI_NODE_INDEX is 0, which is not one of 2 jobs",
        );
        wrong(Some(3), &[("CI_NODE_INDEX", "1"), ("CI_NODE_TOTAL", "2")], "GitLab has 2 jobs, not 3");
        wrong(
            Some(2),
            &[("CI_NODE_INDEX", "1"), ("JOB_COMPLETION_INDEX", "1")],
            "both CI_NODE_INDEX and JOB_",
        );
    }
}
