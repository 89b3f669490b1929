// SPDX-License-Identifier: Apache-2.0
/** When contexts are freed: once, after their last call, and whatever fails in between. */
import assert from "node:assert/strict";
import * as calls from "../../lib/native/calls.ts";
import { NativeContext } from "../../lib/native/context.ts";
import { limitRoom, peakHostBytes } from "../../lib/native/host_memory.ts";
import { Lane } from "../../lib/native/lane.ts";
import { isLibraryOpen, openLibrary } from "../../lib/native/library.ts";
import { MappedFile } from "../../lib/native/mapped_file.ts";
import { MEFT_F32 } from "../../lib/native/symbols.ts";
import { runChild } from "./child.ts";

const LIBRARY = new URL("../../lib/native/library.ts", import.meta.url).href;

/** Contexts made and freed while the body runs. */
async function counted(
  body: (freed: () => number) => Promise<void> | void,
): Promise<{ made: number; freed: number }> {
  const { symbols } = openLibrary();
  const { meft_ctx_create: create, meft_ctx_destroy: destroy } = symbols;
  let [made, freed] = [0, 0];
  Object.assign(symbols, {
    meft_ctx_create: (...args: Parameters<typeof create>) => {
      made++;
      return create(...args);
    },
    meft_ctx_destroy: (pointer: Deno.PointerValue) => {
      freed++;
      destroy(pointer);
    },
  });
  try {
    await body(() => freed);
  } finally {
    Object.assign(symbols, { meft_ctx_create: create, meft_ctx_destroy: destroy });
  }
  return { made, freed };
}

Deno.test("openLibrary() opens a library once, and isLibraryOpen() knows", () => {
  assert.equal(openLibrary(), openLibrary("cpu"));
  assert.equal(isLibraryOpen(), true);
});

Deno.test("a context is freed when it is disposed, once however often", async () => {
  const { made, freed } = await counted((freed) => {
    const lane = new NativeContext({ threads: 1 });
    calls.add(lane, new Float32Array(1), new Float32Array(1), 1, MEFT_F32);
    assert.equal(freed(), 0);
    assert.equal(lane.disposed, false);
    for (let i = 0; i < 2; i++) {
      lane[Symbol.dispose]();
      assert.equal(freed(), 1);
      assert.equal(lane.disposed, true);
    }
    assert.throws(() => lane.pointer, /This native context was disposed/);
  });
  assert.deepEqual([made, freed], [1, 1]);
});

Deno.test("a context that is disposed with calls in flight is freed when the last one has settled, whether it failed or not", async () => {
  const { made, freed } = await counted(async (freed) => {
    const lane = new NativeContext({ threads: 1 });
    const ends = [0, 1, 2].map(() => Promise.withResolvers<number>());
    const settled = ends.map(({ promise }, i) =>
      lane.settle(`call ${i}`, () => promise).then(() => "done", () => "failed")
    );
    lane[Symbol.dispose]();
    assert.throws(() => lane.pointer, /This native context was disposed/, "at once");
    for (const [i, status] of [0, 1, 0].entries()) {
      assert.equal(freed(), 0, `before call ${i} has ended`);
      ends[i]!.resolve(status);
      assert.equal(await settled[i], status === 0 ? "done" : "failed");
    }
    assert.equal(freed(), 1);
    lane[Symbol.dispose]();
  });
  assert.deepEqual([made, freed], [1, 1]);
});

Deno.test("a context that was disposed is not freed again when it is collected", async () => {
  const { code, output } = await runChild(
    `const { openLibrary } = await import("${LIBRARY}");
     const { symbols } = openLibrary();
     const destroy = symbols.meft_ctx_destroy;
     let freed = 0;
     symbols.meft_ctx_destroy = (pointer) => { freed++; destroy(pointer); };
     (() => { for (let i = 0; i < 20; i++) { using lane = new NativeContext({ threads: 1 }); } })();
     for (let i = 0; i < 10; i++) { gc(); await new Promise((done) => setTimeout(done, 2)); }
     console.log(freed);`,
    { flags: ["--v8-flags=--expose-gc"] },
  );
  assert.deepEqual([code, output], [0, "20\n"]);
});

Deno.test("calls that failed leave a context that is freed when it is disposed", async () => {
  const { freed } = await counted(async (freed) => {
    const lane = new NativeContext({ threads: 1 });
    await assert.rejects(lane.settle("call", () => Promise.reject(new Error("no call"))), /no call/);
    await assert.rejects(lane.settle("call", () => Promise.resolve(1)), { name: "NativeError" });
    assert.throws(() => calls.add(lane, null, null, 1, MEFT_F32), { name: "NativeError" });
    lane[Symbol.dispose]();
    assert.equal(freed(), 1);
  });
  assert.equal(freed, 1);
});

Deno.test("short calls free the contexts that they make, also when they fail", async () => {
  const path = await Deno.makeTempFile();
  const { made, freed } = await counted(() => {
    const file = MappedFile.open(path);
    file.read(0, 0);
    assert.throws(() => file.read(0, 1), { name: "NativeError" });
    file[Symbol.dispose]();
    assert.throws(() => MappedFile.open("/nowhere/at/all"), { name: "NativeError" });
    limitRoom();
    peakHostBytes();
  });
  await Deno.remove(path);
  assert.equal(made, 7);
  assert.equal(freed, made);
});

Deno.test("a lane makes its calls in the order asked; one that fails holds back none, and its failure is its caller's", async () => {
  const { made, freed } = await counted(async () => {
    using lane = new Lane({ threads: 1 }, true);
    assert.equal(lane.nonblocking, true);
    const log: number[] = [];
    const call = async (context: NativeContext, number: number, delayMs: number): Promise<void> => {
      assert.equal(context, lane.context);
      log.push(number);
      await new Promise((resolve) => setTimeout(resolve, delayMs));
      log.push(-number);
      if (number === 2) throw new Error("number 2");
    };
    const never = () => assert.fail("the form of another kind of lane");
    const results = [[1, 6], [2, 3], [3, 0]].map(([number, ms]) => lane.run(never, call, number!, ms!));
    assert.ok(results.every((result) => result instanceof Promise));
    const settled = await Promise.allSettled(results);
    assert.deepEqual(log, [1, -1, 2, -2, 3, -3]);
    assert.deepEqual(settled.map(({ status }) => status), ["fulfilled", "rejected", "fulfilled"]);
  });
  assert.deepEqual([made, freed], [1, 1]);
});

Deno.test("a blocking lane works inside its caller", () => {
  using lane = new Lane({ threads: 1 });
  assert.equal(lane.nonblocking, false);
  const log: string[] = [];
  const never = (): Promise<void> => assert.fail("the form of another kind of lane");
  const say = (context: NativeContext, text: string): void => {
    assert.equal(context, lane.context);
    log.push(text);
  };
  assert.equal(lane.run(say, never, "done"), undefined);
  assert.deepEqual(log, ["done"]);
  assert.throws(() => lane.run(() => assert.fail("mine"), never), /mine/);
});
