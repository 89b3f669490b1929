// SPDX-License-Identifier: Apache-2.0
/** Norms, rotary embedding, activations and sums over libmeft. */
import * as calls from "../../native/calls.ts";
import { writeDropoutParams } from "../../native/structs.ts";
import type { ActivationArray, Floats } from "../../tensor/tensor.ts";
import type { ActivationKind, ModelKernels, NormCall } from "../kernels/model.ts";
import { activation, activationOf, f32, f32OrNull } from "./arguments.ts";
import { laneOf, type Lanes } from "./lanes.ts";
import { nativeVector } from "./weights.ts";

/** Members of {@linkcode ModelKernels} that this file gives. */
type DenseKernels = Pick<
  ModelKernels,
  | "normForward"
  | "normBackward"
  | "ropeApply"
  | "activationForward"
  | "activationBackward"
  | "add"
  | "scale"
  | "sumSquares"
  | "randomNormal"
  | "dropout"
>;

/** See `meft_rmsnorm_*`, `meft_rope_apply`, `meft_swiglu_*`, `meft_relu_*`, `meft_add`, `meft_sum_squares`, `meft_random_normal`, `meft_dropout_apply`. */
export function denseKernels(lanes: Lanes): DenseKernels {
  return { ...normKernels(lanes), ...elementwiseKernels(lanes) };
}

function normKernels(
  { model }: Lanes,
): Pick<DenseKernels, "normForward" | "normBackward" | "ropeApply"> {
  return {
    normForward(y, stats, x, norm, rows): void {
      const { weight: w, eps } = onlyRms(norm);
      const { data, descriptor } = nativeVector(w, w.cols);
      const [to, from] = [activation("y", y, rows * w.cols), activation("x", x, rows * w.cols)];
      const scales = f32("stats", stats, rows);
      calls.rmsnormForward(
        model,
        to.data,
        scales,
        from.data,
        data,
        descriptor,
        rows,
        to.dtype,
        from.dtype,
        eps,
      );
    },

    normBackward(dx, dnorm, dy, x, stats, norm, rows, accumulate): void {
      const { weight: w } = onlyRms(norm);
      const { data, descriptor } = nativeVector(w, w.cols);
      const count = rows * w.cols;
      const to = activation("dx", dx, count);
      calls.rmsnormBackward(
        model,
        to.data,
        f32OrNull("dweight", dnorm.weight, w.cols),
        activationOf(to.dtype, "dy", dy, count),
        activationOf(to.dtype, "x", x, count),
        f32("stats", stats, rows),
        data,
        descriptor,
        rows,
        to.dtype,
        Number(accumulate),
      );
    },

    ropeApply(x, cos, sin, positions, heads, headDim, rotaryDim, inverse): void {
      if (rotaryDim !== headDim) throw new Error("libmeft turns whole heads only");
      const tokens = positions.length;
      const half = headDim / 2;
      const tableRows = half > 0 ? Math.floor(cos.length / half) : 0;
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
      if (up === null) {
        only(kind, "relu");
        return calls.reluForward(model, f32("y", y as Floats, count), f32("x", x as Floats, count), count);
      }
      only(kind, "silu");
      const to = activation("y", y, count);
      const of = (name: string, array: ActivationArray) => activationOf(to.dtype, name, array, count);
      calls.swigluForward(model, to.data, of("x", x), of("up", up), count, to.dtype);
    },

    activationBackward(dx, dup, dy, x, up, kind): void {
      const count = dy.length;
      if (dup === null || up === null) {
        only(kind, "relu");
        return calls.reluBackward(
          model,
          f32("dx", dx as Floats, count),
          f32("dy", dy as Floats, count),
          f32("x", x as Floats, count),
          count,
        );
      }
      only(kind, "silu");
      const to = activation("dx", dx, count);
      const of = (name: string, array: ActivationArray) => activationOf(to.dtype, name, array, count);
      calls.swigluBackward(
        model,
        to.data,
        of("dup", dup),
        of("dy", dy),
        of("x", x),
        of("up", up),
        count,
        to.dtype,
      );
    },

    add(y, x): void {
      const to = activation("y", y, y.length);
      calls.add(laneOf(lanes, y), to.data, activationOf(to.dtype, "x", x, y.length), y.length, to.dtype);
    },

    scale(x, factor): void {
      calls.scale(laneOf(lanes, x), f32("x", x, x.length), x.length, factor);
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

/** @throws When the library lacks what the norm asks for */
function onlyRms(norm: NormCall): NormCall {
  if (norm.kind === "rms" && norm.bias === null && !norm.unitOffset) return norm;
  throw new Error(`libmeft computes plain rms norms only, "${norm.weight.name}" is another`);
}

/** @throws When the library lacks the activation in this place */
function only(kind: ActivationKind, known: ActivationKind): void {
  if (kind !== known) throw new Error(`libmeft computes ${known} here, not ${kind}`);
}
