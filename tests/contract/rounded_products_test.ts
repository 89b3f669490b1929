// SPDX-License-Identifier: Apache-2.0
/** Where products are bf16: results that are stored in it are rounded once. */
import { bf16ToFloat, floatToBf16 } from "../../lib/core/half.ts";
import type { ActivationArray } from "../../lib/tensor/tensor.ts";
import { assertSameBits } from "../compare.ts";
import { onEveryBackend } from "./agreement.ts";
import { type Backend, backends, deviceBackends } from "./backends.ts";
import type { Outputs } from "./kernel_case.ts";
import type { Stage } from "./stage.ts";

const isBf16 = ({ compute }: Backend) => compute === "bf16";
const processors = backends().filter(isBf16),
  everywhere = [...processors, ...deviceBackends().filter(isBf16)];

/** What a product starts from: nothing, a bias, or what it adds to. */
const STARTS = [[false, false], [true, false], [false, true], [true, true]] as const;
/**
 * 1,057 tokens are more than share one packing of the weight: their sums are rounded in two parts. All but the first are
 * cuts that processors make.
 */
const SHAPES = [[13, 20, 7], [100, 65, 1100], [203, 300, 2111], [1057, 70, 20], [300, 1100, 64]] as const;

/** Both products of a shape, with results of either type that start from the same bf16 values. */
function bothProducts(
  stage: Stage,
  [tokens, rows, cols]: readonly [number, number, number],
  halves: boolean,
  [withBias, adds]: readonly [boolean, boolean],
): Outputs {
  const w = stage.weight("w", rows, cols, "bf16");
  const bias = withBias ? stage.weight("bias", 1, rows, "bf16") : null;
  const input = (name: string, count: number): ActivationArray =>
    halves ? stage.activation(name, count) : stage.normal(name, count);
  const [x, dy] = [input("x", tokens * cols), input("dy", tokens * rows)];
  const run = (y: ActivationArray, dx: ActivationArray) => {
    stage.k.linearForward(y, x, w, bias, tokens, adds);
    stage.k.linearBackwardData(dx, dy, w, tokens, adds);
    return [y, dx] as const;
  };
  const [exactY, exactDx] = run(stage.normal("y", tokens * rows), stage.normal("dx", tokens * cols));
  const [y, dx] = run(stage.activation("y", tokens * rows), stage.activation("dx", tokens * cols));
  return { exactY, exactDx, y, dx };
}

for (const shape of SHAPES) {
  Deno.test(`linearForward() and linearBackwardData() in bf16 are the f32 results rounded once, however ${shape} are cut`, async () => {
    for (const halves of [false, true]) {
      for (const start of shape[0] === 13 || shape[0] === 1057 ? STARTS : STARTS.slice(0, 1)) {
        await onEveryBackend(
          (stage) => bothProducts(stage, shape, halves, start),
          ({ exactY, exactDx, y, dx }) => {
            const label = `bias and adds ${start}`;
            const once = (values: ArrayLike<number>) =>
              Float32Array.from(values, (x) => bf16ToFloat(floatToBf16(x)));
            assertSameBits(`y, ${label}`, y!, once(exactY!));
            assertSameBits(`dx, ${label}`, dx!, once(exactDx!));
          },
          shape[0] === 13 ? everywhere : processors,
        );
      }
    }
  });
}
