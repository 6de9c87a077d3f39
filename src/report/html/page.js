// The page: the list of cases, the open case, keyboard shortcuts. A case's data is parsed when it is opened.
'use strict';
(() => {
  const $ = id => document.getElementById(id);
  const read = id => JSON.parse($(id).textContent);
  const esc = text => String(text).replace(/[&<>"']/g, c => '&#' + c.charCodeAt(0) + ';');
  let cases, place;
  const reread = () => { cases = read('index'); place = new Map(cases.map((c, i) => [c[0], i])); };
  reread();
  const [N, TITLE, FILE, VERDICT, REASON, SECONDS] = [0, 1, 2, 3, 4, 5];
  const bad = c => ['fail', 'error', 'flaky'].includes(c[VERDICT]);
  const secs = s => s >= 60 ? Math.floor(s / 60) + 'm' + String(Math.floor(s % 60)).padStart(2, '0') + 's' : s.toFixed(2) + 's';
  const MOST = 3000;
  let only = '', open = null, chart = null;

  function list() {
    const words = $('filter').value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = c => (!only || c[VERDICT] === only) && words.every(w => (c[TITLE] + ' ' + c[FILE] + ' ' + c[VERDICT] + ' ' + c[REASON]).toLowerCase().includes(w));
    const found = cases.filter(fits), files = new Map();
    for (const c of found.slice(0, MOST)) (files.get(c[FILE]) || files.set(c[FILE], []).get(c[FILE])).push(c);
    let html = '';
    for (const [file, of] of files) {
      html += `<div class="file">${esc(file || '(no file)')} — ${of.length}</div>`;
      for (const c of of) html += `<a class="row ${c[VERDICT]}" href="#case-${c[N]}"><span class="badge">${c[VERDICT]}</span><span class="name">${esc(c[TITLE])}</span><span class="dim">${c[VERDICT] === 'skip' ? '' : secs(c[SECONDS])}</span>${c[REASON] && c[VERDICT] !== 'pass' ? `<span class="why">${esc(c[REASON])}</span>` : ''}</a>`;
    }
    $('cases').innerHTML = html;
    $('shown').textContent = found.length === cases.length ? `${cases.length} cases` : `${found.length} of ${cases.length} cases` + (found.length > MOST ? `, showing the first ${MOST}` : '');
    document.querySelectorAll('.chip').forEach(chip => chip.setAttribute('aria-pressed', chip.dataset.verdict === only));
    return found;
  }

  const block = (title, text, open) => text ? `<details ${open ? 'open' : ''}><summary>${title}</summary><button class="copy">copy</button><pre>${esc(text)}</pre></details>` : '';
  function source(text) {
    return '<pre class="source">' + text.split('\n').map(line => line.startsWith('>') ? `<b>${esc(line)}</b>` : esc(line)).join('\n') + '</pre>';
  }
  // What was expected and what was seen, if the message has both.
  function parts(reason) {
    const both = /^(?:([^;]*?): )?waited (.+?) for ([\s\S]*?); saw ([\s\S]*)$/.exec(reason || '');
    if (!both) return `<dt>reason</dt><dd>${esc(reason || 'no reason given')}</dd>`;
    return `<dt>expected</dt><dd>${both[1] ? esc(both[1]) + ': ' : ''}${esc(both[3])}</dd><dt>waited</dt><dd>${esc(both[2])}</dd><dt>got</dt><dd>${esc(both[4])}</dd>`;
  }
  function failure(end, title, step) {
    if (!end || !end.reason) return '';
    if (!['fail', 'error', 'flaky'].includes(end.verdict) && !end.source) return `<p class="dim">${esc(end.reason)}</p>`;
    return `<div class="failure ${end.verdict}"><strong>${title}</strong><dl>${step ? `<dt>step</dt><dd>${esc(step)}</dd>` : ''}${parts(end.reason)}${end.place ? `<dt>at</dt><dd><code>${esc(end.place)}</code></dd>` : ''}</dl>${end.source ? source(end.source) : ''}${end.artifacts ? `<p>artifacts: <a href="${esc(link(end.artifacts))}">${esc(end.artifacts)}</a></p>` : ''}</div>`;
  }
  // Omits the excerpt at the start, which is shown above.
  const moments = end => end && end.evidence && (end.source ? end.evidence.split('\n').filter((l, i, all) => !(/^\s*(-->|\d*\s*\|)/.test(l) && i < all.findIndex(m => m.startsWith('VM `')))).join('\n') : end.evidence);
  // The artifacts are next to this file, even if the directory was renamed.
  const link = folder => { const at = folder.lastIndexOf('/' + cases[place.get(open)][TITLE].split(' ')[0]); return encodeURI(at < 0 ? folder : folder.slice(at + 1)) + '/'; };

  const KINDS = { '>': '→', '<': '←', e: '●', t: '·', s: '|', x: '■', '(': '▶', ')': '◀', l: '⇄', c: '◇', n: '!', a: '✗' };
  const GROUP = { '>': 'qmp', '<': 'qmp', e: 'event', t: 'serial', s: 'serial', '(': 'step', ')': 'step' };
  function transcript(story, who) {
    const [gone, before] = story.left_out;
    return story.lines.map((l, i) => {
      const said = l[2] === 't' ? 'tick ' + l[3] : '()'.includes(l[2]) ? (l[2] === ')' ? l[4] + (l[3] ? ': ' + l[3] : '') : l[3] + '  ' + l[4]) : l[4] ? (l[2] === 'e' || 'lc'.includes(l[2]) ? l[3] + '  ' + l[4] : l[4]) : l[3];
      const wrong = l[2] === ')' && l[4] === 'failed' || l[2] === '<' && l[3] || l[2] === 'a';
      const kind = wrong ? 'k-bad' : GROUP[l[2]] === 'step' ? 'k-step' : l[2] === 'e' ? 'k-event' : l[2] === 't' ? 'k-dim' : '';
      return (gone && i === before ? `<div class="t"><span></span><span></span><span>…</span><span>${gone} lines omitted; see the artifacts</span></div>` : '') +
        `<div class="t" id="l${i}" data-g="${GROUP[l[2]] || 'other'}"><span>${l[0].toFixed(1)} ms</span><span>${esc(who(l[1]))}</span><span>${KINDS[l[2]] || ''}</span><span class="${kind}">${esc(said)}</span></div>`;
    }).join('');
  }

  function show(number) {
    const c = cases[place.get(number)], d = read('d' + number), story = d.story;
    open = number;
    const who = n => n < 0 ? 'step' : n < story.vms.length ? story.vms[n].name : story.others[n - story.vms.length];
    const failing = story.lines.filter((l, i) => l[2] === '(' && story.lines.slice(i).find(m => m[2] === ')' && m[1] === l[1])?.[4] === 'failed').pop();
    const table = rows => '<table>' + rows.map(([a, b]) => `<tr><th>${esc(a)}</th><td>${esc(b)}</td></tr>`).join('') + '</table>';
    const params = Object.entries(d.params || {}).map(([k, v]) => [k, typeof v === 'string' ? v : JSON.stringify(v)]);
    const commands = story.vms.filter(v => v.command).map(v => `# ${v.name}\n${v.command}`).join('\n\n');
    const excused = c[VERDICT] === 'xfail' && !!d.end.evidence;
    const broken = excused || ['fail', 'error', 'flaky'].includes(c[VERDICT]);
    $('case').innerHTML = `<div class="top ${c[VERDICT]}"><a href="#">← run</a><span class="badge">${c[VERDICT]}</span><h2>${esc(c[TITLE])}</h2><span class="dim">${secs(d.seconds)} · <code>${esc(c[FILE])}</code></span></div>
${d.description ? `<p class="dim">${esc(d.description)}</p>` : ''}
${failure(d.end, excused ? 'Excused by a known issue; the next attempt passed' : broken ? 'Failure' : 'Expected failure', failing && failing[3])}
${(d.attempts || []).filter(a => !a.evidence || a.evidence !== d.end.evidence).map((a, i) => failure(a, 'Earlier attempt')).join('')}
<div class="tools" role="toolbar"><button data-do="out" title="−">−</button><button data-do="in" title="+">+</button><button data-do="left" title="←">←</button><button data-do="right" title="→">→</button><button data-do="all" title="0">all</button><span class="dim">drag to zoom, hover for the message, click for its line</span></div>
<div id="timeline" tabindex="0"></div>
<div class="legend"><span><i style="background:var(--run)"></i>running</span><span><i style="background:var(--stop)"></i>paused</span><span><i style="background:var(--colo)"></i>migration: colo</span><span><i style="background:var(--cp)"></i>checkpoint, STOP to RESUME</span><span><i style="background:var(--cmd)"></i>QMP command to its reply</span><span><i style="background:var(--ev)"></i>event</span><span><i style="background:var(--tick)"></i>tick</span><span><i style="background:var(--yank)"></i>yank, failover</span></div>
${block('last output and state of each VM', moments(d.end), true)}
<div class="columns">${d.metrics.length ? `<div><h2>Measured</h2>${table(d.metrics.map(m => m.split(/ = (.*)/s)))}</div>` : ''}<div><h2>Parameters</h2>${params.length ? table(params) : '<p class="dim">none</p>'}</div></div>
${d.notes.length ? `<h2>Notes</h2><pre>${esc(d.notes.join('\n'))}</pre>` : ''}
${block('run it again', d.again, broken)}${block('the QEMUs’ command lines', commands, broken)}
<h2>Transcript</h2>${d.briefly ? '<p class="dim">This page is large: for passed cases it has only the steps. See events.jsonl for everything.</p>' : ''}
<p class="filter"><input id="lines" type="search" placeholder="filter the lines" aria-label="filter the transcript"> ${['qmp', 'event', 'serial', 'step'].map(g => `<label><input type="checkbox" data-group="${g}" checked>${g}</label>`).join(' ')}</p>
<div id="transcript" tabindex="0">${transcript(story, who)}</div>`;
    $('overview').hidden = true;
    $('case').hidden = false;
    if (chart) chart.end();
    chart = Timeline($('timeline'), story, d.seconds, line, tip);
    const sift = () => {
      const word = $('lines').value.toLowerCase(), off = [...document.querySelectorAll('[data-group]')].filter(b => !b.checked).map(b => b.dataset.group);
      document.querySelectorAll('#transcript .t').forEach(t => { t.hidden = off.includes(t.dataset.g) || !!word && !t.textContent.toLowerCase().includes(word); t.style.display = t.hidden ? 'none' : ''; });
    };
    $('lines').oninput = sift;
    document.querySelectorAll('[data-group]').forEach(b => { b.onchange = sift; });
    $('transcript').onclick = e => { const t = e.target.closest('.t[id]'); if (t && !String(getSelection())) { mark(t); chart.near(+t.id.slice(1)); } };
    scrollTo(0, 0);
  }
  const mark = t => { document.querySelectorAll('.t.at').forEach(o => o.classList.remove('at')); t.classList.add('at'); };
  function line(i) {
    const t = $('l' + i);
    if (!t) return;
    t.style.display = '';
    mark(t);
    t.scrollIntoView({ block: 'center' });
  }
  function tip(text, x, y) {
    const box = $('tip');
    box.hidden = !text;
    if (!text) return;
    box.textContent = text;
    box.style.left = Math.max(4, Math.min(x + 12, innerWidth - box.offsetWidth - 6)) + 'px';
    box.style.top = (y + 16 + box.offsetHeight > innerHeight ? Math.max(4, y - box.offsetHeight - 10) : y + 16) + 'px';
  }

  function route() {
    tip('');
    const found = /^#case-(\d+)$/.exec(location.hash);
    if (found && place.has(+found[1])) return show(+found[1]);
    open = null;
    $('case').hidden = true;
    $('case').innerHTML = '';
    $('overview').hidden = false;
  }
  const go = number => { location.hash = '#case-' + number; };
  function step(by, which) {
    let at = open === null ? (by > 0 ? -1 : cases.length) : place.get(open);
    for (at += by; at >= 0 && at < cases.length; at += by) if (which(cases[at])) return go(cases[at][N]);
  }
  function theme() {
    const root = document.documentElement, dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme:dark)').matches;
    root.dataset.theme = dark ? 'light' : 'dark';
    try { localStorage.setItem('lockstep-theme', root.dataset.theme); } catch { /* a page from a file may have no storage */ }
  }
  try { const was = localStorage.getItem('lockstep-theme'); if (was) document.documentElement.dataset.theme = was; } catch { /* as above */ }

  const deeds = { in: () => chart.zoom(.6), out: () => chart.zoom(1.67), left: () => chart.move(-.3), right: () => chart.move(.3), all: () => chart.all() };
  const keys = {
    '/': () => { if (open !== null) $('lines').focus(); else $('filter').focus(); }, j: () => step(1, () => true), k: () => step(-1, () => true), f: () => step(1, bad), F: () => step(-1, bad),
    t: theme, '?': () => $('keys').showModal(), Escape: () => { location.hash = ''; },
  };
  const chartKeys = { '+': deeds.in, '=': deeds.in, '-': deeds.out, ArrowLeft: deeds.left, ArrowRight: deeds.right, 0: deeds.all, '[': () => chart.next(-1), ']': () => chart.next(1) };
  addEventListener('keydown', e => {
    if (e.ctrlKey || e.metaKey || e.altKey || $('keys').open) return;
    if (/INPUT|SELECT/.test(e.target.tagName)) { if (e.key === 'Escape') e.target.blur(); return; }
    const deed = open !== null && (chartKeys[e.key] || e.key === 'Enter' && e.target.id === 'timeline' && (() => chart.pick())) || keys[e.key];
    if (deed) { e.preventDefault(); deed(); }
  });
  document.addEventListener('click', e => {
    const what = e.target.closest('[data-do],.copy,.chip');
    if (!what) return;
    if (what.dataset.do) return deeds[what.dataset.do]();
    if (what.classList.contains('copy')) {
      const text = what.nextElementSibling.textContent;
      if (navigator.clipboard) navigator.clipboard.writeText(text).then(() => { what.textContent = 'copied'; }, () => getSelection().selectAllChildren(what.nextElementSibling));
      else getSelection().selectAllChildren(what.nextElementSibling);
      return;
    }
    only = only === what.dataset.verdict ? '' : what.dataset.verdict;
    location.hash = '';
    list();
    $('cases').scrollIntoView();
  });
  $('filter').oninput = list;
  $('theme').onclick = theme;
  $('help').onclick = keys['?'];
  addEventListener('hashchange', route);
  // For a page of a run that goes on: the data have changed.
  window.lockstep = {
    refresh: () => {
      const was = open !== null && cases[place.get(open)][VERDICT];
      reread();
      list();
      if (open !== null && cases[place.get(open)][VERDICT] !== was) show(open);
    },
  };
  list();
  if (!location.hash && cases.length === 1) location.replace('#case-' + cases[0][N]);
  route();
  document.documentElement.dataset.ready = '1';
})();
