"""A small BERT with a mask, in the shape of Hugging Face's: keyword arguments in, an output object out."""

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import nn


class ModelOutput(OrderedDict):
    """Keys that are attributes too."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


@dataclass
class Answer:
    logits: torch.Tensor
    loss: object = None


class SmallBert(nn.Module):
    """Token, position and type embeddings, attention with a padding mask, a classifier of [CLS]."""

    def __init__(self, words=13, tokens=5, d=6, heads=2, classes=3):
        super().__init__()
        self.words, self.places = nn.Embedding(words, d), nn.Embedding(tokens, d)
        self.norm = nn.LayerNorm(d)
        self.query, self.key, self.value = (nn.Linear(d, d) for _ in range(3))
        self.heads, self.head = heads, nn.Linear(d, classes)

    def forward(self, input_ids, attention_mask=None, return_dict=True):
        n, T = input_ids.shape
        h = self.norm(self.words(input_ids) + self.places(torch.arange(T)))
        q, k, v = (p(h).view(n, T, self.heads, -1).transpose(1, 2) for p in self._projections())
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        if attention_mask is not None:
            scores = scores.masked_fill(attention_mask[:, None, None, :] == 0, -1e9)
        h = h + (scores.softmax(-1) @ v).transpose(1, 2).reshape(n, T, -1)
        logits = self.head(torch.tanh(h[:, 0]))
        if not return_dict:
            return (None, logits)
        return ModelOutput(logits=logits, last_hidden_state=h)

    def _projections(self):
        return self.query, self.key, self.value


def small_bert(**options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SmallBert(**options).double().eval()


def tokens(n=7, T=5, words=13, seed=0):
    """Token ids and a mask of padding, as keyword arguments."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, words, (n, T), generator=generator)
    lengths = torch.randint(2, T + 1, (n,), generator=generator)
    mask = (torch.arange(T) < lengths[:, None]).long()
    return {"input_ids": ids * mask, "attention_mask": mask}
