// The transcript of an attempt, in the order of QEMU's clock. A line that was seen late has its delay.
const SIGNS = { command: '→', reply: '←', event: '●', tick: '·', serial: '|', trace: '∘', process: '■', began: '▶', ended: '◀', change: '⇄', note: '!' };
const GROUPS = { command: 'qmp', reply: 'qmp', event: 'events', tick: 'ticks', serial: 'serial', trace: 'traces', began: 'steps', ended: 'steps' };
const GROUP_NAMES = ['qmp', 'events', 'ticks', 'serial', 'traces', 'steps', 'other'];
const groupOf = line => GROUPS[line.kind] || 'other';

// A line as text.
function textOf(line) {
  switch (line.kind) {
    case 'tick': return 'tick ' + line.text;
    case 'event': return line.text;
    case 'command': return line.message;
    case 'reply': return line.message;
    case 'began':
    case 'change': return line.text + ' · ' + line.message;
    default: return line.text || line.message;
  }
}

const isWrong = line => line.kind === 'ended' && line.text.startsWith('failed') || line.kind === 'reply' && line.text;

function Transcript(host, attempt, picked) {
  const { lines, left_out: gone } = attempt;
  const words = lines.map(line => (sourceOf(attempt, line) + ' ' + textOf(line)).toLowerCase());
  let selected = -1, near = -1, off = new Set(), search = '';
  const list = Rows(host, { height: () => 21, render });

  function sift() {
    const wanted = search.toLowerCase();
    const items = [];
    for (let i = 0; i < lines.length; i++) {
      if (gone.count && i === gone.before) items.push(-1);
      if (!off.has(groupOf(lines[i])) && (!wanted || words[i].includes(wanted))) items.push(i);
    }
    list.set(items);
    return items.length;
  }

  function render(i) {
    if (i < 0) return `<div class="line gone">… ${gone.count} lines left out; see the artifacts</div>`;
    const line = lines[i], wrong = isWrong(line);
    const late = line.delay ? `<b class="late" title="seen ${span(line.delay)} after QEMU emitted it">+${span(line.delay)} late</b>` : '';
    return `<div class="line k-${line.kind}${wrong ? ' wrong' : ''}${i === selected ? ' on' : i === near ? ' near' : ''}">` +
      `<span class="at">${line.at.toFixed(1)}</span><span class="who">${esc(sourceOf(attempt, line))}</span>` +
      `<span class="sign" aria-hidden="true">${SIGNS[line.kind]}</span><span class="said">${late}${esc(textOf(line))}</span></div>`;
  }

  // The position in the list of the last line that is shown and not after this one.
  function positionOf(index) {
    let low = 0, high = list.count();
    while (low < high) {
      const middle = (low + high) >> 1;
      if (list.item(middle) <= index) low = middle + 1; else high = middle;
    }
    return low - 1;
  }

  host.onclick = e => {
    if (String(getSelection())) return;
    const i = list.item(list.indexOf(e.target));
    if (i >= 0) picked(i);
  };
  host.onkeydown = e => {
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: 20, PageUp: -20 }[e.key];
    if (!by) return;
    e.preventDefault();
    e.stopPropagation();
    const at = positionOf(Math.max(selected, near));
    const i = list.item(Math.max(0, Math.min(list.count() - 1, at + by)));
    if (i >= 0) picked(i);
  };
  sift();
  return {
    search: text => { search = text; return sift(); },
    toggle: (group, on) => { if (on) off.delete(group); else off.add(group); return sift(); },
    // Shows the line with this index; it is selected if it is the chosen one.
    show(index, chosen) {
      selected = chosen ? index : -1;
      near = chosen ? -1 : index;
      list.show(positionOf(index));
    },
    at: time => lastUntil(lines, time + 1e-6, line => line.at),
    text: () => Array.from({ length: list.count() }, (_, n) => list.item(n)).filter(i => i >= 0)
      .map(i => [moment(lines[i].at), sourceOf(attempt, lines[i]), SIGNS[lines[i].kind], textOf(lines[i])].join('\t')).join('\n'),
    redraw: list.redraw,
    end: list.end,
  };
}
