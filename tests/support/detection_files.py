"""Small detection sets written on the spot as COCO and VOC publish theirs."""

import json

import numpy as np
from PIL import Image

SIZES = [(40, 30), (30, 40), (36, 36)]


def write_picture(path, size, seed=0):
    """Smooth noise of that width and height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rough = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    Image.fromarray(rough).resize(size, Image.Resampling.BICUBIC).save(path)


def coco_content(count, first=1):
    """So many images, of `SIZES` in turn, number i with i % 3 objects; every fourth object is a crowd."""
    images, annotations = [], []
    for i in range(count):
        width, height = SIZES[i % 3]
        images.append({"id": first + i, "file_name": f"{first + i:04}.jpg", "width": width, "height": height})
        for j in range(i % 3):
            number = len(annotations)
            annotations.append(
                {
                    "id": 10 * first + number,
                    "image_id": first + i,
                    "category_id": (7, 3)[j],
                    "bbox": [2.5 + j, 4, 10, 8.5],
                    "area": 50 + number,
                    "iscrowd": int(number % 4 == 3),
                }
            )
    return {
        "images": images,
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": annotations,
    }


def write_coco(root, train=None, val=None):
    """A folder with 12 training and 6 validation images, or with the content given."""
    for part, content in (("train2017", train or coco_content(12)), ("val2017", val or coco_content(6, first=100))):
        for image in content["images"]:
            size = image["width"], image["height"]
            if isinstance(image["width"], int) and min(size) > 0:
                write_picture(root / "images" / part / image["file_name"], size, image["id"])
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{part}.json").write_text(json.dumps(content))
    return root


def write_voc(root, lists, name="dog", size=(20, 16)):
    """One year: ``lists`` of image names by part, each image with one easy object and one difficult person."""
    for part, ids in lists.items():
        (root / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
        (root / "ImageSets" / "Main" / f"{part}.txt").write_text("".join(f"{number}\n" for number in ids))
        for number in ids:
            write_annotation(root, number, ((name, 1, 2, 10, 12, 0), ("person", 3, 3, 3, 3, 1)), size)
            write_picture(root / "JPEGImages" / f"{number}.jpg", size)
    return root


def write_annotation(root, number, things, size=(20, 16)):
    """Its objects: name, xmin, ymin, xmax, ymax, difficult."""
    parts = [
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin>"
        f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for name, x0, y0, x1, y1, difficult in things
    ]
    file = root / "Annotations" / f"{number}.xml"
    file.parent.mkdir(parents=True, exist_ok=True)
    shape = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    file.write_text(f"<annotation>{shape}{''.join(parts)}</annotation>")
