# SPDX-License-Identifier: Apache-2.0
"""Saves LoRAs with PEFT, of options drawn at random and of random values, and writes what logits PEFT gives with each.

    python scripts/peers/make_loras.py MODEL BATCH.json FOLDER COUNT SEED

FOLDER gets the adapters 0, 1, ... and logits.safetensors, as of logits.py. Options that PEFT itself refuses on the model are
drawn again.
"""

import json
import random
import shutil
import sys
import warnings
from pathlib import Path

import torch
from load_sparse import load_model, logits_of
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file

sys.path.append(str(Path(__file__).resolve().parents[1] / "fixtures"))
from make_lora_places import draw  # noqa: E402


def save(model_folder, rng, place, folder):
    """A LoRA on some linear weights of the layers, with nothing zero."""
    model = load_model(model_folder)
    fields = draw(rng, model.config.num_hidden_layers)
    fields["lora_dropout"] = rng.choice([0.0, 0.1])
    model = get_peft_model(model, LoraConfig(**fields, task_type="CAUSAL_LM"))
    torch.manual_seed(place)
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if "lora_" in key:
                weight.normal_(0.0, 0.05)
    model.save_pretrained(folder)


def logits_with(model_folder, folder, batch):
    """Of the saved adapter: patterns, whose order counts, are sorted in the file."""
    model = PeftModel.from_pretrained(load_model(model_folder), folder).eval()
    with torch.no_grad():
        return logits_of(model, batch).contiguous()


def main(model_folder, batch_file, out, count, seed):
    warnings.simplefilter("ignore")
    rng = random.Random(int(seed))
    batch = json.loads(Path(batch_file).read_text())
    results = {}
    while len(results) < int(count):
        folder = Path(out) / str(len(results))
        try:
            save(model_folder, rng, len(results), folder)
            results[folder.name] = logits_with(model_folder, folder, batch)
        except (ValueError, RuntimeError):  # refused at once, or of other ranks when read again
            shutil.rmtree(folder, ignore_errors=True)
    save_file(results, Path(out) / "logits.safetensors")


if __name__ == "__main__":
    main(*sys.argv[1:])
