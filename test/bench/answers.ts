// Reads and compares whole response bodies. Pure, but for `askAll`, which sends.
import { HttpConnection, type Reply } from './http-connection.ts';

/**
 * Largest difference between two numbers at the same place of two JSON values; Infinity when anything else differs
 * (a text, a length, a key).
 */
export function largestNumberDifference(left: unknown, right: unknown): number {
  if (typeof left === 'number' && typeof right === 'number') return Math.abs(left - right);
  if (typeof left !== 'object' || typeof right !== 'object' || left === null || right === null) {
    return left === right ? 0 : Number.POSITIVE_INFINITY;
  }
  const keys = Object.keys(left);
  if (keys.length !== Object.keys(right).length) return Number.POSITIVE_INFINITY;
  let largest = 0;
  for (const key of keys) {
    if (!Object.hasOwn(right, key)) return Number.POSITIVE_INFINITY;
    const difference = largestNumberDifference((left as Record<string, unknown>)[key], (right as Record<string, unknown>)[key]);
    largest = Math.max(largest, Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference);
  }
  return largest;
}

/** The items of an answer. @throws Error with status and body of any other answer than 200 */
export function resultsOf(reply: Reply): readonly unknown[] {
  if (reply.status !== 200) throw new Error(`status ${reply.status}: ${reply.body.slice(0, 300)}`);
  return (JSON.parse(reply.body) as { readonly results: readonly unknown[] }).results;
}

/** Sends all requests over a number of connections; replies in the order of the requests. Rejects when a connection ends. */
export async function askAll(port: number, requests: readonly Buffer[], connectionCount: number): Promise<Reply[]> {
  const replies: Reply[] = [];
  let next = 0;
  const drive = async (): Promise<void> => {
    const connection = await HttpConnection.connect(port);
    while (next < requests.length) {
      const index = next++;
      replies[index] = await connection.request(requests[index] as Buffer);
    }
    connection.close();
  };
  await Promise.all(Array.from({ length: Math.min(connectionCount, requests.length) }, drive));
  return replies;
}
