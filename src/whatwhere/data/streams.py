"""Data sets that are streamed: a folder tree or shards, whichever lies there."""

from pathlib import Path

from whatwhere.data.decode import need_pillow
from whatwhere.data.folder import list_parts
from whatwhere.data.readers import Readers
from whatwhere.data.shards import has_shards, open_shards
from whatwhere.data.split import assign
from whatwhere.data.stream import Source, Stream

__all__ = ["IMAGENET", "streams"]

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of ImageNet's channels, as the networks published with torchvision expect them."""


def streams(
    call: str,
    root: Path,
    *,
    cache: Path,
    validation: float,
    seed: int,
    limit: int | None,
    readers: Readers,
    fix: str,
    names: tuple[str, ...] = ("train", "val", "test"),
) -> tuple[tuple[str, ...], Stream, Stream, Stream]:
    """Class names, and streams of training, validation and test images, shared out as in `assign`.

    Args:
        call: the call as the user wrote it, for messages.
        root: a folder of shards, or of the folders of the parts.
        cache: where an index of shards may go.
        validation: share of ``train`` to choose by; without effect where ``val`` and ``test`` both exist.
        seed: of the split.
        limit: training images kept.
        readers: the processes that will decode.
        fix: what to do where the parts are not there.
        names: of the parts to look for.

    Raises:
        DataError: Pillow or parts are missing, or not of this form.
        OSError: the system refuses.
    """
    need_pillow(call)
    chosen: tuple[Source, Source, Source]
    if has_shards(root):
        classes, shards = open_shards(call, root, cache=cache, fix=fix, names=names)
        chosen = assign(shards, validation=validation, seed=seed, limit=limit)
    else:
        classes, listings = list_parts(call, root, fix=fix, names=names)
        chosen = assign(listings, validation=validation, seed=seed, limit=limit)
    learn, choose, report = (Stream(source, readers) for source in chosen)
    return classes, learn, choose, report
