// Memory outside JavaScript's heap, by FFI. Runs on every thread. With ort-api.ts the only importer of koffi.
import { closeSync, fstatSync, openSync } from 'node:fs';
import koffi from 'koffi';

/** An address in this process. */
export type Pointer = bigint;

/** Zeroed memory, seen through `buffer`. Stays until `free`; nothing may touch the view afterwards. */
export interface NativeBlock {
  readonly address: Pointer;
  readonly buffer: ArrayBuffer;
}

export function allocate(sizeBytes: number): NativeBlock {
  const address = koffi.alloc('uint8_t', sizeBytes) as Pointer;
  return { address, buffer: koffi.view(address, sizeBytes) };
}

export function free(block: NativeBlock): void {
  koffi.free(block.address);
}

/** Foreign memory without a copy; valid as long as its owner keeps it. */
export function viewOf(address: Pointer, sizeBytes: number): ArrayBuffer {
  return koffi.view(address, sizeBytes);
}

/** Where a shared buffer lies, in every thread that has it; the caller keeps it alive as long as the address is used. */
export function addressOf(buffer: SharedArrayBuffer): Pointer {
  return koffi.address(new Uint8Array(buffer));
}

/** A copy of the NUL-terminated string at an address. */
export function readText(address: Pointer): string {
  return koffi.decode.string(address);
}

/** A file seen as memory. */
export interface FileMapping {
  readonly address: Pointer;
  readonly sizeBytes: number;
  /** Gives the pages back; they are read again where something still wants them. */
  dropPages(): void;
  unmap(): void;
}

const isPosix = process.platform !== 'win32';
const libc = isPosix ? koffi.load(null) : undefined;
const mmap = libc?.func('mmap', 'void *', ['void *', 'size_t', 'int', 'int', 'int', 'int64_t']);
const munmap = libc?.func('munmap', 'int', ['void *', 'size_t']);
const madvise = libc?.func('madvise', 'int', ['void *', 'size_t', 'int']);
const protRead = 1;
const mapPrivate = 2;
const adviceDontNeed = 4;
const mapFailed = 0xffff_ffff_ffff_ffffn;

/** Whether `mapFile` works on this platform. */
export const canMapFiles = isPosix;

/**
 * Maps a file read-only. Whoever shortens it in place makes later reads of the lost part fatal (SIGBUS): read what is
 * needed for long from a copy.
 * @throws Error when the file cannot be opened or mapped
 */
export function mapFile(path: string): FileMapping {
  const descriptor = openSync(path, 'r');
  try {
    const sizeBytes = fstatSync(descriptor).size;
    const address: unknown = mmap?.(null, sizeBytes, protRead, mapPrivate, descriptor, 0);
    if (typeof address !== 'bigint' || BigInt.asUintN(64, address) === mapFailed) throw new Error(`cannot map ${path}`);
    return {
      address,
      sizeBytes,
      dropPages: () => {
        madvise?.(address, sizeBytes, adviceDontNeed);
      },
      unmap: () => {
        munmap?.(address, sizeBytes);
      },
    };
  } finally {
    closeSync(descriptor);
  }
}

/**
 * Gives freed heap memory back to the system (glibc; nothing elsewhere): loading leaves about 10 MiB a model, as weights are
 * copied and repacked. Takes milliseconds. A fixed mmap threshold would save as much again for a slower start.
 */
export function trimHeap(): void {
  try {
    libc?.func('malloc_trim', 'int', ['size_t'])(0);
  } catch {
    // Not glibc.
  }
}
