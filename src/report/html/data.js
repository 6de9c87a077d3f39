// The data of the page: the list of cases, and the data of each case, which is unpacked when the case is opened.
const $ = id => document.getElementById(id);
const esc = text => String(text).replace(/[&<>"']/g, c => '&#' + c.charCodeAt(0) + ';');
const isBad = c => ['fail', 'error', 'flaky'].includes(c.verdict);

let index, cases, byName;

function readIndex() {
  index = JSON.parse($('index').textContent);
  cases = index.cases.map(([number, name, round, file, verdict, reason, seconds, kind], place) => {
    const title = name + (round ? ' #' + round : '');
    const words = [title, file, verdict, reason].join(' ').toLowerCase();
    return { number, name, round, file, verdict, reason, seconds, kind, place, title, words };
  });
  byName = new Map();
  for (const c of cases) {
    // Two files may have cases of one name.
    const is = byName.get(c.name);
    c.key = is && is.some(o => o.file !== c.file) ? `${c.name} (${c.file})` : c.name;
    (byName.get(c.key) || byName.set(c.key, []).get(c.key)).push(c);
  }
}

// Seconds of a case for people.
function secs(s) {
  if (s < 60) return s.toFixed(2) + ' s';
  return Math.floor(s / 60) + ' m ' + String(Math.floor(s % 60)).padStart(2, '0') + ' s';
}

// A duration in milliseconds for people.
function span(ms) {
  const size = Math.abs(ms);
  if (size >= 60000) return secs(ms / 1000);
  if (size >= 1000) return (ms / 1000).toFixed(size < 10000 ? 2 : 1) + ' s';
  return ms.toFixed(size < 1 ? 3 : size < 10 ? 2 : size < 100 ? 1 : 0) + ' ms';
}

// A moment of the axis.
const moment = ms => ms.toFixed(1) + ' ms';

const KEPT = 12;
const unpacked = new Map();

// The data of a case, with all times in milliseconds.
function unpack(number) {
  if (!unpacked.has(number)) {
    if (unpacked.size >= KEPT) unpacked.delete(unpacked.keys().next().value);
    unpacked.set(number, inflate($('d' + number).textContent).then(detail => {
      for (const attempt of detail.trace.attempts) {
        inMilliseconds(attempt);
        // A text has methods whose names are those of sources.
        for (const line of attempt.lines) if (line.source === 'case') line.source = {};
      }
      return detail;
    }));
  }
  return unpacked.get(number);
}

async function inflate(text) {
  const packed = Uint8Array.from(atob(text), c => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate'));
  return JSON.parse(await new Response(stream).text());
}

function inMilliseconds(attempt) {
  const TIMES = ['at', 'delay', 'began', 'ended', 'stopped', 'resumed'];
  const convert = all => {
    for (const one of all) for (const key of TIMES) if (one[key] !== undefined) one[key] = one[key] * 1000;
  };
  [attempt.lines, attempt.marks, attempt.steps].forEach(convert);
  for (const vm of attempt.vms) [vm.state, vm.migration, vm.checkpoints].forEach(convert);
  for (const one of [...attempt.links, ...attempt.clients]) convert(one.changes);
  attempt.length = Math.max(attempt.seconds * 1000, 1);
}

// The name of what a line is about.
function sourceOf(attempt, line) {
  const { vm, link, client } = line.source;
  if (vm !== undefined) return attempt.vms[vm].name;
  if (link !== undefined) return attempt.links[link].name;
  if (client !== undefined) return attempt.clients[client].name;
  return line.step === undefined ? 'case' : 'step ' + line.step;
}

// The index of the last item whose time is not after `at`, or -1.
function lastUntil(items, at, time) {
  let low = 0, high = items.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (time(items[middle]) <= at) low = middle + 1; else high = middle;
  }
  return low - 1;
}
