// SPDX-License-Identifier: Apache-2.0
/** Every kernel with the model on a device, element by element against the f64 oracle: emulated where there is none. */
import { openTestDevice } from "../cuda_library.ts";
import { assertAgreesEverywhere } from "./agreement.ts";
import { deviceBackends } from "./backends.ts";
import { KERNEL_CASES } from "./cases/all.ts";

const { backend } = openTestDevice();

for (const kind of ["cuda-emulated", "cuda"]) {
  for (const test of KERNEL_CASES) {
    Deno.test({
      name: `${kind}: ${test.name} agrees with the oracle`,
      ignore: kind !== backend,
      fn: () => assertAgreesEverywhere(test, deviceBackends()),
    });
  }
}
