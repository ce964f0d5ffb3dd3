// Which implementation of sessions a worker takes. Runs in a worker, before it loads models.
import type { CreateSession, SessionDevice } from './session.ts';

/** GLOSSA_RUNTIME. */
export type RuntimeChoice = 'auto' | 'native' | 'node';

export interface ChosenRuntime {
  readonly name: 'native' | 'node' | 'fake';
  readonly createSession: CreateSession;
  /** Why `auto` did not take native. */
  readonly reason?: string;
  /** To be called once all models are loaded. */
  readonly afterLoad: () => void;
  /** Of the native runtime: with it the main thread of the same process ends a run (native-host.ts). */
  readonly cancelAddress?: bigint;
}

/** What is needed of native-session.ts. */
interface NativeModule {
  readonly createNativeSession: CreateSession;
  readonly runSelfTest: () => Promise<void>;
  readonly afterLoad: () => void;
  readonly cancelAddress: () => bigint;
}

const nothing = (): void => {};

/**
 * Each implementation is loaded on demand: a native worker never loads onnxruntime-node's binding.
 * @param importNative for tests
 * @throws Error when `native` is wanted and does not work here
 */
export async function chooseSessions(
  choice: RuntimeChoice,
  device: SessionDevice,
  importNative: () => Promise<NativeModule> = () => import('./native-session.ts'),
): Promise<ChosenRuntime> {
  if (device === 'fake') return { name: 'fake', createSession: (await import('./fake-session.ts')).createFakeSession, afterLoad: nothing };
  let reason: string | undefined;
  // NOTE: CUDA through the C API has never been run; sessions on a device stay with the JavaScript API.
  if (choice === 'native' && device === 'cuda') throw new Error('the native runtime has no device cuda');
  if (choice !== 'node' && device === 'cpu') {
    try {
      const native = await importNative();
      await native.runSelfTest();
      return {
        name: 'native',
        createSession: native.createNativeSession,
        afterLoad: native.afterLoad,
        cancelAddress: native.cancelAddress(),
      };
    } catch (error) {
      reason = error instanceof Error ? error.message : String(error);
      if (choice === 'native') throw new Error(`the native runtime does not work here: ${reason}`, { cause: error });
    }
  }
  const { createNodeSession } = await import('./node-session.ts');
  return { name: 'node', createSession: createNodeSession, afterLoad: nothing, ...(reason === undefined ? {} : { reason }) };
}
