"""What a checkpoint says of itself: a JSON-able record, sealed by digests of the record and of the state beside it."""

import contextlib
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uit_jax.files import read_regular

OTHER = "record/metadata is not the record that was saved"


def _json_digest(value: Any) -> int:
    """Return a checksum of what a JSON value says, in whatever order its keys stand."""
    return zlib.crc32(json.dumps(value, sort_keys=True).encode())


def sealed(record: Mapping[str, Any], state: int) -> dict[str, Any]:
    """Add the digests of a state and of the record itself."""
    return {**record, "digest": {"state": state, "record": _json_digest([record, state])}}


def covers(record: Mapping[str, Any]) -> bool:
    """Say whether a record's digest covers the record itself; that of older checkpoints is of the state alone."""
    return isinstance(record.get("digest"), dict)


def state_digest(record: Mapping[str, Any]) -> int:
    return record["digest"].get("state") if covers(record) else record["digest"]


def is_whole(record: Mapping[str, Any]) -> bool:
    """Say whether a record is the one that was saved, as far as its digest can tell."""
    own = {key: value for key, value in record.items() if key != "digest"}
    return not covers(record) or record["digest"] == sealed(own, state_digest(record))["digest"]


def read(folder: Path) -> dict[str, Any]:
    """Read the record of the checkpoint in `folder`, whole or not. Raises ValueError or OSError."""
    record = _json(path := folder / "record" / "metadata")
    if not isinstance(record, dict) or "digest" not in record:
        raise ValueError(f"{path} is not the record that was saved")
    return record


def _json(path: Path) -> Any:
    """Read a file of JSON. Raises ValueError, which names it, or OSError."""
    try:
        return json.loads(read_regular(path))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def old_scores(folder: Path) -> dict[str, float]:
    """Read the scores of a checkpoint of version 0.2, which lay in a file of Orbax's. Raises ValueError or OSError."""
    path = folder / "metrics" / "metrics"
    if not path.exists():
        return {}
    scores = _json(path)
    if not isinstance(scores, dict):
        raise ValueError(f"{path} holds no scores")
    return scores


def newest(folder: Path) -> dict[str, Any] | None:
    """Return the whole record of the latest checkpoint that has one and whose digest covers it; None if none has."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    for step in sorted((int(name) for name in names if name.isdecimal()), reverse=True):
        with contextlib.suppress(Exception):
            record = read(folder / str(step))
            if covers(record) and is_whole(record) and record["step"] == step and "config" in record:
                return record
    return None
