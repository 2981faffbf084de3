// The page as a whole: its header, tabs and theme.

const data = JSON.parse(byId("data").textContent);
take(data);

const choose = (path) => graph.choose(path);
const details = detailsView(byId("details"), choose);
const graph = graphView(byId("stage"), byId("controls"), details.open);
const timeline = timelineView(byId("grid"), details.open);
const costs = costsView(byId("costs"), details.open);
const items = story.batch && itemsView(byId("items"), byId("filter"), byId("search"));
const spread = story.batch && spreadView(byId("spread"), (id) => {
  byId("search").value = id;
  byId("filter").value = "";
  turnTo(byId("tab-items"));
});

function sums(run, totals) {
  const counts = Object.entries(story.batch ?? {}).filter(([status, count]) => count || !["running", "pending", "waiting"].includes(status));
  const figures = [
    ["Cost", money(nano(totals.usd), totals.complete), totals.complete ? null : "At least this much: the cost of some calls is not known"],
    ...counts.map(([status, count]) => [status[0].toUpperCase() + status.slice(1), number(count)]),
    ["Calls", number(totals.calls) + (totals.failed_calls ? ` · ${number(totals.failed_calls)} failed` : "")],
    ["Tokens", `${tokenSum(totals.input_tokens, totals.counted)} in · ${tokenSum(totals.output_tokens, totals.counted)} out`],
    ["Time", duration(isOver() ? run.duration_ms ?? latest : lastMoment())],
  ];
  return figures.map(([term, text, title]) => make("div", { title }, make("dt", { text: term }), make("dd", { text })));
}

function head() {
  const { run, totals } = story;
  byId("workflow").textContent = run.workflow;
  byId("status").textContent = story.lost ? "connection lost" : run.stop_reason ? `${run.status}: ${run.stop_reason}` : run.status;
  byId("status").hidden = !run.status;
  byId("status").className = `badge ${story.lost ? "warning" : RUN[run.status]}`;
  const about = [run.run_id, run.started_at && moment(run.started_at), run.user, run.rehearsed ? "rehearsed: nothing was paid" : run.simulated ? "simulated: nothing was paid" : null];
  byId("about").textContent = about.filter(Boolean).join(" · ");
  byId("below").hidden = byId("figures").hidden = !run.status;
  document.body.classList.toggle("alone", !run.status);
  document.body.classList.toggle("batch", Boolean(story.batch));
  byId("figures").replaceChildren(...(run.status ? sums(run, totals) : []));
  byId("trouble").hidden = !run.error;
  byId("trouble").textContent = run.error ?? "";
  byId("graph").hidden = !story.views.length;
  byId("splitter").hidden = !story.views.length || !run.status;
  document.body.classList.toggle("rehearsed", run.rehearsed);
}

const refresh = oncePerFrame(() => {
  head();
  graph.refresh();
  if (!byId("timeline").hidden) timeline.refresh();
  if (!byId("costs").hidden) costs.refresh();
  details.refresh();
});

// Tabs, as in the ARIA Authoring Practices.
byId("tab-items").hidden = byId("tab-spread").hidden = !items;
byId("tab-timeline").hidden = Boolean(items);
const tabs = [...document.querySelectorAll('[role="tab"]:not([hidden])')];
function turnTo(tab) {
  for (const one of tabs) {
    const is = one === tab;
    one.setAttribute("aria-selected", String(is));
    one.tabIndex = is ? 0 : -1;
    byId(one.getAttribute("aria-controls")).hidden = !is;
    document.querySelector(`.tools[data-for="${one.getAttribute("aria-controls")}"]`).hidden = !is;
  }
  ({ "tab-items": items, "tab-spread": spread, "tab-timeline": timeline, "tab-costs": costs })[tab.id].refresh();
}
for (const tab of tabs) {
  tab.addEventListener("click", () => turnTo(tab));
  tab.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    const next = tabs.at((tabs.indexOf(tab) + by) % tabs.length);
    turnTo(next);
    next.focus();
  });
}

// The theme: the system's, until the reader chooses one.
const dark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : dark.matches);
function themed() {
  byId("theme").textContent = isDark() ? "Light" : "Dark";
  byId("theme").setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"}`);
}
byId("theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  themed();
});
dark.addEventListener("change", themed);

// The part of the window that the graph takes.
const splitter = byId("splitter");
function split(percent) {
  const kept = Math.min(80, Math.max(15, percent));
  document.documentElement.style.setProperty("--graph", `${kept}%`);
  splitter.setAttribute("aria-valuenow", String(Math.round(kept)));
}
splitter.addEventListener("keydown", (event) => {
  const by = { ArrowUp: -4, ArrowDown: 4 }[event.key];
  if (by) { event.preventDefault(); split(Number(splitter.getAttribute("aria-valuenow")) + by); }
});
splitter.addEventListener("pointerdown", (event) => {
  splitter.setPointerCapture(event.pointerId);
  const main = document.querySelector("main");
  const drag = (moved) => split((100 * (moved.clientY - main.getBoundingClientRect().top)) / main.clientHeight);
  splitter.addEventListener("pointermove", drag);
  splitter.addEventListener("lostpointercapture", () => splitter.removeEventListener("pointermove", drag), { once: true });
});

if (data.theme && data.theme !== "auto") document.documentElement.dataset.theme = data.theme;
themed();
head();
graph.begin(data.first);
if (story.views.length && story.run.status) split(Math.min(56, (100 * (graph.shape * byId("stage").clientWidth + 40)) / document.querySelector("main").clientHeight));
if (items) {
  byId("timeline").hidden = document.querySelector('.tools[data-for="timeline"]').hidden = true;
  turnTo(tabs[0]);
} else if (story.run.status) timeline.refresh();
if (data.seen !== undefined && !isOver()) listen(data, refresh);
