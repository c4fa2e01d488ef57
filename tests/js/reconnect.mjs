// Has conversations whose connections may break, and prints what was given of each run and what was asked for.
//
//   node reconnect.mjs SDK < CONVERSATIONS
//
// Conversations are a JSON list of { url, graph, body }, with the names of the HTTP body. All are had at once. Each gives
// { parts, asked }: [event, data, id] of each event, and [method, path, Last-Event-ID, status] of each request. Knows
// nothing of graphtape, nor who breaks the connections.

import { readFileSync } from "node:fs";

const [sdkName] = process.argv.slice(2);
const { Client } = await import(sdkName);
// The SDK waits one second or two before it comes back: here always one.
Math.random = () => 0;

async function conversation({ url, graph, body }) {
  const asked = [];
  const logged = async (target, init = {}) => {
    const { pathname, search } = new URL(target);
    const line = [init.method ?? "GET", pathname + search, new Headers(init.headers).get("last-event-id"), null];
    asked.push(line);
    const answer = await fetch(target, init);
    line[3] = answer.status;
    return answer;
  };
  const client = new Client({ apiUrl: url, apiKey: null, callerOptions: { maxRetries: 0, fetch: logged } });
  const parts = [];
  const { thread_id } = await client.threads.create();
  const options = { input: body.input, streamMode: body.stream_mode, streamResumable: body.stream_resumable };
  try {
    for await (const { event, data, id } of client.runs.stream(thread_id, graph, options)) {
      parts.push([event, data, id ?? null]);
    }
  } catch (error) {
    parts.push({ thrown: error.name, message: error.message });
  }
  return { parts, asked };
}

const seen = await Promise.all(JSON.parse(readFileSync(0, "utf-8")).map(conversation));
process.stdout.write(JSON.stringify(seen), () => process.exit(0));
