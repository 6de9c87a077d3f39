// What @tracerbench/trace-model reads in a trace-event JSON file, as JSON: the processes in their order, each with its
// threads, and how many events of each phase and category each thread has; the end of the trace in seconds.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const [folder, file] = process.argv.slice(2)
const { buildModel } = createRequire(`${folder}/`)('@tracerbench/trace-model')
const model = buildModel(JSON.parse(readFileSync(file, 'utf8')))
const counted = (events) => {
  const counts = {}
  for (const { ph, cat } of events) if (ph !== 'M') counts[`${ph} ${cat}`] = (counts[`${ph} ${cat}`] ?? 0) + 1
  return counts
}
const processes = model.processes.map(({ name, threads }) => ({
  name, threads: threads.map(({ name, events }) => ({ name, events: counted(events) }))
}))
console.log(JSON.stringify({ processes, events: counted(model.events), end: model.end / 1e6 }))
