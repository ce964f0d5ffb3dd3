// A stream that a client takes up again: whether it may, and what the store knows of it. Main thread.
import { ServiceError } from '../errors.ts';
import type { StreamLogs } from './stream-log.ts';
import type { RecordedStream } from './stream-record.ts';

export interface Resumed {
  readonly generationId: string;
  /** The last index that the client has; −1 for none. */
  readonly sentIndex: number;
  readonly recorded: RecordedStream;
}

/**
 * @param lastEventId `<generationId>.<index>`
 * @throws ServiceError gone (unknown, expired, or no such id), conflict (another tenant or body), overloaded (the store
 * cannot be asked)
 */
export async function readResumed(
  logs: StreamLogs,
  lastEventId: string,
  claims: { readonly tenant: string; readonly bodyDigest?: string | undefined },
): Promise<Resumed> {
  const { id = '', index = '' } = /^(?<id>[\w-]{22})\.(?<index>-1|\d{1,7})$/u.exec(lastEventId)?.groups ?? {};
  const recorded = id === '' ? undefined : await logs.read(id);
  if (recorded === 'unavailable') {
    throw new ServiceError('overloaded', 'Streams cannot be resumed at the moment; try again.', { retryAfterMs: 1000 });
  }
  if (recorded === undefined) throw new ServiceError('gone', 'That stream is unknown or was over too long ago; start a new one.');
  const { tenant, bodyDigest } = recorded.header;
  if (tenant !== claims.tenant || bodyDigest !== claims.bodyDigest) {
    throw new ServiceError('conflict', 'That stream was started with another body or key; resume it with the same ones.');
  }
  return { generationId: id, sentIndex: Number(index), recorded };
}
