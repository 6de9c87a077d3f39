// What junit-to-ctrf reads in a JUnit file, as JSON: the counts and each case. An error is a failure to it; it reads no
// properties, no line and no reason of a skip.
import { pathToFileURL } from 'node:url'

const [folder, file] = process.argv.slice(2)
const { convertJUnitToCTRFReport } = await import(pathToFileURL(`${folder}/node_modules/junit-to-ctrf/dist/index.js`))
const { summary, tests } = (await convertJUnitToCTRFReport(file)).results
const attempts = (list) => list.map(({ message, trace, stdout }) => ({ message, trace, output: stdout.join('\n') }))
const read = ({ name, status, duration, filePath, message, trace, flaky, retryAttempts = [], stdout = [] }) => ({
  name, file: filePath, status: status === 'failed' ? 'failure' : status, seconds: duration / 1000,
  texts: [message, trace].filter(Boolean), flaky: flaky ? attempts(retryAttempts) : [],
  reruns: flaky ? [] : attempts(retryAttempts), output: stdout.join('\n')
})
const { passed, failed, skipped, flaky } = summary
console.log(JSON.stringify({ counts: { tests: summary.tests, passed, failed, skipped, flaky }, cases: tests.map(read) }))
