// Checks the addresses whose forwarding headers are believed, so that a typing error stops the start. Main thread, pure.
import { isIP } from 'node:net';
import { StartupError } from '../errors.ts';

/** Names that stand for ranges (npm `proxy-addr`). */
const namedRanges: readonly string[] = ['loopback', 'linklocal', 'uniquelocal'];

/** @throws StartupError 78 naming each entry that is neither an address, a CIDR range nor a named range */
export function checkTrustedProxies(entries: readonly string[]): string[] {
  const wrong = entries.filter((entry) => !namedRanges.includes(entry) && !isRange(entry));
  if (wrong.length === 0) return [...entries];
  throw new StartupError(
    78,
    wrong.map((entry) => `GLOSSA_TRUST_PROXY: ${JSON.stringify(entry)} is no IP address, CIDR range, or one of ${namedRanges.join(', ')}`),
  );
}

function isRange(entry: string): boolean {
  const [address = '', prefix, ...rest] = entry.split('/');
  const bits = { 0: -1, 4: 32, 6: 128 }[isIP(address) as 0 | 4 | 6];
  if (bits < 0 || rest.length > 0) return false;
  return prefix === undefined || (/^\d{1,3}$/u.test(prefix) && Number(prefix) <= bits);
}
