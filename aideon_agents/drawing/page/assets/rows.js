// A list of any length, of which only the visible rows are in the document.

const BEYOND = 10;

function windowed(scroller, body, height, top, draw) {
  const shown = new Map();
  let rows = [];
  function paint(fresh) {
    const first = Math.max(0, Math.floor((scroller.scrollTop - top) / height) - BEYOND);
    const last = Math.min(rows.length, Math.ceil((scroller.scrollTop + scroller.clientHeight) / height) + BEYOND);
    for (const [index, made] of shown) {
      if (fresh || index < first || index >= last) {
        made.remove();
        shown.delete(index);
      }
    }
    for (let index = last - 1; index >= first; index -= 1) {
      if (shown.has(index)) continue;
      const made = draw(rows[index], index);
      made.style.top = `${index * height}px`;
      body.insertBefore(made, shown.get(index + 1) ?? null);
      shown.set(index, made);
    }
  }
  scroller.addEventListener("scroll", oncePerFrame(() => paint(false)), { passive: true });
  new ResizeObserver(oncePerFrame(() => paint(false))).observe(scroller);
  return {
    show(all) {
      rows = all;
      body.style.height = `${rows.length * height}px`;
      paint(true);
    },
    // Scrolls a row into view and returns its element.
    reach(index) {
      const from = index * height, to = from + height + top;
      if (from < scroller.scrollTop) scroller.scrollTop = from;
      else if (to > scroller.scrollTop + scroller.clientHeight) scroller.scrollTop = to - scroller.clientHeight;
      paint(false);
      return shown.get(index);
    },
  };
}
