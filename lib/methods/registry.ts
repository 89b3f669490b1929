// SPDX-License-Identifier: Apache-2.0
/** Methods by name. Adding one is a file and a line here. */
import { UserError } from "../core/errors.ts";
import type { JsonObject } from "../core/json.ts";
import { didYouMean } from "../core/suggestion.ts";
import { full } from "./full.ts";
import { lora } from "./lora.ts";
import type { Method } from "./method.ts";
import { parallel } from "./parallel.ts";
import { sparse } from "./sparse.ts";

const METHODS: Readonly<Record<string, () => Method>> = { sparse, parallel, lora, full };

/** Names of the methods there are. */
export const METHOD_NAMES: readonly string[] = Object.keys(METHODS);

/**
 * A method by name, with options of its adapter: for command lines and files. The adapter checks the options.
 *
 * @throws {UserError} When there is no such method
 */
export function methodByName(name: string, options: JsonObject = {}): Method {
  const make = Object.hasOwn(METHODS, name) ? METHODS[name] : undefined;
  if (!make) {
    const known = METHOD_NAMES.join(", ");
    throw new UserError(
      `There is no method "${name}"${didYouMean(name, METHOD_NAMES)} (there are: ${known})`,
    );
  }
  const method = make();
  return { ...method, adapter: { ...method.adapter, options } };
}
