// The overview: the list of cases and the kinds of failures, both filtered by the same words and verdict.
const overview = { filter: '', verdict: '', tab: '', found: [] };
let caseRows, kindRows;

function startOverview() {
  caseRows = Rows($('cases'), { height: item => item.file !== undefined ? 30 : item.reason ? 46 : 28, render: caseRow });
  $('filter').addEventListener('input', () => {
    overview.filter = $('filter').value;
    applyFilter();
    rememberFilter();
  });
  document.querySelector('header .chips').addEventListener('click', e => {
    const chip = e.target.closest('.chip');
    if (!chip) return;
    overview.verdict = overview.verdict === chip.dataset.verdict ? '' : chip.dataset.verdict;
    applyFilter();
    replaceAddress(overviewAddress());
  });
  $('views').addEventListener('click', e => e.target.dataset.view && showTab(e.target.dataset.view));
  $('views').addEventListener('keydown', tabKeys);
}

let remembering = 0;
function rememberFilter() {
  clearTimeout(remembering);
  remembering = setTimeout(() => screenOf === 'overview' && replaceAddress(overviewAddress()), 150);
}

const overviewAddress = () => '#' + query({ filter: overview.filter, verdict: overview.verdict, view: overview.tab });

function showOverview(to) {
  for (const key of ['filter', 'verdict', 'tab']) overview[key] = to[key] || '';
  $('filter').value = overview.filter;
  $('crumbs').innerHTML = to.missing ? `<span class="missing">the run has no ${esc(to.missing)}</span>` : '';
  document.title = 'Lockstep: ' + [...document.querySelectorAll('.chip[data-verdict]')].map(c => c.textContent.trim().replace(/\s+/g, ' ')).join(', ');
  showTab(overview.tab);
  applyFilter();
}

// On a wide screen the cases are always there, next to the chosen part.
function showTab(tab) {
  const all = [...$('views').querySelectorAll('[data-view]')];
  const wide = matchMedia('(min-width:1000px)').matches;
  const chosen = all.find(b => b.dataset.view === tab) || all[wide ? 1 : 0];
  const other = wide && chosen.dataset.view === 'cases' ? all[1] : chosen;
  overview.tab = tab && other === chosen ? tab : '';
  for (const b of all) {
    b.setAttribute('aria-selected', b === other);
    b.tabIndex = b === other ? 0 : -1;
    $('view-' + b.dataset.view).classList.toggle('on', b === other);
  }
  if (screenOf === 'overview') replaceAddress(overviewAddress());
  caseRows.redraw();
  kindRows?.redraw();
}

// Arrows move in a list of tabs.
function tabKeys(e) {
  const by = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
  if (!by) return;
  const tabs = [...e.currentTarget.querySelectorAll('[role=tab]')].filter(tab => tab.offsetParent);
  const next = tabs[(tabs.indexOf(document.activeElement) + by + tabs.length) % tabs.length];
  next.click();
  next.focus();
  e.preventDefault();
  e.stopPropagation();
}

function applyFilter() {
  const words = overview.filter.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = c => (!overview.verdict || c.verdict === overview.verdict) && words.every(word => c.words.includes(word));
  const found = overview.found = cases.filter(fits);
  const files = new Map();
  for (const c of found) (files.get(c.file) || files.set(c.file, []).get(c.file)).push(c);
  const items = [];
  for (const [file, list] of files) items.push({ file, count: list.length }, ...list.map(c => ({ c, reason: c.verdict !== 'pass' && c.reason })));
  caseRows.set(items);
  $('shown').textContent = found.length === cases.length ? `${cases.length} cases` : `${found.length} of ${cases.length} cases`;
  for (const chip of document.querySelectorAll('header .chip')) {
    chip.setAttribute('aria-pressed', chip.dataset.verdict === overview.verdict);
  }
  // (The first failure of a run that goes on brings them.)
  if ($('kinds')) kindRows ||= Rows($('kinds'), { height: () => 76, render: kindRow });
  if (!kindRows) return;
  const counts = new Map();
  for (const c of found) if (c.kind !== null) (counts.get(c.kind) || counts.set(c.kind, []).get(c.kind)).push(c);
  const kinds = [...counts].sort((a, b) => b[1].length - a[1].length || a[0] - b[0]);
  kindRows.set(kinds.map(([kind, list]) => ({ ...index.kinds[kind], list })));
}

function caseRow({ file, count, c, reason }) {
  if (file !== undefined) return `<div class="file"><span>${esc(file || '(no file)')}</span><span>${count}</span></div>`;
  const time = c.verdict === 'skip' ? '' : secs(c.seconds);
  return `<a class="row ${c.verdict}" href="${esc(address(c))}"><span class="badge">${c.verdict}</span>` +
    `<span class="name" title="${esc(c.title)}">${esc(c.name)}${c.round ? ` <span class="round">#${c.round}</span>` : ''}</span>` +
    `<span class="time">${time}</span>${reason ? `<span class="why" title="${esc(reason)}">${esc(reason)}</span>` : ''}</a>`;
}

function kindRow(kind) {
  const first = kind.list[0], all = kind.list.length === kind.count;
  const names = new Set(kind.list.map(c => c.name));
  const more = names.size > 1 ? ` and ${names.size - 1} more` : '';
  const often = all ? kind.rate : `${kind.list.length} of ${kind.count} shown`;
  const place = kind.place ? ` · <code title="${esc(kind.place)}">${esc(kind.place.split('/').pop())}</code>` : '';
  return `<a class="kind ${first.verdict}" href="${esc(address(first))}">` +
    `<span class="count">${kind.list.length}×</span><span class="reason" title="${esc(kind.reason)}">${esc(kind.reason)}</span>` +
    `<span class="where">${esc(often)} · ${esc(first.title)}${more}${place}</span></a>`;
}
