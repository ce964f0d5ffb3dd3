// Answered entries → the items of one response. Main thread; pure.
// Knows the task's `present` hook only.
import type { Part, Task } from '../tasks/task.ts';
import type { Entry } from './entry.ts';
import type { ModelDescriptor } from './executor.ts';

export interface Answer {
  readonly model: string;
  readonly results: readonly unknown[];
  readonly usage: { readonly inputTokens: number };
}

/** @param entries all `done`, in input and window order */
export function assemble(task: Task, body: unknown, descriptor: ModelDescriptor, entries: readonly Entry[]): Answer {
  const parts: Part<unknown>[][] = [];
  let inputTokens = 0;
  for (const { input, encoding, result, length } of entries) {
    inputTokens += length;
    const part = { input, encoding, result };
    const item = parts[input.item];
    if (item === undefined) parts[input.item] = [part];
    else item.push(part);
  }
  const results: unknown[] = [];
  for (const item of parts) results.push(task.present(item, body, descriptor.facts));
  return { model: descriptor.name, results, usage: { inputTokens } };
}
