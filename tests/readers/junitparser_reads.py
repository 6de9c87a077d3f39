"""What junitparser reads in a JUnit file, as JSON: the counts of the file and each case."""

import json
import sys

from junitparser import Error, Failure, JUnitXml, Skipped

KINDS = {Failure: "failure", Error: "error", Skipped: "skipped"}


def read(case):
    results = case.result
    kind = KINDS[type(results[0])] if results else "passed"
    return {
        "name": case.name,
        "status": kind,
        "seconds": float(case.time),
        "texts": [text for result in results for text in (result.message, result.text) if text],
        "output": case.system_out or "",
    }


xml = JUnitXml.fromfile(sys.argv[1])
counts = {"tests": xml.tests, "failures": xml.failures, "errors": xml.errors, "skipped": xml.skipped}
print(json.dumps({"counts": counts, "cases": [read(case) for suite in xml for case in suite]}))
