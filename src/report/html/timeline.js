// The timeline of one case: a lane for each VM, one for the steps, one for each link and client. Only the visible part is
// drawn; times are milliseconds since the start of the case.
'use strict';
function Timeline(host, story, seconds, picked, tip) {
  const NS = 'http://www.w3.org/2000/svg', lines = story.lines, vms = story.vms;
  const last = lines.reduce((end, l) => Math.max(end, l[0]), 0);
  const whole = Math.max(last, seconds * 1000, 1) * 1.01;
  let from = 0, to = whole, width = 0, gutter = 0, cursor = -1, svg;
  const lane = n => lines.map((l, i) => [l, i]).filter(([l]) => l[1] === n);
  const lanes = vms.map((_, n) => lane(n)), steps = lines.map((l, i) => [l, i]).filter(([l]) => l[1] < 0), others = story.others.map((_, n) => lane(vms.length + n));
  const x = t => gutter + (t - from) / (to - from) * (width - gutter);
  const time = px => from + (px - gutter) / (width - gutter) * (to - from);
  const el = (name, at, into, text) => {
    const node = document.createElementNS(NS, name);
    for (const key in at) node.setAttribute(key, at[key]);
    if (text !== undefined) node.textContent = text;
    (into || svg).append(node);
    return node;
  };
  const inView = (a, b) => b >= from && a <= to;
  const clip = t => Math.min(Math.max(t, from), to);
  // A bar that stays visible even if it is very short, labelled if there is room.
  function bar(a, b, y, h, fill, word, more) {
    if (!inView(a, b)) return;
    const left = x(clip(a)), w = Math.max(x(clip(b)) - left, 1.5);
    el('rect', Object.assign({ x: left.toFixed(1), y, width: w.toFixed(1), height: h, rx: Math.min(2, w / 2), fill }, more));
    if (word && w > word.length * 6.2 + 6) el('text', { x: left + 4, y: y + h - 3.5, 'pointer-events': 'none' }, null, word);
  }
  const spans = list => list.map((s, i) => [s[0], i + 1 < list.length ? list[i + 1][0] : whole, s[1]]).filter(s => s[2]);
  const span = ms => ms >= 1000 ? (ms / 1000).toFixed(ms < 10000 ? 2 : 1) + ' s' : ms.toFixed(ms < 10 ? 1 : 0) + ' ms';
  const STATE = { running: 'var(--run)', panicked: 'var(--fail)', incoming: 'var(--in)' };
  const idOf = l => (/"id":\s*(\d+)/.exec(l[4]) || [])[1];
  const marks = lines.map((l, i) => [l[0], i]).filter(([, i]) => 'e>(s'.includes(lines[i][2])).sort((a, b) => a[0] - b[0]);

  function label(y, word, strong) {
    if (gutter) el('text', { x: strong ? 6 : 14, y, class: strong ? 'l' : 'd' }, null, word);
  }
  function head(y, word) {
    if (gutter) return y;
    el('text', { x: 4, y: y + 10, class: 'l' }, null, word);
    return y + 14;
  }
  function axis(height) {
    const pieces = [1, 2, 5], rough = (to - from) / Math.max(2, (width - gutter) / 90);
    let step = 1e-3;
    while (!pieces.some(p => p * step >= rough)) step *= 10;
    step *= pieces.find(p => p * step >= rough);
    for (let t = Math.ceil(from / step) * step; t <= to; t += step) {
      el('line', { x1: x(t), x2: x(t), y1: 18, y2: height, stroke: 'var(--line)' });
      el('text', { x: x(t) + 3, y: 13, class: 'd' }, null, step >= 1000 ? (t / 1000).toFixed(0) + ' s' : +t.toFixed(3) + ' ms');
    }
  }
  function vm(n, y) {
    const v = vms[n], name = v.name + (v.version ? ' ' : '');
    y = head(y, name + (v.version || ''));
    label(y + 11, v.name, true);
    label(y + 27, v.version ? 'QEMU ' + v.version : '');
    for (const [a, b, word] of spans(v.state)) bar(a, b, y, 14, STATE[word] || 'var(--stop)', word, { 'data-tip': v.name + ': ' + word + ' for ' + span(b - a) });
    y += 17;
    for (const [a, b, word] of spans(v.migration)) bar(a, b, y, 14, word === 'colo' ? 'var(--colo)' : word === 'failed' ? 'var(--fail)' : 'var(--mig)', word, { 'data-tip': v.name + ': migration ' + word + ' for ' + span(b - a) });
    if (v.migration.length) y += 17;
    if (v.checkpoints.length) {
      label(y + 11, 'checkpoints');
      let count = v.completed - v.checkpoints.filter(c => c[1] !== null).length;
      for (const [a, b] of v.checkpoints) {
        const cut = b === null, word = cut ? 'incomplete' : '' + ++count;
        bar(a, cut ? a + (to - from) / 80 : b, y, 14, 'var(--cp)', word, { class: 'checkpoint', 'fill-opacity': cut ? .45 : 1, 'data-tip': v.name + (cut ? ': an incomplete checkpoint, STOP at ' + span(a) : ': checkpoint ' + word + ', STOP to RESUME ' + span(b - a)) });
      }
      y += 17;
    }
    label(y + 11, 'QMP, events');
    const replies = {};
    for (const [l] of lanes[n]) if (l[2] === '<') replies[idOf(l)] = l;
    for (const [l, i] of lanes[n]) if (l[2] === '>') {
      const reply = idOf(l) && replies[idOf(l)], end = reply ? reply[0] : l[0];
      bar(l[0], end, y + 1, 6, reply && reply[3] ? 'var(--fail)' : 'var(--cmd)', '', { 'data-i': i });
    }
    let before = -9;
    for (const [l, i] of lanes[n]) if (l[2] === 'e' && inView(l[0], l[0])) {
      const at = x(l[0]);
      if (at - before < 1 && to - from > whole / 50) continue;
      before = at;
      el('path', { d: `M${at} ${y + 7}l4 4l-4 4l-4-4z`, fill: 'var(--ev)', 'data-i': i });
    }
    y += 18;
    before = -9;
    let any = false;
    for (const [l, i] of lanes[n]) if ('ts'.includes(l[2])) {
      any = true;
      if (!inView(l[0], l[0])) continue;
      const at = x(l[0]);
      if (at - before < 1.6) continue;
      before = at;
      el('rect', { x: at, y, width: 1.3, height: 9, fill: l[2] === 't' ? 'var(--tick)' : 'var(--fg)', class: 'mark', 'data-i': i });
    }
    if (any) { label(y + 9, 'ticks, serial'); y += 12; }
    return y + 10;
  }
  // The yank, the failover, and the survivor's first tick after it: each a labelled line through all lanes.
  function turningPoints(height) {
    const rows = [-1e9, -1e9, -1e9];
    const say = (t, word, i, kind) => {
      if (!inView(t, t)) return;
      const at = x(t), long = word.length * 6.6 + 8, left = at + long > width, start = left ? at - long : at;
      const colour = kind === 'tick' ? 'var(--tick)' : 'var(--yank)';
      el('line', { x1: at, x2: at, y1: 18, y2: height, stroke: colour, 'stroke-width': 1.5, 'stroke-dasharray': kind === 'tick' ? '3 3' : 'none', class: kind, 'data-i': i });
      if (!word) return;
      let row = rows.findIndex(end => start > end);
      if (row < 0) row = rows.indexOf(Math.min(...rows));
      rows[row] = start + long;
      el('text', { x: at + (left ? -4 : 4), y: 28 + row * 12, class: 'l', 'text-anchor': left ? 'end' : 'start', style: 'fill:' + colour, 'data-i': i }, null, word);
    };
    lanes.forEach((own, n) => {
      const asked = own.find(([l]) => l[2] === '>' && l[3] === 'x-colo-lost-heartbeat');
      const yank = own.filter(([l]) => l[2] === '>' && l[3] === 'yank' && (!asked || l[0] <= asked[0][0])).pop();
      const near = yank && asked && x(asked[0][0]) - x(yank[0][0]) < 60;
      if (yank) say(yank[0][0], (near ? 'yank, failover → ' : 'yank → ') + vms[n].name, yank[1], 'yank');
      if (!asked) return;
      say(asked[0][0], near ? '' : 'failover → ' + vms[n].name, asked[1], 'failover');
      // Ticks of a secondary between the yank and the failover do not count.
      const since = (yank || asked)[0][0], tick = own.find(([l]) => l[2] === 't' && l[0] > asked[0][0]);
      if (tick) say(tick[0][0], 'first tick +' + span(tick[0][0] - since), tick[1], 'tick');
    });
  }
  function stepLane(y) {
    y = head(y, 'steps');
    label(y + 12, 'steps', true);
    // Steps that run at the same time have rows of their own: -1, -2 and so on.
    const open = {}, rows = -Math.min(-1, ...steps.map(([l]) => l[1]));
    const one = (l, i, end, outcome, why) => bar(l[0], end, y - 18 * (l[1] + 1), 16, outcome === 'failed' ? 'var(--fail)' : outcome === 'skipped' || outcome === 'cancelled' ? 'var(--stop)' : 'var(--mig)', l[3], { class: 'step ' + outcome, stroke: 'var(--bg)', 'stroke-width': .6, 'data-i': i, 'data-tip': l[3] + '\n' + outcome + ', ' + span(end - l[0]) + (why ? '\n' + why : '') });
    let failed = null;
    for (const [l, i] of steps) {
      if (l[2] === '(') open[l[1]] = [l, i];
      else if (l[2] === ')' && open[l[1]]) {
        one(...open[l[1]], l[0], l[4], l[3]);
        if (l[4] === 'failed') failed = l;
        delete open[l[1]];
      }
    }
    for (const row in open) one(...open[row], whole, 'cut off', '');
    return [y + 8 + 18 * rows, failed];
  }
  function draw() {
    width = host.clientWidth || 800;
    gutter = width > 640 ? 96 : 0;
    svg = document.createElementNS(NS, 'svg');
    svg.setAttribute('role', 'img');
    svg.setAttribute('aria-label', 'timeline of the case; the transcript below has the same data as text');
    const labels = lines.some(l => l[2] === '>' && l[3] === 'yank' || l[3] === 'x-colo-lost-heartbeat');
    let y = labels ? 58 : 26, failed;
    const back = el('g', {});
    [y, failed] = stepLane(y);
    vms.forEach((_, n) => { y = vm(n, y); });
    story.others.forEach((name, n) => {
      y = head(y, name);
      label(y + 11, name);
      let before = -9;
      for (const [l, i] of others[n]) if (inView(l[0], l[0]) && x(l[0]) - before > 3) {
        before = x(l[0]);
        el('circle', { cx: before, cy: y + 7, r: 4, fill: 'var(--flaky)', 'data-i': i });
      }
      y += 20;
    });
    const main = svg;
    svg = back; axis(y); svg = main;
    if (failed && inView(failed[0], failed[0])) el('line', { x1: x(failed[0]), x2: x(failed[0]), y1: 18, y2: y, stroke: 'var(--fail)', 'stroke-width': 2 });
    turningPoints(y);
    if (cursor >= 0 && inView(marks[cursor][0], marks[cursor][0])) el('line', { x1: x(marks[cursor][0]), x2: x(marks[cursor][0]), y1: 0, y2: y, stroke: 'var(--fg)' });
    svg.setAttribute('height', y);
    svg.setAttribute('viewBox', `0 0 ${width} ${y}`);
    host.replaceChildren(svg);
  }
  function view(a, b) {
    const size = Math.min(Math.max(b - a, whole / 1e5), whole);
    from = Math.min(Math.max(a, 0), whole - size);
    to = from + size;
    draw();
  }
  const zoom = (by, around) => {
    const at = around === undefined ? (from + to) / 2 : around;
    view(at - (at - from) * by, at + (to - at) * by);
  };
  const told = i => {
    const l = lines[i], who = l[1] < 0 ? 'step' : l[1] < vms.length ? vms[l[1]].name : story.others[l[1] - vms.length];
    return span(l[0]) + '  ' + who + '\n' + (l[2] === 't' ? 'tick ' + l[3] : l[4] && !'()'.includes(l[2]) ? l[4] : l[3]);
  };
  host.onwheel = e => { if (e.ctrlKey || e.shiftKey) { e.preventDefault(); zoom(e.deltaY > 0 ? 1.3 : .77, time(e.offsetX)); } };
  host.onpointermove = e => {
    const mark = e.target.closest('[data-tip],[data-i]');
    tip(mark ? mark.dataset.tip || told(+mark.dataset.i) : '', e.clientX, e.clientY);
    if (drag !== null && chosen) { const a = Math.min(drag, e.offsetX); chosen.setAttribute('x', a); chosen.setAttribute('width', Math.abs(e.offsetX - drag)); }
  };
  host.onpointerleave = () => tip('');
  let drag = null, chosen = null;
  host.onpointerdown = e => {
    if (e.button || e.pointerType === 'touch') return;
    drag = e.offsetX;
    chosen = el('rect', { x: drag, y: 0, width: 0, height: '100%', fill: 'var(--link)', opacity: .2, 'pointer-events': 'none' });
    host.setPointerCapture(e.pointerId);
  };
  host.onpointerup = e => {
    if (drag === null) return;
    const start = drag;
    drag = null;
    if (chosen) chosen.remove();
    if (Math.abs(e.offsetX - start) > 6) { const t = [time(start), time(e.offsetX)].sort((a, b) => a - b); view(t[0], t[1]); }
  };
  host.onpointercancel = () => { drag = null; if (chosen) chosen.remove(); };
  host.onclick = e => {
    const hit = document.elementFromPoint(e.clientX, e.clientY), mark = hit && hit.closest('[data-i]');
    if (mark) picked(+mark.dataset.i);
  };
  host.ondblclick = () => view(0, whole);
  const resized = new ResizeObserver(() => { if (host.isConnected && host.clientWidth !== width) draw(); });
  resized.observe(host);
  draw();
  return {
    zoom, end: () => resized.disconnect(), all: () => view(0, whole), view: () => [from, to],
    move: share => view(from + (to - from) * share, to + (to - from) * share),
    near: i => { const t = lines[i][0], size = Math.min(to - from, whole / 4); view(t - size / 2, t + size / 2); },
    next: by => {
      if (!marks.length) return;
      if (cursor < 0) cursor = by > 0 ? marks.findIndex(m => m[0] >= from) - 1 : marks.length;
      cursor = Math.min(Math.max(cursor + by, 0), marks.length - 1);
      const t = marks[cursor][0];
      if (!inView(t, t)) view(t - (to - from) / 2, t + (to - from) / 2); else draw();
      const box = host.getBoundingClientRect();
      tip(told(marks[cursor][1]), box.left + x(t), box.top + 30);
    },
    pick: () => { if (cursor >= 0) picked(marks[cursor][1]); },
  };
}
