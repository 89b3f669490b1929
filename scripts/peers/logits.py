# SPDX-License-Identifier: Apache-2.0
"""Writes what transformers' logits are with saved adapters, or of a model alone.

    python scripts/peers/logits.py MODEL BATCH.json OUT.safetensors [ADAPTER...]

BATCH.json holds ids, positions and starts of one micro-batch; OUT gets one (tokens, vocabulary) tensor for each adapter
folder, named by its place in the list, or the model's own as "0" when there is none. LoRA folders are loaded by PEFT.
"""

import json
import sys
from pathlib import Path

import torch
from load_sparse import attach, load_model, logits_of
from safetensors.torch import save_file


def with_adapter(model, folder):
    if json.loads((Path(folder) / "adapter_config.json").read_text())["peft_type"] == "LORA":
        from peft import PeftModel

        return PeftModel.from_pretrained(model, folder).eval()
    attach(model, folder)
    return model


def main(model_folder, batch_file, out, *folders):
    batch = json.loads(Path(batch_file).read_text())
    results = {}
    for place, folder in enumerate(folders or [None]):
        model = load_model(model_folder)
        if folder is not None:
            model = with_adapter(model, folder)
        with torch.no_grad():
            results[str(place)] = logits_of(model, batch).contiguous()
    save_file(results, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
