// SPDX-License-Identifier: Apache-2.0
/** A folder with a folder for each class: the files of each are its rows. */
import { join } from "node:path";
import { UserError } from "../core/errors.ts";
import { isFolder, listFolder } from "../files/read.ts";

/** Folders within folders: more are a mistake, or a link that leads back. */
const DEEPEST = 16;

/** A file, and the name of its class. */
export interface ClassFile {
  readonly path: string;
  readonly label: string;
}

/**
 * Files of a folder's classes; classes and files by name.
 *
 * @param expected What a class's folder should hold, for the message
 * @throws {UserError} When there are no classes, or something stands beside them
 */
export async function* filesOfClasses(folder: string, expected: string): AsyncGenerator<ClassFile> {
  const entries = (await listFolder(folder)).filter(({ name }) => !name.startsWith("."));
  const classes: string[] = [];
  for (const { name } of entries) if (await isFolder(join(folder, name))) classes.push(name);
  if (classes.length === 0) {
    throw new UserError(
      `Cannot read the data: "${folder}" has no folders; expected one for each class with ${expected}`,
    );
  }
  const beside = entries.find(({ name }) => !classes.includes(name));
  if (beside !== undefined) {
    throw new UserError(
      `Cannot read the data: "${
        join(folder, beside.name)
      }" stands beside the folders of the classes, and has no label`,
    );
  }
  for (const label of classes) {
    for await (const path of filesWithin(join(folder, label), DEEPEST)) yield { path, label };
  }
}

async function* filesWithin(folder: string, deepest: number): AsyncGenerator<string> {
  if (deepest === 0) throw new UserError(`Cannot read the data: "${folder}" lies too deep, or in itself`);
  for (const { name } of await listFolder(folder)) {
    if (name.startsWith(".")) continue;
    const path = join(folder, name);
    if (await isFolder(path)) yield* filesWithin(path, deepest - 1);
    else yield path;
  }
}
