// The logger removes texts and secrets, loses no line at exit, and survives a closed pipe. Child processes where the
// process itself is what is tested.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import t from 'tap';
import { createLogger } from '../../../src/observability/logger.ts';

t.setTimeout(120_000);

const moduleUrl = new URL('../../../src/observability/logger.js', import.meta.url).href;

t.test('removes what must not be logged', async (t) => {
  let line = '';
  const logger = createLogger({ level: 'info', destination: { write: (text) => (line = text) } });
  const canary = 'canary-51c0';
  logger.info(
    {
      requestId: 'kept',
      req: { headers: { authorization: canary, cookie: canary, host: 'kept' } },
      auth: { token: canary },
      token: canary,
      secret: canary,
      authorization: canary,
      body: { inputs: canary },
      inputs: [canary],
      text: canary,
      outputs: canary,
      results: [canary],
      question: canary,
      context: canary,
      prompt: canary,
    },
    'message',
  );
  t.notMatch(line, canary);
  const entry = JSON.parse(line) as Record<string, unknown>;
  t.match(entry, { level: 'info', msg: 'message', requestId: 'kept', req: { headers: { host: 'kept' } } });
  t.notOk('text' in entry, 'removed, not masked');
  t.match(entry['time'], /^\d{4}-\d{2}-\d{2}T[\d:.]+Z$/u);
});

t.test('errors keep their causes', async (t) => {
  let line = '';
  const logger = createLogger({ level: 'info', destination: { write: (text) => (line = text) } });
  logger.error({ err: new Error('outer', { cause: new Error('inner reason') }) }, 'failed');
  t.match(line, /inner reason/u);
});

/** Runs statements that have `logger` in scope; answers with output and exit code. */
async function run(statements: string, closeStdout = false): Promise<{ output: string; code: number | null; signal: string | null }> {
  const script = `import { createLogger } from ${JSON.stringify(moduleUrl)}; const logger = createLogger({ level: 'info' }); ${statements}`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  if (closeStdout) child.stdout.destroy();
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  return { output, code, signal };
}

t.test('every line is there when the process ends', async (t) => {
  const lines = 'for (let n = 0; n < 500; n++) logger.info({ n }, "line");';
  for (const ending of ['', 'process.exit(3);', 'setImmediate(() => process.exit(0));']) {
    const { output } = await run(`${lines}${ending}`);
    t.equal(output.trim().split('\n').length, 500, ending === '' ? 'by itself' : ending);
  }
  const killed = await run(`${lines} logger.flush(() => process.kill(process.pid, 'SIGKILL'));`);
  t.equal(killed.signal, 'SIGKILL');
  t.equal(killed.output.trim().split('\n').length, 500, 'flush before SIGKILL');
});

t.test('two loggers keep the order of their lines', async (t) => {
  const { output } = await run(`const other = createLogger({ level: 'info' });
    for (let n = 0; n < 50; n++) (n % 2 === 0 ? logger : other).info({ n }, 'line');`);
  t.same(
    output
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { n: number }).n),
    Array.from({ length: 50 }, (_, n) => n),
  );
});

t.test('a closed standard output does not end the process', async (t) => {
  const statements = `let n = 0; const timer = setInterval(() => {
    for (let m = 0; m < 100; m++) logger.info({ n }, 'line');
    if (++n === 20) { clearInterval(timer); process.exitCode = 7; }
  }, 5);`;
  t.match(await run(statements, true), { code: 7, signal: null });
});
