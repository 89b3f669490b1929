// SPDX-License-Identifier: Apache-2.0
/** Kernels that a backend lacks: the library names them, and a call of one says so. */
import assert from "node:assert/strict";
import { NativeError } from "../../lib/core/errors.ts";
import * as calls from "../../lib/native/calls.ts";
import { NativeContext } from "../../lib/native/context.ts";
import { buildInfo, openLibrary } from "../../lib/native/library.ts";
import { writeAdamwParams, writeSparseParams } from "../../lib/native/structs.ts";
import * as constants from "../../lib/native/symbols.ts";
import { openTestDevice } from "../cuda_library.ts";

openTestDevice();

/** Rows that step in the backward pass of no token. */
function stepNothing(lane: NativeContext): void {
  const [none, one] = [new Float32Array(0), new Float32Array(1)];
  const params = writeSparseParams({
    gate: constants.MEFT_GATE_NONE,
    scope: constants.MEFT_SCOPE_TOKEN,
    compute: constants.MEFT_BF16,
    ...{ tokens: 0, hidden: 1, neurons: 1, experts: 1, activeExperts: 1, topK: 1, pairCapacity: 0 },
  });
  const adam = writeAdamwParams({
    ...{ mode: constants.MEFT_ADAM_LAZY, step: 1, beta1: 0, beta2: 0, eps: 1, weightDecay: 0, gradScale: 1 },
  });
  const planes = [new Uint16Array(1), new Int16Array(1)] as const;
  const state = [...planes, one, one, new Int32Array(1)] as const;
  calls.sparseBackwardStep(
    lane,
    none,
    null,
    new Float64Array(3),
    ...planes,
    ...[null, null, null],
    ...state,
    ...[none, none, none],
    new Int32Array(0),
    new Int32Array(1),
    new Int32Array(0),
    ...[none, none, null],
    one,
    0,
    params,
    adam,
  );
}

Deno.test("the CPU's backend lacks no kernel", () => {
  assert.deepEqual(buildInfo(openLibrary()).absentKernels, []);
  using lane = new NativeContext();
  stepNothing(lane);
});

Deno.test("a device's backend names the kernel that it lacks, and its call says so", () => {
  assert.deepEqual(buildInfo(openLibrary("cuda")).absentKernels, ["sparse_backward.backward_step"]);
  using lane = new NativeContext("cuda");
  assert.throws(() => stepNothing(lane), (error: unknown) => {
    assert.ok(error instanceof NativeError);
    assert.deepEqual([error.code, error.op], [constants.MEFT_UNSUPPORTED, "sparse_backward_step"]);
    assert.match(error.message, /the backend of this lane does not have this kernel/);
    return true;
  });
});
