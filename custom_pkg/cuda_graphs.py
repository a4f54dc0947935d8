"""Updates on a GPU as CUDA graphs: the models are small, and an update launched kernel by kernel waits for Python."""

from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor

Outputs = tuple[Tensor, ...]  # a NamedTuple, of detached tensors: a replay writes into the same ones
Recording = tuple[torch.cuda.CUDAGraph, list[Tensor], Outputs]
WARM_UP = 3  # calls that are made as they are: they create optimiser states and choose algorithms


class Graphed:
    """An update that is recorded at its fourth call on a GPU, and replayed from then on; elsewhere the plain update.

    Calls with tensors of other shapes or types, or with other keyword arguments, have recordings of their own. What
    else the update depends on must not change (learning rates, training or evaluation mode, autocast), unless all is
    recorded anew (`forget`). The tensors that come back are only valid until the next call. All random numbers must
    come from `generator`, and optimisers must be `capturable`.
    """

    def __init__(self, update: Callable[..., Outputs], device: torch.device, generator: torch.Generator):
        """update: takes tensors, and keyword arguments that can be hashed; nothing in it may wait for the GPU."""
        self._update, self._generator = update, generator
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._calls: Counter[tuple] = Counter()
        self._recorded: dict[tuple, Recording] = {}

    def __call__(self, *tensors: Tensor, **keywords: object) -> Outputs:
        if self._stream is None:
            return self._update(*tensors, **keywords)
        key = tuple((tensor.shape, tensor.dtype) for tensor in tensors), tuple(sorted(keywords.items()))
        self._calls[key] += 1
        if self._calls[key] <= WARM_UP:
            return self._as_it_is(self._stream, *tensors, **keywords)
        if key not in self._recorded:
            self._recorded[key] = self._record(tensors, keywords)
        graph, inputs, output = self._recorded[key]
        for place, tensor in zip(inputs, tensors, strict=True):
            place.copy_(tensor)
        graph.replay()
        return output

    def forget(self) -> None:
        """Record anew, from the fourth call after this one."""
        self._calls.clear()
        self._recorded.clear()

    def _as_it_is(self, stream: torch.cuda.Stream, *tensors: Tensor, **keywords: object) -> Outputs:
        """On the stream of the recording, so that cuBLAS makes its workspace of that stream before it."""
        stream.wait_stream(torch.cuda.current_stream(stream.device))
        with torch.cuda.stream(stream):
            output = self._update(*tensors, **keywords)
        torch.cuda.current_stream(stream.device).wait_stream(stream)
        return output

    def _record(self, tensors: tuple[Tensor, ...], keywords: dict) -> Recording:
        """Records the launches. Nothing is computed: the replay that follows makes the update."""
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._generator)
        inputs = [tensor.clone() for tensor in tensors]
        with torch.cuda.graph(graph, stream=self._stream):
            output = self._update(*inputs, **keywords)
        return graph, inputs, output
