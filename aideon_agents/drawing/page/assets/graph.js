// The graph. Every state of it was drawn beforehand; here it is moved and zoomed.

const LEAST = 0.05, MOST = 4, STEP = 1.25, HEADER = 44, READABLE = 0.66, WHOLE = 0.42;

function graphView(stage, controls, open) {
  let picture = null, view = null, chosen = null, moved = false;
  const at = { x: 0, y: 0, scale: 1 };
  const size = { width: 1, height: 1 };
  const plane = make("div", { id: "plane" });
  stage.append(plane);

  // While it moves, the browser moves the painted plane; when it stops, the plane is painted again, sharply.
  let resting = null;
  function apply() {
    plane.style.transform = `scale(${at.scale}) translate(${-at.x}px, ${-at.y}px)`;
    // Not custom properties: every element of the graph would inherit them, in every frame.
    const dots = Math.max(14, 22 * at.scale);
    stage.style.backgroundSize = `${dots}px ${dots}px`;
    stage.style.backgroundPosition = `${-at.x * at.scale}px ${-at.y * at.scale}px`;
  }
  const settle = oncePerFrame(apply);
  const move = () => {
    moved = true;
    plane.classList.add("moving");
    clearTimeout(resting);
    resting = setTimeout(() => plane.classList.remove("moving"), 180);
    settle();
  };

  function zoom(factor, px = stage.clientWidth / 2, py = stage.clientHeight / 2) {
    const scale = Math.min(MOST, Math.max(LEAST, at.scale * factor));
    at.x += px / at.scale - px / scale;
    at.y += py / at.scale - py / scale;
    at.scale = scale;
    move();
  }

  // Shows all of it, or its beginning if all of it would be too small to read.
  function fit(least = LEAST) {
    const high = size.height - HEADER;
    const whole = Math.min(stage.clientWidth / size.width, stage.clientHeight / high);
    const all = whole >= least;
    at.scale = Math.min(1.15, all ? whole : READABLE);
    const spare = (have, need) => (have / at.scale - need) / 2;
    at.x = -Math.max(0, spare(stage.clientWidth, size.width));
    at.y = HEADER - Math.max(0, spare(stage.clientHeight, high));
    apply();
    const start = picture?.querySelector(".node.start");
    if (all || !start) return;
    const node = start.getBoundingClientRect(), around = stage.getBoundingClientRect();
    const lowest = HEADER + Math.max(0, high - stage.clientHeight / at.scale);
    at.y = Math.min(lowest, Math.max(at.y, at.y + (node.top - around.top - stage.clientHeight / 2) / at.scale));
    apply();
  }

  function pan(x, y) {
    at.x += x / at.scale;
    at.y += y / at.scale;
    move();
  }

  function intoSight(node) {
    const box = node.getBoundingClientRect(), around = stage.getBoundingClientRect();
    const beyond = (from, to, least, most) => (from < least ? from - least - 24 : to > most ? to - most + 24 : 0);
    pan(beyond(box.left, box.right, around.left, around.right), beyond(box.top, box.bottom, around.top, around.bottom));
  }

  // The state nearest to the wanted one, among those in which this group is as wanted.
  function fold(id, shut) {
    const wanted = new Set(view.closed);
    if (shut) wanted.add(id);
    else wanted.delete(id);
    let best = null, least = Infinity;
    for (const one of story.views) {
      if (one.closed.includes(id) !== shut) continue;
      const both = one.closed.filter((name) => wanted.has(name)).length;
      const apart = one.closed.length + wanted.size - 2 * both;
      if (apart < least) [best, least] = [one, apart];
    }
    if (!best) return;
    show(best);
    const toggle = picture.querySelector(`.fold[data-of="${CSS.escape(id)}"]`);
    toggle?.focus();
    announce(`${shut ? "folded" : "opened"}`);
  }

  function show(next, keep = false) {
    const had = stage.contains(document.activeElement) ? document.activeElement.dataset.id : null;
    view = next;
    const read = new DOMParser().parseFromString(view.svg, "image/svg+xml");
    picture = document.importNode(read.documentElement, true);
    size.width = Number(picture.getAttribute("width"));
    size.height = Number(picture.getAttribute("height"));
    picture.setAttribute("role", "group");
    plane.replaceChildren(picture);
    for (const node of picture.querySelectorAll(".node")) press(node, "button", node.dataset.path || node.dataset.id, node);
    const closed = new Set(view.closed);
    for (const frame of picture.querySelectorAll(".frame")) {
      frame.setAttribute("role", "group");
      const title = frame.querySelector(".title");
      title.setAttribute("aria-label", `${title.textContent}, group`);
      press(title, "button", frame.dataset.path, frame);
      toggle(frame, frame.querySelector("rect"), true);
    }
    for (const node of picture.querySelectorAll(".node.graph")) {
      if (closed.has(node.dataset.id)) toggle(node, node.querySelector(".box"), false);
    }
    for (const way of picture.querySelectorAll(".way")) way.setAttribute("role", "img");
    controls.querySelectorAll('[data-does="fold"],[data-does="open"]').forEach((one) => { one.hidden = story.views.length < 2; });
    mark();
    if (keep && moved) apply();
    else fit(WHOLE);
    if (had) picture.querySelector(`[data-id="${CSS.escape(had)}"]`)?.focus();
  }

  function press(target, role, path, about) {
    target.setAttribute("role", role);
    target.setAttribute("tabindex", "0");
    if (target.querySelector("title")) target.removeAttribute("aria-label"); // its title has the same text
    const act = () => { if (!dragged) open(path, about.dataset.id, target); };
    target.addEventListener("click", act);
    target.addEventListener("keydown", (event) => {
      if (event.target !== target || (event.key !== "Enter" && event.key !== " ")) return;
      event.preventDefault();
      act();
    });
    shownOnFocus(target);
  }

  function shownOnFocus(target) {
    target.addEventListener("focus", () => { if (target.matches(":focus-visible")) intoSight(target); });
  }

  function toggle(owner, outline, shut) {
    const width = outline.getBBox().width;
    const name = owner.querySelector(".title,.name").textContent;
    const made = drawn("g", {
      class: "fold", tabindex: "0", role: "button", transform: `translate(${width - 4} 3)`,
      "aria-label": `${shut ? "Fold" : "Open"} ${name}`, "data-of": owner.dataset.id,
    });
    made.append(
      drawn("circle", { r: "9" }),
      drawn("path", { d: shut ? "M-4 0H4" : "M-4 0H4M0 -4V4" }),
    );
    const act = (event) => { event.stopPropagation(); if (!dragged) fold(owner.dataset.id, shut); };
    made.addEventListener("click", act);
    made.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); act(event); }
    });
    shownOnFocus(made);
    owner.append(made);
  }

  function mark() {
    for (const one of stage.querySelectorAll(".chosen")) one.classList.remove("chosen");
    if (chosen === null) return;
    for (const one of stage.querySelectorAll(".node,.frame")) one.classList.toggle("chosen", one.dataset.path === chosen && chosen !== "");
  }

  // One pointer moves the graph, two zoom it.
  const held = new Map();
  let dragged = false;
  stage.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    held.set(event.pointerId, { x: event.clientX, y: event.clientY, from: [event.clientX, event.clientY] });
    if (held.size === 1) dragged = false;
  });
  addEventListener("pointermove", (event) => {
    const one = held.get(event.pointerId);
    if (!one) return;
    const before = held.size === 2 ? spread() : 0;
    if (!dragged && Math.hypot(event.clientX - one.from[0], event.clientY - one.from[1]) > 4) {
      dragged = true;
      stage.classList.add("dragging");
    }
    const x = one.x - event.clientX, y = one.y - event.clientY;
    Object.assign(one, { x: event.clientX, y: event.clientY });
    if (held.size === 2) {
      const [a, b] = held.values(), around = stage.getBoundingClientRect();
      zoom(spread() / before, (a.x + b.x) / 2 - around.left, (a.y + b.y) / 2 - around.top);
    } else if (dragged) pan(x, y);
  });
  const spread = () => {
    const [a, b] = held.values();
    return Math.max(1, Math.hypot(a.x - b.x, a.y - b.y));
  };
  const release = (event) => {
    held.delete(event.pointerId);
    if (!held.size) stage.classList.remove("dragging");
  };
  addEventListener("pointerup", release);
  addEventListener("pointercancel", release);
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    const around = stage.getBoundingClientRect();
    const steps = event.deltaMode === 1 ? event.deltaY * 16 : event.deltaY;
    zoom(Math.exp(-steps * (event.ctrlKey ? 0.01 : 0.0016)), event.clientX - around.left, event.clientY - around.top);
  }, { passive: false });
  stage.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const does = {
      "+": () => zoom(STEP), "=": () => zoom(STEP), "-": () => zoom(1 / STEP), 0: () => fit(),
      ArrowLeft: () => pan(-60, 0), ArrowRight: () => pan(60, 0), ArrowUp: () => pan(0, -60), ArrowDown: () => pan(0, 60),
    }[event.key];
    if (does) { event.preventDefault(); does(); }
  });
  controls.addEventListener("click", (event) => {
    const most = (a, b) => (b.closed.length > a.closed.length ? b : a);
    const outer = story.views.filter((one) => !/class="frame/.test(one.svg)).reduce(most, story.views.at(-1));
    ({
      in: () => zoom(STEP), out: () => zoom(1 / STEP), fit: () => fit(),
      fold: () => show(outer), open: () => show(story.views[0]),
    })[event.target.dataset.does]?.();
  });
  let seen = 0;
  new ResizeObserver(() => {
    if (stage.clientWidth !== seen && !moved) fit(WHOLE);
    seen = stage.clientWidth;
    apply();
  }).observe(stage);

  return {
    begin(closed) {
      const wanted = closed && story.views.find((one) => one.closed.join() === closed.join());
      if (story.views.length) show(wanted || story.views[0]);
    },
    refresh() {
      if (!story.views.length) return;
      const same = view && story.views.find((one) => one.closed.join() === view.closed.join());
      if (same && same.svg === view.svg) { view = same; return; }
      show(same || story.views[0], Boolean(same));
    },
    choose(path) { chosen = path; mark(); },
    get shape() { return size.height / size.width; },
  };
}
