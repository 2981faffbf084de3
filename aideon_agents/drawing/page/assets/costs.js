// The costs by node, copied as CSV with exact amounts.

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

function costsView(place, open) {
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

  function foot() {
    const all = story.totals;
    const total = { Calls: number(all.calls), Failed: all.failed_calls ? number(all.failed_calls) : "–", Input: tokenSum(all.input_tokens, all.counted), Output: tokenSum(all.output_tokens, all.counted), Cost: money(nano(all.usd), all.complete) };
    return make("tr", {}, make("th", { scope: "row", text: "Total" }), ...COLUMNS.slice(1).map((column) => make("td", { class: "figure", text: total[column.name] ?? "" })));
  }

  const table = tableView(place, { caption: "Cost by node", noun: "nodes", columns: COLUMNS, by: "usd", down: true, rows: () => story.nodes, line, foot });
  copied(byId("csv"), () => csv([
    [...COPIED.map((column) => column.key), "complete"],
    ...table.sorted().map((row) => [...COPIED.map((column) => (column.key === "usd" ? row.usd : column.of(row))), row.complete && row.counted]),
  ]));
  return table;
}
