// Can this machine run models on CUDA? Main thread, before any worker starts.
// Asking ONNX Runtime can throw, print or crash (O12), so a throw-away child process asks.
import { fork } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export type DeviceProbe = { readonly ok: true } | { readonly ok: false; readonly reason: string };

const timeoutMs = 60_000;
const maxLogChars = 100_000;
const providerLibraries = ['libonnxruntime_providers_cuda.so', 'libonnxruntime_providers_shared.so'];

/**
 * Never rejects. Costs nothing where ONNX Runtime's CUDA libraries are not installed.
 * @param directory where they must lie: beside onnxruntime-node's binding
 */
export async function probeCuda(directory = bindingDirectory()): Promise<DeviceProbe> {
  const absent = providerLibraries.find((library) => !existsSync(join(directory, library)));
  if (absent === undefined) return askChild();
  return { ok: false, reason: `${absent} is not installed beside onnxruntime-node (${process.platform}/${process.arch})` };
}

function bindingDirectory(): string {
  const entry = createRequire(import.meta.url).resolve('onnxruntime-node');
  return join(dirname(entry), '..', 'bin', 'napi-v6', process.platform, process.arch);
}

function askChild(): Promise<DeviceProbe> {
  return new Promise((resolve) => {
    const child = fork(fileURLToPath(new URL('../runtime/cuda-probe.js', import.meta.url)), {
      execArgv: [],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    let log = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      if (log.length < maxLogChars) log += text;
    });
    let explain: string | undefined;
    let answer: DeviceProbe = { ok: false, reason: 'the probe ended without an answer' };
    const timer = setTimeout(() => {
      answer = { ok: false, reason: `the probe did not end within ${timeoutMs / 1000} s` };
      child.kill('SIGKILL');
    }, timeoutMs);
    child.on('message', (message) => {
      const reply = message as DeviceProbe;
      if (reply.ok) answer = reply;
      else explain = reply.reason;
    });
    child.on('error', (error) => resolve({ ok: false, reason: error.message }));
    child.on('close', (_code, signal) => {
      clearTimeout(timer);
      if (explain !== undefined) answer = { ok: false, reason: explainCudaError(`${explain}\n${log}`) };
      if (signal !== null && signal !== 'SIGKILL') answer = { ok: false, reason: `the probe was ended by ${signal}` };
      resolve(answer);
    });
  });
}

/** The missing library where ONNX Runtime's words name one, else the loader's complaint, else the first line. Pure. */
export function explainCudaError(message: string): string {
  const missing = /(lib[\w.+-]+?\.so(?:\.\d+)*): cannot open shared object file/.exec(message);
  if (missing !== null) return `${missing[1]} is missing`;
  const complaint = /with error: (?:\S*\/)?([^\n]+)/.exec(message);
  return complaint?.[1] ?? message.split('\n', 1)[0] ?? message;
}
