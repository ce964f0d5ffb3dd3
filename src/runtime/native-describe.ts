// Names, types and shapes of a native session's inputs and outputs. Runs in a worker, once a session.
import { allocate, free, type Pointer, readText } from './native-memory.ts';
import { elementTypeName, readTypeAndShape, type Scratch } from './native-tensors.ts';
import { check, type OrtFunctions } from './ort-api.ts';
import type { TensorDescription } from './session.ts';

export function describeInputs(ort: OrtFunctions, scratch: Scratch, session: Pointer): TensorDescription[] {
  check(ort, ort.getInputCount(session, scratch.at));
  return Array.from({ length: scratch.size }, (_, index) => {
    check(ort, ort.getInputTypeInfo(session, index, scratch.at));
    const type = scratch.pointer;
    return describe(ort, scratch, type, () => {
      check(ort, ort.getInputName(session, index, defaultAllocator(ort, scratch), scratch.at));
    });
  });
}

export function describeOutputs(ort: OrtFunctions, scratch: Scratch, session: Pointer): TensorDescription[] {
  check(ort, ort.getOutputCount(session, scratch.at));
  return Array.from({ length: scratch.size }, (_, index) => {
    check(ort, ort.getOutputTypeInfo(session, index, scratch.at));
    const type = scratch.pointer;
    return describe(ort, scratch, type, () => {
      check(ort, ort.getOutputName(session, index, defaultAllocator(ort, scratch), scratch.at));
    });
  });
}

/**
 * @param typeInfo an OrtTypeInfo, released here
 * @param fetchName leaves the address of the name, owned by the default allocator, in `scratch`
 */
function describe(ort: OrtFunctions, scratch: Scratch, typeInfo: Pointer, fetchName: () => void): TensorDescription {
  try {
    fetchName();
    const nameAt = scratch.pointer;
    const name = readText(nameAt);
    check(ort, ort.allocatorFree(defaultAllocator(ort, scratch), nameAt));
    // The tensor info belongs to the type info.
    check(ort, ort.castToTensorInfo(typeInfo, scratch.at));
    const info = scratch.pointer;
    if (info === 0n) return { name, type: 'non-tensor', dims: [] };
    const { dims, code } = readTypeAndShape(ort, scratch, info);
    const symbols = symbolicDims(ort, info, dims.length);
    return { name, type: elementTypeName(code), dims: dims.map((dim, index) => (dim < 0 ? (symbols[index] ?? '') : dim)) };
  } finally {
    ort.releaseTypeInfo(typeInfo);
  }
}

function symbolicDims(ort: OrtFunctions, info: Pointer, count: number): string[] {
  if (count === 0) return [];
  const block = allocate(count * 8);
  try {
    check(ort, ort.getSymbolicDimensions(info, block.address, count));
    // The strings belong to the info.
    return Array.from(new BigUint64Array(block.buffer), (address) => (address === 0n ? '' : readText(address)));
  } finally {
    free(block);
  }
}

function defaultAllocator(ort: OrtFunctions, scratch: Scratch): Pointer {
  check(ort, ort.getDefaultAllocator(scratch.at));
  return scratch.pointer;
}
