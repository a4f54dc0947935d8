"""Random numbers: every use has a generator of its own, all derived from one seed."""

import hashlib

import torch


def generator(seed: int, *names: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator that depends on the seed and on what it is used for, and on nothing that was drawn before."""
    digest = hashlib.sha256("/".join(map(str, (seed, *names))).encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:7], "big"))
