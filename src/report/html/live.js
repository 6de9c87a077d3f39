// A page that the runner serves while it runs: it fetches what has changed, and says whether the run goes on.
'use strict';
(() => {
  const state = document.createElement('strong');
  state.id = 'live';
  state.setAttribute('role', 'status');
  const header = document.querySelector('header'), chips = header.querySelector('.chips');
  if (chips) chips.after(state); else header.append(state);
  // On a narrow screen, the first words only.
  const more = document.createElement('span');
  const say = (word, why = '') => {
    state.dataset.state = word;
    state.title = word + why;
    more.textContent = why;
    state.replaceChildren(word, more);
  };

  // The elements with data: their type is not that of a script.
  const data = page => [...page.querySelectorAll('script[id][type]')];
  // Parts of the page that are text in the file. The lists are made of the data.
  const PARTS = ['header .chips', '#view-grids', '#view-repeated', '#view-run'];
  function redraw(fresh) {
    const find = (page, name) => page.querySelector(name);
    if (document.body.dataset.screen !== 'case') document.title = fresh.title;
    const unfolded = [...document.querySelectorAll('details[open] > summary')].map(s => s.textContent);
    for (const name of PARTS) {
      const [old, now] = [document, fresh].map(page => find(page, name));
      if (old && now && old.innerHTML !== now.innerHTML) old.innerHTML = now.innerHTML;
    }
    for (const s of document.querySelectorAll('#view-repeated summary')) s.parentNode.open = unfolded.includes(s.textContent);
    // Parts that are new, such as "What failed" with the first failure.
    const views = find(document, '#views'), overview = find(document, '#overview');
    let next = null;
    for (const tab of [...fresh.querySelectorAll('#views [data-view]')].reverse()) {
      const mine = find(document, `#views [data-view=${tab.dataset.view}]`);
      if (!mine) {
        overview.append(document.adoptNode(find(fresh, '#view-' + tab.dataset.view)));
        views.insertBefore(document.adoptNode(tab), next);
      }
      next = mine || tab;
    }
    document.querySelectorAll('#overview > .trouble').forEach(old => old.remove());
    find(document, '#overview h1').after(...[...fresh.querySelectorAll('#overview > .trouble')].map(p => document.adoptNode(p)));
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
    } else if (canReload) location.reload();
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
    say('cut off', ': the runner has ended without finishing');
    // The browser connects again by itself; a runner that was started again may have the same address.
    if (++lost > 5) events.close();
  };
  say('connecting');
})();
