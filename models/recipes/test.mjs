// `npm run test:recipes`: the recipes' own tests with a Python that has their packages. The Python is
// GLOSSA_PYTHON or python3; where it lacks a package the tests are skipped, and what to install is said.
import { spawnSync } from 'node:child_process';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

const recipes = dirname(fileURLToPath(import.meta.url));
const python = process.env.GLOSSA_PYTHON ?? 'python3';
const needed = ['numpy', 'onnx', 'onnxruntime', 'pytest', 'safetensors', 'tokenizers'];
const probe = `import sys, importlib.util as u
sys.exit('Python 3.11' if sys.version_info < (3, 11) else
  ', '.join(n for n in ${JSON.stringify(needed)} if u.find_spec(n) is None) or 0)`;
const found = spawnSync(python, ['-c', probe], { encoding: 'utf8' });
if (found.status !== 0) {
  const missing = found.error?.message ?? found.stderr.trim();
  console.log(`test:recipes skipped: ${python} lacks ${missing}`);
  console.log(`to run it: ${python} -m pip install -r models/recipes/requirements.txt, or set GLOSSA_PYTHON`);
} else {
  const options = { cwd: dirname(recipes), stdio: 'inherit' };
  const tests = spawnSync(python, ['-m', 'pytest', '-q', '-p', 'no:cacheprovider', 'recipes/tests'], options);
  process.exitCode = tests.status ?? 1;
}
