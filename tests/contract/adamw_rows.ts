// SPDX-License-Identifier: Apache-2.0
/** Rows with their moments, for the tests of AdamW by rows. */
import type { AdamwStep } from "../../lib/ops/kernels/model.ts";
import type { AdamMode, RowMoments } from "../../lib/ops/kernels/rows.ts";
import type { Floats, RowMatrix } from "../../lib/tensor/tensor.ts";
import { assertSameBits } from "../compare.ts";
import type { Stage } from "./stage.ts";

/** What a step is made with, but for its rates. */
export type Hyper = Omit<AdamwStep, "lrHistory">;

/** Hyper-parameters; override what the test is about. */
export function hyper(options: Partial<Hyper> & Pick<Hyper, "step">): Hyper {
  return { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0, gradScale: 1, ...options };
}

/** A matrix of rows with its moments. */
export class Rows {
  readonly moments: RowMoments;
  private readonly matrix: RowMatrix;

  constructor(private readonly stage: Stage, initial: Floats, readonly rows: number, readonly cols: number) {
    this.matrix = stage.rowMatrixOf(initial, rows, cols);
    this.moments = {
      m: stage.hostOutput(rows * cols).fill(0),
      v: stage.hostOutput(rows * cols).fill(0),
      lastStep: stage.intOutput(rows).fill(0),
    };
  }

  /** Gradient row i belongs to touched[i]. */
  async step(mode: AdamMode, touched: readonly number[], grad: Floats, step: AdamwStep): Promise<void> {
    const rows = Int32Array.from(touched);
    await this.stage.k.adamwRows(this.matrix, this.moments, grad, rows, rows.length, mode, step);
  }

  async catchUp(blocks: readonly number[], blockRows: number, all: boolean, step: AdamwStep): Promise<void> {
    const { stage: { k }, matrix, moments } = this;
    await k.adamwRowsCatchUp(matrix, moments, Int32Array.from(blocks), blockRows, all, step);
  }

  weights(): Floats {
    const joined = this.stage.hostOutput(this.rows * this.cols);
    this.stage.k.rowMatrixRead(joined, this.matrix, 0);
    return joined;
  }

  /** Weights and moments. */
  all(): Record<"w" | "m" | "v" | "lastStep", Floats | Int32Array> {
    return { w: this.weights(), ...this.moments };
  }
}

/** Weights and both moments have the same bits. */
export function assertSameRows(label: string, actual: Rows, expected: Rows): void {
  const [a, e] = [actual.all(), expected.all()];
  for (const name of ["w", "m", "v"] as const) assertSameBits(`${label}: ${name}`, a[name], e[name]);
}
