from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from vecserve_export.errors import UnsupportedModelError
from vecserve_export.graph import write_graph


class OneBatchSize(nn.Module):
    """Adds two rows, and so takes two rows only."""

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels + torch.ones(2, 3)


def test_a_module_that_takes_one_batch_size_only_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError):
        write_graph(
            OneBatchSize(), {"pixels": torch.zeros(2, 3)}, {"pixels": {0: Dim("batch")}}, tmp_path / "g.onnx", {}
        )


def test_weights_beyond_one_onnx_file_are_refused(tmp_path: Path) -> None:
    with torch.device("meta"):
        large = nn.Linear(2**15, 2**14)
    with pytest.raises(UnsupportedModelError, match=r"2\.00 GiB"):
        write_graph(large, {"x": torch.zeros(1, 2**15)}, {"x": {0: Dim("batch")}}, tmp_path / "g.onnx", {})
