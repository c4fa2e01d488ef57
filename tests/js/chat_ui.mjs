// What agent-chat-ui sends, call by call, with plain fetch; prints what it got as one JSON document.
//
//   node chat_ui.mjs URL CONTENT_TYPE
//
// CONTENT_TYPE is that of JSON bodies: application/json from the page itself, text/plain through its Next.js route, which
// drops the header. Knows nothing of graphtape.

const [apiUrl, contentType] = process.argv.slice(2);
const ORIGIN = "http://localhost:3000";

async function call(method, path, body, onData) {
  const leaving = new AbortController();
  const json = body === undefined ? {} : { "content-type": contentType };
  const response = await fetch(apiUrl + path, {
    method,
    headers: { origin: ORIGIN, "x-api-key": "not-a-key", ...json },
    body: body === undefined ? undefined : JSON.stringify(body),
    signal: leaving.signal,
  });
  let text = "";
  try {
    for await (const data of response.body.pipeThrough(new TextDecoderStream())) {
      text += data;
      if (onData?.(text) === "leave") leaving.abort();
    }
  } catch (error) {
    // Who means to leave may find the connection broken: nothing was recorded after the recorded page had left.
    if (!onData) throw error;
  }
  const answer = response.headers.get("content-type").startsWith("application/json") ? JSON.parse(text) : text;
  return { status: response.status, located: response.headers.get("content-location"), answer };
}

/** One conversation, and all that came back in it. */
class Conversation {
  seen = [];

  async call(...asked) {
    const got = await call(...asked);
    this.seen.push({ asked: asked.slice(0, 2), ...got });
    return got.answer;
  }

  async start() {
    this.thread = (await this.call("POST", "/threads", { metadata: {} })).thread_id;
  }

  submit(graph, fields) {
    return this.call("POST", `/threads/${this.thread}/runs/stream`, {
      ...fields,
      stream_mode: ["messages-tuple", "values", "custom"],
      stream_subgraphs: true,
      stream_resumable: true,
      assistant_id: graph,
      on_disconnect: "continue",
    });
  }

  history() {
    return this.call("POST", `/threads/${this.thread}/history`, { limit: 10 });
  }

  /** The sidebar: of a server that others use too, only the row of this thread is compared. */
  async sidebar(graph) {
    const asked = { metadata: { graph_id: graph }, limit: 100, offset: 0 };
    const { status, answer } = await call("POST", "/threads/search", asked);
    this.seen.push({ sidebar: status, row: answer.find((row) => row.thread_id === this.thread) ?? null });
  }
}

const human = (text) => ({ id: crypto.randomUUID(), type: "human", content: [{ type: "text", text }] });

const CONVERSATIONS = {
  async chat(page) {
    page.seen.push({ info: (await call("GET", "/info")).status });
    await page.sidebar("agent");
    await page.start();
    await page.submit("agent", { input: { messages: [human("What is the weather in Zürich?")] } });
    const [{ checkpoint }] = await page.history();
    await page.sidebar("agent");
    delete checkpoint.thread_id;
    await page.submit("agent", { input: { messages: [human("And tomorrow?")] }, checkpoint });
    const [{ parent_checkpoint: before }] = await page.history();
    // Regenerate: no input, from the checkpoint before the last answer.
    delete before.thread_id;
    await page.submit("agent", { checkpoint: before });
    await page.history();
  },

  async decide(page) {
    await page.start();
    await page.submit("approval", { input: { topic: "lunch" } });
    await page.history();
    await page.submit("approval", { input: {}, command: { resume: { decisions: [{ type: "approve" }] } } });
    await page.history();
  },

  // "Mark as resolved": the run ends without a decision.
  async resolve(page) {
    await page.start();
    await page.submit("approval", { input: { topic: "dinner" } });
    await page.submit("approval", { input: {}, command: { goto: "__end__" } });
    await page.history();
  },

  // Stop only closes the connection: the run goes on.
  async stop(page) {
    await page.start();
    const body = { input: { n: 31 }, stream_mode: ["values", "custom"], stream_resumable: true, assistant_id: "slow", on_disconnect: "continue" };
    const { status, located } = await call("POST", `/threads/${page.thread}/runs/stream`, body, (text) =>
      text.includes('"tick":2') ? "leave" : undefined,
    );
    page.seen.push({ stopped: status });
    await page.call("GET", `${located}/join`);
    await page.history();
    await page.call("GET", located);
  },
};

const entries = await Promise.all(
  Object.entries(CONVERSATIONS).map(async ([name, hold]) => {
    const page = new Conversation();
    try {
      await hold(page);
    } catch (error) {
      page.seen.push({ thrown: error.stack });
    }
    return [name, page.seen];
  }),
);
process.stdout.write(JSON.stringify(Object.fromEntries(entries)));
