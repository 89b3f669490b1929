// SPDX-License-Identifier: Apache-2.0
/** What a run is about: the task that was named, or that of the model's own head, and the head that the model is opened with. */
import { basename, dirname } from "node:path";
import { UserError } from "../core/errors.ts";
import { type HeadConfig, LM_HEAD } from "../models/heads/head_config.ts";
import { assertPredictsNext } from "../models/heads/sees_ahead.ts";
import type { DecoderIds } from "../models/model.ts";
import { lastStack } from "../models/parts.ts";
import { readConfig } from "../models/read_config.ts";
import { namedParts } from "../models/tensor_names.ts";
import { taskOf } from "../tasks/registry.ts";
import type { Task } from "../tasks/task.ts";

/** A task with its head. */
export interface OpenTask {
  readonly task: Task;
  readonly head: HeadConfig;
  /** Of a model whose decoder writes what its encoder has read. */
  readonly decoderIds?: DecoderIds;
}

/** What decides it. */
export interface TaskChoice {
  /** Name of the task; that of the head when absent. */
  readonly task?: string | undefined;
  /** Folder of the model, or its `config.json`. */
  readonly model: string;
  /** Data that may name the labels. */
  readonly data: readonly string[];
  /** The head of an adapter to start from. Default: the model's own. */
  readonly saved?: HeadConfig | null;
  /** Whether the head begins anew with the labels of the data, though the model has one. Default: no. */
  readonly newHead?: boolean | undefined;
}

/**
 * Decides the task.
 *
 * @throws {UserError} When there is no such task, the data names no labels where nothing else does, or the model sees what it
 *   should predict
 */
export async function openTask(choice: TaskChoice): Promise<OpenTask> {
  const { task: name, model, data, saved, newHead = false } = choice;
  const dir = basename(model) === "config.json" ? dirname(model) : model;
  // What is wrong with a configuration is told by whoever opens it.
  const config = readConfig(dir, []);
  const own = saved ?? config?.head ?? LM_HEAD;
  const parts = config && namedParts(config);
  const takes = parts === null ? "tokens" : lastStack(parts).input.kind;
  const decoderIds = config?.decoderIds;
  const task = taskOf(name, { head: own, takes, readsSource: decoderIds !== undefined });
  if (newHead && saved) throw new UserError("newHead cannot be chosen: the adapter brings its own head");
  const head = newHead ? await renewedHead(task, own, data) : await task.headFor(own, data);
  if (parts !== null) assertPredictsNext(parts, head);
  return { task, head, ...(decoderIds && { decoderIds }) };
}

/** The head of a task as data has it, whatever the model's own is. @throws {UserError} When the task has none of its own */
async function renewedHead(task: Task, own: HeadConfig, data: readonly string[]): Promise<HeadConfig> {
  const head = await task.headFor(own.kind === "classification" ? { ...own, assumed: true } : own, data);
  if (head.kind !== "classification") {
    throw new UserError(
      `newHead is for tasks with labels or values, ${task.name} has the head of the vocabulary`,
    );
  }
  const { assumed: _, ...plain } = head;
  return { ...plain, fresh: true };
}
