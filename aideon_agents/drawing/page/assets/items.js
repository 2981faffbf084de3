// The items of a batch: each with its status, its cost over all of its runs, and its last run.

const ITEM = {
  completed: "good", failed: "bad", invalid: "bad", waiting: "warning", running: "busy", pending: "quiet",
};

// Control characters are shown, and change nothing around them.
const visible = (text) => (text ?? "").replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, (char) => {
  const code = char.charCodeAt(0);
  return code < 32 ? String.fromCharCode(0x2400 + code) : "\u2421";
});

const ITEM_COLUMNS = [
  { name: "Item", key: "id", of: (item) => item.id, text: true },
  { name: "Number", key: "number", of: (item) => item.number, shown: number, title: "Its place among the items" },
  { name: "Status", key: "status", of: (item) => item.status, text: true },
  { name: "Attempts", key: "attempts", of: (item) => item.attempts, shown: number, title: "How often it was started or continued" },
  { name: "Cost", key: "usd", of: (item) => nano(item.usd), shown: (cost, item) => (cost === null ? "–" : money(cost, item.complete)), title: "Of all its attempts" },
  { name: "Time", key: "duration_ms", of: (item) => item.duration_ms, shown: duration, title: "Of all its attempts, from the start to the end of each" },
  { name: "Error", key: "error", of: (item) => item.error, text: true },
  { name: "Run", key: "run_id", of: (item) => item.run_id, text: true },
];

function itemsView(place, filter, search) {
  const has = (text, wanted) => (text ?? "").toLowerCase().includes(wanted);
  function items() {
    const wanted = search.value.trim().toLowerCase();
    return story.items.filter((item) => (!filter.value || item.status === filter.value) && (!wanted || has(item.id, wanted) || has(item.error, wanted)));
  }

  function line(item) {
    const cells = ITEM_COLUMNS.slice(1).map((column) => {
      const value = column.of(item);
      if (column.key === "status") return make("td", {}, badge(value, ITEM[value]));
      return make("td", { class: column.text ? `text ${column.key}` : "figure", text: column.shown ? column.shown(value, item) : visible(value) });
    });
    return make("tr", {}, make("th", { scope: "row", class: "text", text: visible(item.id), title: visible(item.id) }), ...cells);
  }

  const table = tableView(place, { caption: "Items", noun: "items", columns: ITEM_COLUMNS, by: "number", down: false, rows: items, line });
  const counts = Object.entries(story.batch).filter(([status, count]) => ITEM[status] && count);
  filter.append(make("option", { value: "", text: `All ${number(story.batch.items)} items` }), ...counts.map(([status, count]) => make("option", { value: status, text: `${status} (${number(count)})` })));
  const narrow = () => {
    table.refresh();
    announce(plural(items().length, "item"));
  };
  filter.addEventListener("change", narrow);
  search.addEventListener("input", narrow);
  copied(byId("items-csv"), () => csv([
    ITEM_COLUMNS.map((column) => column.key).concat("complete"),
    ...table.sorted().map((item) => [...ITEM_COLUMNS.map((column) => item[column.key]), item.complete]),
  ]));
  const unseen = story.batch.items - story.items.length;
  if (unseen) place.append(make("p", { class: "muted more", text: `${plural(unseen, "item")} ${unseen === 1 ? "has" : "have"} not been started.` }));
  return table;
}
