"""Checkpoints may come from strangers: what is looked at before torch unpacks one, and after."""

import io
import pickletools
import zipfile
from collections import deque
from collections.abc import Iterator

import torch

from custom_pkg.options import shown

NAMES = {  # what the pickle in a checkpoint may ask for: torch allows itself more, `bytearray` of any size among it
    "collections OrderedDict", "torch._utils _rebuild_tensor_v2",
    *(f"torch {kind}Storage" for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Byte", "Bool")),
}


def check_archive(content: bytes) -> None:
    """Raise ValueError for what `save` never writes: damaged or compressed records, and foreign names in the pickle."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        records = archive.infolist()
        stored = all(record.compress_type == zipfile.ZIP_STORED for record in records)
        if not stored or sum(record.file_size for record in records) > len(content):
            raise ValueError("it would unpack to more than it is")
        if archive.testzip():  # compares every record with its checksum
            raise ValueError("a checksum is wrong")
        for record in records:
            if record.filename.endswith(".pkl"):
                with archive.open(record) as pickle:
                    for opcode, argument, _ in pickletools.genops(pickle):
                        foreign = opcode.name in ("STACK_GLOBAL", "INST") or opcode.name.startswith("EXT")
                        if foreign or (opcode.name == "GLOBAL" and argument not in NAMES):
                            raise ValueError("it asks for what is no tensor")


def check_tensors(state) -> None:
    """Raise ValueError for tensors that claim to be larger than what is stored of them, or are not finite."""
    for name, tensor in tensors(state):
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ValueError(f"{shown(name)} is larger than its values")
    not_finite = first_not_finite(state)
    if not_finite:
        raise ValueError(f"{shown(not_finite)} is not finite")


def first_not_finite(state) -> str | None:
    """The name of the first floating-point tensor that holds an infinity or a NaN."""
    floats = ((name, tensor) for name, tensor in tensors(state) if tensor.is_floating_point())
    return next((name for name, tensor in floats if not tensor.isfinite().all()), None)


def tensors(state) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, tensor) of all that a state holds. Each container is looked into once, however often it occurs."""
    seen, waiting = set(), deque([("", state)])
    while waiting:
        name, value = waiting.popleft()
        if isinstance(value, torch.Tensor):
            yield name, value
        elif isinstance(value, dict | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            items = value.items() if isinstance(value, dict) else enumerate(value)
            waiting.extend((f"{name}.{key}" if name else str(key), inner) for key, inner in items)
