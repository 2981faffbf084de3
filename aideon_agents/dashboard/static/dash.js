"use strict";

// Renews the part of a page that is in progress: at each event of a run, or every few seconds.
async function renew(part) {
  const answer = await fetch(location.href);
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const now = page.getElementById(part.id);
  if (!now) return;
  part.replaceWith(now);
  watch(now);
}

function watch(part) {
  if (part.dataset.every) setTimeout(() => renew(part), 1000 * Number(part.dataset.every));
  if (!part.dataset.events) return;
  const events = new EventSource(part.dataset.events);
  let waiting = 0;
  const changed = () => {
    waiting ||= setTimeout(() => { events.close(); renew(part); }, 500);
  };
  for (const kind of ["node_started", "node_ended", "question", "run_ended"]) events.addEventListener(kind, changed);
}

for (const part of document.querySelectorAll("[data-events], [data-every]")) watch(part);
