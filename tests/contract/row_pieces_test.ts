// SPDX-License-Identifier: Apache-2.0
/** Rows of a matrix, in calls of many and of a few: see {@linkcode givesManyWhatItGivesFew}. */
import type { AdamMode, RowMoments } from "../../lib/ops/kernels/rows.ts";
import type { Floats, RowMatrix } from "../../lib/tensor/tensor.ts";
import type { Outputs } from "./kernel_case.ts";
import { givesManyWhatItGivesFew, part, positive, stepOf } from "./pieces.ts";
import type { Stage } from "./stage.ts";

givesManyWhatItGivesFew<{ matrix: RowMatrix; x: Floats; joined: Floats }>({
  name: "rowMatrixWrite() and rowMatrixRead()",
  ...{ count: 20_003, few: 4_096 },
  make: (stage) => ({
    matrix: stage.k.rowMatrix(20_003, 1),
    x: stage.hostNormal("x", 20_003),
    joined: stage.hostOutput(20_003),
  }),
  run({ k }, { matrix, x, joined }, begin, end) {
    k.rowMatrixWrite(matrix, part(x, begin, end), begin);
    k.rowMatrixRead(part(joined, begin, end), matrix, begin);
  },
  written: (_, { matrix, joined }) => ({
    ...{ high: Int32Array.from(matrix.hi), low: Int32Array.from(matrix.lo), joined },
  }),
});

const ROWS = 700, HIDDEN = 61;
/** All rows, in no order. */
const PERMUTED = Int32Array.from({ length: ROWS }, (_, i) => i * 37 % ROWS);

for (const [name, Out] of [["joined", Float32Array], ["high halves", Uint16Array]] as const) {
  givesManyWhatItGivesFew<{ out: Float32Array | Uint16Array; matrix: RowMatrix }>({
    name: `rowsGather() of ${name}`,
    ...{ count: ROWS, few: 200 },
    make: (stage) => ({
      out: new Out(ROWS * HIDDEN),
      matrix: stage.rowMatrixOf(
        Float32Array.from({ length: ROWS * HIDDEN }, (_, i) => Math.sin(i)),
        ROWS,
        HIDDEN,
      ),
    }),
    run: async ({ k }, { out, matrix }, begin, end) =>
      await k.rowsGather(part(out, begin, end, HIDDEN), matrix, part(PERMUTED, begin, end)),
    written: (_, { out }) => ({ out: Float64Array.from(out) }),
  });
}
givesManyWhatItGivesFew<{ to: Floats; from: Floats }>({
  name: "rowsAdd()",
  ...{ count: ROWS, few: 200 },
  make: (stage) => ({
    to: stage.hostNormal("to", ROWS * HIDDEN),
    from: stage.hostNormal("from", ROWS * HIDDEN),
  }),
  run: async ({ k }, { to, from }, begin, end) =>
    await k.rowsAdd(to, part(from, begin, end, HIDDEN), part(PERMUTED, begin, end), HIDDEN, 500),
});

/** Rows with their moments, last stepped at steps below `steps`. */
function laggingRows(stage: Stage, steps: number): { matrix: RowMatrix; moments: RowMoments } {
  return {
    matrix: stage.rowMatrix("w", ROWS, HIDDEN),
    moments: {
      m: stage.hostNormal("m", ROWS * HIDDEN, 0.1),
      v: positive(stage, "v", ROWS * HIDDEN),
      lastStep: stage.intOutput(ROWS).map((_, row) => row % steps),
    },
  };
}

type Lagging = ReturnType<typeof laggingRows>;

function writtenRows({ k, hostOutput }: Stage, { matrix, moments }: Lagging): Outputs {
  const w = hostOutput(ROWS * HIDDEN);
  k.rowMatrixRead(w, matrix, 0);
  return { w, ...moments };
}

for (const mode of ["lazy-exact", "lazy"] as const satisfies AdamMode[]) {
  givesManyWhatItGivesFew<Lagging & { grad: Floats }>({
    name: `adamwRows() of mode ${mode}`,
    ...{ count: ROWS, few: 200 },
    make: (stage) => ({ ...laggingRows(stage, 5), grad: stage.hostNormal("grad", ROWS * HIDDEN) }),
    async run(stage, { matrix, moments, grad }, begin, end) {
      const [own, rows] = [part(grad, begin, end, HIDDEN), part(PERMUTED, begin, end)];
      await stage.k.adamwRows(matrix, moments, own, rows, rows.length, mode, stepOf(stage));
    },
    written: writtenRows,
  });
}
givesManyWhatItGivesFew<Lagging>({
  name: "adamwRowsCatchUp()",
  ...{ count: ROWS / 7, few: 20 },
  make: (stage) => laggingRows(stage, 6),
  async run(stage, { matrix, moments }, begin, end) {
    const blocks = Int32Array.from({ length: end - begin }, (_, i) => begin + i);
    await stage.k.adamwRowsCatchUp(matrix, moments, blocks, 7, true, stepOf(stage));
  },
  written: writtenRows,
});
