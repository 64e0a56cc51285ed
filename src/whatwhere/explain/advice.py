"""Numbers of a gate in plain words."""

from collections.abc import Iterator

from whatwhere.explain.diagnosis import Diagnosis

__all__ = ["advice"]

# With fewer images nothing is said that rests on images.
_FEWEST = 16
# A factor that varies by less changes a map by less than one part in fifty.
_CONSTANT = 0.02
_SATURATED, _DEAD = 0.9, 0.2
# Total variation of the probabilities below which nobody would notice that the gate is gone.
_UNMOVED = 0.01
_BARELY = 0.02


def advice(found: Diagnosis) -> tuple[str, ...]:
    """What one who has to decide about the gate should know, remark by remark; nothing where all is ordinary.

    Nothing but its strength is spoken of before a gate has seen 16 images. Thresholds: a factor is called constant when
    its spread is below 0.02, the same for all images when its spread over images is; saturated above 90 %; dead
    channels are told from 20 %; a gate does not matter when switching it off moves the probabilities by less than 0.01
    and turns no prediction.
    """
    return *_of_strength(found.strength), *(_of_images(found) if found.images >= _FEWEST else ())


def _of_strength(strength: float | None) -> Iterator[str]:
    if strength is not None and abs(strength) < _BARELY:
        yield f"has hardly left the identity: strength {strength:.3g}"
    elif strength is not None and strength < 0:
        said = "so it raises most what its sigmoid lets through least"
        yield f"acts the other way round: strength {strength:.3g}, {said}"


def _of_images(found: Diagnosis) -> Iterator[str]:
    yield from _varies(found)
    ends = (found.saturated_low or 0.0) + (found.saturated_high or 0.0)
    if ends > _SATURATED:
        yield f"saturated: {ends:.0%} of its factor lies at the ends of its range"
    if found.dead is not None and found.dead >= _DEAD:
        yield f"{found.dead:.0%} of its channels are never raised, whatever the image"
    if found.probed >= _FEWEST and found.flipped == 0 and found.moved is not None and found.moved < _UNMOVED:
        yield f"switched off, it turns none of {found.probed} predictions; could be taken out"


def _varies(found: Diagnosis) -> Iterator[str]:
    if found.sd is not None and found.sd < _CONSTANT:
        yield f"nearly constant: {found.mean:.3f}, spread {found.sd:.3f}; could be folded into the layer before it"
    elif found.sd_images is not None and found.sd_images < _CONSTANT:
        yield f"the same for every image: spread between images {found.sd_images:.3f}; could be fixed at its mean"
