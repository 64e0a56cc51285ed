"""Class activation maps by torchcam, at the price of a forward and a little more.

Grad-CAM and its relatives differentiate the network's head alone: the part before the layer runs without a graph.
There are no guided variants, since torchcam has none.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from whatwhere.errors import HostError, closest, first_line
from whatwhere.explain.finding import bare
from whatwhere.explain.layer import layers, target_layer
from whatwhere.modes import evaluating

__all__ = ["METHODS", "Cam", "Cams", "cams"]

METHODS = {
    "gradcam": "GradCAM",
    "gradcampp": "GradCAMpp",
    "smoothgradcampp": "SmoothGradCAMpp",
    "xgradcam": "XGradCAM",
    "layercam": "LayerCAM",
    "scorecam": "ScoreCAM",
    "sscam": "SSCAM",
    "iscam": "ISCAM",
}
"""Each method and what torchcam calls it."""
_WITHOUT_GRADIENTS = ("scorecam", "sscam", "iscam")
_SEED = 0


class Cam:
    """Maps of where in the pictures a class is seen, for as many batches as pass inside one ``with``.

        with Cam(model) as cam:
            logits = model(images)
            maps = cam(logits, classes)

    Inside, the network is in eval mode and carries hooks; afterwards it is as it was, whatever was raised. Parameters
    get no gradients and may be frozen; an outer ``no_grad`` or ``inference_mode`` does not matter.

    Args:
        model: a classifier: images (B, C, H, W) -> logits (B, classes), with or without gates.
        method: one of ``METHODS``. Grad-CAM, Grad-CAM++, XGrad-CAM and LayerCAM cost one backward through the head for
            each class; Smooth Grad-CAM++ four forwards; Score-CAM one forward for each channel of the layer, IS-CAM
            ten times and SS-CAM 35 times as many, a class each.
        layer: the module whose output is weighed, named as before any gate was attached; None: ``target_layer``. Where
            what follows changes that output in place, the changed output is weighed.
        input_size: (channels, height, width) of the images, to find the layer with; None: 224 px a side.

    Smooth Grad-CAM++ and SS-CAM draw their noise from a seed of their own, the same for every batch and class.

    Raises:
        HostError: no such method or layer, or no layer was found.
        AttachError: the network does not run on images of this size.
    """

    def __init__(
        self,
        model: nn.Module,
        method: str = "gradcam",
        layer: str | None = None,
        input_size: Sequence[int] | None = None,
    ) -> None:
        call = f"Cam({type(model).__name__}, {method!r}{'' if layer is None else f', layer={layer!r}'})"
        if method not in METHODS:
            raise HostError(
                f"{call}: there is no method {method!r}",
                closest=closest(method, METHODS),
                fix=f"the methods are {', '.join(METHODS)}",
            )
        model = bare(model)
        known = layers(model)
        if layer is None:
            layer = target_layer(model, input_size, call)
        elif layer not in known:
            raise HostError(
                f"{call}: no module of the network is called {layer!r}",
                closest=closest(layer, known),
                fix="leave layer out, and the last feature map is taken",
            )
        self.method, self.layer = method, layer
        self._model, self._target, self._call = model, known[layer], call
        self._differentiates = method not in _WITHOUT_GRADIENTS
        self._map: Tensor | None = None  # what the layer gave in the last forward
        self._extractor: Any = None
        self._guard: ExitStack | None = None  # the grad modes around a forward that is under way

    def __enter__(self) -> "Cam":
        from torchcam import methods

        with ExitStack() as stack:
            stack.callback(self._forget)
            stack.enter_context(evaluating(self._model))
            stack.enter_context(self._model.register_forward_pre_hook(self._begin))
            stack.enter_context(self._model.register_forward_hook(self._end, prepend=True, always_call=True))
            stack.enter_context(self._target.register_forward_hook(self._start_graph))
            kind = getattr(methods, METHODS[self.method])
            self._extractor = stack.enter_context(kind(self._model, self._target, reshape_transform=Tensor.float))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()
        self._stack.close()

    def __call__(self, logits: Tensor, classes: Tensor) -> Tensor:
        """The maps of one batch.

        Args:
            logits: (B, classes) as the last forward gave them, still with their graph.
            classes: int64 (B, K), whose maps are wanted.
        Returns:
            float32 (B, K, h, w), as large as the layer's output; each from 0 to 1, or 0 throughout where the class is
            seen nowhere or everywhere alike.
        Raises:
            HostError: the classes or logits do not fit, or the logits do not depend on the layer.
        """
        call = "cam(logits, classes)"
        _check(logits, classes, call)
        if self._map is None:
            raise HostError(
                f"{call}: {self.layer!r} has not run",
                fix="call the network first, inside the same `with`, and not what torch.compile made of it",
            )
        held, options = self._map, {"retain_graph": True} if self._differentiates else {}
        maps: list[Tensor] = []
        try:
            with torch.inference_mode(False), self._model.register_forward_pre_hook(_in_own_dtype):
                for column in classes.T.tolist():
                    self._extractor.hook_a = [held.detach().float()]  # a method's own forwards leave theirs here
                    with _seeded():
                        maps += self._extractor(column, logits, normalized=False, **options)
        except RuntimeError as error:
            if error.__cause__ is None:  # not torchcam's word on gradients
                raise
            raise HostError(
                f"{call}: the logits have no gradient at {self.layer!r}",
                got=first_line(error.__cause__),
                fix="give logits of the last forward inside the `with`, and a layer that they depend on",
            ) from error
        finally:
            self._map = held
        return _normalised(torch.stack(maps, dim=1))

    def _forget(self) -> None:
        self._map = self._extractor = self._guard = None

    def _begin(self, model: nn.Module, args: Any) -> None:
        """Before a forward: no graph yet, and tensors that can be part of one later."""
        self._guard = ExitStack()
        self._guard.enter_context(torch.inference_mode(False))  # leaving it gives the grad mode back too
        torch.set_grad_enabled(False)

    def _start_graph(self, module: nn.Module, args: Any, output: Any) -> Tensor:
        if not isinstance(output, Tensor) or output.ndim != 4:
            raise HostError(
                f"{self._call}: the output of {self.layer!r} is no feature map (images, channels, rows, columns)",
                got=_in_words(output),
                fix="leave layer out, and the last feature map is taken",
            )
        features: Tensor = output
        if self._differentiates and self._guard is not None:
            torch.set_grad_enabled(True)
            if not features.requires_grad:
                features = features.detach().requires_grad_().clone()  # a leaf itself could not be changed in place
        self._map = features
        return features

    def _end(self, *_: Any) -> None:
        """After a forward, also one that failed."""
        if self._guard is not None:
            self._guard.close()
            self._guard = None


@dataclass(frozen=True, eq=False)
class Cams:
    """Maps of one batch, and what the network said to it; nothing has a graph.

    Attributes:
        maps: float32 (B, K, h, w), each from 0 to 1.
        classes: int64 (B, K), whose maps they are.
        probabilities: float32 (B, K), of these classes.
        logits: (B, classes), as the network gave them.
        layer: the module whose output was weighed.
    """

    maps: Tensor
    classes: Tensor
    probabilities: Tensor
    logits: Tensor
    layer: str


def cams(
    model: nn.Module,
    images: Tensor,
    *,
    method: str = "gradcam",
    layer: str | None = None,
    classes: Tensor | int | None = None,
    top: int = 1,
) -> Cams:
    """Class activation maps of one batch; see ``Cam``, which is for many.

    Args:
        model, method, layer: as for ``Cam``; what ``torch.compile`` gave is run in eager mode.
        images: (B, C, H, W), prepared as the network takes them.
        classes: int64 (B,) or (B, K), or one number for all images; None: the ``top`` most probable of each image.
        top: how many classes, where none are given.
    Raises:
        HostError: as ``Cam``, or there is no such class.
    """
    model = bare(model)
    call = f"cams({type(model).__name__}, images)"
    with Cam(model, method, layer, images.shape[1:]) as cam:
        logits = model(images)
        _check_logits(logits, call)
        chosen = _chosen(logits.detach(), classes, top, call)
        _check(logits, chosen, call)
        maps = cam(logits, chosen)
    logits = logits.detach()
    return Cams(maps, chosen, logits.float().softmax(dim=1).gather(1, chosen), logits, cam.layer)


def _chosen(logits: Tensor, classes: Tensor | int | None, top: int, call: str) -> Tensor:
    images, count = logits.shape
    if classes is None:
        if not 1 <= top <= count:
            raise HostError(f"{call}: top is a number of classes", got=f"top={top} of a network with {count} classes")
        return logits.topk(top, dim=1).indices
    if isinstance(classes, int):
        return torch.full((images, 1), classes, device=logits.device)
    return classes.to(logits.device).reshape(images, 1) if classes.shape == (images,) else classes.to(logits.device)


def _in_words(output: Any) -> str:
    return f"a tensor {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"


def _check_logits(logits: Any, call: str) -> None:
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        raise HostError(
            f"{call}: the network's output is one tensor of logits (images, classes)",
            got=_in_words(logits),
            fix="wrap the network in a module that returns the logits alone",
        )


def _check(logits: Any, classes: Tensor, call: str) -> None:
    _check_logits(logits, call)
    images, count = logits.shape
    if classes.dtype != torch.int64 or classes.ndim != 2 or classes.shape[0] != images or classes.shape[1] == 0:
        raise HostError(
            f"{call}: classes are int64 (images, classes), at least one for each image",
            got=f"{str(classes.dtype).removeprefix('torch.')} {tuple(classes.shape)} for {images} images",
        )
    odd = classes[(classes < 0) | (classes >= count)]
    if len(odd):
        raise HostError(f"{call}: class {int(odd[0])} of a network with {count} classes (0 to {count - 1})")


def _normalised(maps: Tensor) -> Tensor:
    low, high = torch.amin(maps, (-2, -1), keepdim=True), torch.amax(maps, (-2, -1), keepdim=True)
    return torch.where(high > low, (maps - low) / (high - low), 0.0)


def _in_own_dtype(model: nn.Module, args: Any) -> Any:
    """Smooth Grad-CAM++ adds float32 noise, which makes float32 images for a network of any dtype."""
    own = next(parameter.dtype for parameter in model.parameters() if parameter.is_floating_point())
    return args[0].to(own), *args[1:]


@contextmanager
def _seeded() -> Iterator[None]:
    """torchcam draws on the CPU, whatever the network's device."""
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(_SEED)
    try:
        yield
    finally:
        torch.set_rng_state(state)
