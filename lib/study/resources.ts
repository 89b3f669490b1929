// SPDX-License-Identifier: Apache-2.0
/** What cells share: models, data sets and questions, each opened once. */
import { UserError } from "../core/errors.ts";
import type { SavedAdapter } from "../adapters/files/saved_adapter.ts";
import type { Dataset } from "../data/dataset.ts";
import type { Prompt } from "../data/prompt_reader.ts";
import type { Placed } from "../data/load_data.ts";
import type { ChoiceScoring } from "../evaluate/choices.ts";
import { loadPrompts, type ScoreName } from "../evaluate/score.ts";
import type { ChoiceSet } from "../tasks/choice_data.ts";
import { checkPairOptions } from "../tasks/task.ts";
import { openAdapter } from "../train/adapters.ts";
import { type OpenTask, openTask } from "../train/open_task.ts";
import { loadModel, type OpenModel } from "../train/open_model.ts";
import { dataOptionsOf, openOptionsOf, type TrainSettings } from "../train/settings.ts";

/** Opens what a cell needs, or hands out what another cell has opened. Disposing it closes the models. */
export interface Resources extends Disposable {
  task(settings: TrainSettings): Promise<OpenTask>;
  model(settings: TrainSettings): Promise<OpenModel>;
  data(settings: TrainSettings): Promise<Dataset>;
  /** The adapter that is trained on; null for a new one. */
  start(settings: TrainSettings): Promise<SavedAdapter | null>;
  /** Of `evalData`; null when the settings name none. */
  evalData(settings: TrainSettings): Promise<Dataset | null>;
  /** Of `evalData`, or else of `data`: does the model know what it was taught? @param scores Those that will be taken */
  prompts(settings: TrainSettings, scores: readonly ScoreName[]): Promise<readonly Placed<Prompt>[]>;
  /** The same, as questions with choices. */
  choices(settings: TrainSettings, scoring: ChoiceScoring): Promise<ChoiceSet>;
}

/** Empty resources. @param onModel Called with every model that is opened */
export function createResources(onModel: (model: OpenModel) => void = () => {}): Resources {
  const opened = new DisposableStack();
  const known = new Map<string, Promise<unknown>>();
  const once = <T>(key: readonly unknown[], make: () => Promise<T>): Promise<T> => {
    const name = JSON.stringify(key);
    const found = known.get(name) as Promise<T> | undefined;
    const made = found ?? make();
    known.set(name, made);
    return made;
  };
  /** What decides ids of tokens. */
  const tokensKey = (settings: TrainSettings) => [
    ...[settings.model, settings.adapter],
    ...[settings.addTokens, settings.addSpecialTokens, settings.addTokensFrom],
  ];
  const modelKey = (settings: TrainSettings) => [settings.model, settings.adapter, openOptionsOf(settings)];
  const modelOf = ({ model }: TrainSettings): string => {
    if (model === undefined) throw new UserError("model is not set: which checkpoint is to be trained?");
    return model;
  };
  const start = async ({ adapter }: TrainSettings): Promise<SavedAdapter | null> =>
    adapter === undefined ? null : await once(["start", adapter], () => openAdapter(adapter));
  const task = (settings: TrainSettings): Promise<OpenTask> => {
    const { task: name, data = [], adapter, newHead } = settings;
    return once(["task", settings.model, name, data, adapter, newHead], async () => {
      const saved = (await start(settings))?.head ?? null;
      return await openTask({ task: name, model: modelOf(settings), data: [data].flat(), saved, newHead });
    });
  };
  const model = async (settings: TrainSettings) => {
    const { head } = await task(settings);
    return await once(["model", ...modelKey(settings), head], async () => {
      const adapter = await start(settings);
      const found = opened.use(
        await loadModel(modelOf(settings), {
          ...openOptionsOf(settings),
          ...{ head, adapter, fitVocabulary: true },
        }),
      );
      onModel(found);
      return found;
    });
  };
  const read = (files: string | readonly string[], settings: TrainSettings): Promise<Dataset> => {
    const options = dataOptionsOf(settings);
    return once(["data", files, options, tokensKey(settings), settings.task], async () => {
      const { task: chosen } = await task(settings);
      checkPairOptions(chosen, options);
      return await chosen.load([files].flat(), await model(settings), options);
    });
  };
  const trainingFiles = ({ data }: TrainSettings): string | readonly string[] => {
    if (data === undefined) throw new UserError("data is not set: which rows are to be trained on?");
    return data;
  };
  const askedFiles = (settings: TrainSettings) => settings.evalData ?? trainingFiles(settings);
  return {
    start,
    task,
    model,
    data: async (settings) => await read(trainingFiles(settings), settings),
    evalData: async (settings) =>
      settings.evalData === undefined ? null : await read(settings.evalData, settings),
    prompts: async (settings, scores) => {
      const files = askedFiles(settings);
      const options = { ...dataOptionsOf(settings), scores };
      return await once(
        ["prompts", files, options, tokensKey(settings), settings.task],
        async () => {
          const { task: { prompts } } = await task(settings);
          const reader = prompts && { reader: prompts };
          const { tokenizer, config } = await model(settings);
          const room = config.maxPositionEmbeddings;
          return (await loadPrompts(files, tokenizer, { ...options, ...reader, room })).items;
        },
      );
    },
    choices: async (settings, scoring) => {
      const files = askedFiles(settings);
      const options = dataOptionsOf(settings);
      return await once(
        ["choices", files, options, tokensKey(settings), settings.task],
        async () => await scoring.load([files].flat(), await model(settings), options),
      );
    },
    [Symbol.dispose]: () => opened.dispose(),
  };
}
