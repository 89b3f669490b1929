// SPDX-License-Identifier: Apache-2.0
/** The sparse adapter in host memory beside a model on a device: h comes down, y goes up; dy comes down, dh goes up. */
import type { DeviceMemory } from "../../native/device_memory.ts";
import type { Floats } from "../../tensor/tensor.ts";
import type { Awaitable } from "../kernels.ts";
import type { SparseKernels } from "./sparse.ts";
import type { BranchKernels } from "./sparse_branch.ts";

/** The host's side of one argument that lies on the device. */
interface Landing {
  readonly host: Floats;
  readonly device: Floats;
  /** Whether it goes up when the call is done. */
  readonly written: boolean;
}

/** Sparse kernels of a CPU lane, for arrays wherever they lie. */
export function hostBranch(
  cpu: SparseKernels & BranchKernels,
  device: DeviceMemory,
): SparseKernels & BranchKernels {
  const call = <T>(work: (land: (x: Floats, written?: boolean) => Floats) => Awaitable<T>): Awaitable<T> => {
    const landings: Landing[] = [];
    const land = (x: Floats, written = false): Floats => {
      if (!device.holds(x)) return x;
      const host = new Float32Array(x.length);
      device.copy(host, x);
      landings.push({ host, device: x, written });
      return host;
    };
    const goUp = (): void => {
      for (const { host, device: to, written } of landings) if (written) device.copy(to, host);
    };
    return finished(work(land), goUp);
  };
  return {
    sparseRoute: (routing, h, gateWeight, shape) =>
      call((land) => {
        const logits = land(routing.logits, true);
        return cpu.sparseRoute({ ...routing, logits }, land(h), land(gateWeight), shape);
      }),
    sparseForward: (y, pairs, h, routing, keys, values, shape) =>
      call((land) => {
        const landed = { ...pairs, dots: land(pairs.dots, true), scores: land(pairs.scores, true) };
        const logits = land(routing.logits);
        return cpu.sparseForward(land(y, true), landed, land(h), { ...routing, logits }, keys, values, shape);
      }),
    sparseTouch: cpu.sparseTouch,
    // What the link brought: the host's own.
    sparseBranchForward: cpu.sparseBranchForward,
    sparseBranchBackward: cpu.sparseBranchBackward,
    sparseBackward: (dh, dgate, gradients, firstNewSlot, dy, h, routing, pairs, gate, keys, values, shape) =>
      call((land) =>
        cpu.sparseBackward(
          land(dh, true),
          dgate && land(dgate, true),
          {
            ...gradients,
            keys: gradients.keys && land(gradients.keys, true),
            values: land(gradients.values, true),
          },
          firstNewSlot,
          land(dy),
          land(h),
          { ...routing, logits: land(routing.logits) },
          { ...pairs, dots: land(pairs.dots), scores: land(pairs.scores) },
          land(gate),
          keys,
          values,
          shape,
        )
      ),
  };
}

function finished<T>(result: Awaitable<T>, last: () => void): Awaitable<T> {
  const end = (value: T): T => {
    last();
    return value;
  };
  return result instanceof Promise ? result.then(end) : end(result);
}
