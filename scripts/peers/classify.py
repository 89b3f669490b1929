# SPDX-License-Identifier: Apache-2.0
"""Fine-tunes a BERT on labelled texts with PyTorch and PEFT: the other side of `deno task study:encoder`.

    python scripts/peers/classify.py RUN.json

A run file holds the model's folder, the method with its sizes, the optimizer, for every step its learning rate and rows, and
the token ids of all texts. Prints one JSON object: the class of every test text, losses, and what the steps took.

It is meant as people write it, and as fast as that gets: Hugging Face's own classes, rows padded to the longest of their
batch, scaled-dot-product attention, fused AdamW. Heads and adapters start from their own random numbers. No dropout, which
meft does not have either. Needs torch, transformers, and peft for LoRA.
"""

import json
import sys
import time
from pathlib import Path

import torch
from bench_torch import MaskedAdapter
from torch import nn
from train import ParallelAdapter
from transformers import AutoModelForSequenceClassification

TEST_BATCH = 64
# Every product of a layer, as meft's LoRA has them by default. ("dense" alone would be the pooler too.)
TARGETS = ["query", "key", "value", "intermediate.dense", "output.dense"]


class BesideOutput(nn.Module):
    """The end of a BERT layer with an adapter on what its feed-forward sees: norm(x + W f + adapter(x))."""

    def __init__(self, output, adapter):
        super().__init__()
        self.output, self.adapter = output, adapter

    def forward(self, hidden_states, input_tensor):
        hidden = self.output.dense(hidden_states) + self.adapter(input_tensor)
        return self.output.LayerNorm(hidden + input_tensor)


def add_beside(model, make):
    model.bert.requires_grad_(False)
    model.bert.pooler.requires_grad_(True)
    for layer in model.bert.encoder.layer:
        layer.output = BesideOutput(layer.output, make())
    return model


def build(run):
    model = AutoModelForSequenceClassification.from_pretrained(
        run["model"],
        num_labels=run["classes"],
        dtype=torch.float32,
        attn_implementation="sdpa",
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    method, sizes, hidden = run["method"], run["sizes"], model.config.hidden_size
    std = model.config.initializer_range
    if method == "lora":
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(
            r=sizes["rank"],
            lora_alpha=sizes["alpha"],
            target_modules=TARGETS,
            modules_to_save=["classifier", "pooler.dense"],
        )
        return get_peft_model(model, config)
    if method == "parallel":
        count = sizes["neurons"]
        return add_beside(
            model, lambda: ParallelAdapter(torch.randn(count, hidden) * std, torch.zeros(count, hidden))
        )
    if method == "sparse":
        counts = [sizes[name] for name in ("neurons", "experts", "activeExperts", "topK")]
        return add_beside(model, lambda: MaskedAdapter(hidden, *counts, torch.float32, std=std))
    return model


def padded(texts):
    """(rows, longest) ids and mask."""
    longest = max(len(ids) for ids in texts)
    ids = torch.zeros(len(texts), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(text)
        mask[row, : len(text)] = 1
    return {"input_ids": ids, "attention_mask": mask}


def train(model, run):
    """Losses, and (wall, CPU) seconds of all steps but the first, in which memory is taken."""
    settings, texts, labels = run["optimizer"], run["train"]["ids"], run["train"]["labels"]
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(
        weights,
        lr=0.0,
        betas=(settings["beta1"], settings["beta2"]),
        eps=settings["eps"],
        weight_decay=settings["weightDecay"],
        fused=True,
    )
    model.train()
    losses, start = [], (time.perf_counter(), time.process_time())
    for number, step in enumerate(run["steps"]):
        optimizer.param_groups[0]["lr"] = step["lr"]
        optimizer.zero_grad(set_to_none=True)
        batch = padded([texts[row] for row in step["rows"]])
        loss = model(**batch, labels=torch.tensor([labels[row] for row in step["rows"]])).loss
        loss.backward()
        nn.utils.clip_grad_norm_(weights, settings["clip"])
        optimizer.step()
        losses.append(loss.item())
        if number == 0:
            start = (time.perf_counter(), time.process_time())
    return losses, (time.perf_counter() - start[0], time.process_time() - start[1])


@torch.no_grad()
def predict(model, texts):
    model.eval()
    found = []
    for first in range(0, len(texts), TEST_BATCH):
        found += model(**padded(texts[first : first + TEST_BATCH])).logits.argmax(-1).tolist()
    return found


def main(path):
    run = json.loads(Path(path).read_text())
    torch.set_num_threads(run["threads"])
    torch.manual_seed(run["seed"])
    model = build(run)
    losses, (seconds, cpu_seconds) = train(model, run)
    result = {
        "version": torch.__version__,
        "trained": sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
        "losses": losses,
        "seconds": seconds,
        "cpuSeconds": cpu_seconds,
        "predictions": predict(model, run["test"]["ids"]),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
