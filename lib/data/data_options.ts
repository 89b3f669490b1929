// SPDX-License-Identifier: Apache-2.0
/** How data is read, and how rows and prompts become text, as people choose it. */
import { choice, integer, pairs, text, texts } from "../core/options.ts";

/** How text is written. Training, scoring and generation must use the same. */
export const FORMAT_OPTIONS = {
  chatTemplate: text({
    placeholder: "auto|off|FILE",
    path: ["auto", "off"],
    default: "auto",
    help: "auto uses the model's chat template when it has one; a file holds a Jinja template of your own",
  }),
  thinking: choice(["auto", "on", "off"], {
    default: "auto",
    help:
      "enable_thinking of the chat template; auto is on for rows whose answers hold thoughts, and off else",
  }),
  system: text({ help: "system turn put before conversations that have none" }),
  sourceField: text({
    placeholder: "NAME",
    help: "of pairs: field of what is read",
    defaultText: "by its name",
  }),
  targetField: text({
    placeholder: "NAME",
    help: "of pairs: field of what is written",
    defaultText: "by its name",
  }),
  sourcePrefix: text({ help: "of pairs: text put before every source" }),
  srcLang: text({
    placeholder: "CODE",
    help: "of pairs: language that is read, as mBART's en_XX",
    defaultText: "the tokenizer's",
  }),
  tgtLang: text({
    placeholder: "CODE",
    help: "of pairs: language that is written",
    defaultText: "the tokenizer's",
  }),
  templateOptions: pairs({
    flag: "template-option",
    help: "further variables of the chat template; a value is read as JSON when it is JSON, else as text",
  }),
} as const;

/** What becomes of rows that cannot be used. */
export const BAD_ROWS_OPTION = {
  badRows: choice(["stop", "skip"], { default: "stop", help: "what a row that cannot be used does" }),
} as const;

/** What is read, and how. */
export const DATA_OPTIONS = {
  data: texts({
    path: true,
    mayChange: "asked",
    help: "JSONL files; of labels also CSV, TSV, folders",
    defaultText: "the demo's facts",
  }),
  seqLen: integer({
    min: 2,
    default: 256,
    identity: "batch.seqLen",
    help: "longest row in tokens; longer ones are cut",
  }),
  targetLen: integer({
    min: 2,
    help: "of pairs: longest target in tokens; longer ones are cut",
    defaultText: "--seq-len",
  }),
  lossOn: choice(["completion", "all"], { default: "completion", help: "tokens that count in the loss" }),
  ...FORMAT_OPTIONS,
  ...BAD_ROWS_OPTION,
  dataCache: choice(["on", "off"], {
    default: "on",
    ofKeeping: true,
    mayChange: "asked",
    help: "keep tokenised data on disk for the next time, in $MEFT_CACHE or ~/.cache/meft",
  }),
} as const;
