// Can this machine run models on CUDA? Main thread, before any worker starts.
// Asking ONNX Runtime can throw, print or crash (O12), so a throw-away child process asks.
import { fork } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export type DeviceProbe = { readonly ok: true } | { readonly ok: false; readonly reason: string };

const timeoutMs = 60_000;
const providerLibrary = 'libonnxruntime_providers_cuda.so';

/** Never rejects. Costs nothing where ONNX Runtime's CUDA library is not installed. */
export async function probeCuda(): Promise<DeviceProbe> {
  const binding = bindingDirectory();
  if (!existsSync(join(binding, providerLibrary))) {
    return { ok: false, reason: `${providerLibrary} is not installed beside onnxruntime-node (${process.platform}/${process.arch})` };
  }
  return askChild();
}

function bindingDirectory(): string {
  const entry = createRequire(import.meta.url).resolve('onnxruntime-node');
  return join(dirname(entry), '..', 'bin', 'napi-v6', process.platform, process.arch);
}

function askChild(): Promise<DeviceProbe> {
  return new Promise((resolve) => {
    const child = fork(fileURLToPath(new URL('../runtime/cuda-probe.js', import.meta.url)), { execArgv: [], stdio: ['ignore', 'ignore', 'ignore', 'ipc'] });
    let answer: DeviceProbe = { ok: false, reason: 'the probe ended without an answer' };
    const timer = setTimeout(() => {
      answer = { ok: false, reason: `the probe did not end within ${timeoutMs / 1000} s` };
      child.kill('SIGKILL');
    }, timeoutMs);
    child.on('message', (message) => {
      const reply = message as DeviceProbe;
      answer = reply.ok ? reply : { ok: false, reason: explainCudaError(reply.reason) };
    });
    child.on('error', (error) => resolve({ ok: false, reason: error.message }));
    child.on('exit', (_code, signal) => {
      clearTimeout(timer);
      if (signal !== null && signal !== 'SIGKILL') answer = { ok: false, reason: `the probe was ended by ${signal}` };
      resolve(answer);
    });
  });
}

/** The missing library where ONNX Runtime's message names one, else its first line. Pure. */
export function explainCudaError(message: string): string {
  const missing = /(lib[\w.+-]+?\.so(?:\.\d+)*): cannot open shared object file/.exec(message);
  if (missing !== null) return `${missing[1]} is missing`;
  return message.split('\n', 1)[0] ?? message;
}
