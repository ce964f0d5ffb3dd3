// TextGeneration over workers that a test plays: admission, texts, ends, deadlines, conversations, resumes, drain.
import t from 'tap';
import { Conversations } from '../../../src/engine/conversations.ts';
import { TextGeneration, type TextGenerationOptions } from '../../../src/engine/generation-engine.ts';
import type {
  DoneEvent,
  Generation,
  GenerationEvent,
  GenerationOptions,
  GenerationPrompt,
  GenerationRequest,
} from '../../../src/engine/generation.ts';
import { StreamLogs } from '../../../src/engine/stream-log.ts';
import { ServiceError } from '../../../src/errors.ts';
import { Metrics } from '../../../src/observability/metrics.ts';
import { MemoryStore } from '../../../src/store/memory-store.ts';
import { neutralSampling, type SamplingOptions } from '../../../src/tasks/generation.ts';
import { FakeClock } from '../../helpers/fake-clock.ts';
import { CharText, charIds, decoderDescriptor, FakeGenerationExecutor } from '../../helpers/fake-generation-executor.ts';

const conversationId = 'a-conversation-of-mine';
const sampling: GenerationRequest['sampling'] = {
  maxNewTokens: 10,
  ...neutralSampling,
  seed: undefined,
};

function fixture(more: Partial<TextGenerationOptions> = {}) {
  const clock = new FakeClock();
  const executor = new FakeGenerationExecutor();
  const store = new MemoryStore({ maxBytes: 1_000_000, now: () => clock.now() });
  const metrics = new Metrics({ version: 'test' });
  const text = new CharText();
  const make = (): TextGeneration =>
    new TextGeneration({
      models: [
        { descriptor: decoderDescriptor(), generation: text },
        { descriptor: decoderDescriptor({ id: 'reader@1', name: 'reader', task: 'text-classification' }) },
      ],
      executor,
      metrics,
      device: 'fake',
      conversations: new Conversations({ store, ttlMs: 60_000, maxCount: 10, maxTokens: undefined, leaseMs: 20_000 }),
      streamLogs: new StreamLogs({ store, clock }),
      secret: Buffer.alloc(32),
      generationTimeoutMs: 5000,
      slotCount: 4,
      modelInfo: () => undefined,
      clock,
      ...more,
    });
  const engine = make();
  const client = new AbortController();
  const ask = (prompt: GenerationPrompt | string, request: Partial<GenerationRequest> = {}, options: Partial<GenerationOptions> = {}) =>
    engine.generate(requestOf(prompt, request), optionsOf(clock, client, options));
  return { clock, executor, store, metrics, text, make, engine, client, ask };
}

function requestOf(prompt: GenerationPrompt | string, more: Partial<GenerationRequest>): GenerationRequest {
  return {
    prompt: typeof prompt === 'string' ? { kind: 'text', prompt } : prompt,
    sampling,
    stop: [],
    choices: 1,
    truncate: false,
    shrinkToContext: false,
    ...more,
  };
}

function optionsOf(clock: FakeClock, client: AbortController, more: Partial<GenerationOptions>): GenerationOptions {
  return {
    signal: client.signal,
    requestId: 'r',
    tenant: 'a',
    priority: 'interactive',
    firstTokenDeadlineAt: clock.now() + 1000,
    anonymous: false,
    ...more,
  };
}

const withSampling = (more: Partial<SamplingOptions>): Partial<GenerationRequest> => ({ sampling: { ...sampling, ...more } });

async function all(generation: Generation): Promise<GenerationEvent[]> {
  const events: GenerationEvent[] = [];
  for await (const event of generation.events) events.push(event);
  return events;
}

function doneOf(events: readonly GenerationEvent[]): DoneEvent {
  const last = events.at(-1);
  if (last?.type !== 'done') throw new Error(`the last event is ${last?.type}`);
  return last;
}

const textsOf = (events: readonly GenerationEvent[]): string => events.map((event) => (event.type === 'token' ? event.text : '')).join('');

t.test('a generation from prompt to end', async (t) => {
  const { ask, executor, engine, clock } = fixture();
  const generation = await ask('Hello', withSampling({ seed: 7 }));
  const { request } = executor.last;
  t.same([...request.promptIds], charIds('Hello'));
  t.match(request, { model: 'writer@1', choices: 1, sampling: { seed: 7, maxNewTokens: 10 }, salt: /^[\da-f]{64}$/u });
  t.match(generation, { model: 'writer', promptTokens: 5, seed: 7 });
  const events = all(generation);
  executor.last.start(3);
  executor.last.say('wor');
  executor.last.say('<');
  executor.last.say('ld');
  executor.last.listener.onFinished(0, 'length');
  const [started, ...rest] = await events;
  t.same(started, { type: 'started', promptTokens: 5, cachedTokens: 3 });
  t.same(
    rest.slice(0, -1).map((event) => event.type === 'token' && [event.index, event.text, event.tokenId]),
    Array.from('wor<ld', (character, index) => [index, character, character.codePointAt(0)]),
  );
  t.match(doneOf(rest), {
    choices: [{ text: 'wor<ld', finishReason: 'length' }],
    usage: { inputTokens: 5, outputTokens: 6, cachedTokens: 3 },
    timings: { queueMs: 1, prefillMs: 2 },
    deadline: false,
    droppedTurns: 0,
  });
  await engine.drain();
  t.equal(clock.timerCount, 0, 'no timer stays');
});

t.test('salts keep tenants apart, seeds are drawn where none is given', async (t) => {
  const { ask, executor } = fixture();
  const one = await ask('a');
  const two = await ask('a');
  const three = await ask('a', {}, { tenant: 'b' });
  const [first, second, third] = executor.sequences.map(({ request }) => request);
  t.equal(first?.salt, second?.salt);
  t.equal(first?.affinity, second?.affinity);
  t.not(first?.salt, third?.salt);
  t.not(first?.affinity, third?.affinity);
  t.equal(new Set([one.seed, two.seed, three.seed]).size, 3);
  for (const { seed } of [one, two, three]) t.ok(Number.isSafeInteger(seed) && seed >= 0);
});

t.test('a stop string ends a choice at once, what comes later is dropped', async (t) => {
  const { ask, executor } = fixture();
  const events = all(await ask('a', { stop: ['.'], choices: 2 }));
  executor.last.start();
  executor.last.say('one. two');
  executor.last.say('three');
  t.same(executor.last.aborts, [0]);
  executor.last.say('x', 1);
  executor.last.listener.onFinished(0, 'aborted');
  executor.last.listener.onFinished(1, 'stop');
  const done = doneOf(await events);
  t.same(
    done.choices.map(({ text, finishReason }) => [text, finishReason]),
    [
      ['one', 'stop'],
      ['x', 'stop'],
    ],
  );
  t.equal(done.usage.outputTokens, 5, 'the stop string counts, what follows does not');
});

t.test('the client that leaves, the reader that leaves, and an abort', async (t) => {
  const { ask, executor, client, engine } = fixture();
  const aborted = await ask('a');
  executor.last.start();
  executor.last.say('x');
  aborted.abort();
  t.match(doneOf(await all(aborted)), { choices: [{ text: 'x', finishReason: 'aborted' }] });
  t.same(executor.last.aborts, [undefined]);
  const left = await ask('b');
  executor.last.start();
  executor.last.say('xyz');
  for await (const event of left.events) if (event.type === 'token') break;
  t.same(executor.last.aborts, [undefined]);
  const gone = await ask('c');
  client.abort();
  t.match(doneOf(await all(gone)), { choices: [{ finishReason: 'aborted' }] });
  t.same(executor.last.aborts, [undefined]);
  await t.rejects(ask('d'), { code: 'client_closed' });
  await engine.drain();
});

t.test('deadlines: of the first token an error, of the whole an end', async (t) => {
  const { ask, executor, clock } = fixture();
  const late = all(await ask('a'));
  late.catch(() => undefined);
  await clock.advance(1000);
  await t.rejects(late, { code: 'deadline_exceeded' });
  t.same(executor.last.aborts, [undefined]);
  const long = all(await ask('b'));
  executor.last.start();
  executor.last.say('text');
  await clock.advance(5000);
  t.match(doneOf(await long), { deadline: true, choices: [{ text: 'text', finishReason: 'length' }] });
  t.same(executor.last.aborts, [undefined]);
});

t.test('errors of the worker reach the reader after what came before', async (t) => {
  const { ask, executor, engine } = fixture();
  const generation = await ask('a');
  executor.last.start();
  executor.last.say('ab');
  executor.last.listener.onError(new ServiceError('worker_crashed', 'gone'));
  const seen: string[] = [];
  await t.rejects(
    (async () => {
      for await (const event of generation.events) seen.push(event.type);
    })(),
    { code: 'worker_crashed' },
  );
  t.same(seen, ['started', 'token', 'token']);
  await engine.drain();
});

t.test('prompts that do not fit', async (t) => {
  const { ask, executor } = fixture();
  await t.rejects(ask('x'.repeat(91)), { code: 'input_too_long', errors: [{ path: '/prompt', message: /91.*101.*100/u }] });
  await ask('x'.repeat(90));
  await ask('x'.repeat(95), { shrinkToContext: true, ...withSampling({ minNewTokens: 8 }) });
  t.match(executor.last.request.sampling, { maxNewTokens: 5, minNewTokens: 5 });
  await t.rejects(ask('x'.repeat(100), { shrinkToContext: true }), { code: 'input_too_long' });
  await ask(`${'x'.repeat(100)}tail`, { truncate: true });
  t.equal(executor.last.request.promptIds.length, 90);
  t.same(Array.from(executor.last.request.promptIds.slice(-4)), charIds('tail'), 'the newest tokens stay');
  await t.rejects(ask(''), { code: 'invalid_request' });
});

t.test('what is refused at once', async (t) => {
  const { ask, executor, text } = fixture();
  await t.rejects(ask('a', { choices: 5 }), { code: 'invalid_request', errors: [{ path: '/n' }] });
  await t.rejects(ask('a', withSampling({ logitBias: [[200, 1]] })), { code: 'invalid_request', errors: [{ path: '/logit_bias' }] });
  await t.rejects(ask('a', {}, { model: 'nobody' }), { code: 'model_not_found' });
  await t.rejects(ask('a', {}, { model: 'reader' }), { code: 'task_mismatch' });
  await t.rejects(ask({ kind: 'messages', messages: [{ role: 'nobody', content: '' }] }), {
    code: 'invalid_request',
    errors: [{ path: '/messages' }],
  });
  text.hasChatTemplate = false;
  await t.rejects(ask({ kind: 'messages', messages: [{ role: 'user', content: 'a' }] }), { code: 'invalid_request' });
  executor.liveWorkers = 0;
  await t.rejects(ask('a'), { code: 'no_worker' });
  executor.recovering = true;
  await t.rejects(ask('a'), { code: 'model_loading' });
  executor.failureReason = 'three deaths';
  await t.rejects(ask('a'), { code: 'model_failed' });
  t.equal(executor.sequences.length, 0);
});

t.test('too many that wait, or too long a wait, is 429', async (t) => {
  const { ask, executor, clock } = fixture();
  executor.load = { ...executor.load, running: 4, waiting: 64 };
  await t.rejects(ask('a'), { code: 'overloaded' });
  executor.load = { ...executor.load, running: 4, waiting: 8 };
  const events = all(await ask('a'));
  executor.last.start();
  executor.last.say('a');
  await clock.advance(900);
  executor.last.say('b');
  executor.last.listener.onFinished(0, 'length');
  await events;
  await t.rejects(ask('a'), { code: 'overloaded' }, 'generations take seconds here');
  executor.load = { ...executor.load, running: 3, waiting: 0 };
  t.ok(await ask('a'), 'with a free slot nothing is estimated');
});

t.test('a conversation: the turn is kept when it is whole, and only then', async (t) => {
  const { ask, executor, engine } = fixture();
  const turn = (message: string): GenerationPrompt => ({ kind: 'conversation', conversationId, message });
  const first = all(await ask(turn('one')));
  t.same([...executor.last.request.promptIds], charIds('user:one|>'));
  await t.rejects(ask(turn('two')), { code: 'conflict' });
  executor.last.start();
  executor.last.say('fine');
  executor.last.listener.onFinished(0, 'stop');
  await first;
  const cut = await ask(turn('two'));
  t.same([...executor.last.request.promptIds], charIds('user:one|assistant:fine|user:two|>'));
  cut.abort();
  await all(cut);
  const failed = await ask(turn('three'));
  executor.last.listener.onError(new ServiceError('worker_crashed', 'gone'));
  await t.rejects(all(failed), { code: 'worker_crashed' });
  await t.rejects(ask(turn('x'.repeat(100))), { code: 'input_too_long', errors: [{ path: '/message' }] });
  const { messages, tokens } = await engine.conversation(conversationId, { tenant: 'a', anonymous: false });
  t.same(
    messages.map(({ content }) => content),
    ['one', 'fine'],
  );
  t.ok(tokens > 0);
  t.ok(await ask(turn('four')), 'no lease stays behind');
});

t.test('a stream that was cut is resumed from its log; one that is whole needs no worker', async (t) => {
  const { ask, executor, clock, make } = fixture();
  const digest = { bodyDigest: 'd'.repeat(64) };
  const cut = await ask('abc', withSampling({ seed: 5 }), digest);
  executor.last.start();
  executor.last.say('hel');
  await clock.advance(200);
  cut.abort();
  await all(cut);
  await clock.advance(200);
  const other = make();
  const resume = (index: number, more: Partial<GenerationOptions> = {}): Promise<Generation> =>
    other.generate(requestOf('abc', withSampling({ seed: 5 })), {
      ...optionsOf(clock, new AbortController(), digest),
      lastEventId: `${cut.id}.${index}`,
      ...more,
    });
  const resumed = await resume(0);
  t.equal(resumed.id, cut.id);
  t.same([...(executor.last.request.generatedIds ?? [])], charIds('hel'));
  t.match(executor.last.request, { sampling: { seed: 5 }, promptIds: { length: 3 } });
  const events = all(resumed);
  executor.last.start();
  executor.last.say('lo');
  executor.last.listener.onFinished(0, 'length');
  await clock.advance(200);
  t.equal(textsOf(await events), 'ello', 'from the token after the one that the client has');
  t.match(doneOf(await events), { choices: [{ text: 'hello' }], usage: { outputTokens: 5 } });
  const { length } = executor.sequences;
  t.equal(textsOf(await all(await resume(2))), 'lo');
  t.equal(executor.sequences.length, length, 'no worker was asked');
  await t.rejects(resume(0, { tenant: 'b' }), { code: 'conflict' });
  await t.rejects(resume(0, { bodyDigest: 'e'.repeat(64) }), { code: 'conflict' });
  for (const lastEventId of [`${'x'.repeat(22)}.0`, 'nonsense', `${cut.id}.-2`, cut.id])
    await t.rejects(resume(0, { lastEventId }), { code: 'gone' }, lastEventId);
  await clock.advance(60_001);
  await t.rejects(resume(0), { code: 'gone' }, 'expired');
});

t.test('an index past the log is generated again, and not sent twice', async (t) => {
  const { ask, executor, clock, engine } = fixture();
  const digest = { bodyDigest: 'd'.repeat(64) };
  const cut = await ask('abc', withSampling({ seed: 5 }), digest);
  await clock.settle();
  executor.last.start();
  executor.last.say('he');
  await clock.advance(100);
  // The client has index 3; the log ends with 1.
  const resumed = await engine.generate(requestOf('abc', withSampling({ seed: 5 })), {
    ...optionsOf(clock, new AbortController(), digest),
    lastEventId: `${cut.id}.3`,
  });
  const events = all(resumed);
  executor.last.start();
  executor.last.say('llo');
  executor.last.listener.onFinished(0, 'length');
  await clock.advance(200);
  t.equal(textsOf(await events), 'o');
});

t.test('a reload serves new models and waits for the old ones', async (t) => {
  const { ask, executor, engine, text } = fixture();
  const old = await ask('a');
  let idle = false;
  engine.setModels([{ descriptor: decoderDescriptor({ id: 'writer@2', revision: 'r2' }), generation: text }]);
  const waiting = engine.idle(['writer@1']).then(() => (idle = true));
  await ask('b');
  t.equal(executor.last.request.model, 'writer@2');
  t.equal(idle, false);
  old.abort();
  await all(old);
  await waiting;
  t.same([...engine.servedModels()].length, 1);
  await t.rejects(ask('c', {}, { model: 'reader' }), { code: 'model_not_found' });
});

t.test('drain refuses, waits, and at its deadline ends what is left', async (t) => {
  const { ask, engine, executor } = fixture();
  const one = await ask('a');
  const two = await ask('b');
  let drained = false;
  const draining = engine.drain().then(() => (drained = true));
  await t.rejects(ask('c'), { code: 'shutting_down' });
  one.abort();
  await all(one);
  t.equal(drained, false);
  engine.endAll();
  await t.rejects(all(two), { code: 'shutting_down' });
  t.same(executor.last.aborts, [undefined]);
  await draining;
  t.same([...engine.inFlight()], [['writer', 0]]);
});

t.test('a reader that does not read pauses its sequence, then loses it', async (t) => {
  const { ask, executor, clock } = fixture();
  const slow = await ask('a', withSampling({ maxNewTokens: 90 }));
  executor.last.start();
  for (let count = 0; count < 10; count++) executor.last.say('x'.repeat(30));
  t.same(executor.last.pauses, [true]);
  const reader = slow.events[Symbol.asyncIterator]();
  for (let count = 0; count < 200; count++) await reader.next();
  t.same(executor.last.pauses, [true, false]);
  for (let count = 0; count < 10; count++) executor.last.say('x'.repeat(30));
  await clock.advance(4000);
  slow.pause(true);
  slow.pause(false);
  t.same(executor.last.pauses.at(-1), true, 'paused for two reasons, it goes on when both are gone');
  await clock.advance(30_000);
  await t.resolves(
    (async () => {
      for (let next = await reader.next(); next.done !== true; next = await reader.next());
    })(),
    'its generation ended by its own deadline before',
  );
});
