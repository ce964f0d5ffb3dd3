// ONNX Runtime's C API as typed functions, called by FFI. Runs on every thread; with native-memory.ts the only importer of koffi.
// Functions are found by their position in the table of the public header onnxruntime_c_api.h, which only ever grows.
// A wrong position or signature is a crash: `loadOrt` checks the version, choose-session.ts a run, before anything is trusted.
import koffi, { type LibraryHandle } from 'koffi';
import type { Pointer } from './native-memory.ts';
import { locateOrtLibrary, type OrtLibrary } from './ort-library.ts';

interface ArgumentTypes {
  readonly pointer: Pointer | null;
  readonly int: number;
  readonly size: number;
  readonly text: string;
  readonly path: string;
}

type ArgumentKind = keyof ArgumentTypes;

interface ResultTypes {
  /** Null where all went well; else to be read and released (`check`). */
  readonly status: Pointer | null;
  readonly text: string;
  readonly void: undefined;
}

type Result = keyof ResultTypes;

const declare = <const R extends Result, const Parameters extends readonly ArgumentKind[]>(
  position: number,
  result: R,
  ...parameters: Parameters
) => ({ position, result, parameters });

/** Names as in the header, without the prefix Session where nothing is lost; `pointer` at the end is the result's place. */
const declarations = {
  getErrorMessage: declare(2, 'text', 'pointer'),
  createEnv: declare(3, 'status', 'int', 'text', 'pointer'),
  createSession: declare(7, 'status', 'pointer', 'path', 'pointer', 'pointer'),
  createSessionFromArray: declare(8, 'status', 'pointer', 'pointer', 'size', 'pointer', 'pointer'),
  run: declare(9, 'status', 'pointer', 'pointer', 'pointer', 'pointer', 'size', 'pointer', 'size', 'pointer'),
  createSessionOptions: declare(10, 'status', 'pointer'),
  setLogSeverity: declare(22, 'status', 'pointer', 'int'),
  setGraphOptimizationLevel: declare(23, 'status', 'pointer', 'int'),
  setIntraOpThreads: declare(24, 'status', 'pointer', 'int'),
  setInterOpThreads: declare(25, 'status', 'pointer', 'int'),
  getInputCount: declare(30, 'status', 'pointer', 'pointer'),
  getOutputCount: declare(31, 'status', 'pointer', 'pointer'),
  getInputTypeInfo: declare(33, 'status', 'pointer', 'size', 'pointer'),
  getOutputTypeInfo: declare(34, 'status', 'pointer', 'size', 'pointer'),
  getInputName: declare(36, 'status', 'pointer', 'size', 'pointer', 'pointer'),
  getOutputName: declare(37, 'status', 'pointer', 'size', 'pointer', 'pointer'),
  createRunOptions: declare(39, 'status', 'pointer'),
  setRunTerminate: declare(46, 'status', 'pointer'),
  unsetRunTerminate: declare(47, 'status', 'pointer'),
  createTensor: declare(48, 'status', 'pointer', 'pointer', 'size', 'int', 'pointer'),
  createTensorWithData: declare(49, 'status', 'pointer', 'pointer', 'size', 'pointer', 'size', 'int', 'pointer'),
  getTensorData: declare(51, 'status', 'pointer', 'pointer'),
  castToTensorInfo: declare(55, 'status', 'pointer', 'pointer'),
  getElementType: declare(60, 'status', 'pointer', 'pointer'),
  getDimensionCount: declare(61, 'status', 'pointer', 'pointer'),
  getDimensions: declare(62, 'status', 'pointer', 'pointer', 'size'),
  getSymbolicDimensions: declare(63, 'status', 'pointer', 'pointer', 'size'),
  getTensorTypeAndShape: declare(65, 'status', 'pointer', 'pointer'),
  createCpuMemoryInfo: declare(69, 'status', 'int', 'int', 'pointer'),
  allocatorFree: declare(76, 'status', 'pointer', 'pointer'),
  getDefaultAllocator: declare(78, 'status', 'pointer'),
  releaseStatus: declare(93, 'void', 'pointer'),
  releaseSession: declare(95, 'void', 'pointer'),
  releaseValue: declare(96, 'void', 'pointer'),
  releaseRunOptions: declare(97, 'void', 'pointer'),
  releaseTypeInfo: declare(98, 'void', 'pointer'),
  releaseTensorTypeAndShape: declare(99, 'void', 'pointer'),
  releaseSessionOptions: declare(100, 'void', 'pointer'),
  addSessionConfigEntry: declare(130, 'status', 'pointer', 'text', 'text'),
  runWithBinding: declare(133, 'status', 'pointer', 'pointer', 'pointer'),
  createIoBinding: declare(134, 'status', 'pointer', 'pointer'),
  releaseIoBinding: declare(135, 'void', 'pointer'),
  bindInput: declare(136, 'status', 'pointer', 'text', 'pointer'),
  bindOutput: declare(137, 'status', 'pointer', 'text', 'pointer'),
  addInitializer: declare(150, 'status', 'pointer', 'text', 'pointer'),
  createPrepackedWeights: declare(166, 'status', 'pointer'),
  releasePrepackedWeights: declare(167, 'void', 'pointer'),
  createSessionWithPrepackedWeights: declare(168, 'status', 'pointer', 'path', 'pointer', 'pointer', 'pointer'),
} as const;

type Declarations = typeof declarations;
type ValuesOf<Kinds extends readonly ArgumentKind[]> = { [Index in keyof Kinds]: ArgumentTypes[Kinds[Index]] };
type FunctionOf<D extends Declarations[keyof Declarations]> = (...values: ValuesOf<D['parameters']>) => ResultTypes[D['result']];

/** Functions that return a status must be wrapped in `check`. */
export type OrtFunctions = { readonly [Name in keyof Declarations]: FunctionOf<Declarations[Name]> } & {
  /** `runWithBinding` on a thread of libuv's pool. */
  readonly runWithBindingAsync: (session: Pointer, runOptions: Pointer, binding: Pointer) => Promise<Pointer | null>;
};

const apiVersion = 22;
const tableLength = 1 + Math.max(...Object.values(declarations).map((declaration) => declaration.position));
const kinds = { pointer: 'void *', int: 'int', size: 'size_t', text: 'str', path: process.platform === 'win32' ? 'str16' : 'str' } as const;
const results = { status: 'void *', text: 'str', void: 'void' } as const;

// The handles stay referenced for ever: a collected one would unload the library under its function pointers.
const libraries: LibraryHandle[] = [];
let loaded: OrtFunctions | undefined;

/**
 * Loads the library once a thread.
 * @param library for tests; by default the one that onnxruntime-node ships
 * @throws Error when it cannot be loaded, or is of another version than its package
 */
export function loadOrt(library?: OrtLibrary): OrtFunctions {
  if (library !== undefined) return bind(library);
  loaded ??= bind(locateOrtLibrary());
  return loaded;
}

function bind(library: OrtLibrary): OrtFunctions {
  const handle = open(library.path);
  const base: unknown = handle.func('OrtGetApiBase', 'void *', [])();
  const [getApi, getVersion] = koffi.decode(base, 'void *', 2) as [Pointer, Pointer];
  const version: unknown = koffi.call(getVersion, koffi.proto('str', []));
  if (version !== library.version) throw new Error(`${library.path} is version ${String(version)}, its package ${library.version}`);
  const api: unknown = koffi.call(getApi, koffi.proto('void *', ['uint32_t']), apiVersion);
  if (typeof api !== 'bigint') throw new Error(`${library.path} has no C API ${apiVersion}`);
  const table = koffi.decode(api, 'void *', tableLength) as Pointer[];
  const functions: Record<string, unknown> = {};
  for (const [name, { position, result, parameters }] of Object.entries(declarations)) {
    const type = koffi.proto(
      results[result],
      parameters.map((kind) => kinds[kind]),
    );
    functions[name] = koffi.decode(table[position], type);
  }
  const { async: start } = functions['runWithBinding'] as { readonly async: (...values: unknown[]) => void };
  functions['runWithBindingAsync'] = (...pointers: readonly Pointer[]) =>
    new Promise<Pointer | null>((resolve, reject) => {
      start(...pointers, (error: Error | null, status: Pointer | null) => {
        if (error === null) resolve(status);
        else reject(error);
      });
    });
  return functions as OrtFunctions;
}

function open(path: string): LibraryHandle {
  try {
    const handle = koffi.load(path);
    libraries.push(handle);
    return handle;
  } catch (error) {
    throw new Error(`cannot load ${path}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

/** @throws Error with ONNX Runtime's message when a call failed */
export function check(ort: OrtFunctions, status: Pointer | null): void {
  if (status === null) return;
  const message = ort.getErrorMessage(status);
  ort.releaseStatus(status);
  throw new Error(message);
}
