// Streams of the running service as a client sees them: SSE and WebSocket over real sockets, with the time of each token.
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import type { Socket } from 'node:net';

/** Milliseconds (performance.now) of each token. */
export type TokenTimes = readonly number[];

/** @throws Error when the answer is no stream, or ends with an error event */
export async function sseStream(port: number, body: object): Promise<TokenTimes> {
  const sent = request({
    host: '127.0.0.1',
    port,
    method: 'POST',
    path: '/generate',
    agent: false,
    headers: { 'content-type': 'application/json' },
  });
  sent.end(JSON.stringify({ ...body, stream: true }));
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  const times: number[] = [];
  let rest = '';
  response.setEncoding('utf8');
  for await (const chunk of response as AsyncIterable<string>) {
    const atMs = performance.now();
    const blocks = (rest + chunk).split('\n\n');
    rest = blocks.pop() ?? '';
    for (const block of blocks) {
      if (/^event: token$/mu.test(block)) times.push(atMs);
      if (/^event: error$/mu.test(block)) throw new Error(block);
    }
  }
  if (times.length === 0) throw new Error(`no token came: ${response.statusCode} ${rest.slice(0, 200)}`);
  return times;
}

/** All bodies on one socket. */
export async function webSocketStreams(port: number, bodies: readonly object[]): Promise<TokenTimes[]> {
  const socket = await openWebSocket(port);
  const times = bodies.map(() => [] as number[]);
  for (const [index, body] of bodies.entries()) socket.write(frame(JSON.stringify({ type: 'generate', id: `s${index}`, ...body })));
  let received: Buffer = Buffer.alloc(0);
  let open = bodies.length;
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    const atMs = performance.now();
    received = Buffer.concat([received, chunk]);
    for (let found = readFrame(received); found !== undefined; found = readFrame(received)) {
      received = received.subarray(found.sizeBytes);
      if (found.opcode !== 1) continue;
      const message = JSON.parse(found.text) as { type: string; id?: string };
      if (message.type === 'error') throw new Error(found.text);
      if (message.type === 'token') times[Number(message.id?.slice(1))]?.push(atMs);
      if (message.type === 'done') open--;
    }
    if (open === 0) break;
  }
  socket.destroy();
  return times;
}

async function openWebSocket(port: number): Promise<Socket> {
  const sent = request({
    host: '127.0.0.1',
    port,
    path: '/generate/ws',
    agent: false,
    headers: {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-protocol': 'glossa.v1',
      'sec-websocket-key': randomBytes(16).toString('base64'),
    },
  });
  sent.end();
  const [, socket, head] = (await once(sent, 'upgrade')) as [IncomingMessage, Socket, Buffer];
  if (head.length > 0) socket.unshift(head);
  return socket;
}

/** A masked text frame. */
function frame(text: string): Buffer {
  const data = Buffer.from(text);
  const mask = randomBytes(4);
  const head =
    data.length < 126 ? Buffer.from([0x81, 0x80 | data.length]) : Buffer.from([0x81, 0x80 | 126, data.length >> 8, data.length & 255]);
  for (const [index, byte] of data.entries()) data[index] = byte ^ (mask[index % 4] as number);
  return Buffer.concat([head, mask, data]);
}

/** The first whole frame; servers do not mask. */
function readFrame(bytes: Buffer): { opcode: number; text: string; sizeBytes: number } | undefined {
  if (bytes.length < 2) return undefined;
  const short = (bytes[1] as number) & 127;
  const start = short < 126 ? 2 : short === 126 ? 4 : 10;
  if (bytes.length < start) return undefined;
  const length = short < 126 ? short : short === 126 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
  if (bytes.length < start + length) return undefined;
  return { opcode: (bytes[0] as number) & 15, text: bytes.toString('utf8', start, start + length), sizeBytes: start + length };
}

/** Milliseconds of a token of all streams together, while every one of them streams. */
export function msPerStep(streams: readonly TokenTimes[]): number {
  const from = Math.max(...streams.map((times) => times[1] ?? Number.NaN));
  const to = Math.min(...streams.map((times) => times.at(-1) ?? Number.NaN));
  const count = streams.reduce((sum, times) => sum + times.filter((atMs) => atMs > from && atMs <= to).length, 0);
  return ((to - from) * streams.length) / count;
}
