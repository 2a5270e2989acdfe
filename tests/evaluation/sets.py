"""Images of three classes, each of one colour, and a judge that is small enough to be trained on them."""

import numpy as np
from PIL import Image

SIZE = 16
STEPS = 100  # of a judge's training: one number for all tests, whose compiled step is then one program
SMALL = dict(width=4, batch_size=16, learning_rate=1e-2)
CLASSES = {"a_red": 0, "b_green": 1, "c_blue": 2}


def paint(path, channel, rng):
    """Write an image whose brightest channel is `channel`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = rng.integers(0, 120, (SIZE, SIZE, 3))
    image[..., channel] += 100
    Image.fromarray(image.astype(np.uint8)).save(path)


def write_set(root, *, wrong=0, labelled=True, test=12, train=30):
    """Write a split tree of three classes; the first `wrong` test images of a_red look green."""
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        for name, channel in CLASSES.items():
            for i in range(count):
                mistaken = split == "test" and channel == 0 and i < wrong
                folder = name if labelled else "."
                paint(root / split / folder / f"{name}{i}.png", 1 if mistaken else channel, rng)
