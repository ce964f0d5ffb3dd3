// A child process that works on cases, one at a time: the bare loop or the peer. Both ends of its channel.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import type { CaseAnswer, FromCaseProcess, GenerateCase, Loaded, ToCaseProcess } from './cases.ts';

/** The benchmark's end. */
export class CaseProcess {
  readonly #child: ChildProcess;
  readonly loaded: Loaded;
  #nextId = 0;

  private constructor(child: ChildProcess, loaded: Loaded) {
    this.#child = child;
    this.loaded = loaded;
  }

  /** @param entry URL of the compiled file. @throws Error when the process ends before it is ready */
  static async start(entry: URL, values: readonly string[]): Promise<CaseProcess> {
    const child = fork(entry, [...values], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    const message = await next(child);
    if ('ready' in message) return new CaseProcess(child, message.ready);
    throw new Error('error' in message ? message.error : 'unexpected message');
  }

  async ask(ask: GenerateCase): Promise<CaseAnswer> {
    const id = this.#nextId++;
    const answered = next(this.#child);
    this.#child.send({ id, ask } satisfies ToCaseProcess);
    const message = await answered;
    if ('answer' in message) return message.answer;
    throw new Error('error' in message ? message.error : 'unexpected message');
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    this.#child.kill('SIGKILL');
    await once(this.#child, 'exit');
  }
}

async function next(child: ChildProcess): Promise<FromCaseProcess> {
  const abort = new AbortController();
  const { signal } = abort;
  const ended = once(child, 'exit', { signal }).then(([code]) => {
    throw new Error(`${child.spawnargs.at(1)} ended with exit code ${code}`);
  });
  ended.catch(() => undefined);
  try {
    const [message] = (await Promise.race([once(child, 'message', { signal }), ended])) as [FromCaseProcess];
    return message;
  } finally {
    abort.abort();
  }
}

/** The child's end: loads, says so, then answers for ever. */
export async function serveCases(load: () => Promise<{ name: string; work: (ask: GenerateCase) => Promise<CaseAnswer> }>): Promise<void> {
  const say = (message: FromCaseProcess): void => void process.send?.(message);
  const started = performance.now();
  try {
    const { name, work } = await load();
    say({ ready: { loadMs: performance.now() - started, name } });
    process.on('message', ({ id, ask }: ToCaseProcess) => {
      void work(ask).then(
        (answer) => say({ id, answer }),
        (error: unknown) => say({ id, error: (error as Error).message }),
      );
    });
  } catch (error) {
    say({ id: -1, error: (error as Error).message });
    process.exitCode = 1;
  }
}
