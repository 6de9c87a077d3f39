// A list of which only the visible rows are in the document.
//
// `height` is the height of an item in pixels, `render` gives its HTML. The host has a scroll bar of its own.
function Rows(host, { height, render }) {
  const OVERSCAN = 12;
  const inner = document.createElement('div');
  inner.className = 'inner';
  host.replaceChildren(inner);
  let items = [], tops = [0], drawn = [0, 0], seen = 0, wanted = -1;

  function set(list) {
    items = list;
    tops = new Array(items.length + 1);
    tops[0] = 0;
    for (let i = 0; i < items.length; i++) tops[i + 1] = tops[i] + height(items[i]);
    inner.style.height = tops[items.length] + 'px';
    redraw();
  }

  // The index of the row at a height.
  function rowAt(y) {
    let low = 0, high = items.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (tops[middle + 1] <= y) low = middle + 1; else high = middle;
    }
    return low;
  }

  function visible() {
    const top = host.scrollTop;
    return [rowAt(top), Math.min(items.length, rowAt(top + host.clientHeight) + 1)];
  }

  function draw() {
    const [first, last] = visible();
    if (first < drawn[0] || last > drawn[1]) redraw();
  }

  function redraw() {
    const [first, last] = visible();
    drawn = [Math.max(0, first - OVERSCAN), Math.min(items.length, last + OVERSCAN)];
    const focused = inner.contains(document.activeElement) && document.activeElement.closest('[data-i]');
    let html = '';
    for (let i = drawn[0]; i < drawn[1]; i++) {
      html += `<div class="item" data-i="${i}" style="top:${tops[i]}px;height:${tops[i + 1] - tops[i]}px">${render(items[i], i)}</div>`;
    }
    inner.innerHTML = html;
    if (focused) inner.querySelector(`[data-i="${focused.dataset.i}"] a`)?.focus({ preventScroll: true });
  }

  // Scrolls to a row, unless it can be seen.
  function show(i, always) {
    if (i < 0 || i >= items.length) return;
    // While the list is hidden, it cannot be scrolled.
    if (!host.clientHeight) { wanted = i; return; }
    const top = host.scrollTop, size = host.clientHeight;
    if (always || tops[i] < top || tops[i + 1] > top + size) {
      host.scrollTop = (tops[i] + tops[i + 1] - size) / 2;
    }
    redraw();
  }

  const resized = new ResizeObserver(() => {
    if (host.clientHeight === seen) return;
    seen = host.clientHeight;
    if (wanted >= 0 && seen) { show(wanted, true); wanted = -1; } else redraw();
  });
  host.addEventListener('scroll', draw, { passive: true });
  resized.observe(host);
  return {
    set, redraw, show,
    item: i => items[i],
    count: () => items.length,
    indexOf: node => +(node.closest('.item')?.dataset.i ?? -1),
    end: () => resized.disconnect(),
  };
}
