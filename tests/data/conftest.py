"""Folders of real image files."""

import pytest
from PIL import Image

from tests.data.image_files import encode, picture


@pytest.fixture
def class_folders(tmp_path):
    """Make class folders cat (12), dog (8) and eel (4) of JPEG files of 16 px; return their root."""
    root = tmp_path / "pets"
    for label, (name, count) in enumerate({"cat": 12, "dog": 8, "eel": 4}.items()):
        (root / name).mkdir(parents=True)
        for i in range(count):
            data = encode(Image.fromarray(picture(100 * label + i)), "JPEG", quality=95)
            (root / name / f"{name}{i:02d}.jpg").write_bytes(data)
    return root
