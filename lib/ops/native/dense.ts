// SPDX-License-Identifier: Apache-2.0
/** Norms, rotary embedding, activations and sums over libmeft. */
import * as calls from "../../native/calls.ts";
import { type NormParams, writeDropoutParams, writeNormParams } from "../../native/structs.ts";
import * as symbols from "../../native/symbols.ts";
import type { ActivationArray } from "../../tensor/tensor.ts";
import type { ActivationKind, ModelKernels, NormCall, NormKind } from "../kernels/model.ts";
import { activation, activationOf, f32, f32OrNull } from "./arguments.ts";
import { laneOf, type Lanes } from "./lanes.ts";
import { nativeVector } from "./weights.ts";

const NORMS: Readonly<Record<NormKind, number>> = {
  rms: symbols.MEFT_NORM_RMS,
  layer: symbols.MEFT_NORM_LAYER,
};
const ACTIVATIONS: Readonly<Record<ActivationKind, number>> = {
  identity: symbols.MEFT_ACTIVATION_IDENTITY,
  relu: symbols.MEFT_ACTIVATION_RELU,
  silu: symbols.MEFT_ACTIVATION_SILU,
  gelu: symbols.MEFT_ACTIVATION_GELU,
  gelu_tanh: symbols.MEFT_ACTIVATION_GELU_TANH,
  quick_gelu: symbols.MEFT_ACTIVATION_QUICK_GELU,
  tanh: symbols.MEFT_ACTIVATION_TANH,
  sigmoid: symbols.MEFT_ACTIVATION_SIGMOID,
};

/** Members of {@linkcode ModelKernels} that this file gives. */
type DenseKernels = Pick<
  ModelKernels,
  | "normForward"
  | "normBackward"
  | "ropeApply"
  | "activationForward"
  | "activationBackward"
  | "add"
  | "scaledAdd"
  | "scale"
  | "softcap"
  | "sumSquares"
  | "randomNormal"
  | "dropout"
>;

/** See `meft_norm_*`, `meft_rope_apply`, `meft_activation_*`, `meft_add`, `meft_scaled_add`, `meft_scale`, `meft_softcap`, `meft_sum_squares`, `meft_random_normal`, `meft_dropout_apply`. */
export function denseKernels(lanes: Lanes): DenseKernels {
  return { ...normKernels(lanes), ...elementwiseKernels(lanes) };
}

function normKernels(
  { model }: Lanes,
): Pick<DenseKernels, "normForward" | "normBackward" | "ropeApply"> {
  return {
    normForward(y, stats, x, norm, rows): void {
      const { weight, bias } = norm;
      const [factors, added] = [nativeVector(weight, weight.cols), bias && nativeVector(bias, weight.cols)];
      const [to, from] = [activation("y", y, rows * weight.cols), activation("x", x, rows * weight.cols)];
      calls.normForward(
        model,
        to.data,
        f32("stats", stats, statsCount(norm, rows)),
        from.data,
        factors.data,
        factors.descriptor,
        added?.data ?? null,
        added?.descriptor ?? null,
        normParams(norm, { rows, yDtype: to.dtype, xDtype: from.dtype, accumulate: 0 }),
      );
    },

    normBackward(dx, dnorm, dy, x, stats, norm, rows, accumulate): void {
      const { weight } = norm;
      const { data, descriptor } = nativeVector(weight, weight.cols);
      const count = rows * weight.cols;
      const { data: to, dtype } = activation("dx", dx, count);
      calls.normBackward(
        model,
        to,
        f32OrNull("dweight", dnorm.weight, weight.cols),
        f32OrNull("dbias", dnorm.bias, weight.cols),
        activationOf(dtype, "dy", dy, count),
        activationOf(dtype, "x", x, count),
        f32("stats", stats, statsCount(norm, rows)),
        data,
        descriptor,
        normParams(norm, { rows, yDtype: dtype, xDtype: dtype, accumulate: Number(accumulate) }),
      );
    },

    ropeApply(x, cos, sin, positions, heads, headDim, rotaryDim, inverse): void {
      if (rotaryDim === 0) return; // tables of no columns say nothing of their rows
      const tokens = positions.length;
      const tableRows = Math.floor(cos.length / (rotaryDim / 2));
      const at = activation("x", x, tokens * heads * headDim);
      calls.ropeApply(
        model,
        at.data,
        f32("cos", cos, 0),
        f32("sin", sin, cos.length),
        positions,
        tokens,
        heads,
        headDim,
        rotaryDim,
        tableRows,
        at.dtype,
        Number(inverse),
      );
    },
  };
}

function elementwiseKernels(
  lanes: Lanes,
): Omit<DenseKernels, "normForward" | "normBackward" | "ropeApply"> {
  const { model } = lanes;
  const total = new Float64Array(1);
  return {
    activationForward(y, x, up, kind): void {
      const count = y.length;
      const { data, dtype } = activation("y", y, count);
      const of = (name: string, array: ActivationArray) => activationOf(dtype, name, array, count);
      calls.activationForward(model, data, of("x", x), up && of("up", up), count, ACTIVATIONS[kind], dtype);
    },

    activationBackward(dx, dup, dy, x, up, kind): void {
      const count = dy.length;
      const { data, dtype } = activation("dx", dx, count);
      const of = (name: string, array: ActivationArray) => activationOf(dtype, name, array, count);
      calls.activationBackward(
        model,
        data,
        dup && of("dup", dup),
        of("dy", dy),
        of("x", x),
        up && of("up", up),
        count,
        ACTIVATIONS[kind],
        dtype,
      );
    },

    add(y, x): void {
      const to = activation("y", y, y.length);
      calls.add(laneOf(lanes, y), to.data, activationOf(to.dtype, "x", x, y.length), y.length, to.dtype);
    },

    scaledAdd(y, factor, x): void {
      const count = y.length;
      calls.scaledAdd(laneOf(lanes, y), f32("y", y, count), f32("x", x, count), count, factor);
    },

    scale(x, factor): void {
      calls.scale(laneOf(lanes, x), f32("x", x, x.length), x.length, factor);
    },

    softcap(x, cap): void {
      calls.softcap(model, f32("x", x, x.length), x.length, cap);
    },

    sumSquares(x): number {
      calls.sumSquares(laneOf(lanes, x), total, f32("x", x, x.length), x.length);
      return total[0] as number;
    },

    randomNormal(out, seed, stream, std): void {
      calls.randomNormal(laneOf(lanes, out), f32("out", out, out.length), out.length, seed, stream, std);
    },

    dropout(y, x, mask, accumulate): void {
      const [to, from] = [activation("y", y, y.length), activation("x", x, y.length)];
      const params = writeDropoutParams({
        ...mask,
        accumulate: Number(accumulate),
        yDtype: to.dtype,
        xDtype: from.dtype,
      });
      calls.dropoutApply(model, to.data, from.data, y.length, params);
    },
  };
}

/** How many statistics the rows of a norm have. */
function statsCount({ kind }: NormCall, rows: number): number {
  return kind === "layer" ? 2 * rows : rows;
}

/** A `meft_norm`. */
function normParams(
  { kind, eps, unitOffset }: NormCall,
  call: Pick<NormParams, "rows" | "yDtype" | "xDtype" | "accumulate">,
): Uint8Array<ArrayBuffer> {
  return writeNormParams({ ...call, kind: NORMS[kind], eps, unitOffset: Number(unitOffset) });
}
