// The screen of a case: steps, timeline, transcript and details. Choosing something in one pane moves the others.
let shown = null, turn = 0;

function closeCase() {
  if (!shown) return;
  shown.parts.forEach(part => part.end?.());
  shown = null;
}

// The attempt that an address means; without a number the one that failed, or the last.
function attemptOf(detail, number) {
  const { attempts } = detail.trace;
  const failed = attempts.findLast(attempt => attempt.verdict !== 'pass' && attempt.verdict !== 'skip');
  return attempts.find(attempt => attempt.number === number) || failed || attempts[attempts.length - 1];
}

async function showCase(to) {
  const mine = ++turn;
  const detail = await unpack(to.c.number);
  if (mine !== turn) return;
  const attempt = attemptOf(detail, to.attempt);
  if (to.old) replaceAddress(address(to.c));
  if (to.vs) return showComparison(to, detail, attempt, mine);
  if (shown && shown.attempt === attempt && shown.c === to.c) return to.t !== null && shown.choose({ at: to.t }, true);
  closeCase();
  document.title = `${to.c.title}${detail.trace.attempts.length > 1 ? `, attempt ${attempt.number}` : ''}: ${to.c.verdict} — Lockstep`;
  attempt.file = to.c.file;
  $('case').innerHTML = header(to.c, detail, attempt) + panes(attempt);
  openPanes(to, detail, attempt);
}

function header(c, detail, attempt) {
  const rounds = byName.get(c.key), { attempts } = detail.trace;
  const tab = (href, on, verdict, word) =>
    `<a class="tab ${verdict}" href="${esc(href)}" ${on ? 'aria-current="page"' : ''}><i class="dot"></i>${word}</a>`;
  const strip = (label, tabs) => `<nav class="strip" aria-label="${label}">${tabs.join('')}</nav>`;
  const own = a => tab(address(c, a.number), a === attempt, a.verdict || 'none', 'attempt ' + a.number);
  const others = rounds.flatMap(o => o === c ? attempts.filter(a => a !== attempt).map(a => [o, a.number, a.verdict]) : [[o, null, o.verdict]]);
  $('crumbs').innerHTML = `<a href="${esc(overviewAddress())}">← all cases</a>`;
  return `<div class="head"><span class="badge ${c.verdict}">${c.verdict}</span><h1 title="${esc(c.title)}">${esc(c.title)}</h1>` +
    `<span class="dim">${secs(detail.seconds)}</span>` +
    (rounds.length > 1 ? strip('rounds', rounds.map(o => tab(address(o), o === c, o.verdict, '#' + o.round))) : '') +
    (attempts.length > 1 ? strip('attempts', attempts.map(own)) : '') +
    versus(c, attempt, others) +
    `<span class="grow"></span><span class="pair"><button data-do="before" title="previous case (k)" aria-label="previous case">‹</button>` +
    `<button data-do="after" title="next case (j)" aria-label="next case">›</button></span></div>`;
}

// The choice of another round or attempt to compare with.
function versus(c, attempt, others) {
  if (!others.length) return '';
  const word = (o, number, verdict) => [o.round ? 'round ' + o.round : '', number ? 'attempt ' + number : ''].join(' ').trim() + ` (${verdict})`;
  const to = (o, number) => address(c, attempt.number, { vs: number ? other(o, number) : 'round-' + o.round });
  const options = others.map(([o, number, verdict]) => `<option value="${esc(to(o, number))}">${esc(word(o, number, verdict))}</option>`);
  return `<select id="versus" aria-label="compare with"><option value="">compare with …</option>${options.join('')}</select>`;
}

const TOOLS = [['out', '−', 'zoom out (−)'], ['in', '+', 'zoom in (+)'], ['left', '←', 'pan left (←)'], ['right', '→', 'pan right (→)'],
  ['all', 'all', 'show all (0)'], ['ruler', '⇥', 'zoom to the ruler (z)']];

function panes(attempt) {
  const tools = TOOLS.map(([id, sign, title]) => `<button data-do="${id}" title="${title}" aria-label="${title}">${sign}</button>`).join('');
  const groups = GROUP_NAMES.filter(g => attempt.lines.some(line => groupOf(line) === g));
  const boxes = groups.map(g => `<label><input type="checkbox" data-group="${g}" checked>${g}</label>`).join('');
  const tab = (id, word) => `<button role="tab" data-pane="${id}" aria-controls="pane-${id}">${word}</button>`;
  return `<div class="tabs phone" role="tablist" aria-label="panes">` +
    `${tab('about', 'Details')}${tab('time', 'Timeline')}${tab('lines', 'Transcript')}${tab('steps', 'Steps')}</div>` +
    `<div class="panes"><section class="pane" id="pane-steps" aria-label="steps"><div class="bar"><h2>Steps</h2>` +
    `<span class="dim">${attempt.steps.length}</span></div>` +
    `<div class="rows" id="steps" tabindex="0" role="group" aria-label="the steps; arrows choose one"></div></section>` +
    `<section class="pane" id="pane-time" aria-label="timeline"><div class="bar"><h2>Timeline</h2><span class="tools">${tools}</span>` +
    `<span class="legend">${legend()}</span></div>` +
    `<div id="timeline" tabindex="0" role="group" aria-label="the timeline; plus and minus zoom, arrows pan, brackets choose an event"></div></section>` +
    `<section class="pane" id="pane-lines" aria-label="transcript"><div class="bar"><h2>Transcript</h2>` +
    `<input id="lines" type="search" placeholder="Search the lines   /" aria-label="search the transcript"><span class="boxes">${boxes}</span>` +
    `<span id="count" class="dim" role="status"></span><button class="copy" data-do="copy">copy</button></div>` +
    attempt.notes.map(note => `<p class="clock">${esc(note)}; times before and after it are on one axis</p>`).join('') +
    `<div class="rows mono" id="transcript" tabindex="0" role="group" aria-label="the transcript; arrows choose a line"></div></section>` +
    `<section class="pane" id="pane-about" aria-label="details"></section></div>`;
}

function openPanes(to, detail, attempt) {
  const { c } = to, model = lanesOf(attempt);
  const picked = item => choose(item.line !== undefined ? { line: item.line } : item.step >= 0 ? { step: item.step } : { item, at: item.a });
  const timeline = Timeline($('timeline'), model, { picked });
  const steps = Steps($('steps'), attempt, step => choose({ step }));
  const transcript = Transcript($('transcript'), attempt, line => choose({ line }));
  const details = Details($('pane-about'), detail, c, attempt, line => choose({ line }));

  // Selects a line, a step, something on the timeline, or only a time.
  function choose({ line, step, item, at }, quiet) {
    const known = step !== undefined ? attempt.steps[step] : null;
    if (known) at = known.outcome === 'failed' ? known.ended : known.began;
    else if (line !== undefined) at = attempt.lines[line].at;
    if (known && line === undefined) {
      const kind = known.outcome === 'failed' ? 'ended' : 'began';
      line = attempt.lines.findIndex(l => l.step === known.number && l.kind === kind);
    }
    timeline.setCursor(at);
    transcript.show(line >= 0 ? line : transcript.at(at), line >= 0);
    const own = line >= 0 ? attempt.lines[line].step : undefined;
    const number = own === undefined ? undefined : attempt.steps.findIndex(s => s.number === own);
    steps.select(step ?? (number >= 0 ? number : stepAt(attempt, at)));
    if (quiet) return;
    if (known || line !== undefined || item?.tip || item?.text) details.select(known ? { step } : line >= 0 ? { line } : { item });
    replaceAddress(address(c, attempt.number, { t: at.toFixed(1) }));
  }

  shown = {
    c, attempt, both: [{ c, attempt }], model, choose, timeline, transcript, steps, parts: [timeline, steps, transcript],
    found: ([item]) => { choose(item, true); choosePane('lines'); },
  };
  const failing = attempt.steps.findLastIndex(step => step.outcome === 'failed');
  if (to.t !== null && to.t !== undefined) choose({ at: to.t }, true);
  else if (failing >= 0) choose({ step: failing }, true);
  $('lines').oninput = () => count(transcript.search($('lines').value));
  for (const box of document.querySelectorAll('[data-group]')) {
    box.onchange = () => count(transcript.toggle(box.dataset.group, box.checked));
  }
  const count = n => { $('count').textContent = n === attempt.lines.length ? '' : `${n} of ${attempt.lines.length}`; };
  if (detail.briefly) $('count').textContent = 'in brief: the page is large; see events.jsonl';
  choosePane('about');
  for (const tab of document.querySelectorAll('.strip [aria-current]')) tab.scrollIntoView({ block: 'nearest', inline: 'center' });
}

// On a narrow screen one pane is shown at a time.
function choosePane(id) {
  const panes = document.querySelector('.panes');
  if (!panes) return;
  panes.dataset.pane = id;
  for (const tab of document.querySelectorAll('[data-pane][role=tab]')) {
    tab.setAttribute('aria-selected', tab.dataset.pane === id);
    tab.tabIndex = tab.dataset.pane === id ? 0 : -1;
  }
}
