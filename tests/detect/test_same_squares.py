"""What a detector of one size learns from is what it sees when it is used."""

import torch

from whatwhere.data.box_transforms import Augmentation
from whatwhere.detect import build


def test_squares_are_made_alike_in_training_and_in_use() -> None:
    model = build("ssd-resnet8", 2, image_size=64).eval()
    image = torch.randint(256, (3, 150, 90), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    learnt = Augmentation("none", 64)(image, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), 0)[0]
    seen, trained = (model.transform([one.float() / 255])[0].tensors for one in (image, learnt))
    a_level = 1.0 / 255 / min(model.transform.image_std)
    assert (seen - trained).abs().max() <= a_level  # training has whole levels
