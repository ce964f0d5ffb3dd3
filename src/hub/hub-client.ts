// HTTP towards the hub: redirects, the token, and addresses that are never asked. Main thread.
// Must not know models or files.
import { lookup as resolveName } from 'node:dns';
import { type IncomingMessage, get as getHttp } from 'node:http';
import { get as getHttps } from 'node:https';
import { BlockList, isIP, type LookupFunction } from 'node:net';

/** An answer that another attempt will not change. `cause` is its HTTP status, where it has one; so it is for others. */
export class HubRefusal extends Error {}

const maxRedirects = 5;
/** A connection on which nothing arrives for so long is given up, in milliseconds. */
const idleMs = 30_000;

/** Link-local addresses and metadata services of clouds. */
const never = new BlockList();
never.addSubnet('169.254.0.0', 16);
never.addSubnet('fe80::', 10, 'ipv6');
never.addAddress('fd00:ec2::254', 'ipv6');
never.addAddress('100.100.100.200');
/** This machine: allowed only when HF_ENDPOINT is here too. */
const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8);
loopback.addSubnet('0.0.0.0', 8);
loopback.addAddress('::1', 'ipv6');
loopback.addAddress('::', 'ipv6');

const within = (list: BlockList, address: string): boolean =>
  isIP(address) !== 0 && list.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
const hostOf = (url: URL): string => url.hostname.replace(/^\[|\]$/gu, '');

export class HubClient {
  readonly #endpoint: URL;
  readonly #token: string | undefined;
  readonly #local: boolean;

  constructor(endpoint: string, token: string | undefined) {
    this.#endpoint = new URL(endpoint.endsWith('/') ? endpoint : `${endpoint}/`);
    this.#token = token;
    this.#local = hostOf(this.#endpoint) === 'localhost' || within(loopback, hostOf(this.#endpoint));
  }

  /**
   * The 2xx answer to a GET, redirects followed; the token goes to the endpoint's own origin only.
   * @param path below the endpoint
   * @throws HubRefusal for 4xx that stay so and for places that must not be asked; another Error for the rest
   */
  async get(path: string, headers: Readonly<Record<string, string>> = {}): Promise<IncomingMessage> {
    let url = new URL(path, this.#endpoint);
    let etag: string | string[] | undefined;
    for (let hop = 0; hop <= maxRedirects; hop++) {
      const safe = url.protocol === 'https:' || (url.protocol === 'http:' && this.#local);
      if (!safe) throw new HubRefusal(`the hub leads to ${url.origin}, which is not https`);
      this.#check(hostOf(url));
      const response = await this.#request(url, headers);
      const {
        statusCode: status = 0,
        headers: { location },
      } = response;
      // The hub itself names the digest; the store that it redirects to has ETags of its own.
      etag ??= response.headers['x-linked-etag'];
      if (status >= 200 && status < 300) {
        if (etag !== undefined) response.headers['x-linked-etag'] = etag;
        return response;
      }
      response.resume();
      if (status < 300 || status >= 400 || location === undefined) throw refusal(status, url);
      url = new URL(location, url);
    }
    throw new HubRefusal(`the hub redirects more than ${maxRedirects} times`);
  }

  /** @throws HubRefusal for an address that is never asked; names pass, as `#lookup` sees their addresses */
  #check(address: string): void {
    if (within(never, address) || (within(loopback, address) && !this.#local))
      throw new HubRefusal(`the hub leads to ${address}, which is never asked`);
  }

  readonly #lookup: LookupFunction = (hostname, options, callback) => {
    resolveName(hostname, options, (error, found, family) => {
      try {
        for (const one of [found ?? []].flat()) this.#check(typeof one === 'string' ? one : one.address);
        callback(error, found, family);
      } catch (refused) {
        callback(refused as NodeJS.ErrnoException, '');
      }
    });
  };

  #request(url: URL, headers: Readonly<Record<string, string>>): Promise<IncomingMessage> {
    const own = url.origin === this.#endpoint.origin && this.#token !== undefined;
    const sent = { ...headers, 'accept-encoding': 'identity', ...(own ? { authorization: `Bearer ${this.#token}` } : {}) };
    return new Promise((resolve, reject) => {
      const request = (url.protocol === 'https:' ? getHttps : getHttp)(url, { headers: sent, lookup: this.#lookup, agent: false }, resolve);
      request.setTimeout(idleMs, () => request.destroy(new Error(`nothing came from ${url.host} for ${idleMs / 1000} s`)));
      request.on('error', reject);
    });
  }
}

function refusal(status: number, url: URL): Error {
  const hint = status === 401 || status === 403 ? '; is HF_TOKEN set and allowed to read it?' : '';
  const final = status >= 400 && status < 500 && ![408, 416, 429].includes(status);
  return new (final ? HubRefusal : Error)(`${url.host} answered ${status}${hint}`, { cause: status });
}
