"""What junit2html reads in a JUnit file, as JSON: each case. An error is a failure to it. Also makes its page."""

import json
import sys

from junit2htmlreport.parser import Junit

report = Junit(sys.argv[1])


def properties(of):
    return {each.name: each.value for each in of.properties}


def read(case):
    texts = [case.failure_msg, case.failure, case.skipped_msg, case.skipped]
    return {
        "name": case.name,
        "class": case.testclass.name,
        "status": "skipped" if case.skipped else "failure" if case.failed() else "passed",
        "seconds": case.duration,
        "texts": [text for text in texts if text],
        "properties": properties(case),
        "output": case.stdout or "",
    }


cases = [read(case) for suite in report for case in suite.all()]
print(json.dumps({"properties": properties(report.suites[0]), "cases": cases, "page": report.html()}))
