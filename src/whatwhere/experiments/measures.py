"""What arms are compared by, in words."""

__all__ = ["MEASURES", "measure_of"]

MEASURES = {"accuracy": "accuracy", "ap": "AP", "voc07": "VOC07 mAP"}


def measure_of(summary: object) -> str:
    """The key of the measure in a summary's arms; summaries from before there were detectors do not say."""
    found = summary.get("measure") if isinstance(summary, dict) else None
    return found if found in MEASURES else "accuracy"
