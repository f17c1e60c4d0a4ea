"""What a recorder needs to go on with a trajectory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dynamics.file.provenance import resumption
from dynamics.file.rows import Rows


@dataclass(frozen=True)
class Reopened:
    """A trajectory whose rows are cut to those that count, open for the next ones.

    Args:
        file: what the recorder writes through.
        streams: by name, with their columns and the number of rows they have.
        seconds: time of the last row that is kept.
        origin: `created` and `run_id`.
    """

    file: Any
    streams: dict[str, Rows]
    seconds: float
    origin: dict[str, str]


def attributes_again(
    attributes: Mapping[str, object], rows: Mapping[str, int], config: Mapping[str, object] | None
) -> dict[str, object]:
    """Return the root attributes that change when a run goes on.

    Args:
        attributes: that the file has.
        rows: that are kept, by stream.
        config: entries of the configuration that are others now, such as the number of steps.

    Returns:
        `host`, `pid`, `resumed`, and `config` where it changes.

    Example:
        >>> attributes_again({"config": '{"steps": 500, "seed": 1}'}, {}, {"steps": 800})["config"]
        '{"steps": 800, "seed": 1}'
    """
    changed = resumption(attributes.get("resumed"), rows)
    if config:
        try:
            before = dict(json.loads(str(attributes.get("config", "{}"))))
        except ValueError:
            before = {}
        changed["config"] = json.dumps(before | dict(config), default=str)
    return changed
