// SPDX-License-Identifier: Apache-2.0
/** What every call of meft.h says of arguments that cannot be: found before anything is read or written. */
import assert from "node:assert/strict";
import { NativeError } from "../../lib/core/errors.ts";
import { NativeContext } from "../../lib/native/context.ts";
import * as structs from "../../lib/native/structs.ts";
import { MEFT_INVALID } from "../../lib/native/symbols.ts";
import { type AbiCall, abiCalls, type Argument, ATTENTION, EXPORTED, SPARSE } from "./abi_calls.ts";

/** Arguments that may be null where their count is not 0. */
const OPTIONAL: Readonly<Record<string, readonly string[]>> = {
  linear_forward: ["bias", "bias_desc"],
  linear_backward_weight: ["dbias"],
  norm_forward: ["bias", "bias_desc"],
  norm_backward: ["dweight", "dbias"],
  activation_forward: ["up"],
  coupling_forward: ["dropped", "view"],
  coupling_inverse: ["view", "dropped"],
  experts_combine: ["weights"],
  sparse_forward: ["y"],
  sparse_forward_among: ["y"],
  sparse_backward: ["dgate_weight", "dkeys"],
  sparse_backward_step: ["dgate_weight", "keys_m"],
  sparse_branch_forward: [
    ...["y", "keys_m", "keys_v", "keys_last_step", "values_m", "values_v", "values_last_step"],
    ...["lr_history", "adam"],
  ],
  sparse_branch_backward: ["dgate_weight", "dkeys"],
};
/** Whole numbers that are no counts. */
const NO_COUNTS = ["first_new", "first_new_slot", "slot_capacity", "accumulate", "inverse", "all_moments"];

/** Ends the call with its status. */
function run(lane: NativeContext, call: AbiCall, values: readonly Argument[] = call.values): void {
  const symbol = (lane.symbols as unknown as Record<string, (...args: unknown[]) => number>)[call.symbol];
  lane.check(call.op, symbol!(lane.pointer, ...values));
}

function refused(label: string, work: () => void, pattern: RegExp): void {
  assert.throws(work, (error: unknown) => {
    assert.ok(error instanceof NativeError, `${label}: ${error}`);
    assert.equal(error.code, MEFT_INVALID, `${label}: ${error.message}`);
    assert.match(error.message, pattern, label);
    return true;
  }, `${label} was taken`);
}

/** Calls `body` for every parameter of every call, with the arguments anew. */
function eachParameter(body: (call: AbiCall, name: string, i: number) => void): void {
  abiCalls().forEach((call, c) => call.names.forEach((name, i) => body(abiCalls()[c]!, name, i)));
}

Deno.test("every call on arrays takes the smallest arguments that there are", () => {
  const calls = abiCalls();
  assert.deepEqual(calls.map(({ symbol }) => symbol).sort(), [...EXPORTED].sort());
  using lane = new NativeContext({ threads: 1 });
  for (const call of calls) run(lane, call);
});

Deno.test("every array that a call needs is refused by name where it is null", () => {
  using lane = new NativeContext({ threads: 1 });
  eachParameter((call, name, i) => {
    if (!call.types[i]!.endsWith("*") || OPTIONAL[call.op]?.includes(name)) return;
    // A descriptor is called as its weight is, a matrix that takes a step without the name of the matrix.
    const said = name.replace(/_desc$/, "").replace(/^(keys|values)_/, "($1_)?").replace("adam", "params");
    const work = () => run(lane, call, call.values.with(i, null));
    refused(`${call.op}, ${name}`, work, new RegExp(`: ${said} is null`));
  });
});

Deno.test("every count of a call is refused where it is negative", () => {
  using lane = new NativeContext({ threads: 1 });
  eachParameter((call, name, i) => {
    if (call.types[i] !== "int64_t" || NO_COUNTS.includes(name)) return;
    refused(
      `${call.op}, ${name}`,
      () => run(lane, call, call.values.with(i, -1n)),
      new RegExp(`${name}.* is -1, expected`),
    );
  });
});

Deno.test("counts beyond 32 bits ask for as much memory, and those beyond 64 for more than there can be", () => {
  using lane = new NativeContext({ threads: 1 });
  const bare = (call: AbiCall, value: (name: string) => bigint) =>
    call.values.map((given, i) => {
      if (call.types[i] === "int64_t" && !NO_COUNTS.includes(call.names[i]!)) return value(call.names[i]!);
      return call.types[i]!.endsWith("*") && !call.types[i]!.startsWith("meft_") ? null : given;
    });
  eachParameter((call, name, i) => {
    if (call.types[i] !== "int64_t" || NO_COUNTS.includes(name)) return;
    const one = bare(
      call,
      (each) => each === name ? 2n ** 32n : call.values[call.names.indexOf(each)] as bigint,
    );
    refused(
      `${call.op}, ${name} of 2^32`,
      () => run(lane, call, one),
      /is null, expected [1-9]|too many|expected \d+ to \d+/,
    );
    const all = bare(call, () => 2n ** 32n);
    refused(
      `${call.op} of 2^32 each`,
      () => run(lane, call, all),
      /more than memory can hold|is null, expected [1-9]|too many|expected \d+ to \d+/,
    );
  });
});

const NUMBERED = 2n ** 31n - 1n;

Deno.test("sizes of the sparse adapter are refused by name outside of their ranges", () => {
  using lane = new NativeContext({ threads: 1 });
  const ranges: Readonly<Record<string, readonly [bigint, bigint]>> = {
    ...{ gate: [0n, 3n], scope: [0n, 1n], compute: [0n, 1n] },
    ...{ tokens: [0n, NUMBERED], hidden: [1n, NUMBERED], neurons: [1n, NUMBERED], topK: [1n, NUMBERED] },
    ...{ experts: [1n, 1n], activeExperts: [1n, 1n], pairCapacity: [0n, NUMBERED] },
  };
  for (const call of abiCalls().filter(({ types }) => types.includes("meft_sparse*"))) {
    const at = call.types.indexOf("meft_sparse*");
    for (const [field, [least, most]] of Object.entries(ranges)) {
      for (const value of [least - 1n, most + 1n]) {
        const enumerated = most < 4n && field !== "experts" && field !== "activeExperts";
        const params = structs.writeSparseParams({ ...SPARSE, [field]: enumerated ? Number(value) : value });
        const name = field.replace(/[A-Z]/, (letter) => `_${letter.toLowerCase()}`);
        refused(
          `${call.op}, ${field} of ${value}`,
          () => run(lane, call, call.values.with(at, params)),
          new RegExp(`${name} is ${value}, expected ${least} to ${most}`),
        );
      }
    }
  }
});

Deno.test("sizes of attention are refused by name, and counts that wrap around 64 bits too", () => {
  using lane = new NativeContext({ threads: 1 });
  const wrong: readonly (readonly [Partial<structs.AttentionParams>, RegExp])[] = [
    ...(["qRows", "kRows", "window", "spanCount"] as const).map((field) =>
      [{ [field]: -1 }, new RegExp(`${field.replace(/[A-Z]/, (x) => `_${x.toLowerCase()}`)} is -1`)] as const
    ),
    [{ heads: 0 }, /heads is 0/],
    [{ kvHeads: 0 }, /kv_heads 0/],
    [{ heads: 3, kvHeads: 2 }, /heads is 3 and kv_heads 2, expected a multiple/],
    [{ headDim: 0 }, /head_dim is 0/],
    [{ scale: 0 }, /scale is 0/],
    [{ scale: Infinity }, /scale is inf/],
    [{ qRows: 2n ** 32n, heads: 2n ** 32n }, /is 4294967296 x 4294967296 x 1, more than memory can hold/],
    [
      { kRows: 2n ** 32n, heads: 2n ** 16n, kvHeads: 2n ** 16n, headDim: 2n ** 16n },
      /4294967296 x 65536 x 65536, more/,
    ],
    [{ spanCount: 2n ** 62n }, /spans is 4611686018427387904 x 4, more than memory can hold/],
  ];
  for (const call of abiCalls().filter(({ op }) => op.startsWith("attention"))) {
    const at = call.types.indexOf("meft_attention*");
    for (const [change, pattern] of wrong) {
      const params = structs.writeAttentionParams({ ...ATTENTION, ...change });
      refused(
        `${call.op}, ${Object.keys(change)}`,
        () => run(lane, call, call.values.with(at, params)),
        pattern,
      );
    }
  }
});
