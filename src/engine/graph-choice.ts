// Which ONNX file of a model is served, by the names that transformers.js gives them. Pure; main thread.
import type { Device } from './executor.ts';

export interface GraphFile {
  /** Relative to the model's directory, with forward slashes. */
  readonly path: string;
  /** transformers.js name, or the file's own suffix where it has none of those. */
  readonly dtype: string;
}

/** transformers.js name → suffix of the file. */
const suffixes: Readonly<Record<string, string>> = {
  fp32: '',
  fp16: '_fp16',
  q8: '_quantized',
  int8: '_int8',
  uint8: '_uint8',
  q4: '_q4',
  q4f16: '_q4f16',
  bnb4: '_bnb4',
};

/** Encoders, and decoders as they are exported now; decoders as they were, with and without past in one graph. */
const stems = ['model', 'decoder_model_merged'];

/** Best first. On CPU half precision is emulated and 4-bit weights are unpacked at every use. */
const cpuPreference = ['q8', 'int8', 'uint8', 'fp32', 'fp16', 'q4', 'q4f16', 'bnb4'];
const preference: Readonly<Record<Device, readonly string[]>> = {
  cpu: cpuPreference,
  cuda: ['fp16', 'fp32', 'q4f16', 'q4', 'bnb4', 'q8', 'int8', 'uint8'],
  fake: cpuPreference,
};

/** Numeric forms by name. */
export const dtypes: readonly string[] = Object.keys(suffixes);

/**
 * @param files paths of the directory, with forward slashes; graphs lie in `onnx/` or at the top
 * @param dtype the wanted form; undefined: the best present one for the device, or the only graph there is
 */
export function chooseGraph(files: readonly string[], device: Device, dtype: string | undefined): GraphFile | undefined {
  for (const name of dtype === undefined ? preference[device] : [dtype]) {
    for (const folder of ['onnx/', '']) {
      for (const stem of stems) {
        const path = `${folder}${stem}${suffixes[name] ?? `_${name}`}.onnx`;
        if (files.includes(path)) return { path, dtype: name };
      }
    }
  }
  const [only, second] = graphs(files);
  if (dtype !== undefined || only === undefined || second !== undefined) return undefined;
  return {
    path: only,
    dtype: /(?:^|\/)(?:(?:decoder_)?model_(?:merged_)?)?(?<form>[^/]*)\.onnx$/u.exec(only)?.groups?.['form'] ?? 'unknown',
  };
}

/** The graphs among files, in `onnx/` or at the top. */
export function graphs(files: readonly string[]): string[] {
  return files.filter((file) => /^(?:onnx\/)?[^/]+\.onnx$/u.test(file));
}
