// What a chat page does with the JavaScript SDK; prints what it has seen, as JSON.
import { Client } from "@langchain/langgraph-sdk";

const client = new Client({ apiUrl: process.argv[2], apiKey: null });
const human = (content) => ({ messages: [{ type: "human", content, id: `m-${content}` }] });
const read = async (stream) => {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
};

const assistants = await client.assistants.search();
const thread = await client.threads.create({ metadata: { page: "chat" } });
let created;
const streamed = await read(
  client.runs.stream(thread.thread_id, "asks", {
    input: human("heat pumps"),
    streamMode: ["values", "messages-tuple", "updates", "custom"],
    streamSubgraphs: true,
    streamResumable: true,
    onDisconnect: "continue",
    onRunCreated: (run) => (created = run),
  }),
);
const waiting = await client.threads.get(thread.thread_id);
const refused = await client.runs
  .wait(thread.thread_id, "asks", { input: human("and now") })
  .catch((error) => error.status);
const head = (await client.threads.getHistory(thread.thread_id, { limit: 1 }))[0];
const answered = await read(
  client.runs.stream(thread.thread_id, "asks", {
    command: { resume: { decisions: [{ type: "approve" }] } },
    checkpoint: { checkpoint_id: head.checkpoint.checkpoint_id, checkpoint_ns: "" },
    streamMode: ["values"],
  }),
);
const joined = await read(
  client.runs.joinStream(thread.thread_id, created.run_id, {
    lastEventId: answered[1].id,
    streamMode: ["values"],
  }),
);
const values = (await client.threads.getState(thread.thread_id)).values;
const listed = await client.threads.search({ metadata: { graph_id: "asks" }, limit: 100 });
await client.store.putItem(["notes"], "k", { text: "heat" });
const item = await client.store.getItem(["notes"], "k");
const failed = await read(client.runs.stream(null, "fails", { input: human("x") }));
const idle = (await client.threads.get(thread.thread_id)).status;
await client.threads.delete(thread.thread_id);

console.log(
  JSON.stringify({
    ...{ assistants, thread, created, streamed, waiting, refused, answered, joined },
    ...{ values, listed, item, failed, idle },
  }),
);
