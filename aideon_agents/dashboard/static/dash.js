"use strict";

// Renews the part of a page that is in progress: at each event of a run, or every few seconds.
let source = null;
let waiting = 0;

async function renew(id) {
  waiting = 0;
  const answer = await fetch(location.href);
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const now = page.getElementById(id);
  if (!now) return;
  document.getElementById(id).replaceWith(now);
  watch(now);
}

function watch(part) {
  if (part.dataset.every) setTimeout(() => renew(part.id), 1000 * Number(part.dataset.every));
  if (!part.dataset.events) return source?.close();
  if (source) return;
  source = new EventSource(part.dataset.events);
  const changed = () => { waiting ||= setTimeout(() => renew(part.id), 500); };
  for (const kind of ["node_started", "node_ended", "question", "run_ended"]) source.addEventListener(kind, changed);
}

for (const part of document.querySelectorAll("[data-events], [data-every]")) watch(part);
