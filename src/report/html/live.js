// A page that the runner serves while it runs: it fetches what has changed, and says whether the run goes on.
'use strict';
(() => {
  const state = document.createElement('strong');
  state.id = 'live';
  state.setAttribute('role', 'status');
  const header = document.querySelector('header'), chips = header.querySelector('.chips');
  if (chips) chips.after(state); else header.append(state);
  const say = (word, text = word) => { state.dataset.state = word; state.textContent = text; };

  // The elements with data: their type is not that of a script.
  const data = page => [...page.querySelectorAll('script[id][type]')];
  // Parts of the page that are text in the file. What the reader has changed stays: the filter and the list of cases.
  const KEPT = ['.filter', '#cases'];
  function redraw(fresh) {
    document.title = fresh.title;
    const parts = name => [document, fresh].map(page => page.querySelector(name));
    const [oldChips, newChips] = parts('header .chips'), [old, next] = parts('#overview');
    if (oldChips && newChips) oldChips.innerHTML = newChips.innerHTML;
    if (!old || !next) return;
    const focus = document.activeElement, unfolded = [...old.querySelectorAll('details[open] > summary')].map(s => s.textContent);
    for (const name of KEPT) {
      const [mine, other] = [old, next].map(page => page.querySelector(name));
      if (mine && other) other.replaceWith(mine);
    }
    old.replaceChildren(...next.childNodes);
    for (const s of old.querySelectorAll('details > summary')) s.parentNode.open = unfolded.includes(s.textContent);
    if (focus && focus !== document.activeElement) focus.focus({ preventScroll: true });
  }
  // Shows another state of the page. A page without `lockstep.refresh` is loaded again, unless a case is open.
  function adopt(text, canReload) {
    const fresh = new DOMParser().parseFromString(text, 'text/html'), there = { x: scrollX, y: scrollY };
    const known = new Map(data(document).map(element => [element.id, element]));
    for (const element of data(fresh)) {
      const mine = known.get(element.id);
      if (!mine) document.body.append(document.adoptNode(element));
      else if (mine.textContent !== element.textContent) mine.textContent = element.textContent;
    }
    if (window.lockstep && window.lockstep.refresh) {
      redraw(fresh);
      window.lockstep.refresh();
      scrollTo(there.x, there.y);
    } else if (canReload && !/^#case-/.test(location.hash)) location.reload();
  }

  let ended = false, busy = false, again = false;
  // One at a time, and a pause that grows with the page.
  async function refresh() {
    again = true;
    if (busy) return;
    busy = true;
    while (again && !ended) {
      again = false;
      const began = performance.now();
      try {
        const text = await (await fetch('/')).text();
        if (!ended) adopt(text, true);
      } catch { /* the events say whether the runner is there */ }
      await new Promise(done => setTimeout(done, 200 + 3 * (performance.now() - began)));
    }
    busy = false;
  }

  const events = new EventSource('/events');
  let lost = 0;
  events.onopen = () => {
    lost = 0;
    say('live');
    // What changed between the page and the connection; after a connection was lost, it may be another run.
    if (window.lockstep && window.lockstep.refresh) refresh();
  };
  events.addEventListener('changed', refresh);
  events.addEventListener('end', message => {
    ended = true;
    events.close();
    const { page } = JSON.parse(message.data);
    if (page) adopt(page, false);
    say('ended');
  });
  events.onerror = () => {
    say('cut off', 'cut off: the runner has ended without finishing');
    // The browser connects again by itself; a runner that was started again may have the same address.
    if (++lost > 5) events.close();
  };
  say('connecting');
})();
