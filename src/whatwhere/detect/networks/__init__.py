"""What detectors are made of, beside torchvision's parts."""

__all__: list[str] = []
