// Reads a JSON list of flowcharts from stdin, lets Mermaid's own parser read each, and writes what
// it made of them: the nodes' texts and the edges by id, or the error.
import { readFileSync } from "node:fs";
import { JSDOM } from "jsdom";

const { window } = new JSDOM(""); // what Mermaid cleans labels with needs a document
Object.assign(globalThis, { window, document: window.document });
const { default: mermaid } = await import("mermaid");
mermaid.initialize({ startOnLoad: false });

// How Mermaid writes #35; to itself while it parses.
const plain = (text) =>
  (text ?? "").replace(/ﬂ°°(\d+)¶ß/g, (_, code) => String.fromCodePoint(Number(code)));

async function parsed(source) {
  try {
    await mermaid.parse(source);
    const { db, type } = await mermaid.mermaidAPI.getDiagramFromText(source);
    return {
      type,
      nodes: Object.fromEntries([...db.getVertices()].map(([id, one]) => [id, plain(one.text)])),
      edges: db.getEdges().map((edge) => [edge.start, edge.end, plain(edge.text)]),
      groups: db.getSubGraphs().map((group) => plain(group.title)),
    };
  } catch (error) {
    return { error: String(error.message ?? error) };
  }
}

const answers = [];
for (const source of JSON.parse(readFileSync(0, "utf8"))) answers.push(await parsed(source));
process.stdout.write(JSON.stringify(answers));
