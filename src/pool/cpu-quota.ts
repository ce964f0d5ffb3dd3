// How many cores this process may really use: the container's quota, not the host's cores (O8). Main thread, at start.
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';

/** Cores of a cgroup v2 `cpu.max` ("50000 100000", "max 100000"); undefined without a limit. */
export function parseCpuMax(text: string): number | undefined {
  const [quota, period] = text.trim().split(/\s+/);
  return ratio(quota, period ?? '100000');
}

/** Cores of a cgroup v1 `cpu.cfs_quota_us` and `cpu.cfs_period_us`; a quota of −1 is no limit. */
export function parseCfsQuota(quota: string, period: string): number | undefined {
  return ratio(quota.trim(), period.trim());
}

function ratio(quota: string | undefined, period: string): number | undefined {
  const cores = Number(quota) / Number(period);
  return Number.isFinite(cores) && cores > 0 ? cores : undefined;
}

/**
 * Paths of this process's cgroups from `/proc/self/cgroup`, for the v2 hierarchy and the v1 cpu controller, from the
 * process's own group up to the root: any ancestor may carry the limit.
 */
export function cgroupDirectories(procSelfCgroup: string): string[] {
  const directories: string[] = [];
  for (const line of procSelfCgroup.split('\n')) {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (controllers === undefined || path === undefined) continue;
    if (controllers !== '' && !controllers.split(',').includes('cpu')) continue;
    const roots =
      controllers === '' ? ['/sys/fs/cgroup', '/sys/fs/cgroup/unified'] : ['/sys/fs/cgroup/cpu', `/sys/fs/cgroup/${controllers}`];
    const parts = path.split('/').filter((part) => part !== '' && part !== '..');
    for (let depth = parts.length; depth >= 0; depth--) {
      for (const root of roots) directories.push([root, ...parts.slice(0, depth)].join('/'));
    }
  }
  return directories;
}

export interface QuotaSources {
  /** Text of a file; undefined when it cannot be read. */
  read(path: string): string | undefined;
  /** Cores that the scheduler lets the process use (cpuset, affinity). */
  readonly parallelism: number;
}

/** Whole cores, at least 1: the smallest quota of the cgroups, the cpuset and the machine, rounded down. */
export function usableCores(sources: QuotaSources = systemSources()): number {
  let cores = sources.parallelism;
  for (const directory of cgroupDirectories(sources.read('/proc/self/cgroup') ?? '')) {
    const max = sources.read(`${directory}/cpu.max`);
    if (max !== undefined) cores = Math.min(cores, parseCpuMax(max) ?? cores);
    const quota = sources.read(`${directory}/cpu.cfs_quota_us`);
    const period = sources.read(`${directory}/cpu.cfs_period_us`);
    if (quota !== undefined && period !== undefined) cores = Math.min(cores, parseCfsQuota(quota, period) ?? cores);
  }
  return Math.max(1, Math.floor(cores));
}

function systemSources(): QuotaSources {
  return {
    read: (path) => {
      try {
        return readFileSync(path, 'utf8');
      } catch {
        return undefined;
      }
    },
    parallelism: availableParallelism(),
  };
}
