// Throw-away child process of pool/device-probe.ts: tries CUDA once and says how it went. What it loads dies with it.
import { runCudaSelfTest } from './node-session.ts';

let reply: { ok: true } | { ok: false; reason: string };
try {
  await runCudaSelfTest();
  reply = { ok: true };
} catch (error) {
  reply = { ok: false, reason: error instanceof Error ? error.message : String(error) };
}
// Its one run is over, and the provider's threads would keep the process.
process.send?.(reply, undefined, undefined, () => process.exit(0));
