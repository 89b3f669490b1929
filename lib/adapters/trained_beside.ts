// SPDX-License-Identifier: Apache-2.0
/** Parts of the model itself that are trained beside an adapter, and are saved with it as one. */
import type { JsonObject } from "../core/json.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import type { Adapter, AdapterParams } from "./adapter.ts";
import { joinedAdapters } from "./joined.ts";

/**
 * An adapter that also trains what another one has of the model's own tensors, in its own files.
 *
 * @param config What it is recorded with
 */
export function trainedBeside(adapter: Adapter, other: Adapter, config: JsonObject): Adapter {
  const both = joinedAdapters([adapter, other]);
  const copies = new Map([...adapter.copies ?? [], ...other.copies ?? []]);
  const { nothingAlone: _, ...kept } = adapter;
  const own: Adapter = {
    ...kept,
    config: { ...adapter.config, ...config },
    ...(copies.size > 0 && { copies }),
    sizes: both.sizes,
    create(k, model, tokensPerStep) {
      const { parts = [], ...joined } = both.create(k, model, tokensPerStep);
      const [first, second] = parts as readonly [AdapterParams, AdapterParams];
      const mergedConfig = { ...first.mergedConfig, ...second.mergedConfig };
      return {
        ...joined,
        adapter: own,
        ...(Object.keys(mergedConfig).length > 0 && { mergedConfig }),
        ...(first.merge && {
          *merge(kernels: Kernels) {
            yield* first.merge?.(kernels) ?? [];
            yield* second.merge?.(kernels) ?? [];
          },
        }),
      };
    },
  };
  return own;
}
