// Memory and processor time of a process tree and of the whole machine, from Linux' /proc.
// Main process of the benchmark.
import { readdirSync, readFileSync } from 'node:fs';

export interface ServiceMemory {
  /** Resident memory of the service and its worker processes, in bytes. */
  readonly rssBytes: number;
  /** The same with shared pages divided among their users. */
  readonly pssBytes: number;
}

/** Processor time since some start, in milliseconds; only differences mean something. */
export interface CpuReading {
  readonly atMs: number;
  /** This process: the load generator. */
  readonly generatorMs: number;
  /** The service with all its threads and worker processes. */
  readonly serviceMs: number;
  /** The service's main thread alone. */
  readonly mainThreadMs: number;
  /** All processors, whoever used them. */
  readonly machineMs: number;
}

/** Where the processor time of an interval went; shares are of all cores, 0 to 1. */
export interface CpuUse {
  readonly generatorMs: number;
  readonly mainThreadMs: number;
  readonly generatorShare: number;
  readonly serviceShare: number;
  /** Neither service nor generator: neighbours, interrupts, a hypervisor's other guests. */
  readonly otherShare: number;
}

/** Linux counts processor time in hundredths of a second on every common build. */
const msPerTick = 10;

/** The process and everything below it. */
export function processTree(root: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    const parent = /\) \S (\d+)/u.exec(readProcess(pid, 'stat'))?.[1];
    if (parent !== undefined) parents.set(pid, Number(parent));
  }
  const tree = [root];
  for (const pid of tree) {
    for (const [child, parent] of parents) if (parent === pid) tree.push(child);
  }
  return tree;
}

export function readMemory(root: number): ServiceMemory {
  let rssBytes = 0;
  let pssBytes = 0;
  for (const pid of processTree(root)) {
    const page = readProcess(pid, 'smaps_rollup');
    rssBytes += kibibytes(page, 'Rss') * 1024;
    pssBytes += kibibytes(page, 'Pss') * 1024;
  }
  return { rssBytes, pssBytes };
}

export function readCpu(root: number): CpuReading {
  const own = process.cpuUsage();
  let serviceMs = 0;
  for (const pid of processTree(root)) serviceMs += taskMs(readProcess(pid, 'stat'));
  return {
    atMs: performance.now(),
    generatorMs: (own.user + own.system) / 1000,
    serviceMs,
    mainThreadMs: taskMs(readProcess(root, `task/${root}/stat`)),
    machineMs: machineMs(readFileSync('/proc/stat', 'utf8')),
  };
}

/** @param cores that the benchmark and the service may use */
export function cpuUse(before: CpuReading, after: CpuReading, cores: number): CpuUse {
  const availableMs = (after.atMs - before.atMs) * cores;
  const generatorMs = after.generatorMs - before.generatorMs;
  const serviceMs = after.serviceMs - before.serviceMs;
  const otherMs = after.machineMs - before.machineMs - generatorMs - serviceMs;
  return {
    generatorMs,
    mainThreadMs: after.mainThreadMs - before.mainThreadMs,
    generatorShare: generatorMs / availableMs,
    serviceShare: serviceMs / availableMs,
    otherShare: Math.max(0, otherMs / availableMs),
  };
}

/** utime and stime of a stat page; the command's name, which may hold spaces, ends with the last parenthesis. */
function taskMs(page: string): number {
  const fields = page.slice(page.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) * msPerTick;
}

/** Busy time of all processors: all but idle and waiting for input and output; guests are counted in user time already. */
function machineMs(page: string): number {
  const [user = 0, nice = 0, system = 0, , , irq = 0, softIrq = 0, steal = 0] =
    page.split('\n', 1)[0]?.split(/\s+/u).slice(1).map(Number) ?? [];
  return (user + nice + system + irq + softIrq + steal) * msPerTick;
}

/** A file of /proc; empty when the process is gone. */
function readProcess(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return '';
  }
}

function kibibytes(page: string, field: string): number {
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'mu').exec(page)?.[1] ?? 0);
}
