// What xunit-viewer reads in a JUnit file, as JSON: each case. It counts nothing by itself, takes the attributes of a
// case for properties, and has all texts in one list.
import { readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'

const [folder, file] = process.argv.slice(2)
const { default: parse } = await import(pathToFileURL(`${folder}/node_modules/xunit-viewer/src/cli/parse.js`))
const { suites } = await parse(readFileSync(file, 'utf8'))
const flat = (properties) =>
  Object.fromEntries(Object.entries(properties).map(([name, values]) => [name, [values].flat().join()]))
const read = ({ name, classname, status, time, messages, visible, properties }) => {
  const { file, line, _visible, ...others } = flat(properties ?? {})
  return {
    name, class: classname, file, line: Number(line), status, visible, seconds: Number(time), texts: messages,
    properties: others, output: messages.find((text) => text.includes('params: ')) ?? ''
  }
}
const all = Object.values(suites)
const cases = all.flatMap(({ tests }) => Object.values(tests))
console.log(JSON.stringify({ properties: flat(all[0].properties), cases: cases.map(read) }))
