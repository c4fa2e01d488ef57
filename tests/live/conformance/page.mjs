// The JavaScript examples of the official streaming page, in its order. Prints one JSON document: example -> what it saw.
//
//   node page.mjs MODULES SDK URL TABLE
//
// MODULES is a folder that has node_modules, SDK a package in it, TABLE the examples that only differ in arguments.
// Knows nothing of graphtape.

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [modules, sdk, apiUrl, table] = process.argv.slice(2);
const require = createRequire(`${modules}/package.json`);
const { Client } = await import(pathToFileURL(require.resolve(sdk)));
const client = new Client({ apiUrl });
const seen = {};

async function all(stream, until = () => false) {
  const parts = [];
  for await (const chunk of stream) {
    parts.push([chunk.event, chunk.data]);
    if (until(chunk)) break;
  }
  return parts;
}

const input = { topic: "ice cream" };
const done = (chunk) => chunk.data?.status === "run_done";
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const newThread = async () => (await client.threads.create())["thread_id"];

async function run({ name, graph, input, mode, subgraphs, stateless }) {
  const threadID = stateless ? null : await newThread();
  const payload = { input, streamMode: mode, ...(subgraphs ? { streamSubgraphs: true } : {}) };
  seen[name] = await all(client.runs.stream(threadID, graph, payload));
}

async function join() {
  const threadID = await newThread();
  const run = await client.runs.create(threadID, "page_joke", { input, streamMode: "updates" });
  seen["join and stream"] = await all(client.runs.joinStream(threadID, run["run_id"]));
}

async function follow(name, options) {
  const threadID = await newThread();
  const following = all(client.threads.joinStream(threadID, options), done);
  await pause(300);
  await all(client.runs.stream(threadID, "page_joke", { input, streamMode: "updates", streamResumable: true }));
  seen[name] = await following;
  const whole = [];
  for await (const chunk of client.threads.joinStream(threadID, { lastEventId: "-" })) {
    whole.push(chunk);
    if (done(chunk)) break;
  }
  seen[`${name}: from the beginning`] = whole.map(({ event, data }) => [event, data]);
  const rest = client.threads.joinStream(threadID, { lastEventId: whole[1].id });
  seen[`${name}: resume from last event`] = await all(rest, done);
}

await Promise.all([
  ...JSON.parse(table).map(run),
  join(),
  follow("stream a thread", undefined),
  follow("thread stream modes", { streamMode: ["lifecycle", "state_update"] }),
]);
console.log(JSON.stringify(seen));
process.exit(0);
