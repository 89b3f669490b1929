// SPDX-License-Identifier: Apache-2.0
/** Every call of meft.h on arrays, with arguments of the smallest size that it takes. */
import { MEFT_SCOPE_UNION, SYMBOLS } from "../../lib/native/symbols.ts";
import * as structs from "../../lib/native/structs.ts";

/** What a parameter of a call may be. */
export type Argument = ArrayBufferView | bigint | number | null;

/** A call: names and values of its parameters but the context, in order. */
export interface AbiCall {
  readonly symbol: string;
  /** Without `meft_`. */
  readonly op: string;
  readonly names: readonly string[];
  readonly types: readonly string[];
  readonly values: readonly Argument[];
}

/** Sizes of 1 but where that is too little. */
export const SPARSE: structs.SparseParams = {
  ...{ gate: 0, scope: 0, compute: 0, tokens: 1, hidden: 1, neurons: 1, experts: 1, activeExperts: 1 },
  ...{ topK: 1, pairCapacity: 1 },
};
/** One query, one key. */
export const ATTENTION: structs.AttentionParams = {
  ...{ compute: 0, qRows: 1, kRows: 1, heads: 1, kvHeads: 1, headDim: 1, window: 0, spanCount: 1, scale: 1 },
  ...{ softcap: 0, sees: 0 },
};
const ADAMW: structs.AdamwParams = {
  ...{ mode: 0, step: 1, beta1: 0.5, beta2: 0.5, eps: 1, weightDecay: 0, gradScale: 1 },
};
const DROPOUT = {
  seed: 1,
  stream: 1,
  part: 1,
  first: 0,
  probability: 0,
  accumulate: 0,
  yDtype: 0,
  xDtype: 0,
};
const NORM: structs.NormParams = {
  ...{ kind: 0, rows: 1, eps: 0, unitOffset: 0 },
  yDtype: 0,
  xDtype: 0,
  accumulate: 0,
};
const ROW = { dtype: 0, rows: 1, cols: 1, rowStride: 1, handle: 0, offsetBytes: 0 };

/** Params of which a call has one by this type. */
const STRUCTS: Readonly<Record<string, () => Uint8Array>> = {
  meft_weight: () => structs.writeWeightParams(ROW),
  meft_sparse: () => structs.writeSparseParams(SPARSE),
  meft_attention: () => structs.writeAttentionParams(ATTENTION),
  meft_adamw: () => structs.writeAdamwParams(ADAMW),
  meft_norm: () => structs.writeNormParams(NORM),
  meft_dropout: () => structs.writeDropoutParams(DROPOUT),
};
const ARRAYS: Readonly<Record<string, () => ArrayBufferView>> = {
  int8_t: () => new Int8Array(64),
  uint8_t: () => new Uint8Array(64),
  int16_t: () => new Int16Array(64),
  uint16_t: () => new Uint16Array(64),
  int32_t: () => new Int32Array(64),
  int64_t: () => new BigInt64Array(8),
  float: () => new Float32Array(64),
  double: () => new Float64Array(64),
  void: () => new Float32Array(64),
};
/** Arguments that 0, 1 or an array of zeros would not do for. */
const VALUES: Readonly<Record<string, () => Argument>> = {
  head_dim: () => 2n, // of meft_rope_apply, which turns an even number of them
  rotary_dim: () => 2n,
  offsets: () => Int32Array.of(0, 1),
  spans: () => Int32Array.of(0, 1, 0, 1),
  first_new_slot: () => 0n,
  first_new: () => 0n,
  clip: () => 0,
};
const OF_CALLS: Readonly<Record<string, Readonly<Record<string, () => Argument>>>> = {
  sparse_touch: { slots: () => new Int32Array(64).fill(-1) },
  sparse_branch_backward: { slots: () => new Int32Array(64).fill(-1) },
  sparse_forward_among: { params: () => structs.writeSparseParams({ ...SPARSE, scope: MEFT_SCOPE_UNION }) },
};
/** What works on files, events and memory of a device, which have tests of their own. */
const OTHERS = /^(ctx|error|build|abi|map|device|pinned|event|synchronize)/;

const HEADER = Deno.readTextFileSync(new URL("../../csrc/include/meft.h", import.meta.url));
const DECLARATIONS = [...HEADER.matchAll(/MEFT_API meft_status meft_(\w+)\(([^;]*)\);/g)];

/** Every call on arrays, with its arguments made anew. */
export function abiCalls(): AbiCall[] {
  return DECLARATIONS.filter(([, op]) => !OTHERS.test(op as string)).map(([, op, list]): AbiCall => {
    const parameters = (list as string).split(",").slice(1).map((text) =>
      /^\s*(?:const )?(\w+) (\**)(\w+)$/.exec(text) as RegExpExecArray
    );
    const values = parameters.map(([, type = "", star, name = ""]): Argument => {
      const own = OF_CALLS[op as string]?.[name] ?? VALUES[name];
      if (own !== undefined) return own();
      if (star !== "") return (STRUCTS[type] ?? ARRAYS[type])!();
      return type === "int64_t" ? 1n : type === "float" ? 1 : 0;
    });
    const names = parameters.map(([, , , name]) => name as string);
    const types = parameters.map(([, type, star]) => `${type}${star}`);
    return { symbol: `meft_${op}`, op: op as string, names, types, values };
  });
}

/** The same names as the library exports them, to see that none was overlooked. */
export const EXPORTED = Object.keys(SYMBOLS)
  .filter((symbol) => !OTHERS.test(symbol.slice(5)) && !symbol.endsWith("_async"));
