"""Protocols: their names, what they need, and that their numbers are those of their sources."""

from __future__ import annotations

import csv
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from bench_pieces import photo
from torch.nn.functional import interpolate

from iqp_adapter.bench.protocols import PROTOCOLS, Download, Protocol, Remembered, faces, find, frechet, likeness
from iqp_adapter.bench.protocols.adaface import AdaFace
from iqp_adapter.compat import make_importable
from iqp_adapter.photo.align import template

CPU = torch.device("cpu")


def tensor(*places: int, side: int = 128) -> torch.Tensor:
    return torch.stack([torch.from_numpy(photo(place, side)).permute(2, 0, 1) / 255 for place in places])


class TestNames:
    @pytest.mark.parametrize(
        ("name", "identifier"),
        [
            ("niqe", "niqe/basicsr@native"),
            ("niqe@512", "niqe/basicsr@512"),
            ("niqe/basicsr@512", "niqe/basicsr@512"),
            ("identity", "identity/dlib"),
            ("identity@input", "identity/dlib@input"),
            ("deg", "deg/arcface-r18@vqfr"),
            ("idd", "idd/arcface-r18@restoreformer++"),
            ("lmd", "lmd/awing@vqfr"),
            ("fid", "fid/vqfr"),
            ("topiq_nr", "topiq_nr/pyiqa@native"),
            ("musiq@384", "musiq/pyiqa@384"),
            ("topiq_nr/pyiqa@384", "topiq_nr/pyiqa@384"),
        ],
    )
    def test_short_and_long_ones(self, name, identifier):
        assert find(name).id == identifier

    def test_metrics_of_pyiqa_have_their_kind_and_direction(self):
        assert (find("cw_ssim").kind, find("cw_ssim").lower_better) == ("reference", False)
        assert (find("brisque").kind, find("brisque").lower_better) == ("no-reference", True)

    @pytest.mark.parametrize("name", ["niqee", "niqe@high", "fid_dinov3"])
    def test_an_unknown_one_is_refused(self, name):
        with pytest.raises(ValueError, match="unknown protocol"):
            find(name)

    def test_the_nearest_is_proposed(self):
        with pytest.raises(ValueError, match="nearest: niqe"):
            find("niqee")

    def test_ids_are_told_apart_and_their_directions_are_pyiqas(self):
        make_importable()
        from pyiqa.default_model_configs import DEFAULT_CONFIGS

        assert all(key == one.id for key, one in PROTOCOLS.items())
        for one in PROTOCOLS.values():
            if one.metric in DEFAULT_CONFIGS and one.metric != "fid":
                assert one.lower_better == DEFAULT_CONFIGS[one.metric].get("lower_better", False), one.id


class TestFiles:
    DOWNLOAD = Download("some.pth", "https://example.org/page")

    def protocol(self, **more):
        return Protocol("some@native", False, "reference", lambda device, files: None, **more)

    def test_a_file_that_is_nowhere_is_named_with_its_page(self, monkeypatch, tmp_path):
        monkeypatch.setenv("IQP_WEIGHTS", str(tmp_path))
        with pytest.raises(OSError, match=r"needs some.pth from https://example.org/page; put it into a folder and"):
            self.protocol(download=(self.DOWNLOAD,)).files()

    def test_a_file_of_the_folder_of_weights_is_taken(self, monkeypatch, tmp_path):
        monkeypatch.setenv("IQP_WEIGHTS", str(tmp_path))
        (tmp_path / "some.pth").touch()
        assert self.protocol(download=(self.DOWNLOAD,)).files() == [tmp_path / "some.pth"]

    def test_the_users_file_comes_first(self, tmp_path):
        assert self.protocol(download=(self.DOWNLOAD,)).files([tmp_path / "mine.pth"]) == [tmp_path / "mine.pth"]

    def test_an_extra_that_is_not_installed_is_named(self):
        with pytest.raises(ModuleNotFoundError, match="no_such_module not installed"):
            self.protocol(needs=("no_such_module",)).files()


class TestValues:
    @pytest.mark.parametrize("name", ["niqe", "piqe@512", "iqp-lite"])
    def test_without_reference_they_are_the_scorers(self, name):
        from iqp_adapter.scoring.scorer import Scorer

        metric, _, side = name.partition("@")
        pictures = tensor(0, 3)
        given = interpolate(pictures, (512, 512), mode="bicubic", antialias=True).clamp(0, 1) if side else pictures
        measure = find(name).load(CPU, [])
        torch.testing.assert_close(measure.values(pictures, pictures, []), Scorer(metric, device="cpu")(given))

    @pytest.mark.parametrize(("name", "metric"), [("psnr", "psnr"), ("ssim", "ssim"), ("ssim/rgb", "ssimc")])
    def test_with_reference_they_are_pyiqas(self, name, metric):
        make_importable()
        import pyiqa

        ours = find(name).load(CPU, []).values(tensor(0, 1), tensor(1, 3), [])
        torch.testing.assert_close(
            ours, pyiqa.create_metric(metric, device="cpu")(tensor(0, 1), tensor(1, 3)).flatten()
        )


@pytest.fixture(scope="module")
def arcface(tmp_path_factory):
    """The network with drawn weights, and its file as arcface-pytorch saves it."""
    make_importable()
    from gfpgan.archs.arcface_arch import ResNetArcFace

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = ResNetArcFace("IRBlock", [2, 2, 2, 2], use_se=False).eval()
    path = tmp_path_factory.mktemp("arcface") / "resnet18_110.pth"
    torch.save({f"module.{key}": value for key, value in network.state_dict().items()}, path)
    return network, path


class TestAngles:
    def test_deg_is_in_degrees_of_grey_pictures_as_cv2_makes_them(self, arcface):
        import cv2

        network, path = arcface
        vectors = []
        for place in (0, 3):
            grey = cv2.resize(cv2.cvtColor(photo(place, 160), cv2.COLOR_RGB2GRAY), (128, 128)).astype(np.float32)
            with torch.no_grad():
                vectors.append(network(torch.from_numpy((grey - 127.5) / 127.5)[None, None])[0].double().numpy())
        cosine = vectors[0] @ vectors[1] / np.linalg.norm(vectors[0]) / np.linalg.norm(vectors[1])
        deg = find("deg").load(CPU, [path]).values(tensor(0, side=160), tensor(3, side=160), ["a"])
        assert float(deg) == pytest.approx(np.degrees(np.arccos(cosine)), rel=1e-4)

    def test_deg_leaves_identical_pairs_out_and_idd_does_not(self, arcface):
        pictures = tensor(0)
        assert math.isnan(find("deg").load(CPU, [arcface[1]]).values(pictures, pictures, ["a"]))
        assert float(find("idd").load(CPU, [arcface[1]]).values(pictures, pictures, ["a"])) == pytest.approx(
            0, abs=1e-3
        )

    def test_idd_is_in_radians_and_takes_blue_for_red(self, arcface):
        network, path = arcface

        def embedded(picture):
            red, green, blue = picture[0]
            grey = 0.2989 * blue + 0.5870 * green + 0.1140 * red
            return network(interpolate(grey[None, None], (128, 128), mode="bilinear", align_corners=False))

        with torch.no_grad():
            cosine = torch.cosine_similarity(embedded(tensor(0)).double(), embedded(tensor(3)).double())
        idd = find("idd").load(CPU, [path]).values(tensor(0), tensor(3), ["a"])
        assert float(idd) == pytest.approx(float(cosine.arccos()), rel=1e-4)

    def test_weights_of_something_else_are_refused(self, tmp_path):
        torch.save({"some.weight": torch.ones(1)}, tmp_path / "other.pth")
        with pytest.raises(ValueError, match="does not fit ResNetArcFace"):
            find("idd").load(CPU, [tmp_path / "other.pth"])


class TestLandmarks:
    def test_peaks_lean_to_the_higher_neighbour(self):
        heatmap = torch.zeros(1, 2, 8, 8)
        heatmap[0, 0, 3, 5], heatmap[0, 0, 3, 6], heatmap[0, 0, 2, 5] = 1, 0.5, 0.5
        heatmap[0, 1, 0, 7] = 1  # in a corner it still is inside
        assert faces.peaks(heatmap)[0, 0].tolist() == [5.75, 3.25]
        assert faces.peaks(heatmap)[0, 1].tolist() == [7.5, 0.5]

    @pytest.mark.slow
    def test_equal_pictures_have_equal_landmarks(self, tmp_path):
        make_importable()
        from facexlib.alignment.awing_arch import FAN

        with torch.random.fork_rng():
            torch.manual_seed(0)
            state = FAN(num_modules=4, num_landmarks=98, device="cpu").state_dict()
        torch.save({"state_dict": state}, tmp_path / "awing.pth")
        lmd = find("lmd").load(CPU, [tmp_path / "awing.pth"])
        assert float(lmd.values(tensor(0), tensor(0), ["a"])) == 0 < float(lmd.values(tensor(0), tensor(3), ["a"]))

    def test_the_similarity_is_the_least_squares_one(self):
        from skimage.transform import SimilarityTransform

        points = template(512) + np.random.default_rng(0).normal(0, 8, (5, 2))
        expected = SimilarityTransform.from_estimate(points, likeness.TEMPLATE).params[:2]
        np.testing.assert_allclose(likeness.least_squares(points, likeness.TEMPLATE), expected, atol=1e-6)

    def test_a_crop_scales_with_the_picture(self):
        import cv2

        large = cv2.resize(photo(0, 128), (512, 512), interpolation=cv2.INTER_CUBIC)
        one, other = likeness.ntire_crop(large, template(512)), likeness.ntire_crop(photo(0, 128), template(512))
        assert one.shape == (112, 112, 3) and np.abs(one.astype(int) - other).mean() < 8

    def test_the_table_of_the_challenge_is_read(self, tmp_path):
        names = [f"{point}_{axis}" for point in likeness.POINTS for axis in "xy"]
        with (tmp_path / "faces.csv").open("w", newline="") as stream:
            table = csv.writer(stream)
            table.writerow(["filename", "dataset", *names])
            table.writerow(["ann", "CelebA", *range(10)])
        known = likeness.read_landmarks(tmp_path / "faces.csv")
        assert likeness.landmarks_of("ann", known).tolist() == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
        np.testing.assert_array_equal(likeness.landmarks_of("bob", None), template(512))
        with pytest.raises(ValueError, match="the landmarks have no 'bob'"):
            likeness.landmarks_of("bob", known)

    def test_another_table_is_refused(self, tmp_path):
        (tmp_path / "other.csv").write_text("filename,age\nann,3\n")
        with pytest.raises(ValueError, match="is no table of landmarks"):
            likeness.read_landmarks(tmp_path / "other.csv")


@pytest.mark.slow
def test_likeness_is_a_cosine_and_reads_weights_as_lightning_names_them(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = AdaFace().eval()
    state = {f"model.{key}": value for key, value in network.state_dict().items()} | {"head.kernel": torch.ones(2)}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "adaface.ckpt")
    measure = find("identity/adaface-ir50@ntire").load(CPU, [tmp_path / "adaface.ckpt"])
    same, other = (float(measure.values(tensor(0), tensor(place), ["a"])) for place in (0, 3))
    assert same == pytest.approx(1) and other < same
    assert len(network.body) == 24 and sum(p.numel() for p in network.parameters()) == 43_585_600


class TestPopulations:
    def test_the_distance_of_gaussians_is_the_formula(self):
        rng = np.random.default_rng(0)
        mean, other = rng.normal(size=(2, 6))
        cov, other_cov = (a @ a.T for a in rng.normal(size=(2, 6, 6)))
        from scipy.linalg import sqrtm

        expected = np.square(mean - other).sum() + np.trace(cov + other_cov - 2 * sqrtm(cov @ other_cov).real)
        assert frechet.frechet(mean, cov, other, other_cov) == pytest.approx(expected, rel=1e-6)

    def test_of_diagonal_ones_it_is_the_distance_of_means_and_deviations(self):
        zero = np.zeros(2)
        assert frechet.frechet(zero, np.diag([4.0, 9.0]), zero + 1, np.diag([1.0, 1.0])) == pytest.approx(2 + 1 + 4)

    def test_fewer_pictures_than_features_are_no_trouble(self):
        moments = frechet.moments(torch.randn(3, 50, generator=torch.Generator().manual_seed(0)))
        assert frechet.frechet(*moments, *moments) == pytest.approx(0, abs=1e-3)

    def test_one_picture_has_no_covariance(self):
        with pytest.raises(ValueError, match="1 picture has no covariance"):
            frechet.moments(torch.ones(1, 4))

    def test_statistics_are_read_without_running_code(self, tmp_path):
        mean, cov = np.arange(3.0), np.eye(3)
        torch.save({"name": "FFHQ", "size": 512, "mean": mean, "cov": cov}, tmp_path / "stats.pth")
        read = frechet.read_statistics(tmp_path / "stats.pth")
        np.testing.assert_array_equal(read[0], mean)
        np.testing.assert_array_equal(read[1], cov)
        torch.save([1, 2], tmp_path / "other.pth")
        with pytest.raises(ValueError, match="holds no 'mean' and 'cov'"):
            frechet.read_statistics(tmp_path / "other.pth")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"no pickle", "damaged, or holds code"),
            ({"mean": np.arange(3.0), "cov": np.eye(2)}, r"a mean \(3,\) and a cov \(2, 2\), expected finite"),
            ({"mean": np.array([0.0, np.nan]), "cov": np.eye(2)}, "expected finite"),
            ({"mean": "a", "cov": np.eye(2)}, "holds no 'mean' and 'cov'"),
        ],
    )
    def test_statistics_that_are_none_are_one_line(self, tmp_path, content, message):
        file = tmp_path / "stats.pth"
        file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
        with pytest.raises(ValueError, match=message) as error:
            frechet.read_statistics(file)
        assert "\n" not in str(error.value)

    @pytest.mark.slow
    def test_fid_is_basicsrs_on_drawn_weights(self, tmp_path, monkeypatch):
        make_importable()
        inception = pytest.importorskip("basicsr.archs.inception", reason="basicsr does not build on Python 3.13")
        from basicsr.metrics.fid import calculate_fid
        from torchvision import models

        found = {}
        monkeypatch.setattr(models.Inception3, "load_state_dict", lambda self, state: found.update(self.state_dict()))
        monkeypatch.setattr(inception, "load_url", lambda *_, **__: {})
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = inception.InceptionV3([3], resize_input=True, normalize_input=False).eval()
        monkeypatch.undo()
        torch.save(found, tmp_path / "inception.pth")
        rng = np.random.default_rng(0)
        root = rng.normal(size=(2048, 2048)) / 2048
        torch.save({"mean": rng.normal(size=2048) / 100, "cov": root @ root.T}, tmp_path / "stats.pth")
        stats = torch.load(tmp_path / "stats.pth", weights_only=False)
        pictures = tensor(*range(0, 8))
        with torch.no_grad():
            theirs = network((pictures - 0.5) / 0.5)[0].view(8, -1).numpy()
        expected = calculate_fid(theirs.mean(0), np.cov(theirs, rowvar=False), stats["mean"], stats["cov"])
        measure = find("fid").load(CPU, [tmp_path / "inception.pth", tmp_path / "stats.pth"])
        np.testing.assert_allclose(measure.features(pictures), theirs, rtol=1e-4, atol=1e-12)
        ours = frechet.frechet(*frechet.moments(measure.features(pictures)), *measure.reference)
        assert ours == pytest.approx(expected, rel=1e-3)

    def test_every_population_names_its_reference(self):
        offline = find("fd").load(CPU, [])
        assert offline.reference is None and offline.features(tensor(0, 1)).shape == (2, 320)


def test_an_embedding_is_asked_for_once():
    asked = []
    embed = Remembered(lambda images: asked.append(len(images)) or images.mean((2, 3)))
    embed(tensor(0, 1))
    embed(tensor(1))
    assert asked == [2]


PICTURES_EMBEDDED = """
from pathlib import Path
import numpy as np, resource, torch
from iqp_adapter.bench.protocols import Remembered

def memory():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

embed = Remembered(lambda images: images.mean((2, 3)).repeat(1, 42))
pixels = np.random.default_rng(0).integers(0, 256, (320, 320, 3), np.uint8)
for place in range(300):
    rolled = torch.from_numpy(np.roll(pixels, place, 0).copy())
    picture = rolled.permute(2, 0, 1).float().div(255)[None].contiguous()
    embed(picture)
    before = memory() if place == 100 else before if place else 0
print((memory() - before) / (199 * picture.nbytes))
"""
"""Prints how much of the pictures' memory is still held."""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory of a process from /proc")
def test_an_embedding_that_is_kept_does_not_hold_its_picture():
    held = subprocess.run([sys.executable, "-c", PICTURES_EMBEDDED], capture_output=True, text=True, check=True).stdout
    assert float(held) < 0.3


def test_pyiqas_metrics_take_a_local_file(tmp_path):
    torch.save({"params": {"some.weight": torch.ones(1)}}, tmp_path / "wrong.pth")
    with pytest.raises(ValueError, match="does not take these weights"):
        find("cnniqa").load(CPU, [tmp_path / "wrong.pth"])
    assert faces.OTHER_PERSON == 0.6
