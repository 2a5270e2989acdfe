"""Embedded colour profiles (ICC): from the colours that a file means to sRGB."""

import functools
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms

_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}  # of profiles, by the mode of the pixels
_SAME = 2  # levels of 255 by which a profile that is sRGB moves colours at most: sRGB is written down in several ways
_SRGB = ImageCms.createProfile("sRGB")


class Conversion(NamedTuple):
    """What a file's profile asks for: "sRGB" (nothing), "converted" or "unusable"; how its pixels are converted."""

    state: str
    transform: ImageCms.ImageCmsTransform | None = None


def conversion(image: Image.Image) -> Conversion | None:
    """Say what the profile of an opened image asks for; None where it has none."""
    profile = image.info.get("icc_profile")
    if not profile or not isinstance(profile, bytes):
        return None
    gray = image.mode[0] in "1LI"
    return _conversion(profile, "CMYK" if image.mode == "CMYK" else "L" if gray and image.mode != "LAB" else "RGB")


# Most photographs of a folder have one and the same.
@functools.lru_cache(maxsize=64)
def _conversion(profile: bytes, mode: str) -> Conversion:
    try:
        found = ImageCms.ImageCmsProfile(ImageCms.core.profile_frombytes(profile))
        if found.profile.xcolor_space.strip() != _SPACES[mode]:
            return Conversion("unusable")
        transform = ImageCms.buildTransform(
            found,
            _SRGB,
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        return Conversion("sRGB") if _keeps(transform, mode) else Conversion("converted", transform)
    except Exception:  # on hostile bytes nearly any type
        return Conversion("unusable")


def _keeps(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Tell whether a conversion leaves colours, spread over all there are, as they are."""
    if mode == "CMYK":
        return False
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    colours = levels[:, None] if mode == "L" else np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, 3)
    image = Image.fromarray(colours if mode == "L" else colours[None])
    shown = np.asarray(ImageCms.applyTransform(image, transform)).astype(int)
    return np.abs(shown - np.asarray(image.convert("RGB"))).max() <= _SAME
