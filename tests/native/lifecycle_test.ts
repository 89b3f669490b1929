// SPDX-License-Identifier: Apache-2.0
/** Loading and unloading, however often and in whatever order: a child process that crashes has an exit code. */
import assert from "node:assert/strict";
import { buildInfo, openLibrary } from "../../lib/native/library.ts";
import { runChild } from "./child.ts";

const KERNELS = new URL("../../lib/ops/native/native_kernels.ts", import.meta.url).href;

const USE = "calls.add(lane, new Float32Array(100_000), new Float32Array(100_000), 100_000, 0);";

async function exitsCleanly(program: string, flags: readonly string[] = []): Promise<string> {
  const { code, output } = await runChild(program, { flags });
  assert.equal(code, 0, output);
  return output.trim();
}

Deno.test("a process that opens, uses and disposes the library exits cleanly, 20 times", async () => {
  for (let i = 0; i < 20; i += 2) {
    const program = `using lane = new NativeContext({ threads: ${1 + i % 4} }); ${USE}`;
    await Promise.all([exitsCleanly(program), exitsCleanly(program)]);
  }
});

Deno.test("a process that exits with idle workers and a live context exits cleanly", async () => {
  for (
    const ending of ["", "Deno.exit(0);", "await new Promise((done) => setTimeout(done, 20)); Deno.exit(0);"]
  ) {
    await exitsCleanly(`const lane = new NativeContext({ threads: 4 }); ${USE} ${ending}`);
  }
});

Deno.test("a process that exits with a call in flight exits cleanly", async () => {
  await exitsCleanly(
    `const { symbols } = Deno.dlopen(libraryPath(), { meft_sum_squares: {
       parameters: ["pointer", "buffer", "buffer", "i64"], result: "i32", nonblocking: true } });
     const lane = new NativeContext({ threads: 2 });
     const x = new Float32Array(1 << 24);
     symbols.meft_sum_squares(lane.pointer, new Float64Array(1), x, BigInt(x.length));
     Deno.exit(0);`,
  );
});

Deno.test("contexts are made and freed 2000 times in one process, and no thread stays", async () => {
  const threads = await exitsCleanly(
    `const count = () => [...Deno.readDirSync("/proc/self/task")].filter(({ name }) => {
       try { return Deno.readTextFileSync("/proc/self/task/" + name + "/comm").startsWith("meft-"); }
       catch { return false; }
     }).length;
     for (let i = 0; i < 2000; i++) { using lane = new NativeContext({ threads: 1 + i % 4 }); if (i % 10 === 0) { ${USE} } }
     const kept = new NativeContext({ threads: 4 });
     const alive = count();
     kept[Symbol.dispose]();
     console.log(alive, count());`,
  );
  assert.equal(threads, "3 0");
});

Deno.test("the library is opened and closed 100 times with idle workers alive", async () => {
  await exitsCleanly(
    `const { meft_ctx_create, meft_add } = SYMBOLS;
     const params = new Uint8Array(24);
     new DataView(params.buffer).setUint32(0, 24, true);
     new DataView(params.buffer).setInt32(12, 3, true);
     const x = new Float32Array(100_000);
     for (let i = 0; i < 100; i++) {
       const library = Deno.dlopen(libraryPath(), { meft_ctx_create, meft_add });
       const lane = library.symbols.meft_ctx_create(params, null, 0n);
       if (library.symbols.meft_add(lane, x, x.slice(), BigInt(x.length), 0) !== 0) Deno.exit(3);
       if (i % 10 === 0) await new Promise((done) => setTimeout(done, 2));
       library.close();
     }`,
  );
});

Deno.test({
  name: "a process that multiplies by oneDNN exits cleanly, though oneDNN's own threads are alive",
  ignore: !buildInfo(openLibrary()).gemm.includes("onednn"),
  async fn() {
    const program = `const { nativeKernels } = await import("${KERNELS}");
      const k = nativeKernels({ gemm: "onednn", threads: 2, compute: "f32" });
      const data = new Float32Array(256 * 256).fill(1);
      const w = { name: "w", dtype: "f32", rows: 256, cols: 256, data, mapped: null, grad: null };
      const y = k.floats(256 * 256);
      k.linearForward(y, data, w, null, 256, false);
      console.log(k.info().gemm, y[0]);`;
    for (const ending of ["", "k[Symbol.dispose]();", "Deno.exit(0);"]) {
      for (let i = 0; i < 3; i++) assert.equal(await exitsCleanly(program + ending), "onednn 256");
    }
  },
});

/** Source of `begin(lane)`: starts a call of some 10 ms on another thread; `out[0]` is written at its end. */
const BEGIN = `const { symbols } = Deno.dlopen(libraryPath(), { meft_sum_squares: {
       parameters: ["pointer", "buffer", "buffer", "i64"], result: "i32", nonblocking: true } });
     const x = new Float32Array(1 << 24).fill(1), out = new Float64Array(1);
     const begin = (pointer) => symbols.meft_sum_squares(pointer, out, x, BigInt(x.length));`;

Deno.test("meft_ctx_destroy() returns after the call in flight", async () => {
  const output = await exitsCleanly(
    `${BEGIN}
     const lane = new NativeContext({ threads: 1 }), info = new BigInt64Array(1);
     const pending = begin(lane.pointer);
     const BUSY = 6, deadline = performance.now() + 10_000;
     let status = 0; // until the other thread has entered the context, or was faster than we are
     while (status !== BUSY && out[0] === 0 && performance.now() < deadline) {
       status = lane.symbols.meft_ctx_info(lane.pointer, info, 1n);
     }
     lane.symbols.meft_ctx_destroy(lane.pointer);
     console.log(out[0], await pending);
     Deno.exit(0); // before the context is disposed again`,
  );
  assert.equal(output, `${2 ** 24} 0`);
});

Deno.test("a forgotten context is freed once it is collected", async () => {
  const threads = await exitsCleanly(
    `const count = () => [...Deno.readDirSync("/proc/self/task")].filter(({ name }) => {
       try { return Deno.readTextFileSync("/proc/self/task/" + name + "/comm").startsWith("meft-"); }
       catch { return false; }
     }).length;
     (() => { const lane = new NativeContext({ threads: 3 }); ${USE} })();
     const before = count();
     for (let i = 0; i < 50 && count() > 0; i++) { gc(); await new Promise((done) => setTimeout(done, 5)); }
     console.log(before, count());`,
    ["--v8-flags=--expose-gc"],
  );
  assert.equal(threads, "2 0");
});

Deno.test("two Workers and the main thread share the library and its pool", async () => {
  const output = await exitsCleanly(
    `if (typeof WorkerGlobalScope !== "undefined" && self instanceof WorkerGlobalScope) {
       for (let i = 0; i < 200; i++) { using lane = new NativeContext({ threads: 2 }); ${USE} }
       self.postMessage("done"); self.close();
     } else {
       const done = [1, 2].map(() => new Promise((resolve, reject) => {
         const worker = new Worker(import.meta.url, { type: "module" });
         worker.onmessage = (event) => resolve(event.data); worker.onerror = reject;
       }));
       for (let i = 0; i < 200; i++) { using lane = new NativeContext({ threads: 3 }); ${USE} }
       console.log((await Promise.all(done)).join());
     }`,
  );
  assert.equal(output, "done,done");
});
