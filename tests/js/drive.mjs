// Drives one version of @langchain/langgraph-sdk and prints what it saw as one JSON document.
//
//   node drive.mjs SDK URL TAG [SCENARIO...]
//
// SDK is an installed package (sdk-1.15.0), URL a server, a recording proxy or a mock, TAG a word by which this drive's
// threads are found among others. Scenarios run at once, each with a client and threads of its own, and each prints a
// list: answers, parts of streams, errors. Knows nothing of graphtape.

const [sdkName, apiUrl, TAG, ...wanted] = process.argv.slice(2);
const { Client } = await import(sdkName);

const HELLO = { messages: [{ role: "user", content: "hello" }] };
const MODES = ["values", "updates", "messages", "messages-tuple", "custom", "debug", "events", "tasks", "checkpoints"];
const LISTS = [
  ["values", "messages-tuple", "custom"],
  ["updates", "tasks", "checkpoints", "debug"],
  ["messages", "values"],
];
// Which modes are asked with subgraphs alternates from version to version, so that all cells are met.
const PARITY = ["sdk-0.1.10", "sdk-1.11.0"].includes(sdkName) ? 0 : 1;

const newClient = () => new Client({ apiUrl, apiKey: "not-a-key", callerOptions: { maxRetries: 0 } });

function described(error) {
  const { name, message, status } = error;
  return { thrown: name, message, ...(status === undefined ? {} : { status }) };
}

/** The parts of a stream, and how it ended; `onPart` may act in between. */
async function parts(stream, onPart = () => {}) {
  const seen = [];
  try {
    for await (const part of stream) {
      seen.push({ event: part.event, data: part.data, ...(part.id === undefined ? {} : { id: part.id }) });
      if ((await onPart(part, seen)) === "leave") break;
    }
  } catch (error) {
    seen.push(described(error));
  }
  return seen;
}

async function attempt(action) {
  try {
    return await action();
  } catch (error) {
    return described(error);
  }
}

/** A thread, and a run on it that is streamed to its end. */
async function streamed(client, graph, payload, threadMetadata) {
  const created = [];
  const thread = await client.threads.create(threadMetadata && { metadata: threadMetadata });
  const seen = await parts(
    client.runs.stream(thread.thread_id, graph, { ...payload, onRunCreated: (run) => created.push(run) }),
  );
  return { thread: thread.thread_id, run: created[0]?.run_id, created, seen };
}

async function afterwards(client, threadId, runId) {
  return {
    run: await attempt(() => client.runs.get(threadId, runId)),
    state: await attempt(() => client.threads.getState(threadId)),
    history: await attempt(() => client.threads.getHistory(threadId)),
    thread: await attempt(() => client.threads.get(threadId)),
  };
}

const SCENARIOS = {
  async modes(client) {
    const asked = MODES.map((streamMode, i) => ({ streamMode, streamSubgraphs: i % 2 === PARITY }));
    asked.push(...LISTS.map((streamMode) => ({ streamMode, streamSubgraphs: true })), {});
    return Promise.all(
      asked.map(async (options) => ({ options, ...(await streamed(client, "levels", { input: HELLO, ...options })) })),
    );
  },

  async odd(client) {
    const options = { input: { texts: [] }, streamMode: ["custom", "values"] };
    return [await streamed(client, "odd_unicode", options), await streamed(client, "custom_data", options)];
  },

  async stateless(client) {
    const input = { messages: [{ role: "user", content: "nobody" }] };
    const created = [];
    const onRunCreated = (run) => created.push(run);
    return [
      await parts(client.runs.stream(null, "tokens", { input, streamMode: ["messages-tuple", "values"], onRunCreated })),
      await client.runs.wait(null, "tokens", { input }),
      created,
    ];
  },

  async wait(client) {
    const { thread_id } = await client.threads.create();
    const other = await client.threads.create();
    return [
      await client.runs.wait(thread_id, "tokens", { input: { messages: [{ role: "user", content: "wait" }] } }),
      await client.threads.getState(thread_id),
      await attempt(() => client.runs.wait(other.thread_id, "failing", { input: { n: 3 } })),
      await attempt(() => client.runs.wait(other.thread_id, "failing", { input: { n: 4 }, raiseError: false })),
    ];
  },

  // Joined before its first event, while it runs, and when it is over.
  async join(client) {
    const { thread_id } = await client.threads.create();
    const run = await client.runs.create(thread_id, "slow", {
      input: { n: 1 },
      streamMode: ["custom", "values", "updates"],
      streamResumable: true,
    });
    const join = (options, onPart) => parts(client.runs.joinStream(thread_id, run.run_id, options), onPart);
    let second;
    const first = await join({ lastEventId: "-1" }, (part) => {
      if (part.data?.tick === 4) second = join({ lastEventId: "-1", streamMode: "custom" });
    });
    const real = first[6]?.id;
    // The server may send an event twice to who joins at the moment of its emission: it subscribes before it reads.
    const once = (await second).filter((part, i, all) => i === 0 || part.id !== all[i - 1].id);
    return [
      run,
      first,
      once,
      await join({ lastEventId: real }),
      await join({ lastEventId: first.at(-1)?.id }),
      await join({ lastEventId: "-1", streamMode: "updates" }),
      await join(undefined),
      await client.runs.join(thread_id, run.run_id),
      await afterwards(client, thread_id, run.run_id),
      await attempt(() => client.runs.list(thread_id)),
    ];
  },

  // Two hundred events in few milliseconds: their ids repeat, so what a resume gives is the server's own affair.
  async burst(client) {
    const whole = await streamed(client, "burst", { input: { n: 0 }, streamMode: "custom", streamResumable: true });
    const resumed = [];
    for (const index of [0, 1, 50, 150, whole.seen.length - 1]) {
      const lastEventId = whole.seen[index]?.id;
      resumed.push(await parts(client.runs.joinStream(whole.thread, whole.run, { lastEventId })));
    }
    return [whole, resumed];
  },

  // A thread's stream, open before its run starts; then again from the beginning.
  async thread(client) {
    const { thread_id } = await client.threads.create();
    const untilDone = (options) => {
      const leaving = new AbortController();
      return parts(client.threads.joinStream(thread_id, { signal: leaving.signal, ...options }), (part) =>
        part.data?.status === "run_done" ? "leave" : undefined,
      );
    };
    const live = untilDone({});
    await new Promise((resolve) => setTimeout(resolve, 300));
    const run = await parts(
      client.runs.stream(thread_id, "tokens", {
        input: { messages: [{ role: "user", content: "thread" }] },
        streamMode: ["values", "messages-tuple"],
        streamResumable: true,
      }),
    );
    return [await live, run, await untilDone({ lastEventId: "-" })];
  },

  async cancel(client) {
    const { thread_id } = await client.threads.create();
    let run;
    let cancelled;
    const seen = await parts(
      client.runs.stream(thread_id, "slow", {
        input: { n: 2 },
        streamMode: "custom",
        onRunCreated: (created) => (run = created.run_id),
      }),
      (part) => {
        if (part.data?.tick === 2) cancelled = attempt(() => client.runs.cancel(thread_id, run, true));
      },
    );
    return [seen, await cancelled, await afterwards(client, thread_id, run), await attempt(() => client.runs.cancel(thread_id, run, true))];
  },

  async reads(client) {
    const mine = { tag: TAG };
    const one = await streamed(client, "tokens", {
      input: { messages: [{ role: "user", content: "reads" }] },
      streamMode: "values",
    }, mine);
    const empty = await client.threads.create({ metadata: mine });
    const answers = [
      one,
      empty,
      await afterwards(client, one.thread, one.run),
      await client.threads.getState(empty.thread_id),
      await client.threads.getState(one.thread, undefined, { subgraphs: true }),
      await client.threads.getHistory(one.thread, { limit: 1 }),
      await client.threads.search({ metadata: mine, limit: 10 }),
      await client.threads.search({ metadata: mine, limit: 1, offset: 1 }),
      await client.runs.list(one.thread),
      await client.threads.update(empty.thread_id, { metadata: { more: 1 } }),
      await client.threads.delete(empty.thread_id),
      await attempt(() => client.threads.get(empty.thread_id)),
    ];
    if (client.threads.count) answers.push(await client.threads.count({ metadata: mine }));
    return answers;
  },

  async assistants(client) {
    const found = await client.assistants.search({ graphId: "levels" });
    const id = found[0].assistant_id;
    return [
      found,
      await client.assistants.get(id),
      await client.assistants.getGraph(id),
      await client.assistants.getSchemas(id),
      await attempt(() => client.assistants.get("00000000-0000-4000-8000-000000000000")),
    ];
  },

  async store(client) {
    const namespace = ["graphtape", TAG];
    return [
      (await client.store.putItem(namespace, "key", { some: "välue" })) ?? null,
      await client.store.getItem(namespace, "key"),
      await client.store.searchItems(namespace),
      (await client.store.deleteItem(namespace, "key")) ?? null,
    ];
  },

  async interrupt(client) {
    const asked = await streamed(client, "ask", { input: { said: [] }, streamMode: ["values", "updates"] });
    const waiting = await afterwards(client, asked.thread, asked.run);
    const created = [];
    const resumed = await parts(
      client.runs.stream(asked.thread, "ask", {
        command: { resume: "yes" },
        streamMode: ["values", "updates"],
        onRunCreated: (run) => created.push(run),
      }),
    );
    return [asked, waiting, created, resumed, await afterwards(client, asked.thread, created[0]?.run_id)];
  },

  async error(client) {
    const broken = await streamed(client, "failing", { input: { n: 1 }, streamMode: ["values", "tasks"] });
    return [broken, await afterwards(client, broken.thread, broken.run)];
  },

  async refusals(client) {
    const nowhere = "00000000-0000-4000-8000-000000000000";
    const { thread_id } = await client.threads.create();
    return [
      await attempt(() => client.threads.get(nowhere)),
      await attempt(() => client.threads.getState(nowhere)),
      await parts(client.runs.stream(nowhere, "tokens", { input: HELLO })),
      await parts(client.runs.stream("not-a-uuid", "tokens", { input: HELLO })),
      await parts(client.runs.stream(thread_id, "tokens", { input: HELLO, streamMode: "bogus" })),
      await attempt(() => client.runs.get(thread_id, nowhere)),
      await parts(client.runs.joinStream(thread_id, nowhere)),
      await attempt(() => client.threads.create({ threadId: thread_id })),
    ];
  },
};

const names = wanted.length ? wanted : Object.keys(SCENARIOS);
const entries = await Promise.all(
  names.map(async (name) => [name, await attempt(() => SCENARIOS[name](newClient()))]),
);
// At once: version 0.1.10 cannot leave a thread's stream, and would keep the process alive.
process.stdout.write(JSON.stringify(Object.fromEntries(entries)), () => process.exit(0));
