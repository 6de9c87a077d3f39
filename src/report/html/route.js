// Addresses: `#/CASE/round-2/attempt-1?t=1496.3` is a case, `#?filter=…&verdict=fail` the overview.

// The address of an attempt of a case; `more` has what follows the question mark.
function address(c, attempt, more = {}) {
  let path = '#/' + encodeURIComponent(c.key).replaceAll('%2F', '/');
  if (c.round) path += '/round-' + c.round;
  if (attempt) path += '/attempt-' + attempt;
  return path + query(more);
}

function query(more) {
  const words = Object.entries(more).filter(([, value]) => value !== undefined && value !== null && value !== '');
  return words.length ? '?' + words.map(([key, value]) => key + '=' + encodeURIComponent(value)).join('&') : '';
}

// What an address leads to.
function parse(hash) {
  const old = /^#case-(\d+)$/.exec(hash);
  if (old) {
    const c = cases.find(c => c.number === +old[1]);
    return c ? { view: 'case', c, old: true } : { view: 'overview', missing: 'case ' + old[1] };
  }
  const cut = hash.indexOf('?');
  const words = new URLSearchParams(cut < 0 ? '' : hash.slice(cut + 1));
  const path = cut < 0 ? hash : hash.slice(0, cut);
  const of = key => words.get(key) || '';
  if (!path.startsWith('#/')) return { view: 'overview', filter: of('filter'), verdict: of('verdict'), tab: of('view') };
  const { c, attempt } = caseOf(path.slice(2));
  if (!c) return { view: 'overview', missing: path.slice(2) };
  const t = words.has('t') && Number.isFinite(+of('t')) ? +of('t') : null;
  const vs = of('vs') ? caseOf(encodeURIComponent(c.key) + '/' + of('vs')) : null;
  return { view: 'case', c, attempt, t, vs: vs && vs.c ? vs : null, align: of('align') };
}

// The case and the number of the attempt in a path such as `a/b/round-2/attempt-1`.
function caseOf(path) {
  let name = path, round = null, attempt = null;
  const take = word => {
    const found = new RegExp('/' + word + '-(\\d+)$').exec(name);
    if (found) name = name.slice(0, found.index);
    return found ? +found[1] : null;
  };
  const named = () => {
    try { return byName.get(decodeURIComponent(name)); } catch { return undefined; }
  };
  // The name itself may end like this.
  if (!named()) attempt = take('attempt');
  if (!named()) round = take('round');
  const rounds = named() || [];
  return { c: round === null ? rounds[0] : rounds.find(c => c.round === round), attempt };
}

// How another round or attempt of the same case is named in an address.
const other = (c, attempt) => (c.round ? 'round-' + c.round + '/' : '') + 'attempt-' + attempt;

// Changes the address without a new entry in the history.
function replaceAddress(hash) {
  if (location.hash === hash) return;
  try { history.replaceState(null, '', hash || '#'); } catch { location.hash = hash; }
}
