// Two rounds or attempts of a case, above one another, aligned at a mark.
const ALIGN = [['failover', 'failover'], ['checkpoint', 'first COLO checkpoint'], ['colo', 'COLO entered'], ['yank', 'yank'], ['start', 'start']];

const timeOf = (attempt, kind) => kind === 'start' ? 0 : attempt.marks.find(mark => mark.kind === kind)?.at;

async function showComparison(to, detail, attempt, mine) {
  const theirs = await unpack(to.vs.c.number);
  if (mine !== turn) return;
  const second = attemptOf(theirs, to.vs.attempt);
  const both = [{ c: to.c, attempt }, { c: to.vs.c, attempt: second }];
  const possible = ALIGN.filter(([kind]) => both.every(one => timeOf(one.attempt, kind) !== undefined));
  const align = possible.find(([kind]) => kind === to.align)?.[0] || possible[0][0];
  const zero = both.map(one => timeOf(one.attempt, align));
  closeCase();
  const name = ({ c, attempt }) => (c.round ? 'round ' + c.round + ', ' : '') + 'attempt ' + attempt.number;
  document.title = `${to.c.name}: ${name(both[0])} and ${name(both[1])} — Lockstep`;
  $('case').innerHTML = header(to.c, detail, attempt) + comparisonPanes(both.map(name), both, possible, align);
  $('align').onchange = () => {
    location.hash = address(to.c, attempt.number, { vs: other(to.vs.c, second.number), align: $('align').value });
  };
  openComparison(both, zero);
}

function comparisonPanes(names, both, possible, align) {
  const options = possible.map(([kind, word]) => `<option value="${kind}" ${kind === align ? 'selected' : ''}>${word}</option>`).join('');
  const lanes = n => `<section class="pane" aria-label="timeline of ${names[n]}"><div class="bar"><span class="badge ${both[n].attempt.verdict}">` +
    `${both[n].attempt.verdict || 'running'}</span><h2>${names[n]}</h2><a href="${esc(address(both[n].c, both[n].attempt.number))}">open</a></div>` +
    `<div class="timeline" id="lanes-${n}" tabindex="0" role="group" aria-label="timeline of ${names[n]}"></div></section>`;
  const lines = n => `<section class="pane" aria-label="transcript of ${names[n]}"><div class="bar"><h2>${names[n]}</h2></div>` +
    `<div class="rows mono" id="lines-${n}" tabindex="0" role="group" aria-label="transcript of ${names[n]}"></div></section>`;
  const tools = TOOLS.slice(0, 5).map(([id, sign, title]) => `<button data-do="${id}" title="${title}" aria-label="${title}">${sign}</button>`).join('');
  return `<div class="bar align"><label>aligned at <select id="align">${options}</select></label><span class="tools">${tools}</span>` +
    `<span class="dim">zoom and pan move both; a click shows the same moment in both</span></div>${differencesOf(both[0].c)}` +
    `<div class="versus">${lanes(0)}${lanes(1)}${lines(0)}${lines(1)}</div>`;
}

// What tells failing from passing rounds, if the run has rounds of both kinds. A click on a finding shows its event.
function differencesOf(c) {
  const found = index.differences.find(one => one.case === c.name);
  if (!found) return '';
  if (!found.findings.length) {
    return `<p class="differences dim">Nothing tells the ${found.failing} failing from the ${found.passing} passing rounds.</p>`;
  }
  const share = ([k, n]) => `${k} of ${n}`;
  const rows = found.findings.map((one, i) => `<tr><td><button class="jump" data-finding="${i}" title="show the event">${esc(one.text)}</button></td>` +
    `<td class="number">${share(one.failing)}</td><td class="number">${share(one.passing)}</td></tr>`);
  return '<details class="differences" open><summary>What tells failing from passing rounds</summary><div class="wide" tabindex="0"><table class="facts">' +
    `<tr><th>finding</th><th class="number">failing</th><th class="number">passing</th></tr>${rows.join('')}</table></div></details>`;
}

// Shows the event of a finding in the attempts on the screen, else in the first failing round in which it holds.
function showFinding(i) {
  const { at } = index.differences.find(one => one.case === shown.c.name).findings[i];
  const own = shown.both.map(({ c, attempt }) => {
    const place = at.find(([round, number]) => round === c.round && number === attempt.number);
    if (!place) return null;
    const ms = place[2] * 1000, near = lastUntil(attempt.lines, ms + .5, line => line.at);
    const line = [near, near - 1, near - 2].filter(i => i >= 0)
      .sort((one, other) => Math.abs(attempt.lines[one].at - ms) - Math.abs(attempt.lines[other].at - ms))[0];
    return Math.abs(attempt.lines[line]?.at - ms) < .5 ? { line } : { at: ms };
  });
  if (own.some(Boolean)) return shown.found(own);
  if (!at.length) return;
  const [round, number, seconds] = at[0], c = byName.get(shown.c.key).find(c => c.round === round);
  if (c) location.hash = address(c, number, { t: (seconds * 1000).toFixed(1) });
}

function openComparison(both, zero) {
  const shift = zero.map(at => -at);
  const minimum = Math.min(...shift), maximum = Math.max(...both.map((one, n) => one.attempt.length + shift[n]));
  const models = both.map(one => lanesOf(one.attempt));
  const lines = both.map((one, n) => Transcript($('lines-' + n), one.attempt, line => pick(n, { a: one.attempt.lines[line].at, line })));
  // A click in one shows the same moment of the other.
  function pick(n, item) {
    const other = 1 - n, at = item.a + shift[n] - shift[other];
    charts[n].setCursor(item.a);
    charts[other].setCursor(at);
    lines[n].show(item.line ?? lines[n].at(item.a), item.line !== undefined);
    lines[other].show(lines[other].at(at), false);
  }
  // Each shows its own event, or the same moment if only the other one has it.
  function found(own) {
    const item = n => ({ a: own[n].at ?? both[n].attempt.lines[own[n].line].at, line: own[n].line });
    if (!own[0] || !own[1]) return pick(own[0] ? 0 : 1, item(own[0] ? 0 : 1));
    for (const n of [0, 1]) {
      charts[n].setCursor(item(n).a);
      lines[n].show(item(n).line ?? lines[n].at(item(n).a), item(n).line !== undefined);
    }
  }
  const charts = models.map((model, n) => Timeline($('lanes-' + n), model, {
    picked: item => pick(n, item),
    moved: (a, b) => charts[1 - n].show(a, b, true),
    offset: shift[n], minimum, maximum,
  }));
  const [first] = charts;
  // Keys and buttons move both: the first one tells the other.
  shown = { c: both[0].c, attempt: null, both, timeline: first, charts, parts: [...charts, ...lines], found };
  pick(0, { a: zero[0] });
}
