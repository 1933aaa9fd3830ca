"""Published checkpoints from the Hugging Face hub: only the files that a prediction needs."""

from __future__ import annotations

import contextlib
import re
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ..errors import LotusError
from ..progress import Progress
from .registry import near_matches

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
NETWORKS = ("unet", "vae")
TEXT = ("text_encoder", "tokenizer")
_SMALL = ("model_index.json", "lotus.json", "prompt_embeds.safetensors", "scheduler/*.json")
# A network's weights: whole or in numbered shards, in full or half precision. Not, say, weights before averaging.
_WEIGHTS = re.compile(
    r"(diffusion_pytorch_model|model)(\.fp16)?(-\d+-of-\d+)?(\.fp16)?\.safetensors(\.index)?(\.fp16)?(\.json)?"
)
_TIMEOUT = 10.0  # seconds without an answer after which what is on this machine has to do
_LOOK = 0.2  # seconds between two looks at how far a download has come

Choose = Callable[[Collection[str]], list[str]]


@dataclass(frozen=True)
class Wanted:
    """Which files of a model: those of `parts`, and weights in half precision where there are such and `half`."""

    parts: tuple[str, ...]
    half: bool = False

    def __call__(self, files: Collection[str]) -> list[str]:
        chosen = [file for file in files if any(fnmatch(file, pattern) for pattern in _SMALL)]
        for part in self.parts:
            inside = [file for file in files if file.startswith(f"{part}/") and file.count("/") == 1]
            chosen += [file for file in inside if _is_small(file)]
            weights = [file for file in inside if _WEIGHTS.fullmatch(file.partition("/")[2])]
            halved = [file for file in weights if ".fp16" in file]
            full = [file for file in weights if ".fp16" not in file]
            chosen += (halved or full) if self.half else (full or halved)
        return chosen

    def lacking(self, files: Collection[str]) -> list[str]:
        """Those of `parts` of which `files` hold no config, vocabulary or weights."""
        chosen = self(files)
        found = {part: [file for file in chosen if file.startswith(f"{part}/")] for part in self.parts}
        needs = {part: "*" if part == "tokenizer" else "*.safetensors" for part in self.parts}
        return [part for part in self.parts if not any(fnmatch(file, needs[part]) for file in found[part])]


def matching(*patterns: str) -> Choose:
    """Which files: those that match a pattern."""
    return lambda files: [file for file in files if any(fnmatch(file, pattern) for pattern in patterns)]


def download(hub_id: str, choose: Choose = Wanted((*NETWORKS, *TEXT)), progress: Progress | None = None) -> Path:
    """The local folder of a hub id's newest snapshot: the files that `choose` picks, downloaded where not there yet.

    A download that was cut off goes on where it stopped. Without a network, or with HF_HUB_OFFLINE set, what is in the
    hub's cache is used. Reports to `progress`, which may raise `Cancelled`; without it, the hub's own bars show on a
    terminal.

    Raises LotusError where the hub has no such model, cannot be reached, or a needed package is missing.
    """
    try:
        from huggingface_hub import errors, snapshot_download, try_to_load_from_cache
    except ImportError:
        raise LotusError(
            f"Loading {hub_id} from the Hugging Face hub needs `pip install huggingface_hub transformers`."
        ) from None
    try:
        sizes = _files(hub_id)
        if sizes is None:
            return _kept(hub_id, choose)
        chosen = choose(sizes)
        lacking = choose.lacking(sizes) if isinstance(choose, Wanted) else []
        if lacking or not chosen:
            raise LotusError(
                f"{hub_id} is on the hub but holds no {lacking[0] + '/' if lacking else 'weights'} with safetensors in"
                " it: it is another model, or a file that you download yourself and pass as a path."
            )

        def fetch() -> Path:
            return Path(snapshot_download(hub_id, allow_patterns=chosen))

        with _bars(progress is None and sys.stderr is not None and sys.stderr.isatty()):
            if progress is None:
                return fetch()
            missing = sum(sizes[file] for file in chosen if not isinstance(try_to_load_from_cache(hub_id, file), str))
            return _watched(fetch, _repository(hub_id) / "blobs", missing, hub_id, progress)
    except errors.GatedRepoError:
        raise LotusError(f"{hub_id} asks you to accept its terms on huggingface.co and to log in first.") from None
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        matches = near_matches(hub_id)
        hint = f"did you mean {' or '.join(matches)}?" if matches else "`lotus models` lists what is available."
        raise LotusError(f"{hub_id} is neither a local path nor a model on the Hugging Face hub: {hint}") from None
    except LotusError:
        raise
    except Exception as error:  # what goes wrong on a network has other classes in each version of the hub's client
        raise LotusError(
            f"Downloading {hub_id} failed ({type(error).__name__}): try again, it goes on where it stopped."
        ) from None


def _files(hub_id: str) -> dict[str, int] | None:
    """{file: bytes} of the newest snapshot; None where the hub cannot be asked."""
    from huggingface_hub import HfApi, constants, errors

    if constants.HF_HUB_OFFLINE:
        return None
    try:
        found = HfApi().model_info(hub_id, files_metadata=True, timeout=_TIMEOUT)
    except (errors.RepositoryNotFoundError, errors.HFValidationError):  # an answer, and gated models are of these
        raise
    except Exception:  # no network, a proxy's page, an outage: other classes in each version of the hub's client
        return None
    return {file.rfilename: file.size or 0 for file in found.siblings or []}


def _is_small(file: str) -> bool:
    """Configs and vocabulary; neither pickles nor weights for other frameworks, nor lists of shards."""
    return file.endswith((".json", ".txt", ".model")) and not file.endswith(".index.json") and ".index." not in file


def _kept(hub_id: str, choose: Choose) -> Path:
    """The newest snapshot that is on this machine. Raises LotusError where it is not there, or not all of it."""
    from huggingface_hub import constants

    way_out = (
        "and HF_HUB_OFFLINE forbids to download it: unset that once"
        if constants.HF_HUB_OFFLINE
        else "and the Hugging Face hub cannot be reached: check the connection"
    )
    folder = kept_snapshot(hub_id)
    if folder is None:
        raise LotusError(
            f"{hub_id} is not on this machine {way_out}, or pass the path of a folder that you downloaded."
        )
    files = [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]
    if isinstance(choose, Wanted) and (lacking := choose.lacking(files)):
        raise LotusError(f"{hub_id} is on this machine without its {' and '.join(lacking)} {way_out}.")
    return folder


def kept_snapshot(hub_id: str) -> Path | None:
    """The newest snapshot in the hub's cache, of which files may be missing; None without one. Asks no network."""
    try:
        commit = (_repository(hub_id) / "refs" / "main").read_text(encoding="utf-8").strip()
        folder = _repository(hub_id) / "snapshots" / commit
        return folder if commit and folder.is_dir() else None
    except (ImportError, OSError, ValueError):
        return None


def _repository(hub_id: str) -> Path:
    """Where the hub's client keeps a model: blobs/, snapshots/<commit>/ and refs/."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{hub_id.replace('/', '--')}"


def _watched(fetch: Callable[[], Path], blobs: Path, total: int, name: str, progress: Progress) -> Path:
    """Run `fetch` beside this thread, which reports how much of `total` bytes has come since to `blobs`."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(fetch())
        except BaseException as error:  # handed to the caller's thread
            outcome.append(error)

    before = _bytes_in(blobs, whole=True)
    # A daemon: Ctrl-C ends the program at once; what has come so far is kept by the hub's client.
    thread = threading.Thread(target=run, daemon=True, name="download")
    thread.start()
    while thread.is_alive():
        thread.join(_LOOK)
        come = min(max(_bytes_in(blobs) - before, 0), total)
        # May raise, to cancel: the caller goes on at once; what the other thread still brings is kept for next time.
        progress(come / max(total, 1), f"downloading {name}: {come / 1e9:.2f} of {total / 1e9:.2f} GB")
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return Path(outcome[0])


def _bytes_in(folder: Path, whole: bool = False) -> int:
    """Of the files in `folder`; with `whole` of those that are complete."""
    total = 0
    with contextlib.suppress(OSError):
        for file in folder.iterdir():
            with contextlib.suppress(OSError):  # renamed meanwhile
                total += 0 if whole and file.name.endswith(".incomplete") else file.stat().st_size
    return total


@contextlib.contextmanager
def _bars(shown: bool) -> Iterator[None]:
    """The hub's own progress bars, or none."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    before = are_progress_bars_disabled()
    if shown or before:
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
