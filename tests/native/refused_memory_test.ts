// SPDX-License-Identifier: Apache-2.0
/** Memory and threads that the system refuses: one sentence that says who asked for how much, and a process that goes on. */
import assert from "node:assert/strict";
import { runChild } from "./child.ts";

const HOST_MEMORY = new URL("../../lib/native/host_memory.ts", import.meta.url).href;

/** `limitMemory(bytes)` leaves so much to the process; null lifts the limit again. */
const LIMITS = `
import { hostArray, limitRoom, requireRoom } from "${HOST_MEMORY}";
const { symbols: libc } = Deno.dlopen("libc.so.6", {
  setrlimit: { parameters: ["i32", "buffer"], result: "i32" },
});
const DATA = 2, NEVER = 0xffffffffffffffffn;
const limitMemory = (bytes) => {
  const used = Number(/VmData:\\s+(\\d+)/.exec(Deno.readTextFileSync("/proc/self/status"))[1]) * 1024;
  libc.setrlimit(DATA, BigUint64Array.of(bytes === null ? NEVER : BigInt(used + bytes), NEVER));
};
const said = (work) => { try { work(); return "done"; } catch (error) { return error.name + ": " + error.message; } };
`;

/** Under the sanitizers, whose own memory is private to the process too, a limit on that leaves nothing to measure. */
function testWithLimit(name: string, fn: () => Promise<void>): void {
  Deno.test({ name, ignore: Deno.env.get("ASAN_OPTIONS") !== undefined, fn });
}

testWithLimit("a workspace that the system refuses is a sentence, and the context goes on", async () => {
  const { code, output } = await runChild(`${LIMITS}
    using lane = new NativeContext({ threads: 1 });
    const rows = 2048, cols = 8192, tokens = 256;
    const [y, x, w] = [new Float32Array(tokens * rows), new Float32Array(tokens * cols), new Float32Array(rows * cols)];
    const descriptor = writeWeightParams({ dtype: 0, rows, cols, rowStride: cols, handle: 0n, offsetBytes: 0 });
    const multiply = () => calls.linearForward(lane, y, x, w, descriptor, null, null, tokens, 0, 0, 1, 0);
    limitMemory(1 << 16);
    const refused = said(multiply);
    limitMemory(null);
    console.log(refused);
    console.log(said(multiply));
  `);
  assert.match(
    output,
    /^NativeError: linear_forward: not enough memory: asked for \d+\.\d MiB of workspace, \d+\.\d MiB are held\ndone\n$/,
  );
  assert.equal(code, 0);
});

Deno.test("a thread that the system refuses is a sentence, and fewer threads work", async () => {
  const { code, output } = await runChild(`${LIMITS}
    const SPACE = 9;
    const used = Number(/VmSize:\\s+(\\d+)/.exec(Deno.readTextFileSync("/proc/self/status"))[1]) * 1024;
    libc.setrlimit(SPACE, BigUint64Array.of(BigInt(used + (256 << 20)), NEVER));
    console.log(said(() => { using lane = new NativeContext({ threads: 4096 }); }));
    console.log(said(() => { using lane = new NativeContext({ threads: 2 }); }));
  `);
  assert.match(
    output,
    /^NativeError: ctx_create: the system refused thread \d+ \(Resource temporarily unavailable\): ask for fewer threads .*ulimit -u, -v\)\ndone\n$/,
  );
  assert.equal(code, 0);
});

testWithLimit(
  "hostArray() leaves a limit on memory its reserve, and says who asked for how much",
  async () => {
    const { code, output } = await runChild(`${LIMITS}
    using lane = new NativeContext({ threads: 1 });
    console.log(limitRoom());
    limitMemory(200 << 20);
    console.log(limitRoom().flag);
    console.log(said(() => hostArray(Float32Array, 30 << 20, "the parameters")));
    const held = hostArray(Float32Array, 20 << 20, "the parameters");
    console.log(held.length);
    console.log(said(() => requireRoom("the tokenizer", 64 << 20)));
    limitMemory(null);
    console.log(said(() => hostArray(Uint8Array, 2 ** 47, "the cache")));
    console.log(hostArray(Int16Array, 3, "three").join());
  `);
    const wayOut = "free some memory, raise the limit (ulimit -v, ulimit -d), or ask for less, " +
      "by smaller micro-batches or shorter sequences";
    const left = (line: string | undefined) => line?.replace(/leaves \d+\.\d MiB/, "leaves N MiB");
    const lines = output.trimEnd().split("\n");
    assert.deepEqual([lines[0], lines[1]], ["null", "ulimit -d"]);
    assert.equal(
      left(lines[2]),
      `MachineError: Not enough memory: the parameters asked for 120.0 MiB, but the limit on memory (ulimit -d) leaves N MiB; ` +
        wayOut,
    );
    assert.equal(lines[3], String(20 << 20));
    assert.match(lines[4] ?? "", /^MachineError: Not enough memory: the tokenizer asked for 64.0 MiB/);
    assert.match(lines[5] ?? "", /Error: .*(?:the cache asked for|Invalid typed array length)/);
    assert.equal(lines[6], "0,0,0");
    assert.equal(code, 0);
  },
);
