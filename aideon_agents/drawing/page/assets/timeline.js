// The timeline: a row for each group and node, and below it one for each call.

const ROW = 30, HEAD = 34;

// The position of a time, from 0 to 1. Hours in which a run waited take little room.
function clock(root) {
  const busy = [];
  const walk = (one) => {
    for (const call of one.calls) busy.push([call.start_ms, endOf(call)]);
    for (const span of one.spans) busy.push([span.start, span.end ?? lastMoment()]);
    one.children.forEach(walk);
  };
  walk(root);
  const whole = Math.max(1, lastMoment());
  busy.push([0, 0], [whole, whole]);
  busy.sort((a, b) => a[0] - b[0]);
  const gaps = [];
  let until = 0;
  for (const [from, to] of busy) {
    if (from > until) gaps.push([until, from]);
    until = Math.max(until, to);
  }
  const worked = whole - gaps.reduce((sum, [from, to]) => sum + to - from, 0);
  const cut = gaps.filter(([from, to]) => to - from > Math.max(5000, worked / 2));
  const room = Math.max(1, (whole - cut.reduce((sum, [from, to]) => sum + to - from, 0)) * 0.05);
  const pieces = [];
  let from = 0, at = 0;
  for (const [begin, end] of [...cut, [whole, whole]]) {
    pieces.push({ from, to: begin, at, wide: begin - from });
    at += begin - from;
    if (end > begin) pieces.push({ from: begin, to: end, at, wide: room, gap: true });
    at += end > begin ? room : 0;
    from = end;
  }
  const all = at || 1;
  const place = (ms) => {
    let low = 0, high = pieces.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (ms > pieces[middle].to) low = middle + 1;
      else high = middle;
    }
    const piece = pieces[low], long = piece.to - piece.from;
    return Math.min(1, (piece.at + (long ? ((ms - piece.from) / long) * piece.wide : 0)) / all);
  };
  return { place, pieces, all };
}

const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 18e5, 36e5, 72e5, 216e5, 432e5, 864e5];

function timelineView(grid, open) {
  const corner = [["node", "Node"], ["cost", "Cost"], ["time", "Elapsed", ELAPSED]].map(([kind, text, title]) => make("div", { role: "columnheader", class: `cell ${kind}`, text, title }));
  const axis = make("div", { role: "columnheader", class: "cell track axis", "aria-label": "When it ran" });
  const head = make("div", { role: "row", class: "row head", "aria-rowindex": "1" }, ...corner, axis);
  const lines = make("div", { class: "lines", "aria-hidden": "true" });
  const body = make("div", { class: "rows", role: "rowgroup" }, lines);
  grid.append(make("div", { role: "rowgroup", class: "headgroup" }, head), body);
  const list = windowed(grid, body, ROW, HEAD, draw);
  const shut = new Set(), callsShown = new Set();
  let rows = [], at = 0, time = null, zoom = 1, all = null;

  function flatten() {
    rows = [];
    const walk = (one) => {
      for (const child of one.children) {
        rows.push({ one: child, key: child.path });
        if (shut.has(child.path)) continue;
        if (all ?? callsShown.has(child.path)) {
          const calls = child.calls.map((call) => ({ one: child, call, key: call.call_id }));
          const tools = child.tools.map((tool) => ({ one: child, tool, key: tool.tool_call_id }));
          const begun = ({ call, tool }) => (call ?? tool).start_ms;
          rows.push(...[...calls, ...tools].sort((a, b) => begun(a) - begun(b)));
        }
        walk(child);
      }
    };
    walk(story.tree);
  }

  const isOpen = (row) => {
    if (row.call || row.tool || (!row.one.children.length && !row.one.calls.length)) return null;
    if (shut.has(row.key)) return false;
    return row.one.children.length > 0 || (all ?? callsShown.has(row.key));
  };

  function setOpen(row, wanted) {
    if (row.call || row.tool) return;
    if (all !== null) {
      if (all) story.tree.found.forEach((one, path) => callsShown.add(path));
      else callsShown.clear();
      all = null;
    }
    if (wanted) {
      shut.delete(row.key);
      if (row.one.calls.length) callsShown.add(row.key);
    } else {
      callsShown.delete(row.key);
      if (row.one.children.length) shut.add(row.key);
    }
    refresh();
  }

  const labels = () => Number.parseFloat(getComputedStyle(grid).getPropertyValue("--labels"));
  // Reading a width makes the browser lay the page out, so it is read once and not for every row.
  let wide = 0;
  const measure = () => { wide = Math.max(80, grid.clientWidth - labels()) * zoom; };

  function refresh() {
    const key = rows[at]?.key;
    flatten();
    const kept = rows.findIndex((row) => row.key === key);
    at = kept < 0 ? Math.min(at, Math.max(0, rows.length - 1)) : kept;
    time = clock(story.tree);
    measure();
    grid.style.setProperty("--track", `${wide}px`);
    grid.setAttribute("aria-rowcount", String(rows.length + 1));
    ticks();
    list.show(rows);
    point();
  }

  function ticks() {
    const marks = [];
    const step = STEPS.find((one) => (one / time.all) * wide >= 78) ?? STEPS.at(-1);
    for (const piece of time.pieces) {
      if (piece.gap) {
        const width = (piece.wide / time.all) * wide;
        marks.push({ x: (piece.at / time.all) * wide, gap: width, text: width > 50 ? duration(piece.to - piece.from) : "", title: `nothing ran for ${duration(piece.to - piece.from)}` });
      } else {
        for (let ms = Math.ceil(piece.from / step) * step; ms <= piece.to; ms += step) {
          marks.push({ x: time.place(ms) * wide, text: ms === 0 ? "0" : duration(ms) });
        }
      }
    }
    const made = (mark, text) => {
      const one = make("i", { class: mark.gap ? "gap" : null, title: mark.title, text });
      one.style.left = `${mark.x}px`;
      if (mark.gap) one.style.width = `${mark.gap}px`;
      return one;
    };
    axis.replaceChildren(...marks.map((mark) => made(mark, mark.x > wide - 44 ? "" : mark.text))); // no room for its text
    lines.replaceChildren(...marks.map((mark) => made(mark, "")));
  }

  function bar(from, to, kind, width) {
    const made = make("b", { class: kind });
    const left = time.place(from) * width, right = time.place(to) * width;
    made.style.left = `${left}px`;
    made.style.width = `${Math.max(3, right - left)}px`;
    return made;
  }

  const look = (call) => (FAILED.has(call.status) ? "failed" : call.status === "started" && !isOver() ? "runs" : ["cached", "cancelled", "started"].includes(call.status) ? "hollow" : "");

  // Bars that touch at this width become one, so that ten thousand calls need fewer elements.
  function merged(calls, width) {
    const bars = [];
    let last = null;
    for (const call of [...calls].sort((a, b) => a.start_ms - b.start_ms)) {
      const kind = look(call), from = call.start_ms, to = endOf(call);
      const near = last && time.place(from) * width - time.place(last.to) * width < 1.5;
      const small = last && (time.place(last.to) - time.place(last.from)) * width < 3 && (time.place(to) - time.place(from)) * width < 3;
      if (near && (last.kind === kind || (small && kind !== "failed"))) last.to = Math.max(last.to, to);
      else bars.push((last = { from, to, kind }));
    }
    return bars;
  }

  function draw(row, index) {
    const { one, call, tool } = row, width = wide, opened = isOpen(row);
    const track = make("div", { role: "gridcell", class: "cell track" });
    let name, cost, took, described;
    if (call) {
      const [word, tone] = call.status === "started" && isOver() ? ["no end recorded", "warning"] : STATUS[call.status];
      const round = one.rounds > 1 ? `round ${call.round} · ` : "";
      name = [make("span", { class: "words", text: `${round}${call.model}` }), call.status === "ok" ? null : badge(word, tone)];
      cost = money(call.nanos);
      took = call.status === "started" ? null : call.duration_ms;
      described = `${word}, from ${duration(call.start_ms)}`;
      const made = bar(call.start_ms, endOf(call), `call ${one.kind} ${look(call)}`, width);
      if (call.time_to_first_token_ms !== null && call.duration_ms) {
        const wait = make("i");
        wait.style.width = `${Math.min(100, (100 * call.time_to_first_token_ms) / call.duration_ms)}%`;
        made.append(wait);
      }
      track.append(made);
    } else if (tool) {
      const [word, tone] = STATUS[tool.status];
      name = [make("span", { class: "words", text: `tool ${tool.name}` }), tool.status === "ok" ? null : badge(word, tone)];
      took = tool.duration_ms;
      described = `${word}, from ${duration(tool.start_ms)}`;
      track.append(bar(tool.start_ms, tool.start_ms + (tool.duration_ms ?? 0), `call tool ${look(tool)}`, width));
    } else {
      const failed = one.sum.failed ? badge(plural(one.sum.failed, "failed").replace(/s$/, ""), "bad") : one.error ? badge("failed", "bad") : null;
      name = [sign(one.kind), make("span", { class: "words", text: one.name }), one.runs ? badge("running", "busy") : failed];
      cost = one.sum.calls ? money(one.sum.nanos, one.sum.complete) : "";
      took = one.end - one.start;
      described = `from ${duration(one.start)}, ${plural(one.sum.calls, "call")}`;
      if (one.children.length) track.append(bar(one.start, one.end, `whole ${one.runs ? "runs" : ""}`, width));
      for (const span of one.spans) if (!one.children.length) track.append(bar(span.start, span.end ?? lastMoment(), `span ${one.kind}${span.error ? " failed" : ""}`, width));
      for (const each of merged(one.tools, width)) track.append(bar(each.from, each.to, `tool ${each.kind}`, width));
      for (const each of merged(one.calls, width)) track.append(bar(each.from, each.to, `${one.kind} ${each.kind}`, width));
    }
    track.append(make("span", { class: "unseen", text: described }));
    const chevron = make("span", { class: "chevron", "aria-hidden": "true" });
    const label = make("div", { role: "rowheader", class: "cell node", title: call ? call.model : tool ? tool.name : one.path }, chevron, ...name);
    label.style.setProperty("--level", String(one.level - 1 + (call || tool ? 1 : 0)));
    const made = make("div", {
      role: "row", class: `row${call || tool ? " of-call" : ""}${index === at ? " at" : ""}`, id: `row-${index}`,
      "aria-rowindex": String(index + 2), "aria-level": String(one.level + (call || tool ? 1 : 0)),
      "aria-expanded": opened === null ? null : String(opened), "aria-selected": String(index === at),
    }, label, make("div", { role: "gridcell", class: "cell cost", text: cost ?? "" }), make("div", { role: "gridcell", class: "cell time", text: (took ?? null) === null ? "" : duration(took) }), track);
    chevron.addEventListener("click", (event) => {
      event.stopPropagation();
      if (opened !== null) setOpen(row, !opened);
    });
    made.addEventListener("click", () => { point(index); show(row); });
    return made;
  }

  const show = (row) => open(row.one.path, row.call ?? null, grid);

  function point(index = at, reach = false) {
    grid.querySelector(".row.at")?.classList.remove("at");
    at = index;
    const made = reach ? list.reach(at) : byId(`row-${at}`);
    for (const one of grid.querySelectorAll('[aria-selected="true"]')) one.setAttribute("aria-selected", "false");
    if (made) {
      made.classList.add("at");
      made.setAttribute("aria-selected", "true");
      grid.setAttribute("aria-activedescendant", made.id);
    } else grid.removeAttribute("aria-activedescendant");
  }

  grid.addEventListener("keydown", (event) => {
    const row = rows[at];
    if (!row || event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor((grid.clientHeight - HEAD) / ROW) - 1);
    const go = (index) => point(Math.min(rows.length - 1, Math.max(0, index)), true);
    const does = {
      ArrowDown: () => go(at + 1), ArrowUp: () => go(at - 1), PageDown: () => go(at + page), PageUp: () => go(at - page),
      Home: () => go(0), End: () => go(rows.length - 1), Enter: () => show(row), " ": () => show(row),
      ArrowRight: () => (isOpen(row) === false ? setOpen(row, true) : go(at + 1)),
      ArrowLeft: () => (isOpen(row) ? setOpen(row, false) : go(rows.findIndex((one) => !one.call && one.one === (row.call ? row.one : row.one.parent)))),
    }[event.key];
    if (does) { event.preventDefault(); does(); }
  });

  function zoomTo(next) {
    const middle = (grid.scrollLeft + grid.clientWidth / 2) / (wide + labels());
    zoom = Math.min(256, Math.max(1, next));
    refresh();
    grid.scrollLeft = middle * (wide + labels()) - grid.clientWidth / 2;
  }

  byId("calls-open").addEventListener("click", () => { all = true; shut.clear(); refresh(); });
  byId("calls-shut").addEventListener("click", () => { all = false; shut.clear(); refresh(); });
  byId("time-in").addEventListener("click", () => zoomTo(zoom * 2));
  byId("time-out").addEventListener("click", () => zoomTo(zoom / 2));
  new ResizeObserver(oncePerFrame(() => { if (time && grid.clientWidth) refresh(); })).observe(grid);
  const few = 40;
  return {
    refresh() {
      if (!rows.length && story.calls.length <= few) story.tree.found.forEach((one) => { if (one.calls.length > 1) callsShown.add(one.path); });
      refresh();
    },
  };
}
