"""Exported runs: the weights that an evaluation needs, and what must be known of them, in one safetensors file.

Such a file is a header of JSON and raw numbers, so that nothing in it can run. `checkpoints.load_run` reads it as it
reads a checkpoint; it has no optimisers, counters or random states, and training cannot go on from it.
"""

import json
from collections.abc import Mapping

import safetensors.torch
import torch
from torch import Tensor

from custom_pkg.errors import UserError
from custom_pkg.hostile_files import first_not_finite

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
KEPT = ("format", "version", "script", "options", "data", "device", "position")  # of a checkpoint
MAX_HEADER_BYTES = 2**20  # those of the published settings have a few kB


def description(saved: dict, metrics: dict) -> str:
    """JSON of what is KEPT of a checkpoint, without the places where it was made, and of the metrics."""
    options = {name: value for name, value in saved["options"].items() if name not in ("data_root", "device")}
    data = saved["data"] | {"source": saved["data"]["name"]}
    return json.dumps(
        {name: saved[name] for name in KEPT} | {"options": options, "data": data, "metrics": metrics}, indent=1
    )


def pack(described: str, weights: Mapping[str, Mapping[str, Tensor]], dtype: str) -> bytes:
    """The content of a file: a `description`, and the networks' weights, network -> name -> tensor.

    Floating-point weights are rounded to one of DTYPES. Raises UserError where that cannot hold them.
    """
    tensors = {
        f"{name}.{key}": (tensor.to(DTYPES[dtype]) if tensor.is_floating_point() else tensor).contiguous().clone()
        for name, state in weights.items() for key, tensor in state.items()
    }
    if too_large := first_not_finite(tensors):
        raise UserError(f"{too_large} has values that {dtype} cannot hold: give --dtype=bfloat16 or float32")
    return safetensors.torch.save(tensors, {"run": described})


def is_packed(content: bytes) -> bool:
    return content[8:9] == b"{"


def unpack(content: bytes) -> dict:
    """What a checkpoint would hold, the weights as float32, and "metrics". Raises whatever a foreign file provokes."""
    length = int.from_bytes(content[:8], "little")
    if length > MAX_HEADER_BYTES:
        raise ValueError("its header is too large")
    tensors = safetensors.torch.load(content)  # first: it compares the header with the bytes
    description = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["run"])
    state: dict[str, dict[str, Tensor]] = {}
    for full_name, tensor in tensors.items():
        name, _, key = full_name.partition(".")
        state.setdefault(name, {})[key] = tensor.float() if tensor.is_floating_point() else tensor
    return {name: description.get(name) for name in (*KEPT, "metrics")} | {"state": state, "logs": {}}
