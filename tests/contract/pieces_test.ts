// SPDX-License-Identifier: Apache-2.0
/**
 * However many elements, rows or tokens a processor is given, each gets the bits that it gets in a call of few: work beyond
 * one task's share is cut, and every cut must begin where the one before ended.
 */
import { assertSameBits } from "../compare.ts";
import { onEveryBackend } from "./agreement.ts";
import { backends } from "./backends.ts";

Deno.test("linearBackwardData() of rows too long to be converted at once gives each token the bits it has alone", () => {
  const [tokens, rows, cols, few] = [1058, 8507, 3, 5];
  const dy = Float32Array.from({ length: tokens * rows }, (_, i) => (i * 7919 % 2003 - 1001) / 1001);
  return onEveryBackend(
    (stage) => {
      const w = stage.weight("w", rows, cols, "bf16");
      const [many, alone] = [stage.output(tokens * cols), stage.output(few * cols)];
      stage.k.linearBackwardData(many, dy, w, tokens, false);
      stage.k.linearBackwardData(alone, dy.subarray(0, few * rows), w, few, false);
      return { many, alone };
    },
    ({ many, alone }) => assertSameBits("dx", many!.subarray(0, few * cols), alone!),
    backends().filter(({ compute }) => compute === "bf16"), // others convert nothing
  );
});
