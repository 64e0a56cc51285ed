"""Small image files and annotated sets written on the spot, and short ways to read them as pictures."""

import numpy as np
import pytest
import torch
from PIL import Image

from whatwhere.errors import DataError
from whatwhere.explain.reading import pictures

SIZE = (8, 8)
# Mode, colour, ending, and the RGB that it becomes.
KINDS_OF_PIXELS = [
    ("L", 77, ".png", (77, 77, 77)),
    ("1", 1, ".png", (255, 255, 255)),
    ("LA", (77, 10), ".png", (77, 77, 77)),
    ("RGBA", (10, 20, 30, 40), ".png", (10, 20, 30)),
    ("CMYK", (0, 255, 255, 0), ".tif", (255, 0, 0)),
    ("I;16", 0x4D12, ".png", (0x4D, 0x4D, 0x4D)),
    ("I", 0x4D12, ".tif", (0x4D, 0x4D, 0x4D)),
]


def write_image(path, colour=(10, 20, 30), size=(12, 9), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, **options)
    return path


def read_pictures(*sources, size=SIZE, **options):
    found = pictures([str(source) for source in sources], image_size=size, **options)
    return list(found), found.problems


def names_of(*sources, **options):
    return [picture.name for picture in read_pictures(*sources, **options)[0]]


def refusal(*sources, **options):
    with pytest.raises(DataError) as caught:
        pictures([str(source) for source in sources], **{"image_size": SIZE, **options})
    return str(caught.value)


def noise(height=24, width=40):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_voc(root, **boxes):
    """Images of 16 x 8 and, of each, an XML file with boxes by class."""
    (root / "Annotations").mkdir(exist_ok=True)
    edges = ("xmin", "ymin", "xmax", "ymax")
    for name, objects in boxes.items():
        write_image(root / "JPEGImages" / f"{name}.jpg", size=(16, 8))
        things = "".join(
            f"<object><name>{kind}</name><bndbox>"
            + "".join(f"<{edge}>{value}</{edge}>" for edge, value in zip(edges, box, strict=True))
            + "</bndbox></object>"
            for kind, box in objects
        )
        xml = f"<annotation><size><width>16</width><height>8</height></size>{things}</annotation>"
        (root / "Annotations" / f"{name}.xml").write_text(xml)
    return root


def box_mask(x0, y0, x1, y1, size=SIZE):
    mask = torch.zeros(size, dtype=torch.bool)
    mask[y0:y1, x0:x1] = True
    return mask
