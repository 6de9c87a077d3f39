// What xunit-viewer reads in a JUnit file, as JSON: each case. It counts nothing by itself.
import { readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'

const [folder, file] = process.argv.slice(2)
const { default: parse } = await import(pathToFileURL(`${folder}/node_modules/xunit-viewer/src/cli/parse.js`))
const { suites } = await parse(readFileSync(file, 'utf8'))
const cases = Object.values(suites).flatMap(({ tests }) => Object.values(tests))
const read = ({ name, status, time, messages }) => ({ name, status, seconds: Number(time), texts: messages })
console.log(JSON.stringify({ cases: cases.map(read) }))
