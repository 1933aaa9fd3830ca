"""Every benchmark loader on tiny made files in the published layout; missing, wrong and hostile files."""

from __future__ import annotations

import os
import pickle
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lotus_core.errors import LotusError
from lotus_core.evaluation.depth_benchmarks import DepthBenchmark
from lotus_core.evaluation.normal_benchmarks import NormalBenchmark

from .benchmark_files import room, write_dsine, write_nyu, write_png16, write_rgb, write_scannet


def test_nyu_reads_millimetres_and_scores_the_eigen_area(tmp_path: Path) -> None:
    truths = write_nyu(tmp_path)
    benchmark = DepthBenchmark("nyu", tmp_path)
    assert [benchmark.name_of(i) for i in range(len(benchmark))] == list(truths)
    sample = benchmark[1]
    assert sample.image.shape == (480, 640, 3)
    np.testing.assert_allclose(sample.truth, truths[sample.name], rtol=1e-6)
    expected = np.zeros((480, 640), dtype=bool)
    expected[45:471, 41:601] = True
    expected[200:210, 300:310] = False  # no depth there
    assert np.array_equal(sample.mask, expected)


@pytest.mark.parametrize(
    ("area", "rows", "columns"), [("garg", (143, 349), (43, 1172)), ("eigen", (117, 321), (43, 1172))]
)
def test_kitti_crops_masks_and_leaves_out_entries_without_truth(
    tmp_path: Path, area: str, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    drive, frame = "2011_09_26_drive_0002_sync", "0000000069.png"
    image = f"2011_09_26/{drive}/image_02/data/{frame}"
    truth = f"{drive}/proj_depth/groundtruth/image_02/{frame}"
    write_rgb(tmp_path / image, 375, 1242)
    depth = room(375, 1242, far=90.0)
    depth[::3] = 0  # sparse
    stored = write_png16(tmp_path / truth, depth, 256)
    (tmp_path / "eigen_test_files_with_gt.txt").write_text(f"{image} {truth} 721.5377\nnowhere.png None 721.5377\n")
    benchmark = DepthBenchmark("kitti", tmp_path, area=area)  # type: ignore[arg-type]
    assert (len(benchmark), benchmark.without_truth) == (1, 1)
    sample = benchmark[0]
    cropped = stored[23:, 13:1229]
    assert sample.image.shape == (352, 1216, 3)
    assert np.array_equal(sample.truth, cropped)
    area_mask = np.zeros((352, 1216), dtype=bool)
    area_mask[slice(*rows), slice(*columns)] = True
    assert np.array_equal(sample.mask, (cropped > 1e-5) & (cropped < 80) & area_mask)


def test_eth3d_reads_raw_floats(tmp_path: Path) -> None:
    write_rgb(tmp_path / "rgb/office/images/dslr_images/DSC_0219.JPG", 40, 60)
    depth = room(40, 60).astype("<f4")
    depth[3, 4] = np.inf
    path = tmp_path / "depth/office/DSC_0219.JPG"
    path.parent.mkdir(parents=True)
    path.write_bytes(depth.tobytes())
    line = "rgb/office/images/dslr_images/DSC_0219.JPG depth/office/DSC_0219.JPG\n"
    (tmp_path / "eth3d_filename_list.txt").write_text(line)
    sample = DepthBenchmark("eth3d", tmp_path)[0]
    assert not sample.mask[3, 4]
    assert sample.mask.sum() == 40 * 60 - 1
    assert np.array_equal(sample.truth[sample.mask], depth[sample.mask])
    path.write_bytes(depth.tobytes()[:-4])
    with pytest.raises(LotusError, match="holds 2399 depths"):
        DepthBenchmark("eth3d", tmp_path)[0]


def test_scannet_and_diode(tmp_path: Path) -> None:
    write_rgb(tmp_path / "scene/color/000300.jpg", 48, 64)
    stored = write_png16(tmp_path / "scene/depth/000300.png", room(48, 64, far=12.0), 1000)
    (tmp_path / "scannet_val_sampled_list_800_1.txt").write_text("scene/color/000300.jpg scene/depth/000300.png\n")
    sample = DepthBenchmark("scannet", tmp_path)[0]
    assert np.array_equal(sample.mask, stored < 10)
    np.testing.assert_allclose(sample.truth, stored, rtol=1e-6)

    write_rgb(tmp_path / "indoors/a.png", 48, 64)
    depth, mask = room(48, 64)[..., None].astype(np.float32), np.ones((48, 64), dtype=np.float32)
    mask[:, :9], depth[0, 20] = 0, 0
    np.save(tmp_path / "indoors/a_depth.npy", depth)
    np.save(tmp_path / "indoors/a_depth_mask.npy", mask)
    line = "indoors/a.png indoors/a_depth.npy indoors/a_depth_mask.npy\n"
    (tmp_path / "diode_val_all_filename_list.txt").write_text(line)
    sample = DepthBenchmark("diode", tmp_path)[0]
    assert sample.mask.sum() == 48 * 55 - 1
    assert np.array_equal(sample.truth, depth[..., 0])


@pytest.mark.parametrize(
    ("name", "suffix", "list_name", "tolerance"),
    [
        ("nyu", ".png", "test.txt", 0.006),
        ("scannet", ".png", "test.txt", 0.006),
        ("ibims", ".exr", "ibims.txt", 1e-6),
        ("sintel", ".exr", "sintel.txt", 1e-6),
        ("oasis", ".pkl", "val.txt", 1e-6),
    ],
)
def test_normal_benchmarks(tmp_path: Path, name: str, suffix: str, list_name: str, tolerance: float) -> None:
    truths = write_dsine(tmp_path, suffix, list_name)
    benchmark = NormalBenchmark(name, tmp_path)
    assert len(benchmark) == 2
    for index in range(2):
        sample = benchmark[index]
        truth = truths[sample.name]
        assert np.array_equal(sample.mask, (truth != 0).any(axis=-1))
        assert np.abs(sample.truth - truth).max() < tolerance
        assert np.abs(np.linalg.norm(sample.truth[sample.mask], axis=-1) - 1).max() < 1e-5


def test_a_pickle_that_would_run_something_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "ran"),)

    write_dsine(tmp_path, ".pkl", "val.txt")
    (tmp_path / "scene/000000_normal.pkl").write_bytes(pickle.dumps({"normal": Evil()}))
    with pytest.raises(LotusError, match=r"000000_normal\.pkl: .*asks to run (posix|nt)\.mkdir"):
        NormalBenchmark("oasis", tmp_path)[0]
    assert not (tmp_path / "ran").exists()
    (tmp_path / "scene/000000_normal.pkl").write_bytes(b"\x80\x04nonsense")
    with pytest.raises(LotusError, match="Cannot read the normals"):
        NormalBenchmark("oasis", tmp_path)[0]


def test_missing_lists_and_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(LotusError, match=r"split list .*filename_list_test\.txt is missing"):
        DepthBenchmark("nyu", tmp_path)
    with pytest.raises(LotusError, match=r"no folder .*nowhere"):
        NormalBenchmark("ibims", tmp_path / "nowhere")
    archive = tmp_path / "nyu.tar"
    archive.write_bytes(b"")
    with pytest.raises(LotusError, match="tar xf"):
        DepthBenchmark("nyu", archive)
    write_nyu(tmp_path)
    gone = tmp_path / "test/kitchen_0004/depth_0002.png"
    gone.unlink()
    with pytest.raises(LotusError, match=r"1 left out because files are missing: .*depth_0002\.png"):
        DepthBenchmark("nyu", tmp_path)
    benchmark = DepthBenchmark("nyu", tmp_path, allow_missing=True)
    assert (len(benchmark), benchmark.report.missing) == (2, (gone,))


def test_lists_are_taken_whole_or_not_at_all(tmp_path: Path) -> None:
    """Scores go by the picture's name, so of two with one name only one would be scored."""
    write_nyu(tmp_path, 2)
    listed = tmp_path / "filename_list_test.txt"
    lines = listed.read_text().splitlines()
    listed.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())  # as Windows' editor writes it
    assert len(DepthBenchmark("nyu", tmp_path)) == 2
    picture = tmp_path / "test/kitchen_0004/rgb_0001.png"
    picture.with_suffix(".jpg").write_bytes(picture.read_bytes())
    for more in (lines[0], lines[1].replace("rgb_0002.png", "rgb_0001.jpg")):
        listed.write_text("\n".join([*lines, more]))
        with pytest.raises(LotusError, match=r"would both be called test/kitchen_0004/rgb_0001 \(rgb_0001\.png and"):
            DepthBenchmark("nyu", tmp_path)
    for astray in (f"{picture} a.png", "../other/rgb.png a.png"):
        listed.write_text("\n".join([*lines, astray]))
        with pytest.raises(LotusError, match=r"Line 3 of .* leads out of"):
            DepthBenchmark("nyu", tmp_path)


def test_damaged_truth_is_named(tmp_path: Path) -> None:
    write_dsine(tmp_path, ".pkl", "val.txt")
    path = tmp_path / "scene/000000_normal.pkl"
    stored = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps({**stored, "normal": stored["normal"][:1, :1]}))
    with pytest.raises(LotusError, match=r"000000_normal\.pkl: its normals are \(1, 1, 3\), its box is"):
        NormalBenchmark("oasis", tmp_path)[0]
    write_rgb(tmp_path / "a.png", 48, 64)
    np.save(tmp_path / "mask.npy", np.ones((48, 64)))
    np.savez(tmp_path / "depth.npz", room(48, 64))
    header = bytearray((tmp_path / "mask.npy").read_bytes())
    header[12] = ord("(")  # a header that is no Python any more
    for content in (bytes(header), (tmp_path / "depth.npz").read_bytes()):
        (tmp_path / "depth.npy").write_bytes(content)
        (tmp_path / "diode_val_all_filename_list.txt").write_text("a.png depth.npy mask.npy\n")
        with pytest.raises(LotusError, match=r"depth\.npy is not a readable NPY file"):
            DepthBenchmark("diode", tmp_path)[0]


def test_wrong_sizes_lists_and_names_are_named(tmp_path: Path) -> None:
    write_nyu(tmp_path, 1)
    write_rgb(tmp_path / "test/kitchen_0004/rgb_0001.png", 48, 64)
    with pytest.raises(LotusError, match="differ in size"):
        DepthBenchmark("nyu", tmp_path)[0]
    (tmp_path / "one.txt").write_text("test/kitchen_0004/rgb_0001.png\n")
    with pytest.raises(LotusError, match=r"Line 1 of .* has 1 entries, but 2"):
        DepthBenchmark("nyu", tmp_path, tmp_path / "one.txt")
    with pytest.raises(LotusError, match=r"called \*_img"):
        NormalBenchmark("nyu", tmp_path, tmp_path / "one.txt")
    with pytest.raises(LotusError, match="no depth benchmark sintel"):
        DepthBenchmark("sintel", tmp_path)


def test_files_that_hold_something_else_are_named(tmp_path: Path) -> None:
    write_scannet(tmp_path, count=1)
    depth, picture = tmp_path / "scene/depth/000000.png", tmp_path / "scene/color/000000.jpg"
    kept = depth.read_bytes()
    Image.fromarray(np.full((48, 64), 70_000, np.int32)).save(depth, "TIFF")
    with pytest.raises(LotusError, match=r"depth/000000\.png is no 16-bit depth map: its values go from 70000"):
        DepthBenchmark("scannet", tmp_path)[0]
    huge = bytearray(kept)
    huge[16:24] = (30_000).to_bytes(4, "big") * 2
    huge[29:33] = zlib.crc32(huge[12:29]).to_bytes(4, "big")
    for path, words in ((depth, "Cannot read the depth map"), (picture, "Cannot read the picture")):
        path.write_bytes(huge)
        with pytest.raises(LotusError, match=words):
            DepthBenchmark("scannet", tmp_path)[0]
    with pytest.raises(LotusError, match="is a folder: name the file by --split"):
        DepthBenchmark("scannet", tmp_path, tmp_path)
