"""From an array to an image file: what Pillow writes, and 16-bit colour and images of any number of channels."""

import base64
import io
import struct
import zlib

import numpy as np
from PIL import Image

from uit_jax.errors import UserError
from uit_jax.files import write_whole
from uit_jax.images.rasters import PNG
from uit_jax.paths import PathLike, as_path

# What files of a suffix hold: numbers of channels (() for any), and bits.
_HELD = {
    ".png": ((1, 2, 3, 4), (8, 16)),
    **dict.fromkeys((".jpg", ".jpeg", ".webp", ".bmp"), ((1, 3), (8,))),
    **dict.fromkeys((".tif", ".tiff", ".npy"), ((), (8, 16))),
}
_PNG_COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}  # by channels: gray, gray and opacity, RGB, RGBA


def holds(suffix: str, channels: int, depth: int) -> bool:
    """Tell whether `write` can write such images to files of a suffix, such as ".png"."""
    counts, depths = _HELD.get(suffix.lower(), ((), ()))
    return depth in depths and (not counts or channels in counts)


def write(path: PathLike, image: np.ndarray) -> None:
    """Write an image uint8 or uint16 [H, W, C] in the format of the name's suffix, whole or not at all.

    `.tif` and `.npy` hold any number of channels of 8 or 16 bits; PNG 1 to 4 (the 2nd or 4th is opacity to others);
    JPEG, WebP and BMP gray and colour of 8 bits.

    Raises:
      UserError: the suffix is none of these, cannot hold this image, or the file cannot be written.
      ValueError: the array is no image.
    """
    path, image = as_path(path), np.asarray(image)
    if image.ndim != 3 or image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"an image is uint8 or uint16 [H, W, C], not {image.dtype} {list(image.shape)}")
    suffix, channels, depth = path.suffix.lower(), image.shape[-1], image.dtype.itemsize * 8
    if suffix not in _HELD:
        raise UserError(f"{path}: images are written as {', '.join(_HELD)}")
    if not holds(suffix, channels, depth):
        able = [known for known in (".png", ".tif", ".npy") if holds(known, channels, depth)]
        count = f"{channels} channel{'s' * (channels != 1)}"
        raise UserError(f"{path}: {suffix} cannot hold {count} of {depth} bits; write {' or '.join(able)}")
    write_whole(path, _encoded(np.ascontiguousarray(image), suffix))


def as_data(image: Image.Image, quality: int = 80) -> str:
    """Return a picture as a data URI, WebP."""
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=quality, method=2)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()


def _encoded(image: np.ndarray, suffix: str) -> bytes:
    channels, stream = image.shape[-1], io.BytesIO()
    if suffix == ".npy":
        np.save(stream, image)
    elif suffix == ".png" and image.dtype == np.uint16:
        stream.write(_deep_png(image))
    elif suffix in (".tif", ".tiff") and (image.dtype == np.uint16 or channels not in (1, 3)):
        import tifffile

        kind = "rgb" if channels == 3 else "minisblack"
        layout = None if channels == 1 else "contig"
        image = image[..., 0] if channels == 1 else image
        tifffile.imwrite(
            stream, image, photometric=kind, planarconfig=layout, compression="zlib", predictor=True, metadata=None
        )
    else:
        picture = Image.fromarray(image[..., 0] if channels == 1 else image)
        picture.save(stream, Image.registered_extensions()[suffix], quality=95)
    return stream.getvalue()


def _deep_png(image: np.ndarray) -> bytes:
    """Encode uint16 [H, W, 1 to 4] as PNG, which Pillow cannot: each row as its difference from the one above."""
    height, width, channels = image.shape
    rows = image.astype(">u2").view(np.uint8).reshape(height, -1)
    above = np.concatenate([np.zeros_like(rows[:1]), rows[:-1]])
    filtered = np.concatenate([np.full((height, 1), 2, np.uint8), rows - above], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 16, _PNG_COLOURS[channels], 0, 0, 0)
    body = zlib.compress(filtered.tobytes(), 6)
    return PNG + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
