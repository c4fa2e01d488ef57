// Streams runs through connections that break, and prints what the client was given and what the run really emitted.
//
//   node reconnect.mjs SDK URL [record]
//
// With `record` nothing is cut: those are the runs that a mock needs. Cases run at once. Knows nothing of graphtape.

import { cuttingProxy } from "./cutting_proxy.mjs";

const [sdkName, apiUrl, mode] = process.argv.slice(2);
const { Client } = await import(sdkName);
// The SDK waits one second or two before it tries again: here always one.
Math.random = () => 0;

const SLOW = { graph: "slow", input: { n: 0 }, streamMode: ["custom", "values"], streamResumable: true };
const FORGETFUL = { ...SLOW, input: { n: 1 }, streamResumable: false };
const BURST = { graph: "burst", input: { n: 0 }, streamMode: ["custom", "values"], streamResumable: true };

const CASES = {
  after_metadata: [SLOW, [{ after: 1 }]],
  after_fifth: [SLOW, [{ after: 5 }]],
  inside_sixth: [SLOW, [{ after: 5, inside: true }]],
  after_last: [SLOW, [{ after: 13 }]],
  twice: [SLOW, [{ after: 4 }, { after: 3 }]],
  before_first: [SLOW, [{ after: 0 }]],
  clean_end: [SLOW, [{ after: 5, clean: true }]],
  burst: [BURST, [{ after: 60 }, { after: 40, inside: true }]],
  not_resumable: [FORGETFUL, [{ after: 5 }]],
};

async function parts(stream) {
  const seen = [];
  try {
    for await (const { event, data, id } of stream) seen.push({ event, data, id: id ?? null });
  } catch (error) {
    seen.push({ thrown: error.name, message: error.message });
  }
  return seen;
}

async function run({ graph, ...payload }, cuts) {
  const proxy = await cuttingProxy(apiUrl, cuts);
  const client = new Client({ apiUrl: proxy.url, apiKey: null, callerOptions: { maxRetries: 0 } });
  const direct = new Client({ apiUrl, apiKey: null });
  const { thread_id } = await direct.threads.create();
  let runId;
  const seen = await parts(
    client.runs.stream(thread_id, graph, { ...payload, onRunCreated: (created) => (runId = created.run_id) }),
  );
  proxy.close();
  await direct.runs.join(thread_id, runId);
  const whole = await parts(direct.runs.joinStream(thread_id, runId, { lastEventId: "-1" }));
  const { status } = await direct.runs.get(thread_id, runId);
  return { seen, whole, status, requests: proxy.requests };
}

const recorded = { slow: [SLOW, []], forgetful: [FORGETFUL, []], burst: [BURST, []] };
const entries = await Promise.all(
  Object.entries(mode === "record" ? recorded : CASES).map(async ([name, [payload, cuts]]) => [
    name,
    await run(payload, cuts),
  ]),
);
process.stdout.write(JSON.stringify(Object.fromEntries(entries)), () => process.exit(0));
