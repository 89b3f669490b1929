// SPDX-License-Identifier: Apache-2.0
/** All fuzzers. Adding one is a line here. */
import { CONFIG_FUZZERS } from "./configs.ts";
import type { Fuzzer } from "./fuzzer.ts";
import { SAFETENSORS, SHARDS } from "./safetensors.ts";
import { TEXT_FUZZERS } from "./texts.ts";
import { TOKENIZER } from "./tokenizers.ts";

export const FUZZERS: readonly Fuzzer[] = [
  SAFETENSORS,
  SHARDS,
  ...CONFIG_FUZZERS,
  TOKENIZER,
  ...TEXT_FUZZERS,
];
