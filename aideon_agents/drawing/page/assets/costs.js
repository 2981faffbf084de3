// The costs by node, sortable, and copied as CSV with exact amounts.

const COLUMNS = [
  { name: "Node", key: "node_path", of: (row) => row.node_path || "(no node)", text: true },
  { name: "Cost", key: "usd", of: (row) => nano(row.usd), shown: (cost, row) => money(cost, row.complete) },
  { name: "Share", key: "share", of: (row) => nano(row.usd), shown: (cost, row) => share(cost, nano(story.totals.usd), row.complete) },
  { name: "Calls", key: "calls", of: (row) => row.calls, shown: number },
  { name: "Failed", key: "failed_calls", of: (row) => row.failed_calls, shown: (count) => (count ? number(count) : "–") },
  { name: "Input", key: "input_tokens", of: (row) => row.input_tokens, shown: (sum, row) => tokenSum(sum, row.counted) },
  { name: "Output", key: "output_tokens", of: (row) => row.output_tokens, shown: (sum, row) => tokenSum(sum, row.counted) },
  { name: "Model time", key: "duration_ms", of: (row) => row.duration_ms, shown: duration, title: MODEL_TIME },
  { name: "Role", key: "role", of: (row) => row.role, text: true },
  { name: "Models", key: "models", of: (row) => row.models.join(", "), text: true },
];
const COPIED = COLUMNS.filter((column) => column.key !== "share");
const FIRST = 500;

function costsView(place, open) {
  let by = COLUMNS.find((column) => column.key === "usd"), down = true, most = FIRST;
  const heads = COLUMNS.map((column) => {
    const press = make("button", { type: "button", text: column.name, title: column.title });
    press.addEventListener("click", () => {
      down = by === column ? !down : !column.text;
      by = column;
      refresh();
      announce(`sorted by ${column.name}, ${down ? "descending" : "ascending"}`);
    });
    return make("th", { scope: "col", class: column.text ? null : "figure" }, press);
  });
  const body = make("tbody"), foot = make("tfoot");
  const more = make("button", { type: "button", class: "quiet more", hidden: true, onclick: () => { most = Infinity; refresh(); } });
  const table = make("table", {}, make("caption", { class: "unseen", text: "Cost by node" }), make("thead", {}, make("tr", {}, ...heads)), body, foot);
  place.append(table, more);

  function sorted() {
    const sign = down ? -1 : 1;
    const compare = by.text ? (a, b) => by.of(a).localeCompare(by.of(b)) : (a, b) => (by.of(a) ?? -1) - (by.of(b) ?? -1);
    return [...story.nodes].sort((a, b) => sign * compare(a, b));
  }

  function line(row) {
    const cells = COLUMNS.slice(1).map((column) => {
      const value = column.of(row);
      const made = make("td", { class: column.text ? column.key : "figure", text: column.shown ? column.shown(value, row) : value });
      if (column.key === "failed_calls" && value) made.classList.add("bad-ink");
      if (column.key === "share") {
        const filled = make("i", { "aria-hidden": "true" });
        filled.style.width = `${(100 * value) / (nano(story.totals.usd) || 1)}%`;
        made.append(filled);
        made.classList.add("share");
      }
      return made;
    });
    const press = make("button", { type: "button", class: "link", text: row.node_path || "(no node)" });
    press.addEventListener("click", () => open(row.node_path || "(no node)", null, press));
    const name = make("th", { scope: "row" }, make("span", {}, sign(row.role || "function"), press));
    return make("tr", {}, name, ...cells);
  }

  function refresh() {
    const focused = body.contains(document.activeElement) ? document.activeElement.textContent : null;
    heads.forEach((head, index) => {
      const is = COLUMNS[index] === by;
      head.setAttribute("aria-sort", is ? (down ? "descending" : "ascending") : "none");
    });
    const rows = sorted();
    body.replaceChildren(...rows.slice(0, most).map(line));
    more.hidden = rows.length <= most;
    more.textContent = `Show all ${number(rows.length)} nodes`;
    const all = story.totals;
    const total = { Calls: number(all.calls), Failed: all.failed_calls ? number(all.failed_calls) : "–", Input: tokenSum(all.input_tokens, all.counted), Output: tokenSum(all.output_tokens, all.counted), Cost: money(nano(all.usd), all.complete) };
    foot.replaceChildren(make("tr", {}, make("th", { scope: "row", text: "Total" }), ...COLUMNS.slice(1).map((column) => make("td", { class: "figure", text: total[column.name] ?? "" }))));
    if (focused !== null) [...body.querySelectorAll("button")].find((one) => one.textContent === focused)?.focus();
  }

  const text = () => csv([
    [...COPIED.map((column) => column.key), "complete"],
    ...sorted().map((row) => [...COPIED.map((column) => (column.key === "usd" ? row.usd : column.of(row))), row.complete && row.counted]),
  ]);

  byId("csv").addEventListener("click", async () => {
    const done = await copy(text());
    announce(done ? "copied" : "could not be copied");
    byId("csv").textContent = done ? "Copied" : "Not copied";
    setTimeout(() => { byId("csv").textContent = "Copy as CSV"; }, 1600);
  });
  return { refresh };
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = make("textarea", { class: "unseen", "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}
