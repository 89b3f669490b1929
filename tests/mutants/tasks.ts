// SPDX-License-Identifier: Apache-2.0
/** Wrong changes of lib/tasks. */
import type { Mutant } from "./mutant.ts";

/** See {@linkcode Mutant}. */
export const TASKS: readonly Mutant[] = [
  {
    name: "pair-in-the-wrong-order",
    harm: "premise and hypothesis change places",
    file: "lib/tasks/labelled_rows.ts",
    find: '["premise", "hypothesis"],',
    replace: '["hypothesis", "premise"],',
    tests: ["tests/unit/tasks/labelled_test.ts"],
  },
  {
    name: "first-text-cut-alone",
    harm: "of two long texts all of the first is cut away",
    file: "lib/tasks/labelled_data.ts",
    find: "keepsShort = Math.floor(room / 2);",
    replace: "keepsShort = Math.floor(room / 3);",
    tests: ["tests/unit/tasks/labelled_test.ts"],
  },
  {
    name: "ties-ranked-apart",
    harm: "Spearman's rho depends on the order of rows",
    file: "lib/tasks/metrics/values.ts",
    find: "const shared = (begin + end + 1) / 2;",
    replace: "const shared = begin + 1;",
    tests: ["tests/unit/tasks/metrics_test.ts"],
  },
  {
    name: "smoothing-once",
    harm: "BLEU of short answers is higher than sacreBLEU's",
    file: "lib/tasks/metrics/bleu.ts",
    find: "if (hits === 0) smoothing *= 2;",
    replace: "if (hits === 0) smoothing = 2;",
    tests: ["tests/unit/tasks/metrics_test.ts"],
  },
  {
    name: "labels-of-the-data-anyway",
    harm: "a model that knows its labels gets others by each data set",
    file: "lib/tasks/classification.ts",
    find: 'if (own.kind === "classification" && givesClasses(own) && own.assumed !== true) return own;',
    replace: "",
    tests: ["tests/unit/tasks/labelled_test.ts"],
  },
  {
    name: "classes-that-nobody-named",
    harm: "a base model of pictures learns LABEL_0 and LABEL_1, and refuses the classes of its data",
    file: "lib/models/families/vision_config.ts",
    find: "!hasHead ? { ...head, assumed: true } : head",
    replace: "!hasHead ? head : head",
    tests: ["tests/unit/tasks/image_classification_test.ts"],
  },
  {
    name: "a-task-for-any-model",
    harm: "a model of pictures is given the ids of texts",
    file: "lib/tasks/registry.ts",
    find: "if (task?.takes === takes) return task;",
    replace: "if (task) return task;",
    tests: ["tests/unit/tasks/image_classification_test.ts"],
  },
  {
    name: "likelihood-of-the-question-too",
    harm: "choices are judged by how likely their question is",
    file: "lib/tasks/choice_data.ts",
    find: "Number(i >= ids.length - own)",
    replace: "Number(i >= 1)",
    tests: ["tests/unit/tasks/choices_test.ts"],
  },
];
