// The timeline: lanes on a canvas, with zoom, pan, a ruler and a cursor.
//
// `picked` is called with the item that was clicked, or the time. `moved` is called when the view changes.
function Timeline(host, model, { picked, moved = () => {}, offset = 0, minimum = 0, maximum = model.length * 1.01 }) {
  host.innerHTML = '<canvas aria-hidden="true"></canvas><div class="spacer" aria-hidden="true"></div>';
  const [canvas, spacer] = host.children, ctx = canvas.getContext('2d');
  // Times of the view are those of the attempt; `offset` moves them for a comparison.
  let from = minimum - offset, to = maximum - offset, cursor = null, ruler = null, drag = null, asked = 0;
  let width = 0, height = 0, gutter = 0, top = AXIS;
  const least = minimum - offset, most = maximum - offset, whole = Math.max(most - least, 1);
  const points = pointsOf(model);

  const x = t => gutter + (t - from) / (to - from) * (width - gutter);
  const time = px => from + (px - gutter) / (width - gutter) * (to - from);
  const view = () => ({ from, to, width, height, gutter, scroll: host.scrollTop, top, offset });

  function draw() {
    asked = 0;
    if (!host.isConnected) return;
    const scale = devicePixelRatio || 1;
    width = host.clientWidth;
    height = host.clientHeight;
    if (!width || !height) return;
    gutter = width > 600 ? 116 : 92;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
      canvas.style.width = width + 'px';
      canvas.style.height = height + 'px';
    }
    top = AXIS + placeLabels(ctx, model, view(), x).rows * LABEL + 4;
    spacer.style.height = Math.max(0, model.height + top - height) + 'px';
    ctx.setTransform(scale, 0, 0, scale, 0, 0);
    drawLanes(ctx, model, view(), { cursor, ruler });
  }
  const redraw = () => { if (!asked) asked = requestAnimationFrame(draw); };

  function show(a, b, quiet) {
    const size = Math.min(Math.max(b - a, 0.05), whole);
    from = Math.min(Math.max(a, least), most - size);
    to = from + size;
    redraw();
    if (!quiet) moved(from + offset, to + offset);
  }
  const zoom = (by, at = cursor !== null && cursor > from && cursor < to ? cursor : (from + to) / 2) =>
    show(at - (at - from) * by, at + (to - at) * by);
  const move = share => show(from + (to - from) * share, to + (to - from) * share);

  function setCursor(at) {
    cursor = at;
    if (at !== null && (at < from || at > to)) {
      const size = to - from;
      show(at - size / 2, at + size / 2);
    }
    redraw();
  }

  // The item under the pointer.
  function hit(px, py) {
    if (py < top || px < gutter) return markAt(px, py);
    const y = py - top + host.scrollTop, t = time(px), slack = (to - from) / (width - gutter) * 5;
    const lane = model.lanes.find(lane => y >= lane.y - 1 && y <= lane.y + lane.h + 1);
    if (!lane) return markAt(px, py);
    let best = null, near = Infinity;
    for (let i = lastUntil(lane.items, t + slack, item => item.a), tried = 0; i >= 0 && tried < 200; i--, tried++) {
      const item = lane.items[i], distance = item.b === undefined ? Math.abs(item.a - t) : t < item.a ? item.a - t : Math.max(0, t - item.b);
      if (distance <= slack && distance < near) [best, near] = [item, distance];
      if (near === 0 || item.a < t - slack && item.b === undefined) break;
    }
    return best || markAt(px, py);
  }
  const markAt = px => model.marks.find(mark => Math.abs(x(mark.a) - px) < 4) || null;

  function said(item) {
    const at = moment(item.a) + '  ';
    if (item.tip) return at + item.tip;
    if (item.text) return at + item.text;
    const line = model.attempt.lines[item.line];
    const late = line.delay ? `\nseen ${span(line.delay)} late` : '';
    return at + sourceOf(model.attempt, line) + '\n' + (line.kind === 'tick' ? 'tick ' + line.text : line.text || line.message) + late;
  }

  host.addEventListener('wheel', e => {
    e.preventDefault();
    if (e.shiftKey || Math.abs(e.deltaX) > Math.abs(e.deltaY)) move((e.deltaX || e.deltaY) / width);
    // A pinch on a touchpad is a wheel with Ctrl, in small steps.
    else zoom(Math.exp(Math.max(-100, Math.min(100, e.deltaY)) * (e.ctrlKey ? .012 : .0035)), time(Math.max(gutter, e.offsetX)));
  }, { passive: false });
  host.addEventListener('scroll', redraw, { passive: true });
  // Two fingers zoom: the times under them stay under them.
  const fingers = new Map();
  function pinch(e) {
    const sorted = () => [...fingers.values()].sort((a, b) => a - b), [a, b] = sorted();
    fingers.set(e.pointerId, e.offsetX);
    const [left, right] = sorted(), size = (to - from) * Math.max(b - a, 10) / Math.max(right - left, 10);
    const start = time((a + b) / 2) - ((left + right) / 2 - gutter) / (width - gutter) * size;
    show(start, start + size);
  }
  for (const kind of ['pointerup', 'pointercancel', 'pointerleave']) host.addEventListener(kind, e => fingers.delete(e.pointerId));
  host.addEventListener('pointerdown', e => {
    if (e.pointerType === 'touch' && fingers.set(e.pointerId, e.offsetX).size > 1) { drag = null; return; }
    if (e.button || e.offsetX > host.clientWidth || e.target === host && e.offsetX > width) return;
    drag = { x: e.offsetX, from, to, pans: e.pointerType === 'touch' || e.offsetY < AXIS, moved: false };
  });
  host.addEventListener('pointermove', e => {
    if (fingers.size > 1) { if (fingers.has(e.pointerId)) pinch(e); return; }
    if (drag && (drag.moved || Math.abs(e.offsetX - drag.x) > 4)) {
      if (!drag.moved) canvas.setPointerCapture(e.pointerId);
      drag.moved = true;
      tip('');
      if (drag.pans) {
        const by = (drag.x - e.offsetX) / (width - gutter) * (drag.to - drag.from);
        return show(drag.from + by, drag.to + by);
      }
      ruler = [time(Math.max(gutter, drag.x)), time(Math.max(gutter, Math.min(width, e.offsetX)))];
      return redraw();
    }
    const item = hit(e.offsetX, e.offsetY);
    canvas.style.cursor = item ? 'pointer' : 'crosshair';
    tip(item ? said(item) : '', e.clientX, e.clientY);
  });
  host.addEventListener('pointerup', e => {
    const was = drag;
    drag = null;
    if (!was || was.moved) return;
    const item = hit(e.offsetX, e.offsetY);
    ruler = e.shiftKey && cursor !== null ? [cursor, item ? item.a : time(e.offsetX)] : null;
    if (ruler) return redraw();
    if (item) picked(item);
    else if (e.offsetX > gutter) picked({ a: time(e.offsetX) });
    redraw();
  });
  host.addEventListener('pointercancel', () => { drag = null; });
  host.addEventListener('pointerleave', () => tip(''));
  host.addEventListener('dblclick', () => show(least, most));
  const resized = new ResizeObserver(draw);
  resized.observe(host);
  draw();

  return {
    zoom, move, draw, redraw, setCursor, x,
    y: lane => top + lane.y + lane.h / 2 - host.scrollTop,
    show: (a, b, quiet) => show(a - offset, b - offset, quiet),
    all: () => show(least, most),
    view: () => [from, to],
    clear: () => { const had = ruler !== null; ruler = null; redraw(); return had; },
    toRuler: () => { if (ruler) show(...[...ruler].sort((a, b) => a - b)); ruler = null; },
    measure: (a, b) => { ruler = [a, b]; redraw(); return span(Math.abs(b - a)); },
    // The next item after the cursor, or the one before it.
    next: by => {
      const at = cursor ?? (by > 0 ? from - 1e-6 : to);
      const i = by > 0 ? lastUntil(points, at + 1e-6, p => p.a) + 1 : lastUntil(points, at - 1e-6, p => p.a);
      if (points[i]) picked(points[i]);
    },
    end: () => resized.disconnect(),
  };
}

// What the keys [ and ] go through: commands, events, and steps.
function pointsOf(model) {
  const lanes = model.lanes.filter(lane => lane.kind !== 'ticks' && lane.kind !== 'rates');
  const items = lanes.flatMap(lane => lane.items.filter(item => item.line !== undefined || item.step !== undefined));
  return items.sort((a, b) => a.a - b.a);
}

function tip(text, x, y) {
  const box = $('tip');
  box.hidden = !text;
  if (!text) return;
  box.textContent = text;
  box.style.left = Math.max(4, Math.min(x + 12, innerWidth - box.offsetWidth - 6)) + 'px';
  const below = y + 16 + box.offsetHeight <= innerHeight;
  box.style.top = (below ? y + 16 : Math.max(4, y - box.offsetHeight - 10)) + 'px';
}

const LEGEND = [['running', 'running'], ['paused', 'paused'], ['colo', 'migration: colo'], ['checkpoint', 'checkpoint, STOP to RESUME'],
  ['command', 'command to reply'], ['event', 'event'], ['late', 'event seen late'], ['tick', 'tick'], ['trace', 'trace event of QEMU'], ['mark', 'yank, failover']];
const legend = () => LEGEND.map(([color, word]) => `<span><i style="background:var(--${color})"></i>${word}</span>`).join('');
