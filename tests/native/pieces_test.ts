// SPDX-License-Identifier: Apache-2.0
/**
 * However many elements, rows or tokens a call is given, each gets the bits that it gets in a call of few: work beyond one
 * task's share is cut, and every cut must begin where the one before ended.
 */
import * as calls from "../../lib/native/calls.ts";
import { floatToBf16 } from "../../lib/core/half.ts";
import type { NativeContext } from "../../lib/native/context.ts";
import {
  writeAdamwParams,
  writeDropoutParams,
  writeNormParams,
  writeWeightParams,
} from "../../lib/native/structs.ts";
import { MEFT_ACTIVATION_SIGMOID, MEFT_BF16, MEFT_F32 } from "../../lib/native/symbols.ts";
import { assertSameBits } from "../compare.ts";
import { bitsOf, normals, onEveryTarget } from "./kernel_check.ts";

type Numbers =
  | Float32Array<ArrayBuffer>
  | Uint16Array<ArrayBuffer>
  | Int16Array<ArrayBuffer>
  | Int32Array<ArrayBuffer>;
type State = Readonly<Record<string, Numbers>>;

/** A call that can be made in pieces. */
interface Cuttable {
  readonly name: string;
  /** Elements, rows or tokens: more than a task's share. */
  readonly count: number;
  /** So many at a time for the call in pieces: less than a task's share. */
  readonly few: number;
  /** What it works on, in which it also leaves its results. */
  make(): State;
  /** The call for [begin, end). */
  run(lane: NativeContext, state: State, begin: number, end: number): void;
}

const bf16 = (count: number, stream: number): Uint16Array<ArrayBuffer> =>
  Uint16Array.from(normals(count, stream), floatToBf16);
const stored = { [MEFT_F32]: normals, [MEFT_BF16]: bf16 } as Readonly<
  Record<number, (n: number, s: number) => Numbers>
>;
const floats = (x: Numbers | undefined) => x as Float32Array<ArrayBuffer>;
const ints = (x: Numbers | undefined) => x as Int32Array<ArrayBuffer>;
const [shorts, halves] = [
  (x: Numbers | undefined) => x as Int16Array<ArrayBuffer>,
  (x: Numbers | undefined) => x as Uint16Array<ArrayBuffer>,
];
/** Rows [begin, end) of `width` columns. */
const part = <A extends Numbers>(x: A, begin: number, end: number, width = 1): A =>
  x.subarray(begin * width, end * width) as A;
const vector = (cols: number) =>
  writeWeightParams({ dtype: MEFT_F32, rows: 1, cols, rowStride: cols, handle: 0, offsetBytes: 0 });

/** Calls on arrays, element by element; `names` are the arrays, of which each call takes its part. */
function elementwise(
  name: string,
  make: (count: number) => State,
  run: (lane: NativeContext, arrays: State, count: number, begin: number) => void,
): Cuttable {
  const count = 20_003; // no multiple of a vector, more than a task takes
  return {
    name,
    count,
    few: 4_096,
    make: () => make(count),
    run(lane, state, begin, end) {
      const arrays = Object.entries(state).map(([key, x]) => [key, part(x, begin, end)] as const);
      run(lane, Object.fromEntries(arrays), end - begin, begin);
    },
  };
}

const ADAM = { mode: 1, step: 5, beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.1, gradScale: 0.5 };
const RATES = Float32Array.of(0.1, 0.2, 0.3, 0.2, 0.1);
/** Identity to sigmoid. */
const ACTIVATIONS = Array.from({ length: MEFT_ACTIVATION_SIGMOID + 1 }, (_, kind) => kind);
const NORM = { kind: 0, eps: 1e-5, unitOffset: 0, yDtype: 0, accumulate: 0 } as const;
const DROPOUT = { seed: 7, stream: 5, part: 3, probability: 0.4 };

const ELEMENTWISE: readonly Cuttable[] = [
  ...[MEFT_F32, MEFT_BF16].flatMap((dtype) => {
    const draw = stored[dtype]!;
    return [
      elementwise(
        `add() of type ${dtype}`,
        (n) => ({ y: draw(n, 1), x: draw(n, 2) }),
        (lane, { y, x }, count) => calls.add(lane, y!, x!, count, dtype),
      ),
      ...ACTIVATIONS.flatMap((kind) => [
        elementwise(
          `activationForward() of kind ${kind}, type ${dtype}`,
          (n) => ({ y: draw(n, 1), alone: draw(n, 2), x: draw(n, 3), up: draw(n, 4) }),
          (lane, { y, alone, x, up }, count) => {
            calls.activationForward(lane, y!, x!, up!, count, kind, dtype);
            calls.activationForward(lane, alone!, x!, null, count, kind, dtype);
          },
        ),
        elementwise(
          `activationBackward() of kind ${kind}, type ${dtype}`,
          (n) => ({
            ...{ dx: draw(n, 1), dup: draw(n, 2), alone: draw(n, 3) },
            ...{ dy: draw(n, 4), x: draw(n, 5), up: draw(n, 6) },
          }),
          (lane, { dx, dup, alone, dy, x, up }, count) => {
            calls.activationBackward(lane, dx!, dup!, dy!, x!, up!, count, kind, dtype);
            calls.activationBackward(lane, alone!, null, dy!, x!, null, count, kind, dtype);
          },
        ),
      ]),
      ...[MEFT_F32, MEFT_BF16].map((from) =>
        elementwise(
          `dropoutApply() of type ${from} to ${dtype}`,
          (n) => ({ y: draw(n, 1), x: stored[from]!(n, 2) }),
          (lane, { y, x }, count, first) => {
            const params = { ...DROPOUT, first, accumulate: 1, yDtype: dtype, xDtype: from };
            calls.dropoutApply(lane, y!, x!, count, writeDropoutParams(params));
          },
        )
      ),
    ];
  }),
  elementwise(
    "scale()",
    (n) => ({ x: normals(n, 1) }),
    (lane, { x }, count) => calls.scale(lane, floats(x), count, -0.3),
  ),
  elementwise(
    "planesSplit() and planesJoin()",
    (n) => ({ hi: new Uint16Array(n), lo: new Int16Array(n), x: normals(n, 1), joined: normals(n, 2) }),
    (lane, { hi, lo, x, joined }, count) => {
      calls.planesSplit(lane, halves(hi), shorts(lo), floats(x), count);
      calls.planesJoin(lane, floats(joined), halves(hi), shorts(lo), count);
    },
  ),
  elementwise(
    "adamwDense()",
    (n) => ({ w: normals(n, 1), m: normals(n, 2), v: normals(n, 3).map(Math.abs), grad: normals(n, 4) }),
    (lane, { w, m, v, grad }, count) =>
      calls.adamwDense(
        lane,
        floats(w),
        floats(m),
        floats(v),
        floats(grad),
        RATES,
        count,
        writeAdamwParams(ADAM),
      ),
  ),
];

/** Rows of a norm, tokens of a rotation, and of a loss. */
const BY_ROWS: readonly Cuttable[] = [
  ...[MEFT_F32, MEFT_BF16].flatMap((from): Cuttable[] => {
    const [rows, hidden] = [211, 65];
    return [
      ...[MEFT_F32, MEFT_BF16].map((to): Cuttable => ({
        name: `normForward() of type ${from} to ${to}`,
        count: rows,
        few: 40,
        make: () => ({
          y: stored[to]!(rows * hidden, 1),
          rstd: normals(rows, 2),
          x: stored[from]!(rows * hidden, 3),
          w: normals(hidden, 4),
        }),
        run: (lane, { y, rstd, x, w }, begin, end) =>
          calls.normForward(
            lane,
            part(y!, begin, end, hidden),
            floats(part(rstd!, begin, end)),
            part(x!, begin, end, hidden),
            ...[w!, vector(hidden), w!, vector(hidden)] as const,
            writeNormParams({ ...NORM, rows: end - begin, yDtype: to, xDtype: from }),
          ),
      })),
      {
        name: `normBackward() of type ${from}`,
        count: rows,
        few: 40,
        make: () => ({
          dx: stored[from]!(rows * hidden, 1),
          dy: stored[from]!(rows * hidden, 2),
          x: stored[from]!(rows * hidden, 3),
          rstd: normals(rows, 4),
          w: normals(hidden, 5),
        }),
        run(lane, { dx, dy, x, rstd, w }, begin, end) {
          const [dxs, dys, xs] = [dx, dy, x].map((array) => part(array!, begin, end, hidden));
          const own = floats(part(rstd!, begin, end));
          const params = writeNormParams({ ...NORM, rows: end - begin, xDtype: from, accumulate: 1 });
          calls.normBackward(lane, dxs!, null, null, dys!, xs!, own, w!, vector(hidden), params);
        },
      },
      {
        name: `ropeApply() of type ${from}`,
        count: rows,
        few: 50,
        make: () => ({
          x: stored[from]!(rows * 3 * 34, 1),
          cos: normals(9 * 17, 2),
          sin: normals(9 * 17, 3),
          positions: Int32Array.from({ length: rows }, (_, t) => t * 5 % 9),
        }),
        run: (lane, { x, cos, sin, positions }, begin, end) =>
          calls.ropeApply(
            lane,
            part(x!, begin, end, 3 * 34),
            floats(cos),
            floats(sin),
            ints(part(positions!, begin, end)),
            ...[end - begin, 3, 34, 34, 9, from, 0] as const,
          ),
      },
    ];
  }),
  {
    name: "crossEntropy()",
    count: 300,
    few: 50,
    make: () => ({
      loss: normals(300, 1),
      logits: normals(300 * 57, 2, 4),
      targets: Int32Array.from({ length: 300 }, (_, t) => t % 7 === 3 ? -1 : t * 11 % 57),
    }),
    run: (lane, { loss, logits, targets }, begin, end) =>
      calls.crossEntropy(
        lane,
        floats(part(loss!, begin, end)),
        floats(part(logits!, begin, end, 57)),
        ints(part(targets!, begin, end)),
        ...[end - begin, 57, 0.25, 0] as const,
      ),
  },
  {
    name: "linearBackwardWeight() of a bias of more columns than a task takes",
    count: 260,
    few: 100,
    make: () => ({
      dbias: normals(1100, 1),
      dweight: normals(1100, 2),
      dy: normals(260 * 1100, 3),
      x: normals(260, 4),
    }),
    // dweight is summed in another order; dbias in increasing tokens, whatever the call.
    run(lane, { dbias, dweight, dy, x }, begin, end) {
      const [slopes, inputs] = [floats(part(dy!, begin, end, 1100)), floats(part(x!, begin, end))];
      const types = [MEFT_F32, MEFT_F32, MEFT_F32] as const;
      calls.linearBackwardWeight(
        lane,
        floats(dweight),
        floats(dbias),
        slopes,
        inputs,
        end - begin,
        1100,
        1,
        ...types,
      );
      dweight!.fill(0);
    },
  },
];

const [TOKENS, WIDTH, PER_TOKEN] = [400, 97, 5];
const offsetsOf = (tokens: number) => Int32Array.from({ length: tokens + 1 }, (_, t) => t * PER_TOKEN);
const ROWS = 700, HIDDEN = 61;

/** Rows with their moments, last stepped at steps below `steps`. */
const laggingRows = (steps: number) => ({
  hi: bf16(ROWS * HIDDEN, 1),
  lo: new Int16Array(ROWS * HIDDEN),
  m: normals(ROWS * HIDDEN, 2, 0.1),
  v: normals(ROWS * HIDDEN, 3, 0.1).map(Math.abs),
  lastStep: Int32Array.from({ length: ROWS }, (_, row) => row % steps),
});

/** Pairs by token; rows of a matrix, by number. */
const SCATTERED: readonly Cuttable[] = [
  {
    name: "pairsScatter() and pairsGather()",
    count: TOKENS,
    few: 100,
    make: () => ({
      dense: normals(TOKENS * WIDTH, 1),
      values: normals(TOKENS * PER_TOKEN, 2),
      gathered: normals(TOKENS * PER_TOKEN, 3),
      columns: Int32Array.from({ length: TOKENS * PER_TOKEN }, (_, p) => p % 11 === 4 ? -1 : p * 7 % WIDTH),
    }),
    run(lane, { dense, values, gathered, columns }, begin, end) {
      const own = (x: Numbers | undefined) => part(x!, begin, end, PER_TOKEN);
      const [out, offsets] = [floats(part(dense!, begin, end, WIDTH)), offsetsOf(end - begin)];
      calls.pairsScatter(lane, out, floats(own(values)), offsets, ints(own(columns)), end - begin, WIDTH);
      calls.pairsGather(lane, floats(own(gathered)), out, offsets, ints(own(columns)), end - begin, WIDTH);
    },
  },
  ...[MEFT_F32, MEFT_BF16].map((dtype): Cuttable => ({
    name: `rowsGather() of type ${dtype}`,
    count: ROWS,
    few: 200,
    make: () => ({
      out: stored[dtype]!(ROWS * HIDDEN, 1),
      hi: bf16(ROWS * HIDDEN, 2),
      lo: Int16Array.from(normals(ROWS * HIDDEN, 3), (x) => x * 1000),
      rows: Int32Array.from({ length: ROWS }, (_, i) => i * 37 % ROWS),
    }),
    run: (lane, { out, hi, lo, rows }, begin, end) =>
      calls.rowsGather(
        lane,
        part(out!, begin, end, HIDDEN),
        halves(hi),
        shorts(lo),
        ints(part(rows!, begin, end)),
        ...[end - begin, ROWS, HIDDEN, dtype] as const,
      ),
  })),
  {
    name: "rowsAdd()",
    count: ROWS,
    few: 200,
    make: () => ({
      to: normals(ROWS * HIDDEN, 1),
      from: normals(ROWS * HIDDEN, 2),
      places: Int32Array.from({ length: ROWS }, (_, i) => i * 37 % ROWS),
    }),
    run: (lane, { to, from, places }, begin, end) =>
      calls.rowsAdd(
        lane,
        floats(to),
        floats(part(from!, begin, end, HIDDEN)),
        ints(part(places!, begin, end)),
        ...[end - begin, ROWS, HIDDEN, 500] as const,
      ),
  },
  ...[1, 2].map((mode): Cuttable => ({
    name: `adamwRows() of mode ${mode}`,
    count: ROWS,
    few: 200,
    make: () => ({
      ...laggingRows(5),
      grad: normals(ROWS * HIDDEN, 4),
      rows: Int32Array.from({ length: ROWS }, (_, i) => i * 37 % ROWS),
    }),
    run: (lane, { hi, lo, m, v, lastStep, grad, rows }, begin, end) =>
      calls.adamwRows(
        lane,
        ...[halves(hi), shorts(lo), floats(m), floats(v), ints(lastStep)] as const,
        floats(part(grad!, begin, end, HIDDEN)),
        ints(part(rows!, begin, end)),
        RATES,
        ...[end - begin, ROWS, HIDDEN, writeAdamwParams({ ...ADAM, mode })] as const,
      ),
  })),
  {
    name: "adamwRowsCatchUp()",
    count: ROWS / 7,
    few: 20,
    make: () => ({
      ...laggingRows(6),
      blocks: Int32Array.from({ length: ROWS / 7 }, (_, b) => b),
    }),
    run: (lane, { hi, lo, m, v, lastStep, blocks }, begin, end) =>
      calls.adamwRowsCatchUp(
        lane,
        ...[halves(hi), shorts(lo), floats(m), floats(v), ints(lastStep)] as const,
        ints(part(blocks!, begin, end)),
        RATES,
        ...[end - begin, 7, HIDDEN, 1, writeAdamwParams(ADAM)] as const,
      ),
  },
];

for (const { name, count, few, make, run } of [...ELEMENTWISE, ...BY_ROWS, ...SCATTERED]) {
  Deno.test(`${name} gives many the bits that it gives a few`, () => {
    const state = make();
    const copied = (): State => Object.fromEntries(Object.entries(state).map(([key, x]) => [key, x.slice()]));
    onEveryTarget((lane) => {
      const [whole, pieces] = [copied(), copied()];
      run(lane, whole, 0, count);
      for (let begin = 0; begin < count; begin += few) run(lane, pieces, begin, Math.min(begin + few, count));
      for (const key in whole) assertSameBits(key, whole[key]!, pieces[key]!);
      return Object.fromEntries(
        Object.entries(whole).map(([key, x]) => [key, x instanceof Float32Array ? x : Float32Array.from(x)]),
      );
    }, () => {});
  });
}

Deno.test("randomNormal() of many begins with what it is of a few", () => {
  onEveryTarget((lane) => {
    const [many, few] = [new Float32Array(20_001), new Float32Array(4_001)];
    calls.randomNormal(lane, many, many.length, 3, 4, 1);
    calls.randomNormal(lane, few, few.length, 3, 4, 1);
    assertSameBits("out", many.subarray(0, few.length), few);
    return { many };
  }, ({ many }) => {
    // A cut that began anew would repeat itself.
    const bits = new Set(bitsOf(many));
    if (bits.size < many.length - 20) throw new Error(`only ${bits.size} of ${many.length} numbers differ`);
  });
});
