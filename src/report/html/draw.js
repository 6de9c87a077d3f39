// Draws lanes on a canvas. Only what is in view is drawn, and of items on the same pixel only one.
const AXIS = 22, LABEL = 15;
const COLORS = ['text', 'dim', 'bg', 'panel', 'line', 'grid', 'accent', 'fail', 'step', 'running', 'paused', 'incoming',
  'migration', 'colo', 'checkpoint', 'cut', 'command', 'event', 'late', 'tick', 'trace', 'fault', 'link', 'client', 'mark'];

let palette = {};
function readPalette() {
  const style = getComputedStyle(document.documentElement);
  palette = Object.fromEntries(COLORS.map(name => [name, style.getPropertyValue('--' + name).trim()]));
}

// `view` is {from, to, width, height, gutter, scroll, top}: `top` is the height of the axis and the labels.
function drawLanes(ctx, model, view, extra) {
  const { width, height } = view;
  ctx.clearRect(0, 0, width, height);
  ctx.font = '11px system-ui, sans-serif';
  ctx.textBaseline = 'middle';
  const x = t => view.gutter + (t - view.from) / (view.to - view.from) * (width - view.gutter);
  ctx.save();
  ctx.beginPath();
  ctx.rect(0, view.top, width, height - view.top);
  ctx.clip();
  drawGrid(ctx, view, x);
  drawFailures(ctx, model, view, x);
  for (const lane of model.lanes) {
    const y = view.top + lane.y - view.scroll;
    if (y + lane.h < view.top || y > height) continue;
    ctx.save();
    ctx.beginPath();
    ctx.rect(view.gutter, 0, width - view.gutter, height);
    ctx.clip();
    DRAW[lane.kind](ctx, lane, y, view, x);
    ctx.restore();
    drawLabel(ctx, lane, y, view);
  }
  drawLines(ctx, model, view, x);
  ctx.restore();
  drawAxis(ctx, view, x);
  drawMarkLabels(ctx, model, view, x);
  drawCursor(ctx, view, x, extra);
}

function drawLabel(ctx, lane, y, view) {
  if (!lane.label) return;
  ctx.textAlign = 'left';
  ctx.fillStyle = lane.strong ? palette.text : palette.dim;
  ctx.font = (lane.strong ? '600 ' : '') + '11px system-ui, sans-serif';
  ctx.fillText(fit(ctx, lane.label, view.gutter - 14), lane.strong ? 8 : 14, y + lane.h / 2);
  ctx.font = '11px system-ui, sans-serif';
}

// The text, shortened to a width.
function fit(ctx, text, width) {
  if (ctx.measureText(text).width <= width) return text;
  let keep = Math.max(1, Math.floor(text.length * width / ctx.measureText(text).width));
  while (keep > 1 && ctx.measureText(text.slice(0, keep) + '…').width > width) keep -= 1;
  return text.slice(0, keep) + '…';
}

// The first item that may be in view: items of a lane do not overlap much, so one before it is enough.
const firstIn = (items, from) => Math.max(0, lastUntil(items, from, item => item.a));

const DRAW = {
  bars(ctx, lane, y, view, x) {
    let end = -1, before = '';
    const radius = lane.thin ? 2 : 3;
    // Commands overlap, steps and states do not.
    for (let i = lane.thin ? 0 : firstIn(lane.items, view.from); i < lane.items.length; i++) {
      const item = lane.items[i];
      if (item.a > view.to) break;
      if (item.b < view.from) continue;
      const left = Math.max(x(item.a), view.gutter - 4), right = Math.min(Math.max(x(item.b), left + 2), view.width + 4);
      if (right <= end && item.fill === before) continue;
      end = right;
      before = item.fill;
      ctx.fillStyle = palette[item.fill];
      ctx.beginPath();
      ctx.roundRect(left, y, right - left - (right - left > 4 ? 1 : 0), lane.h, Math.min(radius, (right - left) / 2));
      ctx.fill();
      const from = Math.max(left, view.gutter);
      if (item.word && !lane.thin && right - from > 18) {
        ctx.fillStyle = item.fill === 'fail' ? palette.bg : palette.text;
        const word = fit(ctx, item.word, right - from - 8);
        if (word.length > 2 || word === item.word) ctx.fillText(word, from + 4, y + lane.h / 2 + .5);
      }
    }
  },
  points(ctx, lane, y, view, x) {
    let before = -9;
    const middle = y + lane.h / 2;
    for (let i = firstIn(lane.items, view.from); i < lane.items.length; i++) {
      const item = lane.items[i], at = x(item.a);
      if (item.a > view.to) break;
      if (at - before < 2 || item.a < view.from) continue;
      before = at;
      ctx.fillStyle = palette[item.fill || (item.late ? 'late' : 'event')];
      ctx.beginPath();
      ctx.moveTo(at, middle - 4.5);
      ctx.lineTo(at + 4.5, middle);
      ctx.lineTo(at, middle + 4.5);
      ctx.lineTo(at - 4.5, middle);
      ctx.fill();
    }
  },
  ticks(ctx, lane, y, view, x) {
    let before = -9;
    for (let i = firstIn(lane.items, view.from); i < lane.items.length; i++) {
      const item = lane.items[i], at = x(item.a);
      if (item.a > view.to) break;
      if (at - before < 2 || item.a < view.from) continue;
      before = at;
      ctx.fillStyle = palette[item.fill];
      ctx.fillRect(at, y, 1.5, lane.h);
    }
  },
  rates(ctx, lane, y, view, x) {
    ctx.fillStyle = palette.link;
    for (let i = firstIn(lane.items, view.from); i < lane.items.length; i++) {
      const item = lane.items[i];
      if (item.a > view.to) break;
      const h = Math.max(1, lane.h * item.share), left = x(item.a);
      ctx.globalAlpha = .55;
      ctx.fillRect(left, y + lane.h - h, Math.max(1, x(item.b) - left), h);
      ctx.globalAlpha = 1;
    }
  },
};

// The lines of the grid: their times, and what the axis says, which is another time in a comparison.
function gridTimes({ from, to, width, gutter, offset }) {
  const rough = (to - from) / Math.max(2, (width - gutter) / 100), size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find(piece => piece * size >= rough) * size, times = [];
  for (let n = Math.ceil((from + offset) / step); n * step <= to + offset; n++) times.push({ t: n * step - offset, said: n * step, step });
  return times;
}

function drawGrid(ctx, view, x) {
  ctx.fillStyle = palette.grid;
  for (const { t } of gridTimes(view)) ctx.fillRect(Math.round(x(t)), view.top, 1, view.height);
  ctx.fillRect(view.gutter - 1, view.top, 1, view.height);
}

function drawAxis(ctx, view, x) {
  ctx.fillStyle = palette.dim;
  ctx.textAlign = 'left';
  for (const { t, said, step } of gridTimes(view)) {
    const word = step >= 1000 ? (said / 1000).toFixed(0) + ' s' : step >= 1 ? said.toFixed(0) + ' ms' : +said.toFixed(3) + ' ms';
    if (x(t) + 60 < view.width) ctx.fillText(word, Math.round(x(t)) + 4, AXIS / 2);
    ctx.fillRect(Math.round(x(t)), 3, 1, AXIS - 6);
  }
  ctx.fillStyle = palette.line;
  ctx.fillRect(0, view.top - 1, view.width, 1);
}

const markColor = mark => palette[{ failed: 'fail', tick: 'tick', colo: 'dim', checkpoint: 'dim', link: 'link' }[mark.kind] || 'mark'];

// The others are only for alignment.
const isDrawn = mark => mark.kind !== 'colo' && mark.kind !== 'checkpoint';

// A failed step is a band through all lanes.
function drawFailures(ctx, model, view, x) {
  for (const mark of model.marks) {
    if (mark.kind !== 'failed' || mark.a < view.from || mark.from > view.to) continue;
    const left = Math.max(x(mark.from), view.gutter), right = Math.max(x(mark.a), left + 6);
    ctx.globalAlpha = .13;
    ctx.fillStyle = palette.fail;
    ctx.fillRect(left, view.top, right - left, view.height);
    ctx.globalAlpha = 1;
  }
}

function drawLines(ctx, model, view, x) {
  for (const mark of model.marks) {
    if (mark.a < view.from || mark.a > view.to || !isDrawn(mark)) continue;
    ctx.fillStyle = markColor(mark);
    ctx.fillRect(x(mark.a) - (mark.kind === 'failed' ? 1 : .75), view.top, mark.kind === 'failed' ? 2.5 : 1.5, view.height);
  }
}

// The labels stand next to their lines, above the lanes, each on a row that is free, the most important ones first;
// returns how many rows they need.
const RANKS = ['failed', 'failover', 'tick', 'yank'];
const rankOf = mark => (RANKS.indexOf(mark.kind) + 1 || RANKS.length + 1);

function placeLabels(ctx, model, view, x) {
  const rows = [], placed = [];
  ctx.font = '600 11px system-ui, sans-serif';
  const marks = model.marks.filter(mark => mark.a >= view.from && mark.a <= view.to && isDrawn(mark));
  for (const mark of marks.sort((one, other) => rankOf(one) - rankOf(other) || one.a - other.a)) {
    const text = fit(ctx, mark.text, 260), size = ctx.measureText(text).width + 10, at = x(mark.a);
    const left = at + size + 2 > view.width ? at - size - 2 : at + 2;
    const isFree = row => row.every(([from, to]) => left > to + 4 || left + size + 4 < from);
    let row = rows.findIndex(isFree);
    if (row < 0 && rows.length < (view.height < 360 ? 3 : 4)) row = rows.push([]) - 1;
    if (row < 0) continue;
    rows[row].push([left, left + size]);
    placed.push({ mark, text, left, size, row, at });
  }
  ctx.font = '11px system-ui, sans-serif';
  return { placed, rows: rows.length };
}

function drawMarkLabels(ctx, model, view, x) {
  const { placed } = placeLabels(ctx, model, view, x);
  ctx.textAlign = 'left';
  ctx.font = '600 11px system-ui, sans-serif';
  for (const { mark, row, at } of placed) {
    const y = AXIS + row * LABEL;
    ctx.fillStyle = markColor(mark);
    ctx.fillRect(at - .75, y, 1.5, view.top - y);
  }
  for (const { mark, text, left, size, row } of placed) {
    const y = AXIS + row * LABEL;
    ctx.beginPath();
    ctx.roundRect(left, y, size, LABEL - 1, 3);
    ctx.fillStyle = palette.bg;
    ctx.fill();
    ctx.fillStyle = markColor(mark);
    ctx.globalAlpha = .14;
    ctx.fill();
    ctx.globalAlpha = 1;
    ctx.fillText(text, left + 5, y + LABEL / 2);
  }
  ctx.font = '11px system-ui, sans-serif';
}

function drawCursor(ctx, view, x, { cursor, ruler }) {
  if (ruler) {
    const [a, b] = [...ruler].sort((one, two) => one - two), left = Math.max(x(a), view.gutter), right = Math.min(x(b), view.width);
    ctx.fillStyle = palette.accent;
    ctx.globalAlpha = .12;
    ctx.fillRect(left, AXIS, right - left, view.height);
    ctx.globalAlpha = 1;
    for (const at of [left, right]) ctx.fillRect(at - .5, AXIS, 1, view.height);
    ctx.font = '600 12px system-ui, sans-serif';
    const word = span(b - a), size = ctx.measureText(word).width + 12;
    const from = Math.min(Math.max((left + right - size) / 2, view.gutter), view.width - size);
    ctx.beginPath();
    ctx.roundRect(from, 2, size, AXIS - 4, 4);
    ctx.fill();
    ctx.fillStyle = palette.bg;
    ctx.fillText(word, from + 6, AXIS / 2);
    ctx.font = '11px system-ui, sans-serif';
  }
  if (cursor !== null && cursor >= view.from && cursor <= view.to) {
    ctx.fillStyle = palette.accent;
    // The labels of the marks stay readable.
    ctx.fillRect(x(cursor) - .75, 0, 1.5, AXIS);
    ctx.fillRect(x(cursor) - .75, view.top, 1.5, view.height);
    ctx.beginPath();
    ctx.moveTo(x(cursor) - 5, 0);
    ctx.lineTo(x(cursor) + 5, 0);
    ctx.lineTo(x(cursor), 7);
    ctx.fill();
  }
}
