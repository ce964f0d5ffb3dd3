// Whether CUDA can be had, and how its absence is explained.
import t from 'tap';
import { explainCudaError, probeCuda } from '../../../src/pool/device-probe.ts';

t.test('the missing library is named', (t) => {
  const log =
    '[E:onnxruntime] : 1 : FAIL : Failed to load library /x/libonnxruntime_providers_cuda.so with error: libcublasLt.so.12: cannot open shared object file: No such file or directory\n';
  t.equal(
    explainCudaError(`OrtSessionOptionsAppendExecutionProvider_Cuda: Failed to load shared library\n${log}`),
    'libcublasLt.so.12 is missing',
  );
  t.equal(
    explainCudaError('Failed to load\nFAIL : Failed to get symbol X with error: /a/b/libfoo.so: undefined symbol: X\n'),
    'libfoo.so: undefined symbol: X',
  );
  t.equal(
    explainCudaError('CUDA failure 100: no CUDA-capable device is detected\nmore'),
    'CUDA failure 100: no CUDA-capable device is detected',
  );
  t.end();
});

t.test('without the provider library nothing is started and the library is named', async (t) => {
  t.match(await probeCuda(t.testdir({})), { ok: false, reason: /libonnxruntime_providers_cuda\.so is not installed/ });
  t.match(await probeCuda(t.testdir({ 'libonnxruntime_providers_cuda.so': '' })), {
    ok: false,
    reason: /libonnxruntime_providers_shared\.so/,
  });
});

t.test('a child process is asked when the libraries are there, and answers', async (t) => {
  const directory = t.testdir({ 'libonnxruntime_providers_cuda.so': '', 'libonnxruntime_providers_shared.so': '' });
  const answer = await probeCuda(directory);
  // The child loads the real binding, which has no CUDA library beside it here; on a CUDA machine it says ok.
  if (!answer.ok) t.match(answer.reason, /\.so|CUDA/);
  t.type(answer.ok, 'boolean');
});
