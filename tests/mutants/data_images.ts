// SPDX-License-Identifier: Apache-2.0
/** Wrong changes of lib/data/images. */
import type { Mutant } from "./mutant.ts";

/** See {@linkcode Mutant}. */
export const DATA_IMAGES: readonly Mutant[] = [
  {
    name: "a-picture-of-any-size",
    harm: "a file of some bytes that says 60000 x 60000 pixels takes all memory",
    file: "lib/data/images/header.ts",
    find: "if (width * height > MOST_PIXELS) {",
    replace: "if (width > MOST_PIXELS) {",
    tests: ["tests/unit/data/images/read_image_test.ts"],
  },
  {
    name: "libjpeg-is-not-heard",
    harm: "of a picture that was cut short the missing half is trained on as grey",
    file: "lib/data/images/codecs.ts",
    find: "|| said.some((line) => LOST_PIXELS.test(line))",
    replace: "",
    tests: ["tests/unit/data/images/read_image_test.ts"],
  },
  {
    name: "held-cameras-are-not-turned-back",
    harm: "pictures of a telephone lie on their side",
    file: "lib/data/images/exif.ts",
    find: "6: { flipX: false, flipY: true, swap: true }",
    replace: "6: { flipX: true, flipY: false, swap: true }",
    tests: ["tests/unit/data/images/read_image_test.ts"],
  },
  {
    name: "resizing-without-antialiasing",
    harm: "a model sees other pixels than it was trained on",
    file: "lib/data/images/resize.ts",
    find: "const widened = Math.max(scale, 1);",
    replace: "const widened = 1;",
    tests: ["tests/unit/data/images/resize_test.ts"],
  },
  {
    name: "rows-are-always-resized-first",
    harm: "tall pictures are a level off those of Pillow",
    file: "lib/data/images/resize.ts",
    find: "if (columnsFirst(image, size)) passes.reverse();",
    replace: "",
    tests: ["tests/unit/data/images/resize_test.ts"],
  },
  {
    name: "means-of-the-first-channel",
    harm: "green and blue are normalised as red is",
    file: "lib/data/images/preprocess.ts",
    find: "values.length === 1 ? values[0] : values[channel]",
    replace: "values[0]",
    tests: ["tests/unit/data/images/preprocess_test.ts"],
  },
  {
    name: "channels-within-pixels-of-a-patch",
    harm: "a checkpoint's patch embedding meets its numbers in another order",
    file: "lib/data/images/patches.ts",
    find: "let from = (y * width + j * patch.width) * channels + c;",
    replace: "let from = (y * width + j * patch.width) * channels;",
    tests: ["tests/unit/data/images/preprocess_test.ts"],
  },
  {
    name: "a-hash-without-pictures",
    harm: "a run goes on with other pictures than it began with",
    file: "lib/data/dataset.ts",
    find: "for (const picture of dataset.pictures?.hashes ?? []) hash.update(picture);",
    replace: "",
    tests: ["tests/unit/data/images/load_images_test.ts"],
  },
  {
    name: "pictures-in-the-order-of-files",
    harm: "labels of a shuffled batch are those of other pictures",
    file: "lib/data/batches.ts",
    find: "const example = examples[sequence] as number;",
    replace: "const example = sequence;",
    tests: ["tests/unit/data/images/load_images_test.ts"],
  },
  {
    name: "classes-by-their-order-in-a-file",
    harm: "the same classes have other numbers when rows are shuffled",
    file: "lib/data/class_labels.ts",
    find: "return names.sort((a, b) => a < b ? -1 : 1);",
    replace: "return names;",
    tests: ["tests/unit/data/class_labels_test.ts"],
  },
];
