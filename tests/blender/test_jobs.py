"""A run ends in every way that there is, and leaves a panel that can be used."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .driving import begin, drive, is_ready, is_usable, preferences, settings
from .scenes import MODULE, add_photo, checks, part
from .test_predict import photo_file


class Run:
    """A run that goes on until the test says otherwise. See `jobs.Run`."""

    of_file = True

    title, text, message, result = "Environment", "torch, 400 of 2000 MB", "", "Environment: works"

    def __init__(self) -> None:
        self.state, self.fraction, self.notes = "running", 0.4, list[str]()
        self.error: BaseException | None = None
        self.steps = 0

    def step(self) -> bool:
        self.steps += 1
        error, self.error = self.error, None
        if error is not None:
            raise error
        return self.state == "running"

    def cancel(self) -> None:
        self.state = "cancelled"

    def log_tail(self, lines: int = 20) -> str:
        return ""


@pytest.fixture
def run(bpy: Any) -> Iterator[Run]:
    """What is in progress."""
    add_photo(bpy, checks(24, 32))
    run = Run()
    part("jobs").jobs.begin(run)
    yield run
    part("progress").end()


def status_bar() -> Any:
    """What draws the status bar."""
    return importlib.import_module("bl_ui.space_statusbar").STATUSBAR_HT_header.draw


def go_on(run: Run) -> Any:
    """A tick of the timer that goes on with a run whose window was closed; seconds until the next, or None."""
    return part("operators.predict")._without_window(run, "")


@pytest.mark.parametrize("error", [TypeError('enum "Non-Color" not found'), KeyError("model"), MemoryError()])
def test_an_error_that_nobody_expects_fails_the_run(bpy: Any, run: Run, error: Exception) -> None:
    jobs = part("jobs").jobs
    run.error = error
    assert not jobs.step()
    assert run.state == "failed"
    assert jobs.message == run.message
    assert jobs.message.startswith(f"Environment stopped at an error inside Lotus ({type(error).__name__}")
    assert jobs.message.endswith("report it with the log.")
    assert "Traceback" in jobs.log
    assert type(error).__name__ in jobs.log
    is_ready(bpy)


def test_a_prediction_that_meets_such_an_error_leaves_no_files(
    bpy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise AttributeError("no such thing")

    bpy.ops.lotus.open_photo(filepath=str(photo_file(tmp_path)))
    settings(bpy)
    prediction = begin(bpy)
    monkeypatch.setattr(prediction, "_texture", broken)
    drive()
    assert "AttributeError: no such thing" in part("jobs").jobs.message
    assert not prediction._folder.exists()
    is_usable(bpy)


def test_ctrl_c_in_a_script_stops_the_run(bpy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    add_photo(bpy, checks(24, 32))
    run = Run()
    run.error = KeyboardInterrupt()
    monkeypatch.setattr(part("operators.predict").LOTUS_OT_predict, "start", lambda *_: part("jobs").jobs.begin(run))
    with pytest.raises((KeyboardInterrupt, RuntimeError)):
        bpy.ops.lotus.predict()
    assert run.state == "cancelled"
    assert part("jobs").jobs.notes == ["Environment was interrupted."]
    is_ready(bpy)


def test_a_run_goes_on_when_its_window_is_closed(bpy: Any, run: Run) -> None:
    plain = status_bar()
    for _ in range(3):
        assert go_on(run) > 0
    assert run.steps == 3
    assert status_bar() is not plain
    run.state = "done"
    assert go_on(run) is None
    assert part("jobs").jobs.notes == ["Environment: works"]
    assert status_bar() is plain
    is_ready(bpy)


@pytest.mark.parametrize("end", ["cancelled", "failed", "another file", "disabled"])
def test_whatever_ends_a_run_clears_the_status_bar(bpy: Any, run: Run, end: str) -> None:
    """Of all workspaces: it is drawn by a function, which belongs to none of them."""
    plain = status_bar()
    assert go_on(run) > 0
    assert status_bar() is not plain
    if end == "another file":
        bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    elif end == "disabled":
        addon_utils = importlib.import_module("addon_utils")
        addon_utils.disable(MODULE, default_set=False)
        addon_utils.enable(MODULE, default_set=False)
    else:
        run.state = end
        assert go_on(run) is None
    assert status_bar() is plain
    assert not part("jobs").jobs.running


def test_an_installation_outlives_the_file_it_was_begun_in(bpy: Any, run: Run) -> None:
    run.of_file = False
    assert go_on(run) > 0
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    assert part("jobs").jobs.run is run
    assert run.state == "running"
    assert go_on(run) > 0
    run.state = "done"
    assert go_on(run) is None
    assert part("jobs").jobs.notes == ["Environment: works"]


def test_models_are_offered_where_they_belong(bpy: Any) -> None:
    """The worker says what each predicts; of a server's names only those that say it themselves are told apart."""
    jobs = part("jobs").jobs
    jobs.backend().info = {"models": [{"name": "geo-n", "task": "normal"}, {"name": "geo-d", "task": "depth"}]}
    assert (jobs.known_models("depth"), jobs.known_models("normal")) == (["geo-d"], ["geo-n"])
    jobs.backend().info = {"models": ["geo-n", "lotus-depth-g", "lotus-normal-g"]}
    assert jobs.known_models("depth") == ["geo-n", "lotus-depth-g"]
    assert jobs.known_models("normal") == ["geo-n", "lotus-normal-g"]


def test_a_model_beside_the_blend_is_found(bpy: Any, tmp_path: Path) -> None:
    """A path that starts with // goes from the .blend's folder, as Blender's own do; names stay names."""
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    chosen = settings(
        bpy, use_normal=True, depth_model="//models/m.safetensors", normal_model="jingheya/lotus-normal-g-v1-1"
    )
    assert part("options").models_of(chosen) == {
        "depth": str(tmp_path / "models" / "m.safetensors"),
        "normal": "jingheya/lotus-normal-g-v1-1",
    }


@pytest.mark.parametrize(
    ("maps", "depth_model", "expected"),
    [
        (["depth"], "d", {"depth": "d"}),
        (["normal"], "d", {"normal": "n"}),
        (["uncertainty"], "d", {"depth": "d"}),
        (["uncertainty"], "", {}),
        (["depth", "normal"], "", {"normal": "n"}),
        (["normal", "uncertainty"], "", {"depth": "lotus-tiny-depth-g", "normal": "n"}),
    ],
)
def test_models_are_named_for_the_maps_that_are_ticked(
    bpy: Any, maps: list[str], depth_model: str, expected: dict[str, str]
) -> None:
    """Both fields may stay filled in; uncertainty is that of depth, whatever is named."""
    ticked = {f"use_{kind}": kind in maps for kind in ("depth", "normal", "uncertainty")}
    chosen = settings(bpy, depth_model=depth_model, normal_model="n", **ticked)
    assert part("options").models_of(chosen) == expected


def test_comfyui_is_told_which_field_a_model_stands_in(bpy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    add_photo(bpy, checks(24, 32))
    preferences(bpy).backend = "COMFYUI"
    asked: list[dict[str, Any]] = []

    def submit(_: object, request: dict[str, Any]) -> Any:
        asked.append(request)
        return part("backends.base").failed("Not asked.")

    monkeypatch.setattr(part("backends.session").Session, "submit", submit)
    settings(bpy, use_depth=False, use_normal=True, normal_model="geo-n.safetensors")
    with pytest.raises(RuntimeError, match="Not asked"):
        bpy.ops.lotus.predict()
    assert [request["models"] for request in asked] == [{"normal": "geo-n.safetensors"}]


@pytest.mark.parametrize("how", ["missing", "linked"])
def test_predict_refuses_what_cannot_have_maps(bpy: Any, tmp_path: Path, how: str) -> None:
    path = photo_file(tmp_path)
    bpy.ops.lotus.open_photo(filepath=str(path))
    photo = bpy.context.scene.lotus.image
    settings(bpy)
    sentence = "cannot be read as a picture"
    if how == "missing":
        path.unlink()
        photo.reload()
    else:
        sentence = "make it local first"
        bpy.data.libraries.write(str(tmp_path / "other.blend"), {photo})
        with bpy.data.libraries.load(str(tmp_path / "other.blend"), link=True) as (_, wanted):
            wanted.images = [photo.name]
        bpy.data.images.remove(photo)
        (bpy.context.scene.lotus.image,) = (image for image in bpy.data.images if image.library)
    with pytest.raises(RuntimeError, match=sentence):
        bpy.ops.lotus.predict()
    assert sentence in part("jobs").jobs.message
    assert not part("jobs").jobs.running
