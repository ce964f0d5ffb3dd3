// Which proxy lists start and which stop the start.
import t from 'tap';
import { StartupError } from '../../../src/errors.ts';
import { checkTrustedProxies } from '../../../src/http/trusted-proxies.ts';

/** The error's exit code and problems, if there is one. */
function refusal(entries: readonly string[]): { readonly exitCode: number; readonly problems: readonly string[] } | undefined {
  try {
    checkTrustedProxies(entries);
    return undefined;
  } catch (error) {
    if (error instanceof StartupError) return { exitCode: error.exitCode, problems: error.problems };
    throw error;
  }
}

t.test('addresses, ranges and names', async (t) => {
  const entries = ['10.0.0.0/8', '127.0.0.1', '::1', 'fd00::/8', '0.0.0.0/0', 'loopback', 'uniquelocal'];
  t.same(checkTrustedProxies(entries), entries);
  t.same(checkTrustedProxies([]), []);
});

t.test('everything else is named, all at once', async (t) => {
  for (const entry of ['', 'proxy.example', '10.0.0.0/33', '10.0.0/8', '::1/129', '10.0.0.0/8/8', '10.0.0.0/', 'true', '*']) {
    const error = refusal(['::1', entry]);
    t.equal(error?.exitCode, 78, entry);
    t.match(error?.problems, [JSON.stringify(entry)]);
    t.equal(error?.problems.length, 1);
  }
  t.equal(refusal(['a', 'b'])?.problems.length, 2);
});
