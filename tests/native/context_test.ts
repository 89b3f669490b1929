// SPDX-License-Identifier: Apache-2.0
/** Contexts: what they are made with, how they fail, and one call in flight. */
import { assertSame } from "../compare.ts";
import { MEFT_F32 } from "../../lib/native/symbols.ts";
import assert from "node:assert/strict";
import { NativeError } from "../../lib/core/errors.ts";
import * as calls from "../../lib/native/calls.ts";
import { peakHostBytes } from "../../lib/native/host_memory.ts";
import { NativeContext, type Target, TARGETS } from "../../lib/native/context.ts";
import { buildInfo, libraryPath, openAt, openLibrary } from "../../lib/native/library.ts";
import * as constants from "../../lib/native/symbols.ts";
import { machineTargets } from "../contract/backends.ts";
import { runChild } from "./child.ts";

/** `meft_sum_squares` on another thread, to have a call in flight; 2^22 elements take about a millisecond. */
const slow = () =>
  Deno.dlopen(libraryPath(), {
    meft_sum_squares: {
      parameters: ["pointer", "buffer", "buffer", "i64"],
      result: "i32",
      nonblocking: true,
    },
  });

Deno.test("NativeContext runs every target of the machine when it is asked for", () => {
  const targets = machineTargets();
  assert.ok(targets.includes("portable"), "every machine has the portable target");
  for (const target of targets) {
    using lane = new NativeContext({ target });
    assert.equal(lane.info().ranTarget, "auto");
    const y = Float32Array.of(1, 2, 3);
    calls.add(lane, y, Float32Array.of(1, 1, 1), 3, MEFT_F32);
    assertSame(y, Float32Array.of(2, 3, 4));
    assert.equal(lane.info().target, target);
    assert.equal(lane.info().ranTarget, target);
  }
});

Deno.test("NativeContext takes the machine's best target by default", () => {
  using lane = new NativeContext({ target: "auto" });
  assert.equal(lane.info().target, machineTargets().at(-1));
});

Deno.test("MEFT_FORCE_TARGET, MEFT_THREADS and MEFT_GEMM hold for a whole process", async () => {
  for (const target of machineTargets()) {
    const { code, output } = await runChild(
      `using lane = new NativeContext();
       calls.add(lane, new Float32Array(9), new Float32Array(9), 9, 0);
       console.log(JSON.stringify(lane.info()));`,
      { env: { MEFT_FORCE_TARGET: target, MEFT_THREADS: "3", MEFT_GEMM: "own" } },
    );
    assert.equal(code, 0, output);
    const info = JSON.parse(output);
    assert.deepEqual([info.ranTarget, info.threads, info.gemm], [target, 3, "own"]);
  }
});

Deno.test("NativeContext names the option, its value and the choices when one has no meaning", () => {
  assert.throws(() => new NativeContext({ target: "avx9" as Target }), {
    name: "UserError",
    message: /target \(or MEFT_FORCE_TARGET\) is "avx9", expected one of auto, portable, avx2/,
  });
  assert.throws(() => new NativeContext({ target: "toString" as Target }), { name: "UserError" });
  for (const threads of [-1, 1.5, NaN, 5000]) {
    assert.throws(() => new NativeContext({ threads }), {
      name: "UserError",
      message: new RegExp(`threads \\(or MEFT_THREADS\\) is ${threads}, expected`),
    });
  }
});

Deno.test("NativeContext refuses a target that the machine lacks, naming it", () => {
  const present = machineTargets();
  const absent = (Object.keys(TARGETS) as Target[]).filter((name) =>
    name !== "auto" && !present.includes(name)
  );
  for (const target of absent) {
    assert.throws(() => new NativeContext({ target }), {
      name: "NativeError",
      message: `ctx_create: target ${target} is not in this build or not on this machine`,
    });
  }
});

Deno.test("NativeContext refuses matrix product providers that the build lacks", () => {
  if (buildInfo(openLibrary()).gemm.includes("onednn")) {
    using lane = new NativeContext({ gemm: "onednn" });
    assert.equal(lane.info().gemm, "onednn");
  } else {
    assert.throws(() => new NativeContext({ gemm: "onednn" }), {
      name: "NativeError",
      code: constants.MEFT_UNSUPPORTED,
    });
  }
});

Deno.test("a native call that fails throws a NativeError with code, op and a sentence", () => {
  using lane = new NativeContext();
  const y = new Float32Array(4);
  const check = (error: unknown) => {
    assert.ok(error instanceof NativeError);
    assert.deepEqual([error.code, error.op], [constants.MEFT_INVALID, "add"]);
    return true;
  };
  assert.throws(() => calls.add(lane, y, y, -3, MEFT_F32), check);
  assert.throws(() => calls.add(lane, y, null, 4, MEFT_F32), {
    message: "add: x is null, expected 4 elements",
  });
  calls.add(lane, y, y, 4, MEFT_F32); // the context still works, and an empty array is no array
  calls.add(lane, new Float32Array(0), new Float32Array(0), 0, MEFT_F32);
});

Deno.test("typed calls refuse numbers that C would wrap or truncate", () => {
  using lane = new NativeContext();
  const y = new Float32Array(4);
  for (const count of [1.5, NaN, 2 ** 53, 2n ** 63n]) {
    assert.throws(() => calls.add(lane, y, y, count, MEFT_F32), {
      name: "RangeError",
      message: /^count is /,
    });
  }
  for (const seed of [-1, 2 ** 32, 0.5]) {
    assert.throws(() => calls.randomNormal(lane, y, 4, seed, 0, 1), {
      name: "RangeError",
      message: /^seed is /,
    });
  }
});

Deno.test("a second call on a context in flight is BUSY, and two contexts overlap", async () => {
  const library = slow();
  using lane = new NativeContext({ threads: 1 });
  using other = new NativeContext({ threads: 1 });
  const x = new Float32Array(1 << 22).fill(1);
  const start = (context: NativeContext, out: Float64Array<ArrayBuffer>) =>
    context.settle(
      "sum_squares",
      () => library.symbols.meft_sum_squares(context.pointer, out, x, BigInt(x.length)),
    );
  let busy = 0;
  // On a loaded machine the first call may be over before the second one starts: then again.
  const deadline = performance.now() + 60_000;
  while (busy === 0 && performance.now() < deadline) {
    const results = [new Float64Array(1), new Float64Array(1), new Float64Array(1)] as const;
    const settled = await Promise.allSettled([
      start(lane, results[0]),
      start(lane, results[1]),
      start(other, results[2]),
    ]);
    assert.equal(settled[2].status, "fulfilled");
    assert.equal(results[2][0], x.length);
    for (const result of settled) {
      if (result.status === "fulfilled") continue;
      busy++;
      assert.ok(result.reason instanceof NativeError);
      assert.equal(result.reason.code, constants.MEFT_BUSY);
      assert.match(result.reason.message, /has a call in flight; await it first, or use a second context/);
    }
  }
  assert.ok(busy > 0, "two calls started together on one context never met");
  calls.add(lane, new Float32Array(1), new Float32Array(1), 1, MEFT_F32);
});

Deno.test("a context disposed with a call in flight is freed after the call, and unusable at once", async () => {
  const library = slow();
  const lane = new NativeContext({ threads: 2 });
  const x = new Float32Array(1 << 22).fill(1);
  const out = new Float64Array(1);
  const pending = lane.settle(
    "sum_squares",
    () => library.symbols.meft_sum_squares(lane.pointer, out, x, BigInt(x.length)),
  );
  lane[Symbol.dispose]();
  lane[Symbol.dispose]();
  assert.ok(lane.disposed);
  assert.throws(() => lane.info(), { message: "This native context was disposed" });
  await pending;
  assert.equal(out[0], x.length);
});

Deno.test("contexts of more threads than cores, and of fewer beside them, give the same bits", () => {
  const x = Float32Array.from({ length: 100_003 }, (_, i) => Math.sin(i));
  const sums = [1, 2, 3, 7].map((threads) => {
    using lane = new NativeContext({ threads });
    assert.equal(lane.info().threads, threads);
    const out = new Float64Array(1);
    for (let i = 0; i < 20; i++) calls.sumSquares(lane, out, x, x.length);
    return out[0];
  });
  using many = new NativeContext({ threads: 5 });
  using few = new NativeContext({ threads: 2 });
  for (const lane of [few, many, few, many]) {
    const out = new Float64Array(1);
    calls.sumSquares(lane, out, x, x.length);
    sums.push(out[0]);
  }
  assert.equal(new Set(sums).size, 1, `sums ${sums}`);
});

Deno.test("openAt() says what to do when the library is missing, or no library", async () => {
  assert.throws(() => openAt("/nowhere/libmeft.so"), (error: unknown) => {
    assert.ok(error instanceof Error && error.cause instanceof Error);
    assert.match(
      error.message,
      /Cannot open the native library \/nowhere\/libmeft.so: run `deno task build`/,
    );
    return true;
  });
  const path = await Deno.makeTempFile({ suffix: ".so" });
  try {
    assert.throws(() => openAt(path), /file too short/);
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("openLibrary() lets a missing permission through and needs no more than the library's folder", async () => {
  const folder = libraryPath().replace(/\/[^/]*$/, "");
  const program = `using lane = new NativeContext({ target: "auto" });
    calls.add(lane, new Float32Array(1), new Float32Array(1), 1, 0);
    using file = MappedFile.open(${JSON.stringify(libraryPath())});
    console.log(file.read(1, 3).join());`;
  const allowed = await runChild(program, { permissions: [`--allow-ffi=${folder}`, "--allow-env=MEFT_LIB"] });
  assert.deepEqual([allowed.code, allowed.output.trim()], [0, "69,76,70"]);
  const refused = await runChild(program, { permissions: [] });
  assert.notEqual(refused.code, 0);
  assert.match(refused.output, /NotCapable: Requires ffi access/);
});

Deno.test("peakHostBytes() is the system's count of what was resident at most", () => {
  const counted = () => {
    const [, kib] = /^VmHWM:\s+(\d+) kB$/m.exec(Deno.readTextFileSync("/proc/self/status")) ?? [];
    return Number(kib) * 1024;
  };
  using _context = new NativeContext({ threads: 1 }); // opens the library
  const before = counted();
  const peak = peakHostBytes();
  assert.ok(before <= peak && peak <= counted(), `${peak}, the system had ${before}`);
});
