"""What a checkpoint says of its own making, in a few lines."""

from __future__ import annotations

import math
from typing import Any

Lines = list[tuple[str, str]]


def made_of(record: dict[str, Any]) -> Lines:
    """The record that `lotus train`, `training.average` or `training.noiseless` wrote (`ModelInfo.training`), without
    the config; no lines for one that says nothing of it."""
    noiseless, parts, steps = record.get("noiseless"), record.get("mean_of"), record.get("steps")
    if isinstance(noiseless, dict):
        return [("made of", f"{noiseless.get('model')}, without its noise"), *made_of(_object(noiseless, "training"))]
    if isinstance(parts, list):
        named = [f"{part.get('model')} ({_number(part, 'share'):.0%})" for part in parts if isinstance(part, dict)]
        return [("made of", f"the mean of {', '.join(named)}")]
    if not isinstance(steps, int):
        return []
    batch = _object(_object(record, "config"), "optim").get("batch_size")
    facts = [f"{steps:,} steps" + (f" of {batch} pictures" if batch else "")]
    if "hours" in record:
        facts.append(f"{_number(record, 'hours'):.2f} hours on {record.get('hardware', 'unknown hardware')}")
    if "seed" in record:
        facts.append(f"seed {record['seed']}")
    return [("trained", ", ".join(facts))]


def _object(record: dict[str, Any], key: str) -> dict[str, Any]:
    value = record.get(key)
    return value if isinstance(value, dict) else {}


def _number(record: dict[str, Any], key: str) -> float:
    value = record.get(key)
    return value if isinstance(value, int | float) else math.nan
