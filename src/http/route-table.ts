// What routes there are, to tell 404 from 405 and to say what a client could have asked for. Main thread.
// Reads the routes as Fastify registers them.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { ServiceError } from '../errors.ts';

interface KnownRoute {
  readonly url: string;
  readonly pattern: RegExp;
  readonly methods: Set<string>;
}

/** Collects routes registered after it was made. */
export class RouteTable {
  readonly #routes = new Map<string, KnownRoute>();

  constructor(server: FastifyInstance) {
    server.addHook('onRoute', ({ url, method }) => {
      let route = this.#routes.get(url);
      if (route === undefined) this.#routes.set(url, (route = { url, pattern: patternOf(url), methods: new Set() }));
      for (const name of [method].flat()) route.methods.add(name);
    });
  }

  /** Why a request found no handler: no such path, or not with this method (then `allow` lists those there are). */
  missing(request: FastifyRequest): { readonly error: ServiceError; readonly allow?: string } {
    const [path = ''] = request.url.split('?', 1);
    for (const { url, pattern, methods } of this.#routes.values()) {
      if (!pattern.test(path)) continue;
      const allow = [...methods].sort().join(', ');
      return { error: new ServiceError('method_not_allowed', `${url} does not take ${request.method}; it takes ${allow}.`), allow };
    }
    return { error: new ServiceError('not_found', `There is nothing at this path. There are ${this.#list()}.`) };
  }

  #list(): string {
    const names = [...this.#routes.values()].map(
      ({ url, methods }) => `${[...methods].filter((name) => name !== 'HEAD').join('|')} ${shown(url)}`,
    );
    return names.sort().join(', ');
  }
}

function shown(url: string): string {
  return url.replace(/:(\w+)/gu, '{$1}');
}

function patternOf(url: string): RegExp {
  const source = url.replace(/[.*+?^${}()|[\]\\]/gu, String.raw`\$&`).replace(/:\w+/gu, '[^/]+');
  return new RegExp(`^${source}$`, 'u');
}
