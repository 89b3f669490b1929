// SPDX-License-Identifier: Apache-2.0
/**
 * Mapped files that are cut or written to while a call reads them, in a process of its own: a call that is not told so dies
 * of SIGBUS, or computes with bytes that are nobody's.
 */
import assert from "node:assert/strict";
import { withFolder } from "../fixtures/folder.ts";
import { runChild } from "./child.ts";

/** Large enough that a call is still reading when the next statement runs; of holes, so that it takes no disk. */
const FILE_BYTES = 96 << 20;

/**
 * `start(call)` begins a call that reads a weight of the whole file, on another thread; it resolves to the call's text, or
 * to "" when it succeeded.
 */
const CALLS = `
const [path] = Deno.args;
const bytes = ${FILE_BYTES};
const nonblocking = (name) => ({ ...SYMBOLS[name], nonblocking: true });
const { symbols } = Deno.dlopen(libraryPath(), {
  meft_linear_forward: nonblocking("meft_linear_forward"),
  meft_linear_backward_data: nonblocking("meft_linear_backward_data"),
  meft_embedding_forward: nonblocking("meft_embedding_forward"),
  meft_norm_forward: nonblocking("meft_norm_forward"),
  meft_map_read: nonblocking("meft_map_read"),
});
const fill = () => { Deno.writeFileSync(path, new Uint8Array(0)); Deno.truncateSync(path, bytes); };
fill();
const descriptor = (file, rows, cols) =>
  writeWeightParams({ dtype: 0, rows, cols, rowStride: cols, handle: file.handle, offsetBytes: 0 });
const cols = 1024, rows = bytes / 4 / cols, tokens = 8;
const floats = (count) => new Float32Array(count);
const CALLS = {
  linear_forward: (lane, file) => symbols.meft_linear_forward(
    lane.pointer, floats(tokens * rows), floats(tokens * cols), null, descriptor(file, rows, cols), null, null,
    BigInt(tokens), 0, 0, 0, 0),
  linear_backward_data: (lane, file) => symbols.meft_linear_backward_data(
    lane.pointer, floats(tokens * cols), floats(tokens * rows), null, descriptor(file, rows, cols), BigInt(tokens), 0, 0, 0, 0),
  embedding_forward: (lane, file) => symbols.meft_embedding_forward(
    lane.pointer, floats(rows * cols), Int32Array.from({ length: rows }, (_, i) => i), null, descriptor(file, rows, cols),
    BigInt(rows), 0),
  norm_forward: (lane, file) => symbols.meft_norm_forward(
    lane.pointer, floats(bytes / 4), floats(1), floats(bytes / 4).fill(1), null, descriptor(file, 1, bytes / 4), null, null,
    writeNormParams({ kind: 0, rows: 1, eps: 0, unitOffset: 0, yDtype: 0, xDtype: 0, accumulate: 0 })),
  map_read: (lane, file) => symbols.meft_map_read(lane.pointer, new Uint8Array(bytes), file.handle, 0n, BigInt(bytes)),
};
const start = async (lane, call, file) => {
  try {
    await lane.settle(call, () => CALLS[call](lane, file));
    return "";
  } catch (error) {
    return error.message;
  }
};
`;

async function inChild(program: string): Promise<{ readonly code: number; readonly output: string }> {
  let result = { code: -1, output: "" };
  await withFolder(async (folder) => {
    result = await runChild(`Deno.args.push(${JSON.stringify(`${folder}/weights`)});${CALLS}${program}`);
  });
  return result;
}

const READING = [
  "linear_forward",
  "linear_backward_data",
  "embedding_forward",
  "norm_forward",
  "map_read",
] as const;

for (const call of READING) {
  Deno.test(`${call}() of a file that is cut meanwhile fails, and so does every later call`, async () => {
    const { code, output } = await inChild(`
      for (const threads of [1, 2]) {
        fill();
        using lane = new NativeContext({ threads });
        using file = MappedFile.open(path);
        const running = start(lane, "${call}", file);
        Deno.truncateSync(path, 5000);
        console.log(await running);
        fill(); // as long as it was, but written to
        console.log(await start(lane, "${call}", file));
        using other = MappedFile.open(path);
        console.log("text:" + await start(lane, "${call}", other));
      }
    `);
    assert.equal(code, 0, output);
    const cut = `weights was cut from ${FILE_BYTES} to 5000 bytes while in use`;
    const lines = output.trimEnd().split("\n");
    assert.equal(lines.length, 6, output);
    for (let i = 0; i < lines.length; i += 3) {
      assert.ok(lines[i]?.startsWith(`${call}: `) && lines[i]?.includes(cut), output);
      assert.match(lines[i + 1] ?? "", /weights was written to while in use/);
      assert.equal(lines[i + 2], "text:", output);
    }
  });
}

Deno.test("a file that is written to while a call reads it makes that call fail", async () => {
  const { code, output } = await inChild(`
    using lane = new NativeContext({ threads: 2 });
    using file = MappedFile.open(path);
    const running = start(lane, "linear_forward", file);
    using written = Deno.openSync(path, { write: true });
    written.writeSync(Uint8Array.of(1));
    console.log(await running);
  `);
  assert.equal(code, 0, output);
  assert.match(output, /^linear_forward: .*weights was written to while in use/);
});

Deno.test("a file that is replaced, linked, renamed or made read-only is read on", async () => {
  const { code, output } = await inChild(`
    using lane = new NativeContext({ threads: 1 });
    using file = MappedFile.open(path);
    Deno.linkSync(path, path + ".link");
    Deno.chmodSync(path, 0o400);
    Deno.writeTextFileSync(path + ".new", "another");
    Deno.renameSync(path + ".new", path);
    Deno.renameSync(path + ".link", path + ".old");
    Deno.removeSync(path + ".old");
    console.log("text:" + await start(lane, "embedding_forward", file));
  `);
  assert.equal(output, "text:\n");
  assert.equal(code, 0);
});

/** Reads past the end of a file that libmeft knows nothing of. */
const FOREIGN_FAULT = `
const libc = Deno.dlopen("libc.so.6", {
  mmap: { parameters: ["pointer", "usize", "i32", "i32", "i32", "i64"], result: "pointer" },
  open: { parameters: ["buffer", "i32"], result: "i32" },
});
Deno.writeFileSync(path + ".foreign", new Uint8Array(8192));
const fd = libc.symbols.open(new TextEncoder().encode(path + ".foreign\\0"), 0);
const page = libc.symbols.mmap(null, 8192n, 1, 2, fd, 0n);
Deno.truncateSync(path + ".foreign", 0);
const fault = () => new Deno.UnsafePointerView(page).getUint8(4096);
`;

Deno.test("a fault at an address of no mapped file ends the process as it would without the library", async () => {
  for (const first of ["", "using file = MappedFile.open(path);"]) {
    const { code, output } = await inChild(`${first}${FOREIGN_FAULT}console.log("before"); fault();`);
    assert.equal(output, "before\nSIGBUS");
    assert.equal(code, 128 + 7);
  }
});

Deno.test("a SIGBUS that somebody sends ends the process, or reaches who listened before a file was mapped", async () => {
  const send = `Deno.kill(Deno.pid, "SIGBUS"); await new Promise((done) => setTimeout(done, 300));`;
  // Deno itself lets the first one pass: its handler expects that a fault comes again.
  for (const first of ["", "using file = MappedFile.open(path);"]) {
    const { output } = await inChild(`${first} ${send} console.log("alive"); ${send} console.log("alive");`);
    assert.equal(output, "alive\nSIGBUS");
  }
  const heard = await inChild(
    `Deno.addSignalListener("SIGBUS", () => { console.log("heard"); Deno.exit(0); });
     using file = MappedFile.open(path); ${send} console.log("not heard");`,
  );
  assert.equal(heard.output, "heard\n");
});
