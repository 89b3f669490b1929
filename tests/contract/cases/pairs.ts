// SPDX-License-Identifier: Apache-2.0
/** Contract cases of pairs as a dense matrix: copies, so exact. */
import type { KernelCase } from "../kernel_case.ts";

interface Pairs {
  readonly label: string;
  readonly offsets: readonly number[];
  readonly columns: readonly number[];
  readonly width: number;
}

const PAIRS: readonly Pairs[] = [
  { label: "no tokens", offsets: [0], columns: [], width: 3 },
  { label: "no pairs", offsets: [0, 0, 0], columns: [], width: 2 },
  { label: "one pair", offsets: [0, 1], columns: [0], width: 1 },
  {
    label: "pairs without a column, tokens without pairs",
    offsets: [0, 3, 3, 4, 7],
    columns: [4, -1, 0, -1, 1, 2, 3],
    width: 5,
  },
  {
    label: "more columns than a block has threads",
    offsets: [0, 331, 600],
    columns: [
      ...Array.from({ length: 331 }, (_, i) => (i * 7) % 331),
      ...Array.from({ length: 269 }, (_, i) => i % 5 === 0 ? -1 : i),
    ],
    width: 331,
  },
];

/** Cases of this family. */
export const pairCases: readonly KernelCase[] = PAIRS.flatMap(
  ({ label, offsets, columns, width }): KernelCase[] => {
    const tokens = offsets.length - 1, count = columns.length;
    return [
      {
        name: `pairsScatter() of ${label}`,
        run(stage) {
          const out = stage.output(tokens * width);
          stage.k.pairsScatter(
            out,
            stage.normal("values", count),
            Int32Array.from(offsets),
            Int32Array.from(columns),
            width,
          );
          return { out };
        },
      },
      {
        name: `pairsGather() of ${label} leaves pairs without a column`,
        run(stage) {
          const out = stage.normal("out", count);
          stage.k.pairsGather(
            out,
            stage.normal("dense", tokens * width),
            Int32Array.from(offsets),
            Int32Array.from(columns),
            width,
          );
          return { out };
        },
      },
    ];
  },
);
