// Starts the page: addresses, keys, theme, copying.
let screenOf = '';

function route() {
  tip('');
  const to = parse(location.hash);
  screenOf = to.view;
  document.body.dataset.screen = to.view;
  $('overview').hidden = to.view === 'case';
  $('case').hidden = to.view !== 'case';
  if (to.view === 'case') {
    showCase(to).catch(error => {
      console.error(error);
      $('case').innerHTML = `<p class="trouble">the data of the case cannot be read: ${esc(error)}</p>`;
    });
    return;
  }
  turn += 1;
  closeCase();
  $('case').innerHTML = '';
  showOverview(to);
}

// The next case in the list that fits, as it is filtered.
function step(by, which) {
  const list = overview.found.length ? overview.found : cases;
  const now = shown ? list.indexOf(shown.c) : by > 0 ? -1 : list.length;
  for (let at = now + by; at >= 0 && at < list.length; at += by) {
    if (which(list[at])) { location.hash = address(list[at]); return; }
  }
}

function theme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme:dark)').matches;
  root.dataset.theme = dark ? 'light' : 'dark';
  try { localStorage.setItem('lockstep-theme', root.dataset.theme); } catch { /* a page from a file may have no storage */ }
  repaint();
}

function repaint() {
  readPalette();
  (shown?.charts || [shown?.timeline]).forEach(chart => chart?.redraw());
}

const deeds = {
  in: () => shown.timeline.zoom(.6), out: () => shown.timeline.zoom(1.67),
  left: () => shown.timeline.move(-.3), right: () => shown.timeline.move(.3),
  all: () => shown.timeline.all(), ruler: () => shown.timeline.toRuler(),
  before: () => step(-1, () => true), after: () => step(1, () => true),
  copy: button => copy(shown.transcript.text(), button),
};
const keys = {
  '/': () => (screenOf === 'case' ? $('lines') : $('filter'))?.focus(),
  j: deeds.after, k: deeds.before, f: () => step(1, isBad), F: () => step(-1, isBad),
  t: theme, '?': () => $('keys').showModal(),
  Escape: () => { if (!shown?.timeline.clear()) location.hash = screenOf === 'case' ? overviewAddress() : '#'; },
};
const chartKeys = {
  '+': deeds.in, '=': deeds.in, '-': deeds.out, ArrowLeft: deeds.left, ArrowRight: deeds.right, 0: deeds.all, z: deeds.ruler,
  '[': () => shown.timeline.next(-1), ']': () => shown.timeline.next(1),
};

function copy(text, button) {
  const done = () => {
    const was = button.textContent;
    button.textContent = 'copied';
    setTimeout(() => { button.textContent = was; }, 1500);
  };
  if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, () => {});
  else getSelection().selectAllChildren(button.nextElementSibling || button);
}

addEventListener('keydown', e => {
  if (e.ctrlKey || e.metaKey || e.altKey || $('keys').open) return;
  if (/INPUT|SELECT/.test(e.target.tagName)) { if (e.key === 'Escape') e.target.blur(); return; }
  const deed = shown && chartKeys[e.key] || keys[e.key];
  if (deed) { e.preventDefault(); deed(); }
});
document.addEventListener('click', e => {
  const what = e.target.closest('[data-do],.copy,[data-pane][role=tab],[data-finding]');
  if (!what) return;
  if (what.dataset.do) deeds[what.dataset.do](what);
  else if (what.dataset.finding) showFinding(+what.dataset.finding);
  else if (what.dataset.pane) choosePane(what.dataset.pane);
  else copy(what.nextElementSibling.textContent, what);
});
document.addEventListener('change', e => {
  if (e.target.id === 'versus' && e.target.value) location.hash = e.target.value;
});
$('theme').onclick = theme;
$('help').onclick = keys['?'];
document.querySelector('.colours').innerHTML = legend();
matchMedia('(prefers-color-scheme:dark)').addEventListener('change', repaint);
matchMedia('(min-width:1000px)').addEventListener('change', () => showTab(overview.tab));
addEventListener('hashchange', route);

try {
  const was = localStorage.getItem('lockstep-theme');
  if (was) document.documentElement.dataset.theme = was;
} catch { /* as above */ }
readPalette();
readIndex();
startOverview();
if (!location.hash && cases.length === 1) location.replace(address(cases[0]));
route();
document.documentElement.dataset.ready = '1';

window.lockstep = {
  // Reads the data again, after its elements were replaced while a run goes on; an open case is shown again once it has ended.
  refresh: () => {
    unpacked.clear();
    readIndex();
    applyFilter();
    if (screenOf === 'overview') showTab(overview.tab);
    const open = shown && cases.find(c => c.number === shown.c.number);
    if (!open) return;
    const was = shown.c.verdict;
    shown.c = open;
    if (open.verdict !== was) route();
  },
  // The open case.
  shown: () => shown,
};
