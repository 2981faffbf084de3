// A table that is sorted by its heads, and shows its first rows until the reader wants all of them.

const FIRST = 500;
const COLLATOR = new Intl.Collator(undefined, { numeric: true });

function tableView(place, { caption, noun, columns, by, down, rows, line, foot }) {
  let chosen = columns.find((column) => column.key === by), most = FIRST;
  const heads = columns.map((column) => {
    const press = make("button", { type: "button", text: column.name, title: column.title });
    press.addEventListener("click", () => {
      down = chosen === column ? !down : !column.text;
      chosen = column;
      refresh();
      announce(`sorted by ${column.name}, ${down ? "descending" : "ascending"}`);
    });
    return make("th", { scope: "col", class: column.text ? null : "figure" }, press);
  });
  const body = make("tbody"), last = make("tfoot");
  const more = make("button", { type: "button", class: "quiet more", hidden: true, onclick: () => { most = Infinity; refresh(); } });
  place.append(make("table", {}, make("caption", { class: "unseen", text: caption }), make("thead", {}, make("tr", {}, ...heads)), body, last), more);

  function sorted() {
    const sign = down ? -1 : 1, { of } = chosen;
    const compare = chosen.text ? (a, b) => COLLATOR.compare(of(a) ?? "", of(b) ?? "") : (a, b) => (of(a) ?? -1) - (of(b) ?? -1);
    return [...rows()].sort((a, b) => sign * compare(a, b));
  }

  // The first rows at once, and the others one portion after the other: the page stays quick.
  let filling = null;
  function fill(wanted) {
    clearTimeout(filling);
    body.replaceChildren(...wanted.slice(0, FIRST).map(line));
    const goOn = (from) => {
      if (from >= wanted.length) return;
      filling = setTimeout(() => {
        body.append(...wanted.slice(from, from + FIRST).map(line));
        goOn(from + FIRST);
      });
    };
    goOn(FIRST);
  }

  function refresh() {
    const focused = body.contains(document.activeElement) ? document.activeElement.textContent : null;
    heads.forEach((head, index) => {
      const is = columns[index] === chosen;
      head.setAttribute("aria-sort", is ? (down ? "descending" : "ascending") : "none");
    });
    const all = sorted();
    fill(all.slice(0, most));
    more.hidden = all.length <= most;
    more.textContent = `Show all ${number(all.length)} ${noun}`;
    if (foot) last.replaceChildren(foot());
    if (focused !== null) [...body.querySelectorAll("button")].find((one) => one.textContent === focused)?.focus();
  }

  return { refresh, sorted };
}

// A button that copies a text.
function copied(button, text) {
  const name = button.textContent;
  button.addEventListener("click", async () => {
    const done = await copy(text());
    announce(done ? "copied" : "could not be copied");
    button.textContent = done ? "Copied" : "Not copied";
    setTimeout(() => { button.textContent = name; }, 1600);
  });
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
