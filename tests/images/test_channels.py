"""Any number of channels, 8 or 16 bits: what is in a file arrives, and what cannot arrive is one clear line."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.data.domains import open_domains
from tests.data.image_files import encode, picture
from uit_jax.data import batches, describe, examples, open_source, side_batches
from uit_jax.data.check import check
from uit_jax.data.packing import pack
from uit_jax.errors import UserError
from uit_jax.images.decode import Unreadable, WrongChannels, decode, resize, to_channels, to_depth
from uit_jax.images.encode import write
from uit_jax.images.rasters import dimensions, file_dimensions

WHITE = 65535


def _deep(channels, seed=0, height=12, width=10):
    return np.random.default_rng(seed).integers(0, 65536, (height, width, channels), np.uint16)


def _smooth(channels, height=40, width=30):
    rows, columns = np.mgrid[:height, :width]
    return np.stack([np.sin(rows / (3 + c)) * np.cos(columns / (4 + c)) for c in range(channels)], -1) * 30000 + 32768


def _tiff(array, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, **options)
    return stream.getvalue()


def _lzw_tiff(array, *, byteorder, **options):
    """Return a TIFF whose strip Pillow has compressed, as bytes of gray: what is installed here writes no other LZW."""
    gray = array.astype(f"{byteorder}u2").view(np.uint8).reshape(len(array), -1)
    compressed = encode(Image.fromarray(gray), "TIFF", compression="tiff_lzw", strip_size=gray.size)
    with tifffile.TiffFile(io.BytesIO(compressed)) as file:
        (start,), (count,) = file.pages[0].dataoffsets, file.pages[0].databytecounts
    stream, shape = io.BytesIO(), array.shape if array.shape[-1] > 1 else array.shape[:2]
    strips = iter([compressed[start : start + count]])
    tifffile.imwrite(stream, strips, shape=shape, dtype=np.uint16, compression="zlib", rowsperstrip=len(array),
                     byteorder=byteorder, **options)  # fmt: skip
    stream.seek(0)
    with tifffile.TiffFile(stream) as file:
        file.pages[0].tags["Compression"].overwrite(5)
    return stream.getvalue()


def _npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def _deep_png(array):
    """Return a 16-bit PNG written by TensorFlow."""
    tf = pytest.importorskip("tensorflow")
    return tf.io.encode_png(array).numpy()


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_arrays_arrive_as_they_are(channels, dtype):
    array = _deep(channels).astype(dtype)
    depth = array.itemsize * 8
    np.testing.assert_array_equal(decode(_npy(array), channels=channels, depth=depth), array)
    big = _npy(np.asfortranarray(array.astype(np.dtype(dtype).newbyteorder(">"))))
    assert decode(big, channels=channels, depth=depth).dtype == dtype
    np.testing.assert_array_equal(decode(big, channels=channels, depth=depth), array)
    other = decode(_npy(array), channels=channels, depth=24 - depth)
    np.testing.assert_array_equal(other, array >> 8 if depth == 16 else array.astype(np.uint16) * 257)
    assert dimensions(_npy(array)) == (12, 10)


def test_gray_arrays_need_no_channel_axis():
    array = _deep(1)[..., 0]
    np.testing.assert_array_equal(decode(_npy(array), channels=1, depth=16)[..., 0], array)
    np.testing.assert_array_equal(decode(_npy(array), channels=3, depth=16), np.repeat(array[..., None], 3, -1))


@pytest.mark.parametrize("layout", ["contig", "separate"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 12])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiffs_arrive_as_they_are(channels, dtype, layout):
    array = _deep(channels).astype(dtype)
    stored = np.moveaxis(array, -1, 0) if layout == "separate" else array
    data = _tiff(array[..., 0] if channels == 1 else stored, photometric="minisblack",
                 planarconfig=None if channels == 1 else layout, metadata=None)  # fmt: skip
    np.testing.assert_array_equal(decode(data, channels=channels, depth=array.itemsize * 8), array)
    assert dimensions(data) == (12, 10)


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bit_tiffs_of_any_compression(channels, byteorder, compression):
    array = _deep(channels, seed=channels)
    kind = "minisblack" if channels == 1 else "rgb"
    if compression == "lzw":
        data = _lzw_tiff(array, photometric=kind, byteorder=byteorder)
    else:
        data = _tiff(array.squeeze(), photometric=kind, byteorder=byteorder, compression=compression,
                     predictor=bool(compression))  # fmt: skip
    np.testing.assert_array_equal(decode(data, channels=channels, depth=16), array)
    np.testing.assert_array_equal(decode(data, channels=channels), array >> 8)


def test_gray_pages_are_channels_where_as_many_are_wanted():
    array = _deep(6)
    data = _tiff(np.moveaxis(array, -1, 0), photometric="minisblack", metadata=None)
    np.testing.assert_array_equal(decode(data, channels=6, depth=16), array)
    np.testing.assert_array_equal(decode(data, channels=1, depth=16), array[..., :1])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiffs_are_turned_upright_alike(tmp_path, orientation):
    array = _deep(3).astype(np.uint8)
    tag = [(274, "H", 1, orientation, True)]
    by_pillow = decode(_tiff(array, photometric="rgb", extratags=tag), channels=3)
    for data in (_tiff(array, photometric="minisblack", planarconfig="contig", extratags=tag),
                 _tiff(array.astype(np.uint16) << 8, photometric="rgb", extratags=tag)):  # fmt: skip
        np.testing.assert_array_equal(decode(data, channels=3), by_pillow)
        (tmp_path / "file").write_bytes(data)
        assert dimensions(data) == file_dimensions(tmp_path / "file") == by_pillow.shape[:2]
    deep = decode(_tiff(array.astype(np.uint16) * 257, photometric="rgb", extratags=tag), channels=3, depth=16)
    np.testing.assert_array_equal(deep, by_pillow.astype(np.uint16) * 257)


def test_the_size_of_a_file_is_that_of_its_image(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6
    for data, size in (
        (_npy(_deep(7)), (12, 10)),
        (encode(Image.fromarray(picture(0, 14, 20)), "JPEG"), (14, 20)),
        (encode(Image.fromarray(picture(0, 14, 20)), "PNG", exif=turned), (20, 14)),
        (_tiff(_deep(5), photometric="minisblack", planarconfig="contig"), (12, 10)),
    ):
        (tmp_path / "file").write_bytes(data)
        assert file_dimensions(tmp_path / "file") == size
    (tmp_path / "file").write_bytes(b"junk")
    with pytest.raises(Unreadable):
        file_dimensions(tmp_path / "file")
    with pytest.raises(OSError):
        file_dimensions(tmp_path / "absent")


def test_white_may_be_zero():
    array = _deep(1)[..., 0]
    for depth in (8, 16):
        data = _tiff(array, photometric="miniswhite")
        np.testing.assert_array_equal(decode(data, channels=1, depth=depth)[..., 0], (WHITE - array) >> (16 - depth))
    eight = _tiff(array.astype(np.uint8), photometric="miniswhite")
    np.testing.assert_array_equal(decode(eight, channels=1)[..., 0], 255 - array.astype(np.uint8))
    five = _tiff(_deep(5), photometric="miniswhite", planarconfig="contig")
    np.testing.assert_array_equal(decode(five, channels=5, depth=16), WHITE - _deep(5))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bit_pngs(channels):
    array = _deep(channels)
    data = _deep_png(array)
    if channels in (2, 4):
        np.testing.assert_array_equal(decode(data, channels=channels, depth=16), array)
        np.testing.assert_array_equal(decode(data, channels=channels), array >> 8)
        colours, alpha = array[..., :-1].astype(float), array[..., -1:] / WHITE
        expected = np.rint(colours * alpha + WHITE * (1 - alpha))
        assert np.abs(decode(data, channels=channels - 1, depth=16) - expected).max() <= 1
    else:
        np.testing.assert_array_equal(decode(data, channels=channels, depth=16), array)
        np.testing.assert_array_equal(decode(data, channels=channels), array >> 8)
    assert dimensions(data) == (12, 10)


def test_a_transparent_colour_of_sixteen_bits_becomes_white():
    import struct
    import zlib

    array = _deep(3)
    data = _deep_png(array)
    kind = b"tRNS" + struct.pack(">HHH", *map(int, array[2, 3]))
    chunk = struct.pack(">I", 6) + kind + struct.pack(">I", zlib.crc32(kind))
    place = data.index(b"IDAT") - 4
    expected = array.copy()
    expected[2, 3] = WHITE
    decoded = decode(data[:place] + chunk + data[place:], channels=3, depth=16)
    np.testing.assert_array_equal(decoded, expected)


def test_eight_bits_are_scaled_to_sixteen():
    colours = picture(3)
    for format in ("PNG", "BMP", "TIFF"):
        deep = decode(encode(Image.fromarray(colours), format), channels=3, depth=16)
        np.testing.assert_array_equal(deep, colours.astype(np.uint16) * 257, format)
    assert to_depth(np.array([0, 255], np.uint8), 16).tolist() == [0, WHITE]
    assert to_depth(np.array([0, WHITE], np.uint16), 8).tolist() == [0, 255]


def test_gray_and_colour_become_each_other_at_sixteen_bits():
    array = _deep(3)
    gray = decode(_npy(array), channels=1, depth=16)[..., 0]
    assert np.abs(gray - array @ [0.299, 0.587, 0.114]).max() < 1
    np.testing.assert_array_equal(to_channels(np.full((1, 2, 3), WHITE, np.uint16), 1), np.full((1, 2, 1), WHITE))
    np.testing.assert_array_equal(decode(_npy(array[..., 0]), channels=3, depth=16), array[..., [0, 0, 0]])


def test_the_channels_of_rgba_and_cmyk_can_be_had_as_they_are():
    array = _deep(4).astype(np.uint8)
    for image in (Image.fromarray(array), Image.fromarray(array, "CMYK")):
        np.testing.assert_array_equal(decode(encode(image, "TIFF"), channels=4), array)
    np.testing.assert_array_equal(decode(encode(Image.fromarray(array), "PNG"), channels=4), array)
    deep = decode(encode(Image.fromarray(array), "PNG"), channels=4, depth=16)
    np.testing.assert_array_equal(deep, array.astype(np.uint16) * 257)


@pytest.mark.parametrize("resample", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(13, 13), (64, 64), (20, 50)])
def test_all_depths_and_channels_are_resized_alike(size, resample):
    smooth = np.clip(_smooth(3), 0, WHITE)
    eight = np.rint(smooth / 257).astype(np.uint8)
    sixteen = eight.astype(np.uint16) * 257
    filter = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[resample]
    expected = np.asarray(Image.fromarray(eight).resize(size[::-1], filter))
    np.testing.assert_array_equal(resize(eight, size, resample), expected)
    np.testing.assert_array_equal(resize(np.concatenate([eight, eight], -1), size, resample)[..., 3:], expected)
    # With 8 bits, Pillow rounds after the rows and again after the columns.
    assert np.abs(resize(sixteen, size, resample) / 257 - expected).max() < 1.1
    if size == (13, 13):
        decoded = decode(_npy(sixteen), size=13, channels=3, depth=16, resample=resample)
        np.testing.assert_array_equal(decoded, resize(sixteen, size, resample))
        direct = decode(encode(Image.fromarray(eight), "PNG"), size=13, channels=3, resample=resample)
        np.testing.assert_array_equal(direct, expected)


def test_bicubic_overshoot_is_clipped():
    edge = np.zeros((16, 16, 1), np.uint16)
    edge[:, 8:] = WHITE
    big = resize(edge, (64, 64), "bicubic")
    assert big.min() == 0 and big.max() == WHITE and big[0, 0, 0] == 0 and big[0, -1, 0] == WHITE
    assert np.all(np.diff(big[0, 28:36, 0].astype(int)) >= 0)  # nothing wraps around


@pytest.mark.parametrize(
    "data, reason",
    [
        (_npy(np.zeros((4, 4), np.float32)), "floating-point.*save the array with 8 or 16 bits"),
        (_npy(np.zeros((4, 4), np.int64)), "array of int64; save it as uint8 or uint16"),
        (_npy(np.zeros((2, 4, 4, 3), np.uint8)), r"shape \(2, 4, 4, 3\); an image is"),
        (_npy(np.zeros((0, 4), np.uint8)), "shape"),
        (_npy(np.zeros((4, 4), np.uint8))[:-3], "damaged array"),
        (_npy(np.zeros((4, 4), np.uint8))[:20], "damaged array"),
        (_npy(np.array([[{}]], object)), "array of object"),
        (_tiff(np.zeros((4, 4, 5), np.float32), photometric="minisblack", planarconfig="contig"), "floating-point"),
        (_tiff(np.full((4, 4, 5), 70000, np.uint32), photometric="minisblack", planarconfig="contig"), "16 bits"),
        (_tiff(np.zeros((4, 4, 5), np.uint16), photometric="minisblack", planarconfig="contig")[:150], "."),
        (b"II*\0 and nothing else", "."),
        (_deep_png(_deep(3))[:200], "."),
    ],
)
@pytest.mark.filterwarnings("ignore:Truncated File Read", "ignore:Corrupt EXIF")
def test_unreadable_arrays_and_tiffs_say_why(data, reason):
    for options in ({"channels": 5}, {"channels": 3}, {"channels": 3, "depth": 16}):
        with pytest.raises(Unreadable, match=reason):
            decode(data, **options)
    with pytest.raises(Unreadable):
        dimensions(data[:60])


def test_channels_that_cannot_be_made():
    for found, wanted in [(5, 3), (3, 5), (1, 2), (2, 3), (4, 1)]:
        with pytest.raises(WrongChannels, match=f"has {found} channels?, of which {wanted} cannot be made"):
            decode(_npy(_deep(found)), channels=wanted)
    with pytest.raises(WrongChannels, match="has 3 channels, of which 6"):
        decode(encode(Image.fromarray(picture(0)), "JPEG"), channels=6)
    five = _tiff(_deep(5).astype(np.uint8), photometric="rgb", planarconfig="contig")  # Pillow reads three of them
    with pytest.raises(WrongChannels, match="has 5 channels"):
        decode(five, channels=3)


# Sources


def _fill(folder, count, channels, *, suffix=".npy", dtype=np.uint16, size=(16, 16)):
    for i in range(count):
        write(folder / f"{i:02d}{suffix}", _deep(channels, i, *size).astype(dtype))
    return str(folder)


def test_domains_of_other_channels(tmp_path):
    a, b = _fill(tmp_path / "a", 5, 7), _fill(tmp_path / "b", 6, 1, suffix=".tif")
    pair = open_domains(a, b, size=16, channels=7, target_channels=1, depth=16)
    assert "7 channels of 16 bits" in describe(pair) and pair["b"].shape == (16, 16, 1)
    with side_batches(pair, batch_size=4, seed=0) as loader:
        batch = loader.batch(0)
        assert loader.pipelines == ("threads", "threads")
    assert batch["a"].shape == (4, 16, 16, 7) and batch["b"].shape == (4, 16, 16, 1)
    assert batch["a"].dtype == batch["b"].dtype == np.uint16
    known = {_deep(7, i, 16, 16).tobytes() for i in range(5)}
    assert all(image.tobytes() in known for image in batch["a"])
    with side_batches(pair, batch_size=4, seed=0, pipeline="tf.data") as loader:
        np.testing.assert_array_equal(loader.batch(0)["a"], batch["a"])
    back = open_domains(a, b, size=16, direction="BtoA", channels=1, target_channels=7)
    assert back["a"].channels == 1 and back["b"].image(0).dtype == np.uint8


def test_wrong_channels_are_a_matter_of_settings_not_of_a_file(tmp_path):
    a, b = _fill(tmp_path / "a", 5, 5), _fill(tmp_path / "b", 5, 3)
    for options, line in [
        ({}, "a/00.npy: has 5 channels, of which 3 cannot be made; set data.channels=5"),
        ({"channels": 5}, "b/00.npy: has 3 channels, of which 5 cannot be made; set data.target_channels=3"),
        ({"channels": 5, "target_channels": 2}, "b/00.npy: has 3 channels, .* set data.target_channels=3"),
    ]:
        with pytest.raises(UserError, match=line):
            open_domains(a, b, size=16, **options)
    write(tmp_path / "b" / "03.npy", _deep(2))
    pair = open_domains(a, b, size=16, channels=5, target_channels=3)
    with pytest.raises(UserError, match="b/03.npy: has 2 channels"), side_batches(pair, batch_size=5, seed=0) as loader:
        for step in range(9):
            loader.batch(step)
    with pytest.raises(UserError, match="b/03.npy: has 2 channels"):
        examples(pair["b"], range(5))
    assert not pair["b"].unreadable
    with pytest.raises(UserError, match="data.target_channels is 7; the procedural world has 1 or 3"):
        open_domains(a, "procedural#0", size=16, channels=5, target_channels=7)


def test_arrays_are_images_of_a_folder_that_has_no_others(tmp_path):
    spec = _fill(tmp_path / "a", 3, 3)
    assert len(open_source(spec, size=16)) == 3
    (tmp_path / "a" / "picture.png").write_bytes(encode(Image.fromarray(picture(0)), "PNG"))
    assert len(open_source(spec, size=16)) == 1


def test_single_sources_of_sixteen_bits(tmp_path):
    source = open_source(_fill(tmp_path / "a", 8, 3, suffix=".png"), size=16, depth=16)
    with batches(source, batch_size=8, seed=0) as loader:
        batch = loader.batch(0)
    assert batch["image"].dtype == np.uint16 and batch["label"].tolist() == [-1] * 8
    assert {image.tobytes() for image in batch["image"]} == {_deep(3, i, 16, 16).tobytes() for i in range(8)}
    assert examples(source, [1]).dtype == examples(source, []).dtype == np.uint16
    world, eight = (open_source("procedural:count=9", size=16, depth=depth) for depth in (16, 8))
    np.testing.assert_array_equal(world.images([2, 4]), eight.images([2, 4]).astype(np.uint16) * 257)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("size", [0, 12])
def test_packing_keeps_channels_and_bits(tmp_path, size, depth):
    spec = _fill(tmp_path / "a", 6, 5, size=(16, 14))
    options = dict(size=size, channels=5, depth=depth)
    assert pack(spec, tmp_path / "out", **options) == []
    files, packed = (open_source(str(tmp_path / name), **options) for name in ("a", "out"))
    np.testing.assert_array_equal(packed.images(range(6)), files.images(range(6)))
    assert packed.dtype == files.dtype and packed.shape == files.shape
    array = np.load(tmp_path / "out" / "images.npy", mmap_mode="r")
    assert array.dtype == (np.uint8 if depth == 8 else np.uint16)
    other = open_source(str(tmp_path / "out"), **{**options, "depth": 24 - depth})
    np.testing.assert_array_equal(other.images([2]), to_depth(files.images([2]), 24 - depth))
    assert check(str(tmp_path / "out")).splits[0].kinds == {f"array uint{depth} x 5": 6}
    with pytest.raises(UserError, match="out: has 5 channels, of which 3 cannot be made; set data.channels=5"):
        open_source(str(tmp_path / "out"), **{**options, "channels": 3})


def test_checking_arrays_and_tiffs(tmp_path):
    _fill(tmp_path / "a", 3, 5, suffix=".tif")
    _fill(tmp_path / "a", 2, 3, suffix=".tiff")
    (tmp_path / "a" / "float.tif").write_bytes(_tiff(_smooth(1)[..., 0].astype(np.float32)))
    (tmp_path / "a" / "same.tif").write_bytes((tmp_path / "a" / "01.tif").read_bytes())
    report = check(str(tmp_path / "a"))
    (part,) = report.splits
    assert part.kinds == {"TIFF uint16 x 5": 4, "TIFF RGB": 2} and part.sizes == {(16, 16): 6}
    assert "floating-point" in part.unreadable[0][1] and not report.usable and len(part.duplicates) == 1
    (part,) = check(_fill(tmp_path / "b", 3, 12)).splits
    assert part.kinds == {"NPY uint16 x 12": 3} and not part.unreadable
