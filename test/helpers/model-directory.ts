// Small Hugging-Face-shaped model directories for tests: a word-level tokenizer and whatever a test wants beside it.
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

/** Words with ids of their own, from 3 on; ids 0 to 2 are [PAD], [UNK] and [CLS]. */
export const words = ['good', 'bad', 'film', 'Berlin', 'crash', 'hang', 'throw', 'the'] as const;

export function wordId(word: (typeof words)[number]): number {
  return 3 + words.indexOf(word);
}

const tokenizer = {
  version: '1.0',
  truncation: null,
  padding: null,
  added_tokens: ['[PAD]', '[UNK]', '[CLS]'].map((content, id) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  })),
  normalizer: null,
  pre_tokenizer: { type: 'Whitespace' },
  post_processor: {
    type: 'TemplateProcessing',
    single: [{ SpecialToken: { id: '[CLS]', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
    pair: [{ SpecialToken: { id: '[CLS]', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
    special_tokens: { '[CLS]': { id: '[CLS]', ids: [2], tokens: ['[CLS]'] } },
  },
  decoder: null,
  model: {
    type: 'WordLevel',
    vocab: Object.fromEntries(['[PAD]', '[UNK]', '[CLS]', ...words].map((word, id) => [word, id])),
    unk_token: '[UNK]',
  },
};

const config = {
  architectures: ['BertForSequenceClassification'],
  model_type: 'bert',
  id2label: { 0: 'NEGATIVE', 1: 'POSITIVE' },
  max_position_embeddings: 64,
  pad_token_id: 0,
  vocab_size: 3 + words.length,
  hidden_size: 8,
};

export interface ModelDirectoryOptions {
  /** Laid over config.json. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** More files by path; an object becomes JSON, undefined leaves a file of the usual set out. */
  readonly files?: Readonly<Record<string, string | Uint8Array | object | undefined>>;
  /** Write a SHA256SUMS over everything. */
  readonly sums?: boolean;
}

/** Writes the directory and returns its path. Without an ONNX file: enough for GLOSSA_DEVICE=fake. */
export function writeModelDirectory(directory: string, options: ModelDirectoryOptions = {}): string {
  const files: Readonly<Record<string, string | Uint8Array | object | undefined>> = {
    'config.json': { ...config, ...options.config },
    'tokenizer.json': tokenizer,
    'tokenizer_config.json': { unk_token: '[UNK]', pad_token: '[PAD]', model_max_length: 32 },
    ...options.files,
  };
  for (const [path, content] of Object.entries(files)) {
    if (content === undefined) continue;
    mkdirSync(dirname(join(directory, path)), { recursive: true });
    writeFileSync(join(directory, path), typeof content === 'string' || content instanceof Uint8Array ? content : JSON.stringify(content));
  }
  if (options.sums === true) writeSums(directory);
  return directory;
}

export function writeSums(directory: string): void {
  const lines: string[] = [];
  for (const entry of readdirSync(directory, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile() || entry.name === 'SHA256SUMS') continue;
    const path = join(entry.parentPath, entry.name);
    lines.push(`${createHash('sha256').update(readFileSync(path)).digest('hex')}  ${relative(directory, path)}`);
  }
  writeFileSync(join(directory, 'SHA256SUMS'), `${lines.toSorted().join('\n')}\n`);
}

/** One field of a protobuf message: length-delimited. */
export function field(number: number, content: string | Uint8Array): Uint8Array {
  const bytes = Buffer.from(content as string);
  return Buffer.concat([varint(number * 8 + 2), varint(bytes.length), bytes]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  return Buffer.from([...bytes, rest]);
}

/** An ONNX file that is well-formed, has weights at these places outside, and computes nothing. */
export function onnxWithExternalData(...locations: readonly string[]): Uint8Array {
  const tensors = locations.map((location) =>
    field(5, Buffer.concat([field(8, 'weight'), field(13, Buffer.concat([field(1, 'location'), field(2, location)]))])),
  );
  return field(7, Buffer.concat([field(2, 'graph'), ...tensors]));
}
