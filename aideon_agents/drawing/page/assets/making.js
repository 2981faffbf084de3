// Makes elements from values. Text is inserted as text and never parsed as markup.

const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);

function make(tag, given = {}, ...inside) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") made.textContent = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...inside.filter((one) => one !== null && one !== undefined));
  return made;
}

function drawn(tag, given = {}, ...inside) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(given)) made.setAttribute(name, value);
  made.append(...inside);
  return made;
}

const KINDS = ["planner", "executor", "validator", "creative", "function", "graph", "approval"];

// The tile with a role's sign.
function sign(kind) {
  const known = KINDS.includes(kind) ? kind : "function";
  const tile = make("span", { class: `sign ${known}`, "aria-hidden": "true" });
  tile.append(drawn("svg", {}, drawn("use", { href: `#sign-${known}` })));
  return tile;
}

const badge = (text, tone) => make("span", { class: `badge ${tone}`, text });

function announce(text) {
  byId("announcement").textContent = text;
}

// Draws at most once per frame, however often it is called.
function oncePerFrame(work) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; work(); });
  };
}
