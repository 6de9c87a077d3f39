"""What junitparser reads in a JUnit file, as JSON: the counts of the file and each case."""

import json
import sys

from junitparser import Attr, Error, Failure, JUnitXml, Skipped, xunit2

KINDS = {Failure: "failure", Error: "error", Skipped: "skipped"}


class Root(JUnitXml):
    timestamp = Attr()


xunit2.TestCase.file = Attr("file")
xunit2.TestCase.line = Attr("line")


def texts(results):
    return [text for result in results for text in (result.message, result.text) if text]


def attempts(results):
    return [{"message": result.message, "trace": result.stack_trace, "output": result.system_out} for result in results]


def read(case):
    results = case.result
    return {
        "name": case.name,
        "class": case.classname,
        "file": case.file,
        "line": int(case.line) if case.line else None,
        "status": KINDS[type(results[0])] if results else "passed",
        "seconds": float(case.time),
        "texts": texts(results),
        "flaky": attempts(case.flaky_failures() + case.flaky_errors()),
        "reruns": attempts(case.rerun_failures() + case.rerun_errors()),
        "properties": {each.name: each.value for each in case.properties()},
        "output": case.system_out or "",
    }


root = Root.fromfile(sys.argv[1])
counts = {"tests": root.tests, "failures": root.failures, "errors": root.errors, "skipped": root.skipped}
suites = list(xunit2.JUnitXml.fromfile(sys.argv[1]))
print(
    json.dumps(
        {
            "counts": counts,
            "seconds": root.time,
            "timestamp": root.timestamp,
            "properties": {each.name: each.value for each in suites[0].properties()},
            "cases": [read(case) for suite in suites for case in suite],
        }
    )
)
