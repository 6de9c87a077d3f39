// The list of the steps of an attempt: those of a template or a block are indented below its name.
const STATES = { done: '✓', failed: '✗', skipped: '–', cancelled: '–', running: '…' };

// The event stream has the place of each step: another file is a template, a larger column is a block.
function stepRows(attempt) {
  const rows = [], open = [], times = new Map(), last = new Map();
  const places = attempt.steps.map(step => {
    const [, file, , column] = /^(.*):(\d+):(\d+)$/.exec(step.place) || [null, '', '', '1'];
    return { file, column: +column };
  });
  places.forEach(({ file }, i) => last.set(file, i));
  attempt.steps.forEach((step, i) => {
    const { file, column } = places[i];
    if (step.finally && !rows.some(row => row.finally)) {
      open.length = 0;
      rows.push({ heading: 'finally', title: 'finally', depth: 0, finally: true });
    }
    const at = open.findLastIndex(block => block.file === file && block.column <= column);
    if (at >= 0) open.length = at + 1;
    // A file whose steps come again later contains those of the files in between.
    else while (open.length && open.at(-1).file !== file && last.get(open.at(-1).file) < i) open.pop();
    if (open.at(-1)?.file !== file) {
      if (file !== attempt.file) rows.push({ heading: file.split('/').pop(), title: file, depth: open.length });
      open.push({ file, column });
    } else if (column > open.at(-1).column) {
      open.push({ file, column });
    }
    times.set(step.place, (times.get(step.place) || 0) + 1);
    rows.push({ step, i, depth: open.length, times: times.get(step.place) });
  });
  return rows;
}

function Steps(host, attempt, picked) {
  const rows = stepRows(attempt), longest = Math.max(1, ...attempt.steps.map(step => (step.ended ?? attempt.length) - step.began));
  let selected = -1;
  const list = Rows(host, { height: () => 26, render });
  list.set(rows);

  function render(row, n) {
    const indent = `style="padding-left:${8 + Math.min(row.depth - (row.step ? 1 : 0), 5) * 12}px"`;
    if (!row.step) return `<div class="heading" ${indent} title="${esc(row.title)}">${esc(row.heading)}</div>`;
    const { step } = row, state = step.outcome || 'running', took = (step.ended ?? attempt.length) - step.began;
    const share = Math.max(2, took / longest * 56);
    return `<div class="step ${state}${n === selected ? ' on' : ''}" ${indent} title="${esc(step.title + '\n' + step.place)}">` +
      `<span class="state" role="img" aria-label="${state}">${STATES[state]}</span><span class="title">${esc(step.title)}` +
      `${row.times > 1 ? ` <span class="times">#${row.times}</span>` : ''}</span><span class="time">${span(took)}</span>` +
      `<i class="share" style="width:${share.toFixed(1)}px"></i></div>`;
  }
  host.onclick = e => {
    const row = rows[list.indexOf(e.target)];
    if (row && row.step) picked(row.i);
  };
  host.onkeydown = e => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[e.key];
    if (!by) return;
    e.preventDefault();
    e.stopPropagation();
    let at = selected + by;
    while (rows[at] && !rows[at].step) at += by;
    if (rows[at]) picked(rows[at].i);
  };
  return {
    // Selects the step with this index, or none.
    select(i) {
      selected = rows.findIndex(row => row.step && row.i === i);
      list.show(selected);
      list.redraw();
    },
    redraw: list.redraw,
    end: list.end,
  };
}

// The index of the step that runs at a time: the latest that began before it.
function stepAt(attempt, at) {
  let found = -1;
  attempt.steps.forEach((step, i) => {
    if (step.began <= at && (step.ended ?? attempt.length) >= at) found = i;
  });
  return found >= 0 ? found : attempt.steps.findLastIndex(step => step.began <= at);
}
