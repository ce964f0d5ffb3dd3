// Which requests may leave HTTP: WebSocket handshakes for paths that speak it. Every other `Upgrade` is ignored, as RFC
// 9110 (section 7.8) lets a server do: some clients offer h2c with every request. Main thread.
import { IncomingMessage } from 'node:http';

const webSocketPaths: ReadonlySet<string> = new Set(['/generate/ws']);

/**
 * Once a server listens for 'upgrade', Node hands it every request with such a header, its body unread, whatever the path.
 * It decides by `request.upgrade` when the headers are there: here that is false unless the request is a handshake.
 */
export class UpgradeAwareMessage extends IncomingMessage {
  declare upgrade: boolean | null;
}

/** What Node's parser said; not a private field, since the base class sets it before those exist. */
const offered = new WeakMap<IncomingMessage, boolean | null>();

Object.defineProperty(UpgradeAwareMessage.prototype, 'upgrade', {
  get(this: IncomingMessage): boolean | null {
    const value = offered.get(this) ?? null;
    return value === true ? this.method === 'CONNECT' || isHandshake(this) : value;
  },
  set(this: IncomingMessage, value: boolean | null): void {
    // Nearly all requests offer nothing.
    if (value === true || offered.has(this)) offered.set(this, value);
  },
});

function isHandshake({ headers, url = '', method }: IncomingMessage): boolean {
  const [path = ''] = url.split('?', 1);
  return method === 'GET' && headers.upgrade?.toLowerCase() === 'websocket' && webSocketPaths.has(path);
}
