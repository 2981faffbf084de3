// How the costs and times of a batch's items are distributed, and what failed how often.

const BARS = 24;

// The value that a share of the sorted values does not exceed, by nearest rank, as in the report of costs.
const rank = (sorted, part) => sorted[Math.max(0, Math.ceil(part * sorted.length) - 1)];

function histogram(title, values, shown) {
  const sorted = values.sort((a, b) => a - b), place = make("section", { class: "spread" }, make("h3", { text: title }));
  if (!sorted.length) {
    place.append(make("p", { class: "muted", text: "No item has ended." }));
    return place;
  }
  const least = sorted[0], most = sorted.at(-1), width = (most - least) / BARS || 1;
  const counts = new Array(most > least ? BARS : 1).fill(0);
  for (const value of sorted) counts[Math.min(counts.length - 1, Math.floor((value - least) / width))] += 1;
  const tallest = Math.max(...counts);
  const bars = counts.map((count, index) => {
    const from = shown(least + index * width), to = shown(Math.min(most, least + (index + 1) * width));
    const bar = make("i", { title: `${from} to ${to}: ${plural(count, "item")}` });
    bar.style.height = `${count ? Math.max(3, (100 * count) / tallest) : 0}%`;
    return bar;
  });
  const marks = [["Least", least], ["Median", rank(sorted, 0.5)], ["95th percentile", rank(sorted, 0.95)], ["Most", most]];
  place.append(
    make("div", { class: "bars", role: "img", "aria-label": `${title}: ${marks.map(([name, value]) => `${name} ${shown(value)}`).join(", ")}` }, ...bars),
    make("dl", {}, ...marks.map(([name, value]) => make("div", {}, make("dt", { text: name }), make("dd", { text: shown(value) })))),
  );
  return place;
}

function failuresView(search) {
  const line = (one) => {
    const press = make("button", { type: "button", class: "link", text: visible(one.item_id), title: "Show this item in the table" });
    press.addEventListener("click", () => search(one.item_id));
    const example = make("div", { class: "muted", text: "for example " }, press);
    return make("li", {}, badge(`${number(one.items)} ${one.status}`, ITEM[one.status]), make("div", { class: "text", text: visible(one.error) }), example);
  };
  return make("section", { class: "failures" }, make("h3", { text: "Failures" }), story.failures.length
    ? make("ul", {}, ...story.failures.map(line))
    : make("p", { class: "muted", text: "No item has failed." }));
}

function spreadView(place, search) {
  const ended = story.items.filter((item) => item.status === "completed" || item.status === "failed");
  const refresh = () => place.replaceChildren(
    histogram("Cost of an item", ended.filter((item) => item.usd !== null).map((item) => nano(item.usd)), (value) => money(Math.round(value))),
    histogram("Time of an item", ended.filter((item) => item.duration_ms !== null).map((item) => item.duration_ms), duration),
    failuresView(search),
  );
  return { refresh };
}
