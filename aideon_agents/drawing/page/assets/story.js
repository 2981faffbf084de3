// What is known of the run: its calls, the tree of nodes that made them, and their texts.

const FAILED = new Set(["error", "broken"]);
const story = { run: {}, totals: {}, nodes: [], results: {}, spans: [], tools: [], calls: [], order: [], views: [], batch: null, items: [], failures: [], texts: new Map() };
const order = new Map();

function readCalls(fields, rows) {
  for (const row of rows) {
    const call = {};
    fields.forEach((name, index) => { call[name] = row[index]; });
    call.nanos = nano(call.usd);
    call.model = call.response_model || call.requested_model;
    const known = order.get(call.call_id);
    call.number = known ?? story.calls.length;
    if (known === undefined) {
      order.set(call.call_id, call.number);
      story.calls.push(call);
    } else story.calls[known] = call;
  }
}

function take(values) {
  for (const name of ["run", "totals", "nodes", "results", "spans", "tools", "order", "views", "batch", "failures"]) {
    if (values[name] !== undefined) story[name] = values[name];
  }
  readCalls(values.fields, values.calls);
  for (const row of values.items || []) story.items.push(Object.fromEntries(values.item_fields.map((name, index) => [name, row[index]])));
  for (const line of values.contents || []) keepTexts(line);
  story.tree = tree();
}

function keepTexts(line) {
  const [call, prompt, answer, pictures = []] = JSON.parse(line);
  story.texts.set(call, { prompt, answer, pictures });
}

// Read at first use: the texts of a long run are many megabytes.
let unread = true;
function textsOf(call) {
  if (unread) {
    unread = false;
    for (const line of byId("contents").textContent.split("\n")) {
      const call = line.slice(2, line.indexOf('"', 2));
      if (line && !story.texts.has(call)) story.texts.set(call, line);
    }
  }
  if (typeof story.texts.get(call.call_id) === "string") keepTexts(story.texts.get(call.call_id));
  return story.texts.get(call.call_id);
}

const isOver = () => story.run.status !== "running";

// Where a call ended; a call without an end lasts until the last known moment.
const endOf = (call) => call.start_ms + (call.duration_ms ?? (call.status === "started" ? Math.max(0, lastMoment() - call.start_ms) : 0));

let latest = 0;
const lastMoment = () => (isOver() ? latest : Math.max(latest, elapsed()));
const elapsed = () => Date.now() - Date.parse(story.run.started_at);

function tree() {
  const root = item("", null);
  const found = new Map([["", root]]);
  const at = (path) => {
    let one = found.get(path);
    if (!one) {
      const cut = path.lastIndexOf("/");
      const parent = at(cut < 0 ? "" : path.slice(0, cut));
      one = item(path, parent);
      found.set(path, one);
      parent.children.push(one);
    }
    return one;
  };
  latest = story.run.duration_ms ?? 0;
  for (const call of story.calls) {
    const one = at(call.node_path || "(no node)");
    one.calls.push(call);
    one.role ||= call.role;
    latest = Math.max(latest, call.start_ms + (call.duration_ms ?? 0));
  }
  for (const node of story.batch ? story.nodes : []) {
    const one = at(node.node_path || "(no node)");
    one.whole = node;
    one.role ||= node.role;
  }
  for (const [path, role, round, start, end, error] of story.spans) {
    const one = at(path);
    one.spans.push({ round, start, end, error });
    one.role ||= role;
    latest = Math.max(latest, end ?? start);
  }
  for (const tool of story.tools) {
    at(tool.node_path || "(no node)").tools.push(tool);
    latest = Math.max(latest, tool.start_ms + (tool.duration_ms ?? 0));
  }
  add(root, new Map(story.order.map((path, index) => [path, index])));
  root.found = found;
  return root;
}

function item(path, parent) {
  return {
    path, parent, name: path.slice(path.lastIndexOf("/") + 1), role: "", children: [], calls: [], tools: [],
    whole: null, spans: [], level: parent ? parent.level + 1 : 0,
  };
}

// Adds up the calls, from the innermost groups outwards. The steps of a plan have no declared order.
function add(one, declared) {
  const sum = { calls: 0, failed: 0, input: 0, output: 0, nanos: 0, busy: 0, complete: true, counted: true };
  let start = Infinity, end = 0, runs = false, error = null;
  const models = new Set();
  for (const call of one.calls) {
    sum.calls += 1;
    sum.failed += FAILED.has(call.status);
    sum.input += call.input_tokens ?? 0;
    sum.output += call.output_tokens ?? 0;
    sum.nanos += call.nanos ?? 0;
    sum.busy += call.duration_ms ?? 0;
    sum.complete &&= call.nanos !== null;
    sum.counted &&= call.input_tokens !== null || (call.nanos === 0 && call.price_source !== "own server");
    start = Math.min(start, call.start_ms);
    end = Math.max(end, endOf(call));
    runs ||= call.status === "started" && !isOver();
    models.add(call.model);
  }
  // The calls of a batch are not on its page, only what each node's calls add up to.
  if (one.whole) {
    const { calls, failed_calls: failed, input_tokens: input, output_tokens: output, usd, duration_ms: busy, complete, counted } = one.whole;
    Object.assign(sum, { calls, failed, input: input ?? 0, output: output ?? 0, nanos: nano(usd), busy, complete, counted });
    one.whole.models.forEach((model) => models.add(model));
  }
  for (const tool of one.tools) {
    start = Math.min(start, tool.start_ms);
    end = Math.max(end, tool.start_ms + (tool.duration_ms ?? 0));
  }
  for (const span of one.spans) {
    start = Math.min(start, span.start);
    end = Math.max(end, span.end ?? lastMoment());
    runs ||= span.end === null && !isOver();
    error = span.error ?? error;
  }
  for (const child of one.children) {
    add(child, declared);
    for (const name of ["calls", "failed", "input", "output", "nanos", "busy"]) sum[name] += child.sum[name];
    sum.complete &&= child.sum.complete;
    sum.counted &&= child.sum.counted;
    start = Math.min(start, child.start);
    end = Math.max(end, child.end);
    runs ||= child.runs;
    child.models.forEach((model) => models.add(model));
  }
  const place = (child) => declared.get(child.path) ?? declared.size;
  one.children.sort((a, b) => place(a) - place(b) || a.start - b.start);
  Object.assign(one, { sum, start, end, runs, error, models });
  one.kind = one.role || (one.children.length ? "graph" : "function");
  one.rounds = Math.max(0, ...one.spans.map((span) => span.round));
  for (const call of one.calls) one.rounds = Math.max(one.rounds, call.round);
}
