// The lanes of an attempt, as data: what is drawn where. Times are milliseconds, sizes are pixels.
//
// A lane is {label, y, h, kind, items}; the items are in the order of their times. `line` is the index of the line of
// the transcript that an item stands for, `step` the index of its step.
const ROW = 20, GAP = 10;

function lanesOf(attempt) {
  const lanes = [], { lines } = attempt;
  let y = 4;
  const add = (label, h, kind, items, more = {}) => {
    lanes.push({ label, y, h, kind, items, ...more });
    y += h + 3;
  };
  stepLanes(attempt, add);
  const byVm = attempt.vms.map(() => []), byLink = attempt.links.map(() => []), byClient = attempt.clients.map(() => []);
  lines.forEach((line, i) => {
    const { vm, link, client } = line.source;
    if (vm !== undefined) byVm[vm].push(i);
    else if (link !== undefined) byLink[link].push(i);
    else if (client !== undefined) byClient[client].push(i);
  });
  attempt.vms.forEach((vm, n) => {
    y += GAP;
    vmLanes(attempt, vm, byVm[n], add);
  });
  attempt.links.forEach((link, n) => {
    y += GAP;
    linkLanes(attempt, link, byLink[n], add);
  });
  attempt.clients.forEach((client, n) => {
    y += GAP;
    clientLane(attempt, client, byClient[n], add);
  });
  return { lanes, height: y + 6, length: attempt.length, marks: marksOf(attempt), attempt };
}

// Steps that run at the same time have rows of their own.
function stepLanes({ steps, length }, add) {
  const rows = Math.max(1, ...steps.map(step => step.row + 1));
  for (let row = 0; row < rows; row++) {
    const items = steps.map((step, i) => [step, i]).filter(([step]) => step.row === row).map(([step, i]) => ({
      a: step.began, b: step.ended ?? length, word: step.title, step: i,
      fill: step.outcome === 'failed' ? 'fail' : step.outcome === 'done' ? 'step' : 'paused',
      tip: `${step.title}\n${step.outcome || 'running'}, ${span((step.ended ?? length) - step.began)}` +
        (step.message ? '\n' + step.message : ''),
    }));
    add(row ? '' : 'steps', ROW, 'bars', items, { strong: !row });
  }
}

const FILLS = { running: 'running', panicked: 'fail', incoming: 'incoming', colo: 'colo', failed: 'fail' };

function vmLanes(attempt, vm, own, add) {
  const { lines, length } = attempt;
  const spans = (list, what, fill) => list.map(s => ({
    a: s.began, b: s.ended, word: s.word, fill: FILLS[s.word] || fill,
    tip: `${vm.name}: ${what}${s.word} for ${span(s.ended - s.began)}`,
  }));
  add(vm.name, 16, 'bars', spans(vm.state, '', 'paused'), { strong: true, note: vm.version ? 'QEMU ' + vm.version : '' });
  if (vm.migration.length) add('migration', 16, 'bars', spans(vm.migration, 'migration ', 'migration'));
  if (vm.checkpoints.length) add('checkpoints', 16, 'bars', checkpointItems(attempt, vm));
  const commands = [], events = [], traces = [], ticks = [];
  for (const i of own) {
    const line = lines[i];
    if (line.kind === 'command') commands.push(commandItem(attempt, line, i));
    else if (line.kind === 'event') events.push({ a: line.at, line: i, late: line.delay });
    else if (line.kind === 'trace') traces.push({ a: line.at, line: i, fill: 'trace' });
    else if (line.kind === 'tick') ticks.push({ a: line.at, line: i, fill: 'tick' });
    else if (line.kind === 'serial') ticks.push({ a: line.at, line: i, fill: 'text' });
    else if (line.kind === 'process') events.push({ a: line.at, line: i, fill: 'text' });
  }
  if (commands.length) add('QMP', 8, 'bars', commands, { thin: true });
  if (events.length) add('events', 12, 'points', events);
  if (traces.length) add('QEMU trace', 10, 'ticks', traces);
  if (ticks.length) add('ticks, serial', 10, 'ticks', ticks);
}

function commandItem(attempt, line, i) {
  const reply = line.partner === undefined ? null : attempt.lines[line.partner];
  const took = reply ? span(reply.at - line.at) : 'no reply';
  return {
    a: line.at, b: reply ? reply.at : line.at, line: i, word: line.text, fill: reply && reply.text ? 'fail' : 'command',
    tip: `${line.text}: ${took}${reply && reply.text ? '\n' + reply.text : ''}`,
  };
}

function checkpointItems(attempt, vm) {
  let count = vm.completed - vm.checkpoints.filter(c => c.resumed !== undefined).length;
  return vm.checkpoints.map(c => {
    if (c.resumed === undefined) {
      const until = vm.state.find(s => s.began > c.stopped)?.began ?? attempt.length;
      return { a: c.stopped, b: until, word: 'incomplete', fill: 'cut', tip: `${vm.name}: an incomplete checkpoint` };
    }
    count += 1;
    const parts = checkpointParts(attempt, vm, c);
    return {
      a: c.stopped, b: c.resumed, word: String(count), fill: 'checkpoint', checkpoint: true,
      tip: `${vm.name}: checkpoint ${count}, STOP to RESUME ${span(c.resumed - c.stopped)}` + parts,
    };
  });
}

// The parts of a checkpoint, as far as the events of both sides tell.
function checkpointParts(attempt, vm, c) {
  for (const side of attempt.vms) {
    if (side === vm) continue;
    const its = side.checkpoints.find(o => o.resumed !== undefined && o.stopped < c.resumed && o.resumed > c.stopped);
    if (!its) continue;
    const parts = [[vm, 'STOP', c.stopped], [side, 'STOP', its.stopped], [side, 'RESUME', its.resumed], [vm, 'RESUME', c.resumed]];
    parts.sort((one, two) => one[2] - two[2]);
    return parts.map(([of, event, at], i) => `\n${i ? '+' + span(at - parts[0][2]) : moment(at)}  ${event} of ${of.name}`).join('');
  }
  return '';
}

function linkLanes({ length }, link, own, add) {
  const states = [{ at: 0, text: 'open' }, ...link.changes.filter(c => !/^(connection|cannot) /.test(c.text))];
  add('link ' + link.name, 14, 'bars', states.map((c, i) => ({
    a: c.at, b: states[i + 1]?.at ?? length, word: c.text, fill: c.text === 'open' ? 'incoming' : 'fault',
    tip: `link ${link.name}: ${c.text}`,
  })), { strong: true });
  const most = { value: 0 };
  const rates = link.changes.slice(1).map((c, i) => {
    const before = link.changes[i], time = Math.max(c.at - before.at, 0.1), rate = (c.total - before.total) / time * 1000;
    most.value = Math.max(most.value, rate);
    return { a: before.at, b: c.at, rate, tip: `link ${link.name}: ${bytes(rate)}/s, ${bytes(c.total - before.total)} in ${span(time)}` };
  });
  if (most.value) add('bytes/s', 16, 'rates', rates.map(r => ({ ...r, share: r.rate / most.value })));
  if (own.length) add('connections', 12, 'points', own.map((line, i) => ({ a: link.changes[i]?.at ?? 0, line, fill: 'link' })));
}

const bytes = n => n >= 1e6 ? (n / 1e6).toFixed(1) + ' MB' : n >= 1e3 ? (n / 1e3).toFixed(1) + ' kB' : n.toFixed(0) + ' B';

// What a client saw: the time between two of its reports, with the lines acknowledged, and its gaps.
function clientLane({ lines }, client, own, add) {
  const SECONDS = { ms: 1, s: 1000, m: 60000 };
  const items = client.changes.slice(1).map((c, i) => {
    const before = client.changes[i], acknowledged = c.total - before.total;
    const gap = /gap of ([\d.]+) ?(ms|s|m)\b/.exec(c.text);
    const lost = /lost|wrong|unknown|refused/.test(before.text);
    return {
      a: gap ? c.at - gap[1] * SECONDS[gap[2]] : before.at, b: c.at, fill: gap || lost ? 'fault' : 'client',
      word: gap ? 'gap ' + gap[1] + ' ' + gap[2] : `${acknowledged} acknowledged`,
      tip: `client ${client.name}: ${acknowledged} lines acknowledged${gap ? ', then a gap' : ''}`,
    };
  });
  if (items.length) add('client ' + client.name, 14, 'bars', items, { strong: true });
  add(items.length ? '' : 'client ' + client.name, 12, 'points', own.map(i => ({ a: lines[i].at, line: i, fill: 'link' })), { strong: !items.length });
}

// The marks; that of a failed step has the time at which the step began.
function marksOf({ marks, steps }) {
  return marks.map(mark => {
    const step = mark.kind === 'failed' ? steps.findIndex(s => s.outcome === 'failed' && s.ended === mark.at) : -1;
    return { ...mark, a: mark.at, from: steps[step]?.began ?? mark.at, step };
  });
}
