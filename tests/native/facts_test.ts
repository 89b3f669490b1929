// SPDX-License-Identifier: Apache-2.0
/** What contexts and processes say of themselves, read from a library whose numbers are known. */
import assert from "node:assert/strict";
import {
  multipliesBf16,
  smallContext,
  SPARSE_PARTS,
  targetFacts,
  TARGETS,
} from "../../lib/native/context.ts";
import {
  availableHostBytes,
  hostArray,
  isRefusedArray,
  limitRoom,
  peakHostBytes,
  requireRoom,
  residentBytes,
} from "../../lib/native/host_memory.ts";
import { openLibrary } from "../../lib/native/library.ts";
import { MappedFile } from "../../lib/native/mapped_file.ts";
import * as constants from "../../lib/native/symbols.ts";
import { runChild } from "./child.ts";

/** With a library whose `meft_ctx_info` gives these numbers, in the header's order. */
function withInfo(numbers: readonly bigint[], body: () => void): void {
  const { symbols } = openLibrary();
  const { meft_ctx_info: real } = symbols;
  const fake = (_lane: Deno.PointerValue, out: BigInt64Array, count: bigint): number => {
    assert.equal(count, BigInt(out.length));
    out.set(numbers.slice(0, out.length));
    return 0;
  };
  Object.assign(symbols, { meft_ctx_info: fake });
  try {
    body();
  } finally {
    Object.assign(symbols, { meft_ctx_info: real });
  }
}

const MIB = 1n << 20n;
const PARTS = SPARSE_PARTS.map((_, i) => BigInt(i + 1) * 1_500_000n);
const HEAD = [
  TARGETS.avx2,
  constants.MEFT_GEMM_OWN,
  3,
  4096,
  TARGETS.portable,
  77,
].map(BigInt);
const memory = (
  limit: bigint,
  bytes: bigint,
  peak: bigint,
): bigint[] => [...HEAD, ...PARTS, limit, bytes, peak];

Deno.test("info() and processMemory() put each number of the library where it belongs, times in milliseconds", () => {
  using lane = smallContext();
  withInfo(memory(2n, 500n, 900n), () => {
    assert.deepEqual(lane.info(), {
      target: "avx2",
      gemm: "own",
      threads: 3,
      workspaceBytes: 4096,
      ranTarget: "portable",
      mappedBytes: 77,
      partMs: {
        scoring: 1.5,
        values: 3,
        scoreGradients: 4.5,
        inputGradients: 6,
        routerGradients: 7.5,
        rowGradients: 9,
        rowSteps: 10.5,
      },
    });
    assert.deepEqual(lane.processMemory(), { limit: 2, limitBytes: 500, peakBytes: 900 });
  });
  withInfo([99n], () => assert.throws(() => lane.info(), /The library reported 99, expected one of/));
  withInfo(
    [...HEAD.slice(0, 3), 2n ** 53n],
    () => assert.throws(() => lane.info(), /more than a double holds exactly/),
  );
});

Deno.test("smallContext() is one thread of the target that every machine has", () => {
  using lane = smallContext();
  const { target, threads, gemm } = lane.info();
  assert.deepEqual([target, threads, gemm], ["portable", 1, "own"]);
});

Deno.test("limitRoom() names the limit that leaves less, and peakHostBytes() is what the library counted", () => {
  for (const [limit, flag] of [[1n, "ulimit -d"], [2n, "ulimit -v"]] as const) {
    withInfo(memory(limit, 12345n, 1n), () => assert.deepEqual(limitRoom(), { flag, bytes: 12345 }));
  }
  withInfo(memory(0n, 0n, 6n), () => {
    assert.equal(limitRoom(), null);
    assert.equal(peakHostBytes(), 6);
  });
  withInfo(
    memory(0n, 0n, 0n),
    () => assert.ok(peakHostBytes() >= residentBytes() / 2, "what is resident now"),
  );
});

Deno.test("requireRoom() leaves a limit its reserve of 96 MiB, to the byte", () => {
  withInfo(memory(1n, 100n * MIB, 0n), () => {
    requireRoom("rows", 4 << 20);
    assert.throws(() => requireRoom("rows", (4 << 20) + 1), {
      name: "MachineError",
      message:
        /^Not enough memory: rows asked for 4\.0 MiB, but the limit on memory \(ulimit -d\) leaves 4\.0 MiB; free some/,
    });
  });
  withInfo(memory(2n, 10n * MIB, 0n), () => {
    assert.throws(() => requireRoom("rows", 0), /\(ulimit -v\) leaves 0\.0 MiB/);
  });
  withInfo(memory(0n, 0n, 0n), () => requireRoom("rows", 2 ** 50));
});

Deno.test("hostArray() asks the limits from 1 MiB on, and gives zeros", () => {
  withInfo(memory(1n, 0n, 0n), () => {
    assert.equal(hostArray(Float32Array, (1 << 18) - 1, "floats").length, (1 << 18) - 1);
    assert.throws(() => hostArray(Float32Array, 1 << 18, "floats"), /floats asked for 1\.0 MiB/);
  });
  assert.deepEqual([...hostArray(Int16Array, 3, "three")], [0, 0, 0]);
  assert.ok(isRefusedArray(new RangeError("Array buffer allocation failed")));
  assert.equal(isRefusedArray(new RangeError("Invalid typed array length: -1")), false);
  assert.equal(isRefusedArray(new Error("Array buffer allocation failed")), false);
});

Deno.test("availableHostBytes() is no more than any of machine, container and limit leave", () => {
  withInfo(memory(2n, 4096n, 0n), () => assert.equal(availableHostBytes(), 4096));
  withInfo(memory(0n, 0n, 0n), () => {
    const { total, swapTotal } = Deno.systemMemoryInfo();
    const bytes = availableHostBytes();
    assert.ok(bytes > 0 && bytes <= total + swapTotal, `${bytes} of ${total}`);
  });
});

Deno.test("targets tell their vectors, and which of them multiply bf16 faster than f32", () => {
  const targets = ["portable", "avx2", "avx512", "avx512_bf16", "avx512_amx"] as const;
  assert.deepEqual(targets.map((name) => targetFacts(name).vectorLanes), [4, 8, 16, 16, 16]);
  assert.deepEqual(targets.map((name) => targetFacts(name).panelColumns), [8, 16, 64, 64, 64]);
  assert.deepEqual(targets.map(multipliesBf16), [false, false, false, true, true]);
});

Deno.test("what a context is asked for wins over the environment, whose mistakes are named", async () => {
  const { code, output } = await runChild(
    `const said = (options) => {
       try { using lane = new NativeContext(options); const { target, threads } = lane.info(); return [target, threads].join(); }
       catch (error) { return error.message; }
     };
     console.log(said({ target: "portable", threads: 2, gemm: "own" }));
     Deno.env.set("MEFT_FORCE_TARGET", "portable");
     Deno.env.set("MEFT_GEMM", "own");
     console.log(said({}));
     Deno.env.set("MEFT_THREADS", "");
     console.log(said({ threads: 4097 }));
     console.log(said({}) === said({ threads: 0 }));`,
    { env: { MEFT_THREADS: "many", MEFT_FORCE_TARGET: "avx9", MEFT_GEMM: "mkl" } },
  );
  assert.equal(code, 0, output);
  assert.deepEqual(output.trim().split("\n"), [
    "portable,2",
    "threads (or MEFT_THREADS) is many, expected a whole number from 0 (all cores) to 4096",
    "threads (or MEFT_THREADS) is 4097, expected a whole number from 0 (all cores) to 4096",
    "true",
  ]);
});

Deno.test("a mapped file refuses a place beyond what a double holds exactly", async () => {
  const path = await Deno.makeTempFile();
  {
    using file = MappedFile.open(path);
    assert.throws(() => file.read(2 ** 53, 0), {
      name: "RangeError",
      message: /^offsetBytes is 9007199254740992/,
    });
  }
  await Deno.remove(path);
});
