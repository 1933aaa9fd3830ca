"""`lotus batch --engine ray`: a Ray of two workers on this machine."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from lotus_core.batch.items import find_items
from lotus_core.batch.manifest import Record
from lotus_core.batch.ray_engine import ChunkWorker
from lotus_core.batch.settings import Settings
from lotus_core.cli import main

from .batches import journal, manifest, results, times_done, write_pictures

CHUNK = 6


def attempts(out: Path) -> dict[str, list[int]]:
    """Chunk → the processes that began it."""
    begun = {}
    for path in (out / ".lotus-batch" / "attempts").glob("*"):
        begun[path.name] = [json.loads(line)["worker"] for line in path.read_text().splitlines()]
    return begun


def test_two_workers_one_killed_write_what_one_process_writes(
    checkpoints: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, local, ray = tmp_path / "photos", tmp_path / "local", tmp_path / "ray"
    write_pictures(source, 30, broken=2)
    common = ["--model", checkpoints["depth"], "--threads", "1", "--quiet"]
    assert main(["batch", str(source), str(local), *common]) == 2
    killed = []

    def kill_the_first_to_begin() -> None:
        while not attempts(ray):
            time.sleep(0.01)
        (chunk,) = list(attempts(ray))[:1]
        while not attempts(ray)[chunk]:
            time.sleep(0.01)
        killed.append(chunk)
        os.kill(attempts(ray)[chunk][0], signal.SIGKILL)  # while it loads the model: nothing of the chunk is done

    killer = threading.Thread(target=kill_the_first_to_begin, daemon=True)
    killer.start()
    assert main(["batch", str(source), str(ray), *common, "--engine", "ray", "--chunk", str(CHUNK)]) == 2
    killer.join(1)
    assert results(ray) == results(local)
    assert manifest(ray) == manifest(local)
    assert set(times_done(ray).values()) == {1}
    begun = attempts(ray)
    assert len(begun) == 5
    assert [chunk for chunk, workers in begun.items() if len(workers) > 1] == killed
    assert len(set(begun[killed[0]])) == 2
    assert len({line["worker"] for line in journal(ray) if "worker" in line}) >= 2
    assert "2 files failed" in capsys.readouterr().err


def test_a_chunk_that_kills_its_workers_is_given_up(checkpoints: dict[str, str], tmp_path: Path) -> None:
    import pandas as pd

    source = tmp_path / "photos"
    write_pictures(source, 2)
    items, _ = find_items(str(source), tmp_path / "out")
    settings = Settings(models=(checkpoints["depth"],))
    rows = pd.DataFrame({"item": [json.dumps(item.to_json()) for item in items]})
    with Record(tmp_path / "out", settings) as record:
        places = (str(record.staging), str(record.clips))
        reasons = []
        for _ in range(3):  # as many workers, of which the first two died: they begin, and are heard of no more
            worker = ChunkWorker(settings.to_json(), *places, (2, 2**28), threads=1, retries=1)
            reasons.append([json.loads(text).get("reason") for text in worker(rows)["finished"]])
    assert reasons[0] == reasons[1] == [None, None]
    assert all("died 2 times" in reason for reason in reasons[2])
