use super::*;

fn auto(variables: &[(&str, &str)]) -> Result<(usize, usize, Option<String>), String> {
    let read =
        |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    Wanted::Auto.part(&read)
}

#[test]
fn a_shard_is_given_by_number() {
    assert_eq!("2/4".parse(), Ok(Wanted::Part { index: 2, total: 4 }));
    assert_eq!("auto".parse(), Ok(Wanted::Auto));
    for wrong in ["3/2", "0/4", "x", "1", "1/0", "/", "-1/2", "1/2/3", ""] {
        let error = wrong.parse::<Wanted>().unwrap_err();
        assert_eq!(error, "write K/N with K from 1 to N, such as 2/4, or `auto`", "{wrong}");
    }
}

#[test]
fn each_engine_names_the_shard_by_its_variables() {
    for (variables, part, engine) in [
        (
            &[("SLURM_ARRAY_TASK_ID", "5"), ("SLURM_ARRAY_TASK_MIN", "4"), ("SLURM_ARRAY_TASK_COUNT", "3")][..],
            (2, 3),
            "Slurm: SLURM_ARRAY_TASK_ID, SLURM_ARRAY_TASK_MIN, SLURM_ARRAY_TASK_COUNT",
        ),
        (
            &[("JOB_COMPLETION_INDEX", "0"), ("LOCKSTEP_SHARDS", "2")],
            (1, 2),
            "Kubernetes: JOB_COMPLETION_INDEX, LOCKSTEP_SHARDS",
        ),
        (
            &[("BUILDKITE_PARALLEL_JOB", "3"), ("BUILDKITE_PARALLEL_JOB_COUNT", "4")],
            (4, 4),
            "Buildkite: BUILDKITE_PARALLEL_JOB, BUILDKITE_PARALLEL_JOB_COUNT",
        ),
        (
            &[("CIRCLE_NODE_INDEX", "1"), ("CIRCLE_NODE_TOTAL", "2")],
            (2, 2),
            "CircleCI: CIRCLE_NODE_INDEX, CIRCLE_NODE_TOTAL",
        ),
        (&[("CI_NODE_INDEX", "1"), ("CI_NODE_TOTAL", "2")], (1, 2), "GitLab: CI_NODE_INDEX, CI_NODE_TOTAL"),
    ] {
        assert_eq!(auto(variables), Ok((part.0, part.1, Some(engine.to_owned()))), "{variables:?}");
    }
}

#[test]
fn variables_that_name_no_shard_are_one_error_that_says_what_to_give() {
    for (variables, message) in [
        (&[][..], "found none of SLURM_ARRAY_TASK_ID (Slurm), JOB_COMPLETION_INDEX (Kubernetes), "),
        (
            &[("JOB_COMPLETION_INDEX", "0")],
            "JOB_COMPLETION_INDEX of Kubernetes is set, but LOCKSTEP_SHARDS is not: Kubernetes does not tell it, so \
             set it to the job's `completions`",
        ),
        (
            &[("CI_NODE_INDEX", "1")],
            "CI_NODE_INDEX of GitLab is set, but CI_NODE_TOTAL is not: give the job `parallel: N`",
        ),
        (
            &[("SLURM_ARRAY_TASK_ID", "1"), ("SLURM_ARRAY_TASK_COUNT", "3")],
            "SLURM_ARRAY_TASK_ID of Slurm is set, but SLURM_ARRAY_TASK_MIN is not: submit the job with `--array=1-N`",
        ),
        (
            &[("CI_NODE_INDEX", "0"), ("CI_NODE_TOTAL", "2")],
            "CI_NODE_INDEX=0 does not fit CI_NODE_TOTAL=2: it must be from 1 to 2",
        ),
        (
            &[("CIRCLE_NODE_INDEX", "2"), ("CIRCLE_NODE_TOTAL", "2")],
            "CIRCLE_NODE_INDEX=2 does not fit CIRCLE_NODE_TOTAL=2: it must be from 0 to 1",
        ),
        (&[("CI_NODE_INDEX", "one"), ("CI_NODE_TOTAL", "2")], "CI_NODE_INDEX=one is not a number"),
    ] {
        let error = auto(variables).unwrap_err();
        assert!(error.starts_with(message), "{error}");
    }
}

#[test]
fn an_unknown_case_counts_as_the_median_of_its_file() {
    let known =
        [("a", Some(1.0)), ("a", Some(9.0)), ("a", Some(2.0)), ("a", None), ("b", None), ("b", Some(4.0))];
    assert_eq!(Weights::of(&known).0, [1000, 9000, 2000, 2000, 4000, 4000]);
    assert_eq!(Weights::of(&[("a", Some(3.0)), ("b", None)]).0, [3000, 3000]);
    assert_eq!(Weights::of(&[("a", None)]).0, [1000]);
    assert_eq!(Weights::of(&[("a", Some(f64::NAN)), ("a", Some(-1.0)), ("a", Some(0.0))]).0[1..], [1, 1]);
}

#[test]
fn the_longest_case_is_placed_first() {
    assert_eq!(partition(&Weights(vec![1, 1, 1, 1, 4]), 2), [1, 1, 1, 1, 0]);
    // More shards than cases: some are empty.
    assert_eq!(partition(&Weights(vec![5, 5]), 4), [0, 1]);
    assert_eq!(Weights(vec![5, 7, 5]).longest_first(), [1, 0, 2]);
}

#[test]
fn every_case_is_in_one_shard_and_equal_cases_are_spread() {
    let parts = partition(&Weights(vec![1000; 100_000]), 64);
    let count = |shard: usize| parts.iter().filter(|part| **part == shard).count();
    assert!((0..64).all(|shard| (1562..=1563).contains(&count(shard))));
}
