// One node or one call: its figures, its attempts, its prompts and answers.

const PORTION = 50;

function detailsView(place, choose) {
  let shown = null, back = null, drawnOf = null, many = PORTION, opened = new Set();

  function open(path, call, from) {
    shown = { path, id: typeof call === "string" ? call : null, call: call?.call_id ?? null };
    back = from;
    many = PORTION;
    opened = new Set(call?.call_id ? [call.call_id] : []);
    draw();
    place.hidden = false;
    document.body.classList.add("with-details");
    place.querySelector("h2").focus();
    choose(path);
  }

  function shut() {
    place.hidden = true;
    shown = null;
    document.body.classList.remove("with-details");
    choose(null);
    (back?.isConnected ? back : byId("stage")).focus();
  }

  place.addEventListener("keydown", (event) => { if (event.key === "Escape") shut(); });

  function draw() {
    const one = story.tree.found.get(shown.path);
    const name = one && one.path ? one.name : endName(shown) ?? shown.path.split("/").pop();
    const head = make("header", {},
      one?.path ? sign(one.kind) : null,
      make("h2", { id: "details-name", tabindex: "-1", text: name }),
      make("button", { type: "button", class: "quiet close", "aria-label": "Close", text: "×", onclick: shut }),
      make("p", { class: "path", text: one?.path && one.path !== name ? one.path : "" }),
    );
    const body = make("div", { class: "body" });
    if (shown.id === "__start__" || shown.id === "__end__") ofEnd(body, shown.id);
    else if (!one) ofQuiet(body, shown);
    else ofNode(body, one);
    const top = place.scrollTop;
    place.replaceChildren(head, body);
    place.scrollTop = top;
  }

  const notRun = () => (!story.run.status ? shown.path : isOver() ? `It called no model in this ${story.batch ? "batch" : "run"}.` : "It has called no model so far.");
  const endName = ({ id }) => ({ __start__: "start", __end__: "end" })[id];

  function ofEnd(body, id) {
    const { run } = story;
    const facts = id === "__start__"
      ? { Started: run.started_at && moment(run.started_at), Target: run.target, User: run.user, Tier: run.tier, Thread: run.thread }
      : { Ended: run.ended_at && moment(run.ended_at), Status: run.status, Why: run.stop_reason };
    body.append(list(facts));
    if (id === "__end__" && run.error) body.append(make("p", { class: "error", text: run.error }));
    if (id === "__end__" && run.output !== null) body.append(spoken("output", run.output));
  }

  // A node that called no model: a function, or one that did not run.
  function ofQuiet(body, { path, id }) {
    const drawnAs = document.querySelector(`#plane [data-id="${CSS.escape(id ?? "")}"] title`)?.textContent;
    body.append(make("p", { class: "muted", text: notRun() }));
    body.append(list({ Node: path, Kind: drawnAs?.split(", ").slice(1).join(", ") }));
    if (story.run.failed_node?.split(" ")[0] === path && story.run.error) body.append(make("p", { class: "error", text: story.run.error }));
    const result = story.results[path];
    if (result) body.append(spoken("result", result));
    else if (story.run.status && isOver() && !story.batch) body.append(make("p", { class: "muted note", text: "Its result was not kept: --record-content keeps results." }));
  }

  function ofNode(body, one) {
    const { sum } = one;
    body.append(make("dl", { class: "tiles" }, ...[
      ["Cost", sum.calls ? money(sum.nanos, sum.complete) : "–"],
      ["Share", share(sum.nanos, nano(story.totals.usd), sum.complete) || "–"],
      story.batch ? ["Model time", duration(sum.busy), MODEL_TIME] : ["Elapsed", Number.isFinite(one.start) ? duration(one.end - one.start) : "–", ELAPSED],
      ["Calls", number(sum.calls) + (sum.failed ? ` · ${number(sum.failed)} failed` : "")],
      ["Tokens in", tokenSum(sum.input || (sum.counted ? 0 : null), sum.counted)],
      ["Tokens out", tokenSum(sum.output || (sum.counted ? 0 : null), sum.counted)],
    ].map(([term, text, title]) => make("div", { title }, make("dt", { text: term }), make("dd", { text })))));
    const added = sum.calls > 1 && !story.batch ? `${duration(sum.busy)}, the durations of its calls added up` : null;
    body.append(list({ "Model time": added, Role: one.role, Models: [...one.models].join(", "), Rounds: one.rounds > 1 ? String(one.rounds) : null }));
    if (one.error) body.append(make("p", { class: "error", text: one.error }));
    if (one.children.length) {
      const inside = one.children.map((child) => make("li", {}, make("button", { type: "button", class: "link", onclick: () => open(child.path, null, back) }, sign(child.kind), make("span", { text: child.name })), make("span", { class: "muted", text: money(child.sum.nanos, child.sum.complete) })));
      body.append(make("h3", { text: "Inside" }), make("ul", { class: "inside" }, ...inside));
    }
    const result = story.results[one.path];
    if (result) body.append(spoken("result", result));
    if (one.tools.length) body.append(make("h3", { text: `Tool calls (${number(one.tools.length)})` }), ...one.tools.map(used));
    if (one.calls.length) body.append(...attempts(one));
  }

  function used(tool) {
    const [word, tone] = STATUS[tool.status];
    const made = make("details", { class: "attempt" }, make("summary", {},
      badge(word, tone), make("span", { class: "model", text: tool.name }), make("span", { class: "usd", text: duration(tool.duration_ms) }),
      make("span", { class: "muted", text: `after ${duration(tool.start_ms)}` }),
    ));
    if (tool.error) made.append(make("p", { class: "error", text: tool.error }));
    if (tool.arguments === null) made.append(make("p", { class: "muted note", text: "Arguments and results were not kept: --record-content keeps them." }));
    else made.append(spoken("arguments", tool.arguments), ...(tool.result === null ? [] : [spoken("result", tool.result)]));
    return made;
  }

  function attempts(one) {
    const from = shown.call ? Math.max(0, one.calls.findIndex((call) => call.call_id === shown.call)) : 0;
    const calls = one.calls.slice(from, from + many);
    const left = one.calls.length - from - calls.length;
    const title = make("h3", { text: `Model calls (${number(one.calls.length)})` });
    const every = from ? make("button", { type: "button", class: "quiet", text: "Show from the first", onclick: () => { shown.call = null; draw(); } }) : null;
    const rest = left > 0 ? make("button", { type: "button", class: "quiet", text: `Show ${number(Math.min(PORTION, left))} more of ${number(left)}`, onclick: () => { many += PORTION; draw(); } }) : null;
    return [title, every, ...calls.map((call) => attempt(call, one)), rest].filter(Boolean);
  }

  function attempt(call, one) {
    const [word, tone] = call.status === "started" && isOver() ? ["no end recorded", "warning"] : STATUS[call.status];
    const tries = [one.rounds > 1 ? `round ${call.round}` : "", call.candidate ? `fallback ${call.candidate}` : "", call.attempt > 1 ? `try ${call.attempt}` : "", call.truncated ? "cut off at max_tokens" : ""].filter(Boolean);
    const summary = make("summary", {},
      badge(word, tone), make("span", { class: "model", text: call.model }), make("span", { class: "usd", text: money(call.nanos) }),
      make("span", { class: "muted", text: [...tries, call.input_tokens === null ? "no usage" : `${number(call.input_tokens)} in, ${number(call.output_tokens)} out`, duration(call.duration_ms)].join(" · ") }),
    );
    const made = make("details", { class: "attempt", open: opened.has(call.call_id) }, summary);
    const fill = () => { if (made.open && made.children.length === 1) made.append(...inside(call)); };
    made.addEventListener("toggle", () => {
      if (made.open) opened.add(call.call_id);
      else opened.delete(call.call_id);
      fill();
    });
    fill();
    return made;
  }

  function* inside(call) {
    if (call.error || call.error_type) yield make("p", { class: "error" }, call.error_type ? make("strong", { text: call.error_type }) : null, call.error ? ` ${call.error}` : null);
    const asked = `${call.provider}:${call.requested_model}`;
    yield list({
      Asked: asked,
      Answered: call.response_model,
      Candidate: `${call.candidate + 1}, try ${call.attempt}`,
      "Input tokens": tokens(call.input_tokens, [[call.cache_read_tokens, "from the cache"], [call.cache_creation_tokens, "put into the cache"]]),
      "Output tokens": tokens(call.output_tokens, [[call.reasoning_tokens, "reasoning"]]),
      Usage: { reported: "reported by the provider", estimated: "estimated", none: "not reported" }[call.usage_source],
      Cost: call.usd === null ? "unknown" : `$${call.usd}`,
      Price: call.price_source,
      Started: `after ${duration(call.start_ms)}`,
      Took: duration(call.duration_ms),
      "First token": call.time_to_first_token_ms === null ? null : `after ${duration(call.time_to_first_token_ms)}`,
      Finished: call.truncated ? `${call.finish_reason}: met max_tokens, the answer is cut off` : call.finish_reason,
      Budget: [call.shortened ? "answer shortened" : "", call.economized ? "cheaper model preferred" : ""].filter(Boolean).join(", ") || null,
    });
    const texts = textsOf(call);
    if (!texts) {
      yield make("p", { class: "muted note", text: "Prompts and answers were not kept: --record-content keeps them." });
      return;
    }
    for (const message of [texts.prompt].flat()) yield shownMessage(message);
    if (texts.answer !== null) yield shownMessage(texts.answer);
    for (const src of texts.pictures) yield make("img", { class: "made", src, alt: "A picture that this call made" });
  }

  const tokens = (count, parts) => [number(count), ...parts.filter(([some]) => some).map(([some, what]) => `${number(some)} ${what}`)].join(" · ");

  function shownMessage(message) {
    if (typeof message !== "object" || message === null) return spoken("text", String(message));
    const calls = (message.tool_calls || []).map((one) => `calls ${one.function?.name}(${one.function?.arguments})`);
    const content = typeof message.content === "string" ? message.content : message.content ? JSON.stringify(message.content, null, 2) : "";
    return spoken(String(message.role ?? "?"), [content, ...calls].filter(Boolean).join("\n"));
  }

  const spoken = (who, text) => make("figure", { class: `message ${who === "assistant" || who === "result" || who === "output" ? "answer" : ""}` }, make("figcaption", { text: who }), make("pre", { text, tabindex: "0" }));

  function list(facts) {
    const known = Object.entries(facts).filter(([, text]) => text !== null && text !== undefined && text !== "");
    return make("dl", { class: "facts" }, ...known.flatMap(([term, text]) => [make("dt", { text: term }), make("dd", { text })]));
  }

  // During a run the panel is only drawn again when its content has changed.
  function refresh() {
    const one = shown && story.tree.found.get(shown.path);
    const known = JSON.stringify([story.run.status, one?.calls.map((call) => call.status), one?.sum, one?.error, one?.spans.length, one?.tools.length]);
    if (!shown || known === drawnOf) return;
    const within = place.contains(document.activeElement);
    draw();
    drawnOf = known;
    if (within && !place.contains(document.activeElement)) place.querySelector("h2").focus();
  }

  return { open, refresh };
}

const moment = (text) => new Date(text).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
