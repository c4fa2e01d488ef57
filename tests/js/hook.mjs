// Renders `useStream` of one version of @langchain/langgraph-sdk with react and jsdom, acts as a user does, and prints
// what the page showed after each step, and which requests it made, as one JSON document.
//
//   node hook.mjs SDK URL [SCENARIO...]
//
// Scenarios run at once, each with pages of its own. Knows nothing of graphtape.

import { JSDOM } from "jsdom";

const [sdkName, apiUrl, ...wanted] = process.argv.slice(2);
const { window } = new JSDOM("<!doctype html><body></body>", { url: "http://localhost:3000/" });
// React and the hook look for these; fetch stays Node's.
for (const [name, value] of Object.entries({ window, document: window.document, navigator: window.navigator })) {
  Object.defineProperty(globalThis, name, { value, configurable: true });
}
const { createElement } = await import("react");
const { createRoot } = await import("react-dom/client");
const { useStream } = await import(`${sdkName}/react`);

const QUIET_MS = 120;
const PATIENCE_MS = 20_000;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const human = (content) => ({ id: crypto.randomUUID(), type: "human", content });

async function until(claim, what) {
  for (const start = Date.now(); !claim(); await pause(5)) {
    if (Date.now() - start > PATIENCE_MS) throw new Error(`waited in vain until ${what}`);
  }
}

/** A page with one hook on it. */
class Page {
  constructor(options) {
    this.requests = [];
    this.custom = [];
    this.errors = [];
    this.lastChange = Date.now();
    this.open = 0;
    this.left = false;
    this.readers = [];
    const callerOptions = { fetch: (url, init) => this.#fetch(url, init) };
    const shown = {
      apiUrl,
      callerOptions,
      fetchStateHistory: true,
      onThreadId: (id) => (this.threadId = id),
      onError: (error) => this.errors.push(`${error}`),
      onCustomEvent: (data) => this.custom.push(data),
      ...options,
    };
    const App = () => {
      this.hook = useStream(shown);
      // Reading them is what makes the hook ask for their stream modes.
      void this.hook.messages;
      void this.hook.values;
      this.lastChange = Date.now();
      return null;
    };
    this.threadId = options.threadId;
    this.root = createRoot(document.createElement("div"));
    this.root.render(createElement(App));
  }

  async #fetch(url, init) {
    const { pathname, search } = new URL(url);
    const body = init?.body ? JSON.parse(init.body) : undefined;
    const lastEventId = new Headers(init?.headers).get("last-event-id");
    this.requests.push({ method: init?.method ?? "GET", path: pathname + search, body, ...(lastEventId && { lastEventId }) });
    this.open += 1;
    try {
      return this.#readable(await fetch(url, init));
    } finally {
      this.open -= 1;
      this.lastChange = Date.now();
    }
  }

  /** The response, whose body hangs up and falls silent when the page is left: no code runs on a page that is gone. */
  #readable(response) {
    if (response.body === null) return response;
    const reader = response.body.getReader();
    this.readers.push(reader);
    const body = new ReadableStream({
      pull: async (controller) => {
        const { done, value } = await reader.read();
        if (this.left) await new Promise(() => {});
        if (done) controller.close();
        else controller.enqueue(value);
      },
      cancel: (reason) => reader.cancel(reason),
    });
    return new Response(body, response);
  }

  async settled() {
    await until(() => this.hook !== undefined, "the page is there");
    await until(
      () => !this.hook.isLoading && this.open === 0 && Date.now() - this.lastChange > QUIET_MS,
      "the page is at rest",
    );
    return this.shown();
  }

  /** What a user sees, and what the next act would send. */
  shown() {
    const { hook } = this;
    const requests = this.requests.splice(0);
    return {
      messages: hook.messages,
      values: hook.values,
      interrupt: hook.interrupt ?? null,
      error: hook.error ? `${hook.error}` : null,
      errors: this.errors.splice(0),
      branch: hook.branch,
      history: hook.history.map((state) => [state.checkpoint, state.parent_checkpoint, state.next, state.values]),
      metadata: hook.messages.map((message, index) => {
        const found = hook.getMessagesMetadata(message, index);
        return [found?.firstSeenState?.parent_checkpoint, found?.branch, found?.branchOptions, found?.streamMetadata];
      }),
      // Two requests of one moment have no order.
      requests: requests.sort((a, b) => (a.method + a.path < b.method + b.path ? -1 : 1)),
      custom: this.custom.splice(0),
    };
  }

  async submit(...submitted) {
    await this.hook.submit(...submitted);
    return this.settled();
  }

  leave() {
    this.left = true;
    this.root.unmount();
    for (const reader of this.readers) reader.cancel().catch(() => {});
  }
}

const SCENARIOS = {
  // A first and a second message, then the thread opened in a new page.
  async conversation() {
    const page = new Page({ assistantId: "agent" });
    const steps = [await page.settled()];
    steps.push(await page.submit({ messages: [human("What is the weather in Zürich?")] }));
    steps.push(await page.submit({ messages: [human("And tomorrow?")] }));
    page.leave();
    const reloaded = new Page({ assistantId: "agent", threadId: page.threadId });
    steps.push(await reloaded.settled());
    reloaded.leave();
    const lean = new Page({ assistantId: "agent", threadId: page.threadId, fetchStateHistory: { limit: 1 } });
    steps.push(await lean.settled());
    lean.leave();
    return steps;
  },

  // The first message is edited, then the answer to it regenerated, then the first branch shown again.
  async branches() {
    const page = new Page({ assistantId: "tokens" });
    const before = (index) =>
      page.hook.getMessagesMetadata(page.hook.messages[index], index).firstSeenState.parent_checkpoint;
    await page.settled();
    const steps = [await page.submit({ messages: [human("first")] })];
    steps.push(await page.submit({ messages: [human("frist, edited")] }, { checkpoint: before(0) }));
    steps.push(await page.submit(undefined, { checkpoint: before(1) }));
    const options = page.hook.getMessagesMetadata(page.hook.messages[0], 0)?.branchOptions;
    page.hook.setBranch(options[0]);
    await pause(10);
    steps.push(options, await page.settled());
    page.leave();
    return steps;
  },

  async interrupt() {
    const page = new Page({ assistantId: "approval" });
    await page.settled();
    const steps = [await page.submit({ topic: "lunch" })];
    page.leave();
    const reloaded = new Page({ assistantId: "approval", threadId: page.threadId });
    steps.push(await reloaded.settled());
    steps.push(await reloaded.submit(undefined, { command: { resume: "yes" } }));
    reloaded.leave();
    return steps;
  },

  // Reloaded while a run is on: the new page joins it from its beginning.
  async rejoin() {
    const page = new Page({ assistantId: "slow", reconnectOnMount: true });
    await page.settled();
    void page.hook.submit({ n: 11 });
    await until(() => page.custom.some((data) => data.tick === 3), "tick 3");
    const first = page.custom.length;
    page.leave();
    const reloaded = new Page({ assistantId: "slow", reconnectOnMount: true, threadId: page.threadId });
    await until(() => reloaded.custom.length > 0, "the first event of the joined run");
    const steps = [first >= 4, await reloaded.settled()];
    reloaded.leave();
    return steps;
  },

  // Stopped by a page that cancels, and by one that only hangs up. The thread is there before: whether a page that
  // creates one reads its history before its stream begins is a race within the hook.
  async stop() {
    const stopped = async (n, options) => {
      const init = { method: "POST", headers: { "content-type": "application/json" }, body: "{}" };
      const { thread_id } = await (await fetch(`${apiUrl}/threads`, init)).json();
      const page = new Page({ assistantId: "slow", threadId: thread_id, ...options });
      await page.settled();
      const submitted = page.hook.submit({ n });
      await until(() => page.custom.some((data) => data.tick === 2), "tick 2");
      await page.hook.stop();
      await submitted;
      const { custom, ...shown } = await page.settled();
      let status = "running";
      for (let tries = 0; status === "running" && tries < 20; tries++, await pause(50)) {
        const [run] = await (await fetch(`${apiUrl}/threads/${page.threadId}/runs`)).json();
        status = run.status;
      }
      page.leave();
      return { ...shown, started: custom.slice(0, 3), status };
    };
    return Promise.all([stopped(21, { reconnectOnMount: true }), stopped(22, {})]);
  },

  async failure() {
    const page = new Page({ assistantId: "failing" });
    await page.settled();
    const steps = [await page.submit({ n: 5 })];
    page.leave();
    return steps;
  },
};

const names = wanted.length ? wanted : Object.keys(SCENARIOS);
const entries = await Promise.all(
  names.map(async (name) => {
    try {
      return [name, await SCENARIOS[name]()];
    } catch (error) {
      return [name, { thrown: error.stack }];
    }
  }),
);
process.stdout.write(JSON.stringify(Object.fromEntries(entries)), () => process.exit(0));
