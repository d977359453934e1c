"""Encoders with their pooling as one graph."""

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.export import Dim
from transformers import PreTrainedModel

from vecserve_export.graph import write_graph

Pooling = Literal["mean", "cls"]


class PooledEncoder(nn.Module):
    """An encoder whose output is one vector per text."""

    def __init__(self, encoder: PreTrainedModel, pooling: Pooling) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Pools the last hidden states.

        Args:
            input_ids: `(batch, sequence)` int64.
            attention_mask: `(batch, sequence)` int64, 1 for tokens and 0 for padding.

        Returns:
            `(batch, hidden)` float32: the mean over a text's tokens, or the first token's state. Not normalized.
        """
        # An encoder in fp16 ends here: a sum over hundreds of tokens needs more.
        hidden: Tensor = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state.float()
        if self.pooling == "cls":
            return hidden[:, 0]
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def write_encoder(encoder: PreTrainedModel, pooling: Pooling, facts: dict[str, str], file: Path) -> None:
    """Writes an encoder, in the precision that its weights have, as an ONNX file.

    Raises:
        UnsupportedModelError: ONNX can't hold or express it.
    """
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    write_graph(
        PooledEncoder(encoder, pooling),
        {"input_ids": mask * 3, "attention_mask": mask},
        # A name goes to one axis only: the exporter finds its equals itself, and warns of names given twice.
        {
            "input_ids": {0: Dim("batch"), 1: Dim("sequence")},
            "attention_mask": {0: Dim.DYNAMIC, 1: Dim.DYNAMIC},
        },
        file,
        facts,
    )
