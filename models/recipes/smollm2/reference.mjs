// Perplexity and token ids of llama.cpp on a GGUF: the reference of check.py's figures.
// Needs node-llama-cpp (3.22.1 was used), installed in a folder outside the checkout:
//   node reference.mjs NODE_MODULES MODEL.gguf .work/smollm2-reference.json
// The last file is written by ``--check``: {"ids": lists of token ids, "strings": strings with
// the ids that our tokenizer gives them}. Prints JSON.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [modules, modelPath, wantedFile] = process.argv.slice(2);
const entry = join(modules, 'node-llama-cpp', 'dist', 'index.js');
const { getLlama } = await import(pathToFileURL(entry).href);
const wanted = JSON.parse(readFileSync(wantedFile, 'utf8'));

const llama = await getLlama({ gpu: false, build: 'never', maxThreads: 1, logLevel: 'error' });
const model = await llama.loadModel({ modelPath });
const same = ([text, ids]) => String(model.tokenize(text, false)) === String(ids);
const differing = wanted.strings.filter((pair) => !same(pair)).map(([text]) => text);
const context = await model.createContext({ contextSize: 600, threads: 1, batchSize: 512 });
const sequence = context.getSequence();
let total = 0;
let count = 0;
for (const ids of wanted.ids) {
  await sequence.clearHistory();
  const options = { generateNext: { probabilities: true } };
  const found = await sequence.controlledEvaluate(ids.map((id) => [id, options]));
  for (let i = 0; i + 1 < ids.length; i++) {
    total -= Math.log(found[i].next.probabilities.get(ids[i + 1]));
    count += 1;
  }
}
console.log(JSON.stringify({ perplexity: Math.exp(total / count), tokens: count, differing }));
process.exit(0);
