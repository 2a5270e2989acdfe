"""Any image builder of TensorFlow Datasets: "tfds:NAME[:split]".

Records are read where they lie: one pass over the prepared files notes each record's place and label, after
which any image is one read away, so that the order of training is that of every other source.
A ":split" (also a slice, "train[:80%]") is what "train" reads; without one, "test" reads the builder's
"test" or else "validation". A pair of domains is a builder with the splits trainA and trainB.
"""

import os
import re
import struct
from collections.abc import Iterator

import numpy as np

from uit_jax.data.sources.base import DOMAINS, EncodedSource, Form, Numbered, first
from uit_jax.errors import NoSuchPart, UserError
from uit_jax.images.decode import Unreadable

_SPLITS = {"train": ("train",), "test": ("test", "validation"), **DOMAINS}


class TFDSSource(EncodedSource):
    """One split of a prepared builder."""

    def __init__(self, spec: str, form: Form, builder, split: str):
        import tensorflow_datasets as tfds

        features = builder.info.features
        features = dict(features) if isinstance(features, tfds.features.FeaturesDict) else {}
        image, label = features.get("image"), features.get("label")
        if not isinstance(image, tfds.features.Image) or image.np_dtype not in (np.uint8, np.uint16):
            raise UserError(f"{spec}: the builder has no feature 'image' of 8 or 16 bits; it has {', '.join(features)}")
        classes = tuple(label.names) if isinstance(label, tfds.features.ClassLabel) else ()
        instructions = builder.info.splits[split].file_instructions
        read = {"tfrecord": _tfrecord_places, "array_record": _array_record_places}.get(builder.info.file_format.value)
        if read is None:
            kind = builder.info.file_format.value
            raise UserError(f"{spec}: is prepared as {kind}; prepare it as tfrecord or array_record")
        self._files, self._places, labels = [], [], []
        for instruction in instructions:
            file = os.fspath(instruction.filename)
            take = instruction.take if instruction.take >= 0 else instruction.examples_in_shard - instruction.skip
            for number, (place, record) in enumerate(read(file)):
                if instruction.skip <= number < instruction.skip + take:
                    self._files.append(file)
                    self._places.append(place)
                    labels.append(_example(record)["label"].int64_list.value[0] if classes else -1)
        super().__init__(
            spec,
            form,
            names=Numbered(f"{spec} {split}", len(labels)),
            labels=np.array(labels, np.int32),
            classes=classes,
        )

    def key(self, index: int) -> str:
        return Numbered.number(self.names[index])

    def _choose(self, indices: np.ndarray) -> None:
        self._files = [self._files[i] for i in indices]
        self._places = [self._places[i] for i in indices]

    def encoded(self, index: int) -> bytes:
        file, place = self._files[index], self._places[index]
        try:
            record = _read_place(file, place)
            return _example(record)["image"].bytes_list.value[0]
        except (OSError, IndexError, ValueError) as error:
            raise Unreadable(f"{file}: {error}") from None


def splits(spec: str) -> dict[str, str]:
    """Return the builder's name of each split, "train" and "test", or "trainA", "trainB", "testA" and "testB".

    {} where the spec names one split. Raises UserError.
    """
    name, chosen = parse(spec)
    if chosen:
        return {}
    available = _builder(spec, name).info.splits
    return {split: found for split, options in _SPLITS.items() if (found := first(options, available))}


def open_tfds(spec: str, form: Form, *, split: str) -> TFDSSource:
    """Open a builder's split, downloading and preparing it where it is not yet. Raises UserError."""
    name, chosen = parse(spec)
    builder = _builder(spec, name)
    available = builder.info.splits
    if chosen and split != "train":
        none = f"{spec}: names one split and so has no {split} split"
        raise NoSuchPart(f"{none}; name some by --source or data.test_source")
    found = chosen or first(_SPLITS[split], available)
    try:
        if not found or not builder.info.splits[found].num_examples:
            raise KeyError(split)
    except (KeyError, ValueError):
        raise NoSuchPart(f"{spec}: has no {found or split} split; it has {', '.join(available)}") from None
    return TFDSSource(spec, form, builder, found)


def parse(spec: str) -> tuple[str, str]:
    """Split "tfds:NAME[/CONFIG][:VERSION][:split]" into name (with its version) and split ("" where none is named)."""
    name, split = re.fullmatch(r"tfds:([^:]*(?::[\d.*]+)?)(?::(.*))?", spec, re.DOTALL).groups()
    return name, split or ""


def _builder(spec: str, name: str):
    """Return the builder, prepared."""
    try:
        import tensorflow  # noqa: F401  records are parsed by its protocol buffers
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise UserError(f"{spec}: needs tensorflow and tensorflow-datasets installed ({error})") from None
    try:
        builder = tfds.builder(name, data_dir=os.environ.get("TFDS_DATA_DIR"))
    except Exception as error:  # unknown names, versions and configurations each raise their own type
        raise UserError(f"{spec}: no such builder ({_first_line(error)})") from None
    try:
        builder.download_and_prepare()
    except Exception as error:  # the network, the disk, manual downloads, missing libraries
        raise UserError(f"{spec}: is not prepared and could not be downloaded ({_first_line(error)})") from None
    return builder


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _example(record: bytes):
    import tensorflow as tf

    return tf.train.Example.FromString(record).features.feature


def _tfrecord_places(file: str) -> Iterator[tuple[tuple[int, int], bytes]]:
    """Yield ((offset, length), record) of a TFRecord file: u64 length, u32 checksum, record, u32 checksum."""
    with open(file, "rb") as stream:
        while header := stream.read(12):
            (length,) = struct.unpack_from("<Q", header)
            yield (stream.tell(), length), stream.read(length)
            stream.seek(4, os.SEEK_CUR)


def _array_record_places(file: str) -> Iterator[tuple[int, bytes]]:
    from array_record.python.array_record_module import ArrayRecordReader

    reader = ArrayRecordReader(file)
    for number in range(reader.num_records()):
        yield number, reader.read([number])[0]


def _read_place(file: str, place) -> bytes:
    if isinstance(place, tuple):
        with open(file, "rb") as stream:
            stream.seek(place[0])
            return stream.read(place[1])
    from array_record.python.array_record_module import ArrayRecordReader

    return ArrayRecordReader(file).read([place])[0]
