// One process at a time may fill a directory; the others wait. Main thread.
// A lock is a file that its holder touches: processes may live in different containers on one volume.
import { rm, stat, utimes, writeFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';

const touchMs = 2000;
/** A lock that was not touched for so long belongs to a process that is gone, in milliseconds. */
const staleMs = 15_000;
const pollMs = 100;

/** Runs `work` while this process holds the lock file. Should two ever break one stale lock, digests still decide. */
export async function withLock(path: string, work: () => Promise<void>): Promise<void> {
  while (!(await take(path))) {
    const touchedMs = (await stat(path).catch(() => undefined))?.mtimeMs;
    // NOTE: wall clock, as file times are; a jump costs a wait or a second download, nothing else.
    if (touchedMs !== undefined && Date.now() - touchedMs > staleMs) await rm(path, { force: true });
    await delay(pollMs);
  }
  const timer = setInterval(() => void utimes(path, new Date(), new Date()).catch(() => undefined), touchMs);
  try {
    await work();
  } finally {
    clearInterval(timer);
    await rm(path, { force: true });
  }
}

async function take(path: string): Promise<boolean> {
  return writeFile(path, String(process.pid), { flag: 'wx' }).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'EEXIST') return false;
      throw error;
    },
  );
}
