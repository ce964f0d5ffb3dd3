// Which of a repository's files are worth fetching for one model. Pure; main thread.
import type { Device } from './executor.ts';
import { chooseGraph } from './graph-choice.ts';

const always =
  /^(?:config\.json|generation_config\.json|chat_template\.jinja|tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json|modules\.json|sentence_bert_config\.json|[\w.-]*Pooling\/config\.json|README\.md|SHA256SUMS)$/u;

/**
 * @param files all paths of the repository, with forward slashes
 * @returns the paths to fetch; without a graph when the repository has none that fits, which loading will say
 */
export function wantedFiles(files: readonly string[], device: Device, dtype: string | undefined): string[] {
  const graph = chooseGraph(files, device, dtype)?.path;
  const stem = graph?.replace(/\.onnx$/u, '');
  return files.filter(
    (file) =>
      always.test(file) ||
      file === graph ||
      (graph !== undefined && (file.startsWith(`${graph}_data`) || file === `${graph}.data` || file === `${stem}.data`)),
  );
}
