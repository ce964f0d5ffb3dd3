// Collects the figures of a run, prints each beside its criterion, and writes them as JSON and Markdown.
// Knows nothing of how a figure came about.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { join } from 'node:path';

export interface Bar {
  readonly relation: '≥' | '≤';
  readonly limit: number;
}

/** One figure. */
export interface Row {
  readonly part: string;
  readonly what: string;
  readonly value: number;
  readonly unit: string;
  /** The criterion; absent for figures that only inform. */
  readonly bar?: Bar;
  /** How it came about, in a few words. */
  readonly note?: string;
}

/** Facts of the machine and the run. */
export interface RunFacts {
  readonly date: string;
  readonly command: string;
  readonly cpu: string;
  readonly cores: number;
  readonly kernel: string;
  readonly node: string;
  readonly onnxruntime: string;
  readonly model: string;
  readonly mix: string;
}

export function runFacts(root: string, of: { command: string; cores: number; model: string; mix: string }): RunFacts {
  const ort = readFileSync(join(root, 'node_modules', 'onnxruntime-node', 'package.json'), 'utf8');
  return {
    date: new Date().toISOString(),
    cpu: cpus()[0]?.model ?? 'unknown',
    kernel: release(),
    node: process.version,
    onnxruntime: (JSON.parse(ort) as { version: string }).version,
    ...of,
  };
}

/** Whether a figure satisfies its criterion; a figure that could not be measured does not. */
export function isMet(row: Row): boolean | undefined {
  if (row.bar === undefined) return undefined;
  return row.bar.relation === '≥' ? row.value >= row.bar.limit : row.value <= row.bar.limit;
}

/** The figures of one run. */
export class Report {
  readonly #facts: RunFacts;
  readonly #rows: Row[] = [];
  readonly #details: { part: string; data: unknown }[] = [];
  readonly #warnings: string[] = [];

  readonly #print: (text: string) => void;

  constructor(facts: RunFacts, print: (text: string) => void = (text) => void process.stdout.write(text)) {
    this.#facts = facts;
    this.#print = print;
  }

  /** Adds and prints one figure. */
  add(row: Row): void {
    this.#rows.push(row);
    this.#print(`${line(row)}\n`);
  }

  /** Something that makes figures doubtful: a void raw round, a wrong answer. */
  warn(text: string): void {
    this.#warnings.push(text);
    this.#print(`!! ${text}\n`);
  }

  /** Everything behind the figures, for the JSON file. */
  detail(part: string, data: unknown): void {
    this.#details.push({ part, data });
  }

  get missedCount(): number {
    return this.#rows.filter((row) => isMet(row) === false).length;
  }

  get warningCount(): number {
    return this.#warnings.length;
  }

  /** Writes `bench-results/<time>.json` and `.md`; returns the JSON file's path below the root. */
  write(root: string): string {
    const directory = join(root, 'bench-results');
    mkdirSync(directory, { recursive: true });
    const name = this.#facts.date.replaceAll(/[:.]/gu, '-');
    const rows = this.#rows.map((row) => ({ ...row, met: isMet(row) }));
    const data = { facts: this.#facts, rows, warnings: this.#warnings, details: this.#details };
    writeFileSync(join(directory, `${name}.json`), `${JSON.stringify(data, undefined, 2)}\n`);
    writeFileSync(join(directory, `${name}.md`), this.markdown());
    return join('bench-results', `${name}.json`);
  }

  markdown(): string {
    const facts = Object.entries(this.#facts).map(([key, value]) => `- ${key}: ${value}`);
    const rows = this.#rows.map(
      (row) => `| ${row.part} | ${row.what} | ${number(row.value)} ${row.unit} | ${bar(row)} | ${verdict(row)} | ${cell(row.note ?? '')} |`,
    );
    const warnings = this.#warnings.length === 0 ? ['none'] : this.#warnings.map((warning) => `- ${warning}`);
    return [
      '# Benchmark report',
      '',
      `Written by \`${this.#facts.command}\`; every figure was measured in this one run unless its row says otherwise.`,
      '',
      ...facts,
      '',
      '| part | figure | value | bar | | how |',
      '|---|---|---|---|---|---|',
      ...rows,
      '',
      '## Warnings',
      '',
      ...warnings,
      '',
    ].join('\n');
  }
}

function line(row: Row): string {
  const value = `${number(row.value)} ${row.unit}`.padEnd(18);
  return `${verdict(row).padEnd(7)}${row.part.padEnd(11)}${row.what.padEnd(56)} ${value}${bar(row).padEnd(10)}${row.note ?? ''}`;
}

/** Text that may stand in a Markdown table. */
function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ');
}

function bar(row: Row): string {
  return row.bar === undefined ? '' : `${row.bar.relation} ${number(row.bar.limit)}`;
}

function verdict(row: Row): string {
  const met = isMet(row);
  if (met === undefined) return '';
  return met ? 'MET' : 'MISSED';
}

function number(value: number): string {
  if (!Number.isFinite(value)) return 'n/a';
  if (value !== 0 && Math.abs(value) < 0.001) return value.toExponential(1);
  const digits = Math.abs(value) >= 1000 ? 0 : Math.abs(value) >= 100 ? 1 : 3;
  return String(Number(value.toFixed(digits)));
}
