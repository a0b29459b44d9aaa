"""Which arithmetic pays on this processor."""

from __future__ import annotations

import torch


def fast_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 natively; without that, autocast is ten times slower than float32."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
