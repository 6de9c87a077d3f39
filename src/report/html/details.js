// The pane on the right: why the attempt failed, what is selected, and the facts of the case.
const block = (title, text, open) => text
  ? `<details ${open ? 'open' : ''}><summary>${title}</summary><div class="code"><button class="copy">copy</button><pre>${esc(text)}</pre></div></details>`
  : '';
const table = rows => '<table class="facts">' +
  rows.map(([name, value]) => `<tr><th>${esc(name)}</th><td>${esc(value)}</td></tr>`).join('') + '</table>';

// The excerpt of the scenario; the failed line is marked.
function source(text) {
  const line = one => one.startsWith('>') ? `<b>${esc(one)}</b>` : `<span>${esc(one)}</span>`;
  return '<pre class="source">' + text.split('\n').map(line).join('') + '</pre>';
}

// What was expected and what was seen, if the message has both.
function parts(reason) {
  const both = /^(?:([^;]*?): )?waited (.+?) for ([\s\S]*?); saw ([\s\S]*)$/.exec(reason || '');
  if (!both) return `<dt>reason</dt><dd>${esc(reason || 'no reason given')}</dd>`;
  return `<dt>expected</dt><dd>${both[1] ? esc(both[1]) + ': ' : ''}${esc(both[3])}</dd>` +
    `<dt>waited</dt><dd>${esc(both[2])}</dd><dt>got</dt><dd>${esc(both[4])}</dd>`;
}

// The evidence without the excerpt at its start, which is shown above.
function evidence(end) {
  if (!end.evidence || !end.source) return end.evidence;
  const lines = end.evidence.split('\n'), first = lines.findIndex(line => line.startsWith('VM `'));
  return lines.filter((line, i) => !(i < first && /^\s*(-->|\d*\s*\|)/.test(line))).join('\n');
}

// Links to the files; a folder only opens in a page that is itself a file.
function artifacts(found) {
  if (!found) return '';
  if (!found.near) return `<p class="dim">artifacts: <code>${esc(found.folder)}</code></p>`;
  const link = (path, name) => `<a href="${esc(path.split('/').map(encodeURIComponent).join('/'))}">${esc(name)}</a>`;
  const folder = location.protocol === 'file:' ? link(found.near, 'folder') + ' ' : '';
  const files = found.files.map(file => `<li>${link(found.near + '/' + file, file)}</li>`).join('');
  return `<details class="artifacts" open><summary>artifacts (${found.files.length})</summary><p>${folder}</p><ul>${files}</ul></details>`;
}

function failureTitle(detail, c, attempt) {
  const next = detail.trace.attempts.find(other => other.number === attempt.number + 1);
  if (attempt.verdict === 'xfail') {
    return detail.trace.attempts.length > 1
      ? 'Excused by a known issue' + (next?.verdict === 'pass' ? '; the next attempt passed' : '') : 'Known issue';
  }
  if (attempt.verdict === 'pass' || attempt.verdict === 'skip') return attempt.verdict === 'pass' ? 'Expected failure' : 'Skipped';
  return next ? 'Failure of attempt ' + attempt.number : 'Failure';
}

function failureOf(detail, c, attempt) {
  const own = detail.ends.find(([number]) => number === attempt.number)?.[1];
  const end = own || (detail.trace.attempts.length === 1 ? detail.end : null);
  if (!end || !end.reason) return '';
  const failing = attempt.steps.findLast(step => step.outcome === 'failed');
  return `<div class="failure ${attempt.verdict}"><strong>${failureTitle(detail, c, attempt)}</strong><dl>` +
    `${failing ? `<dt>step</dt><dd>${esc(failing.title)}</dd>` : ''}${parts(end.reason)}` +
    // The reason is that of the known issue.
    `${attempt.verdict === 'xfail' && failing?.message ? `<dt>seen</dt><dd>${esc(failing.message)}</dd>` : ''}` +
    `${end.place ? `<dt>at</dt><dd><code>${esc(end.place)}</code></dd>` : ''}</dl>${end.source ? source(end.source) : ''}</div>` +
    differencesOf(c) + block('last output and state of each VM', evidence(end), true) + artifacts(end.artifacts) + block('run it again', detail.again, true);
}

function factsOf(detail, c, attempt) {
  const params = Object.entries(detail.params || {}).map(([key, value]) => [key, typeof value === 'string' ? value : JSON.stringify(value)]);
  const commands = attempt.vms.filter(vm => vm.command).map(vm => `# ${vm.name}\n${vm.command}`).join('\n\n');
  const list = (title, html) => html ? `<h3>${title}</h3>${html}` : '';
  return `${detail.description ? `<p>${esc(detail.description)}</p>` : ''}` +
    `<p class="dim"><code>${esc(c.file)}</code>${detail.tags.map(tag => ` <span class="tag">${esc(tag)}</span>`).join('')}</p>` +
    list('Measured', attempt.metrics.length ? table(attempt.metrics) : '') +
    list('Notes', [...detail.notes, ...attempt.notes].map(note => `<p class="note">${esc(note)}</p>`).join('')) +
    list('Parameters', params.length ? table(params) : '') +
    block('run it again', detail.again, false) + block('the QEMUs’ command lines', commands, false);
}

function pretty(text) {
  try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; }
}

function selectedLine(attempt, index) {
  const line = attempt.lines[index], partner = attempt.lines[line.partner];
  const rows = [['time', moment(line.at)], ['from', sourceOf(attempt, line)], ['kind', line.kind]];
  if (line.delay) rows.push(['seen', `${span(line.delay)} after QEMU emitted it`]);
  const jump = partner
    ? `<p><button class="jump" data-line="${line.partner}">${line.kind === 'command' ? 'its reply' : 'its command'}, ` +
      `${span(Math.abs(partner.at - line.at))} ${line.kind === 'command' ? 'later' : 'earlier'}</button></p>` : '';
  const text = line.kind === 'event' || line.kind === 'command' || line.kind === 'reply' ? pretty(line.message) : textOf(line);
  const title = line.kind === 'tick' ? 'tick ' + line.text : line.text || line.kind;
  return `<h3>${esc(title)}</h3>${table(rows)}${jump}<div class="code"><button class="copy">copy</button><pre>${esc(text)}</pre></div>`;
}

function selectedStep(attempt, index) {
  const step = attempt.steps[index], end = step.ended ?? attempt.length;
  const rows = [['outcome', step.outcome || 'running'], ['began', moment(step.began)], ['took', span(end - step.began)], ['at', step.place]];
  return `<h3>${esc(step.title)}</h3>${table(rows)}` +
    (step.message ? `<div class="code"><button class="copy">copy</button><pre>${esc(step.message)}</pre></div>` : '');
}

const selectedItem = item => `<h3>${esc((item.tip || item.text || '').split('\n')[0])}</h3>` +
  table([['from', moment(item.a)], ...item.b === undefined ? [] : [['to', moment(item.b)], ['took', span(item.b - item.a)]]]) +
  ((item.tip || '').includes('\n') ? `<pre>${esc(item.tip.split('\n').slice(1).join('\n'))}</pre>` : '');

// The pane; `jump` is called with the index of a line.
function Details(host, detail, c, attempt, jump) {
  const failure = failureOf(detail, c, attempt);
  const word = ['fail', 'error'].includes(attempt.verdict) ? 'Failure' : 'Result';
  const tabs = [...failure ? [['failure', word]] : [], ['selected', 'Selected'], ['facts', 'Case']];
  const html = { failure, facts: (failure ? '' : differencesOf(c)) + factsOf(detail, c, attempt), selected: '<p class="dim">Choose a step, a line, or something on the timeline.</p>' };
  host.innerHTML = '<div class="tabs" role="tablist" aria-label="details">' +
    tabs.map(([id, word]) => `<button role="tab" data-about="${id}" aria-controls="about">${word}</button>`).join('') +
    '</div><div id="about" class="scroll" role="tabpanel" aria-label="details" tabindex="0"></div>';
  const body = host.lastElementChild;
  function open(id) {
    for (const tab of host.querySelectorAll('[role=tab]')) {
      tab.setAttribute('aria-selected', tab.dataset.about === id);
      tab.tabIndex = tab.dataset.about === id ? 0 : -1;
    }
    body.innerHTML = html[id];
    body.scrollTop = 0;
  }
  host.onclick = e => {
    const tab = e.target.closest('[data-about]'), to = e.target.closest('[data-line]');
    if (tab) open(tab.dataset.about);
    if (to) jump(+to.dataset.line);
  };
  host.firstElementChild.onkeydown = tabKeys;
  open(tabs[0][0] === 'failure' ? 'failure' : 'facts');
  return {
    open,
    select({ line, step, item }) {
      html.selected = line !== undefined ? selectedLine(attempt, line) : step !== undefined ? selectedStep(attempt, step) : selectedItem(item);
      open('selected');
    },
  };
}
