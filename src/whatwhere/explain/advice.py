"""Numbers of a gate in plain words."""

from collections.abc import Iterator

from whatwhere.explain.diagnosis import Diagnosis

__all__ = ["advice"]

# A factor that varies by less changes a map by less than one part in fifty.
_CONSTANT = 0.02
_SATURATED, _DEAD = 0.9, 0.2
# Total variation of the probabilities below which nobody would notice that the gate is gone.
_UNMOVED = 0.01
_BARELY = 0.02


def advice(found: Diagnosis) -> str:
    """What one who has to decide about the gate should know; "" where nothing is out of the ordinary.

    Thresholds: a factor is called constant when its spread is below 0.02, the same for all images when its spread over
    images is; saturated above 90 %; dead channels are told from 20 %; a gate does not matter when switching it off
    moves the probabilities by less than 0.01 and turns no prediction.
    """
    return "; ".join(_said(found))


def _said(found: Diagnosis) -> Iterator[str]:
    if found.strength is not None and abs(found.strength) < _BARELY:
        yield f"has hardly left the identity: strength {found.strength:.3g}"
    yield from _varies(found)
    ends = (found.saturated_low or 0.0) + (found.saturated_high or 0.0)
    if ends > _SATURATED:
        yield f"saturated: {ends:.0%} of its factor lies at the ends of its range"
    if found.dead is not None and found.dead >= _DEAD:
        yield f"{found.dead:.0%} of its channels are never raised, whatever the image"
    if found.flipped == 0 and found.moved is not None and found.moved < _UNMOVED:
        yield "switched off, it turns no prediction; could be taken out"


def _varies(found: Diagnosis) -> Iterator[str]:
    if found.sd is not None and found.sd < _CONSTANT:
        yield f"nearly constant: {found.mean:.3f}, spread {found.sd:.3f}; could be folded into the layer before it"
    elif found.sd_images is not None and found.sd_images < _CONSTANT:
        yield f"the same for every image: spread between images {found.sd_images:.3f}; could be fixed at its mean"
