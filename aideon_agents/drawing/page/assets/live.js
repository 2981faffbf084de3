// Updates the page during its run: the server sends the changes, and at last the end of the run.

const PATIENCE = 8000;

function listen({ seen, viewer }, refresh) {
  const here = location.pathname.replace(/\/?$/, "/"); // an address is often copied without its last slash
  const source = new EventSource(`${here}events?seen=${seen}&viewer=${viewer}`);
  let waiting = null;
  const well = () => {
    clearTimeout(waiting);
    waiting = null;
    if (story.lost) { story.lost = false; refresh(); }
  };
  const hear = (event) => {
    well();
    take(JSON.parse(event.data));
    refresh();
  };
  source.addEventListener("open", well);
  source.addEventListener("change", hear);
  source.addEventListener("end", (event) => {
    source.close();
    hear(event);
    announce(`The run has ended: ${story.run.status}`);
  });
  source.addEventListener("error", () => {
    waiting ??= setTimeout(() => { story.lost = true; refresh(); }, PATIENCE);
  });
  // The bars of running calls grow between two messages.
  const tick = setInterval(() => {
    if (isOver()) clearInterval(tick);
    else if (!story.lost) { story.tree = tree(); refresh(); }
  }, 1000);
}
