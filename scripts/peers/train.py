# SPDX-License-Identifier: Apache-2.0
"""Trains with plain PyTorch what a run file says, and prints its losses: the other side of `deno task parity`.

    python scripts/peers/train.py RUN.json...

A run file holds the method, the model's folder, the folder of the initial adapter, the optimizer, and for every step its
learning rate and micro-batches. Prints one JSON object a run. Needs torch, transformers, safetensors, and peft for LoRA.
"""

import json
import sys
from pathlib import Path

import torch
from load_sparse import attach, attach_each, load_model, logits_of
from torch import nn


class ParallelAdapter(nn.Module):
    """y = ReLU(h keys^T) values (He et al., ICLR 2022)."""

    def __init__(self, keys, values):
        super().__init__()
        self.keys, self.values = nn.Parameter(keys), nn.Parameter(values)

    def forward(self, hidden):
        return (hidden @ self.keys.T).relu() @ self.values


def prepare(run):
    """The model, and the parameters that are trained."""
    model = load_model(run["model"])
    if run["method"] == "full":
        return model, list(model.parameters())
    if run["method"] == "lora":
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, run["adapter"], is_trainable=True)
        return model, [weight for weight in model.parameters() if weight.requires_grad]
    model.requires_grad_(False)
    if run["method"] == "sparse":
        adapters = attach(model, run["adapter"])
    else:
        adapters = attach_each(model, run["adapter"], lambda _, tensors: ParallelAdapter(**tensors))
    weights = [weight for adapter in adapters for weight in adapter.parameters()]
    return model, [weight for weight in weights if weight.requires_grad]


def train(run):
    model, weights = prepare(run)
    # Evaluation mode: no dropout. Gradients are the same.
    model.eval()
    settings = run["optimizer"]
    optimizer = torch.optim.AdamW(
        weights,
        lr=0.0,
        betas=(settings["beta1"], settings["beta2"]),
        eps=settings["eps"],
        weight_decay=settings["weightDecay"],
    )
    losses = []
    for step in run["steps"]:
        optimizer.param_groups[0]["lr"] = step["lr"]
        optimizer.zero_grad()
        total = 0.0
        for batch in step["microBatches"]:
            targets = torch.tensor(batch["targets"])
            loss = nn.functional.cross_entropy(logits_of(model, batch), targets, ignore_index=-1, reduction="sum")
            (loss / step["targetCount"]).backward()
            total += loss.item()
        losses.append(total / step["targetCount"])
        if settings["clip"] is not None:
            nn.utils.clip_grad_norm_(weights, settings["clip"])
        optimizer.step()
    return losses


def main(paths):
    for path in paths:
        print(json.dumps({"losses": train(json.loads(Path(path).read_text())), "torch": torch.__version__}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
