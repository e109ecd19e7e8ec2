import builtins
import functools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import silhouette_score

from explorer import projection

ROOT = Path(projection.__file__).parent.parent
N = 40


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.fixture
def codes(random):
    return (random.normal(size=(N, 6)) * [5, 4, 3, 2, 1, 0.5] + 7).astype(np.float32)


@pytest.fixture(autouse=True)
def few_epochs(monkeypatch):
    """UMAP's usual 500 are for pictures: what holds of them holds of ten, which plain Python makes in no time."""
    import umap

    monkeypatch.setattr(umap, "UMAP", functools.partial(umap.UMAP, n_epochs=10))


@pytest.fixture
def without_umap(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)


@pytest.mark.parametrize("n_components", [2, 3])
def test_pca_is_the_singular_value_decomposition_of_the_centred_codes(codes, n_components):
    coordinates, explained = projection.pca(codes, n_components)
    centred = codes - codes.mean(0)
    _, s, directions = np.linalg.svd(centred, full_matrices=False)
    assert explained == pytest.approx((s**2 / (s**2).sum())[:n_components], rel=1e-4)
    assert coordinates.dtype == np.float32
    assert np.abs(coordinates) == pytest.approx(np.abs(centred @ directions[:n_components].T), abs=1e-3)


METHODS = {
    "pca": lambda codes, seed: projection.pca(codes, 2, seed)[0],
    "tsne": lambda codes, seed: projection.tsne(codes, 8.0, seed),
    "umap": lambda codes, seed: projection.umap(codes, 2, seed=seed),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_picture(codes, method):
    first, second = (METHODS[method](codes, 3) for _ in range(2))
    assert first.shape == (N, 2)
    assert first.dtype == np.float32
    assert np.array_equal(first, second)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("width", [2, 6])
def test_every_projection_that_exists_is_made(codes, width):
    made, left_out = projection.project(codes[:, :width])
    shapes = {"pca_2d": (N, 2), "tsne_2d": (N, 2), "umap_2d": (N, 2), "umap_3d": (N, 3), "pca_explained": (2,)}
    if width > 2:
        shapes |= {"pca_3d": (N, 3), "pca_explained": (3,)}
    assert {name: value.shape for name, value in made.items()} == shapes
    assert {value.dtype for value in made.values()} == {np.dtype(np.float32)}
    assert left_out == []


def test_without_umap_a_sentence_says_so_and_the_rest_is_made(codes, without_umap):
    made, [sentence] = projection.project(codes)
    assert set(made) == {"pca_2d", "pca_3d", "pca_explained", "tsne_2d"}
    assert "pip install umap-learn" in sentence


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("width", [1, 2, 6])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_few_codes_get_the_projections_that_exist_and_a_sentence_for_each_other(random, n, width):
    made, left_out = projection.project(random.normal(size=(n, width)).astype(np.float32))
    for key, value in made.items():
        assert value.shape == ((min(max(width, 2), 3),) if key == "pca_explained" else (n, int(key[-2]))), key
        assert np.isfinite(value).all(), key
    assert {"pca_2d", "pca_explained"} <= set(made)
    assert ("tsne_2d" in made, {"umap_2d", "umap_3d"} <= set(made)) == (n >= 4, n >= 3)
    assert [sentence.partition(" codes of ")[0] for sentence in left_out] == [
        f"{title} of {n}" for title, least in (("t-SNE", 4), ("UMAP", 3)) if n < least
    ]


def test_what_lies_on_a_line_has_no_second_coordinate():
    codes = np.arange(6, dtype=np.float32)[:, None]
    coordinates, explained = projection.pca(codes, 2)
    assert np.abs(coordinates[:, 0]) == pytest.approx([2.5, 1.5, 0.5, 0.5, 1.5, 2.5])
    assert (coordinates[:, 1].tolist(), explained.tolist()) == ([0.0] * 6, [1.0, 0.0])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("value", "spread"), [(0.5, 0.0), (0.0, 1e-30)])
def test_of_codes_without_a_difference_tsne_is_left_out_where_its_library_would_crash(value, spread):
    codes = value + spread * np.eye(N, 5, dtype=np.float32)
    made, [sentence] = projection.project(codes)
    assert sentence == f"t-SNE of {N} codes of 5 numbers: the codes are all the same"
    assert set(made) == {"pca_2d", "pca_3d", "pca_explained", "umap_2d", "umap_3d"}
    assert all(np.isfinite(value).all() for value in made.values())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_of_codes_that_are_no_numbers_nothing_is_made_and_each_method_says_so(value):
    made, left_out = projection.project(np.full((N, 5), value, np.float32))
    assert made == {}
    assert [sentence.partition(" of ")[0] for sentence in left_out] == ["PCA", "t-SNE", "UMAP"]


def test_where_umap_cannot_keep_what_it_compiles_a_sentence_says_so_and_the_rest_is_made(codes, monkeypatch):
    find = builtins.__import__

    def refuse(name, *arguments):
        if name == "umap":
            raise RuntimeError("cannot cache function 'rdist': no locator available for file 'layouts.py'")
        return find(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", refuse)
    made, [sentence] = projection.project(codes)
    assert set(made) == {"pca_2d", "pca_3d", "pca_explained", "tsne_2d"}
    assert "cannot cache function 'rdist'" in sentence and "NUMBA_CACHE_DIR" in sentence


THREADS = """
import sys, threading, warnings
warnings.simplefilter("ignore")
import numpy as np
from explorer import projection
codes = np.random.default_rng(0).normal(size=(60, 4))
projection.umap(codes[:20], 2)  # compiled, so that all are in the parallel parts at once
made = []
def work():
    for _ in range(5):
        made.append(projection.umap(codes, 2))
threads = [threading.Thread(target=work) for _ in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert len(made) == 15 and all(np.array_equal(one, made[0]) for one in made)
"""


@pytest.mark.wide
def test_three_threads_may_ask_for_umap_where_numba_has_its_plainest_threading_layer():
    ended = subprocess.run(
        [sys.executable, "-c", THREADS], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "NUMBA_THREADING_LAYER": "workqueue", "NUMBA_NUM_THREADS": "2", "NUMBA_DISABLE_JIT": "0"},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-500:]


def test_umap_itself_raises_when_it_is_not_installed(codes, without_umap):
    with pytest.raises(projection.ProjectionUnavailable, match="pip install umap-learn"):
        projection.umap(codes, 2)


@pytest.mark.parametrize("n", [4, 5, 25, 360, 2000])
def test_settings_that_are_offered_lie_in_order_below_the_number_of_codes(n):
    lowest, usual, highest = projection.perplexities(n)
    assert 1 <= lowest <= usual <= highest < n
    lowest, usual, highest = projection.neighbor_counts(n)
    assert 2 <= lowest <= usual <= highest < n


def test_the_usual_perplexity_is_that_of_the_stored_map(codes):
    made, _ = projection.project(codes[:25])
    assert projection.perplexities(25)[1] == 8
    assert np.array_equal(made["tsne_2d"], projection.tsne(codes[:25], 8))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_a_method_without_an_obstacle_makes_its_map_by_every_setting(codes, n):
    few = codes[:n]
    for method in ("PCA", "t-SNE", "UMAP"):
        for d in (2, 3):
            if projection.obstacle(method, few, d) or (method, d) == ("t-SNE", 3):
                continue
            if method == "PCA":
                maps = [projection.pca(few, d)[0]]
            elif method == "t-SNE":
                maps = [projection.tsne(few, p) for p in set(projection.perplexities(n))]
            else:
                maps = [projection.umap(few, d, k) for k in set(projection.neighbor_counts(n))]
            assert all(made.shape == (n, d) and np.isfinite(made).all() for made in maps)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", ["tsne", "umap"])
def test_another_setting_makes_another_map(codes, method):
    one, other = (
        projection.tsne(codes, k) if method == "tsne" else projection.umap(codes, 2, k) for k in (4, 20)
    )  # fmt: skip
    assert np.abs(one - other).max() > 0.1


def test_codes_that_are_all_the_same_have_no_map_by_tsne():
    assert "all are the same" in projection.obstacle("t-SNE", np.ones((25, 8), np.float32))


@pytest.mark.parametrize("labels", [[3] * 10, list(range(10))])
def test_there_is_no_class_structure_of_one_class_or_of_a_class_for_each_image(random, labels):
    assert projection.class_structure(random.normal(size=(10, 3)), np.array(labels)) == {}


@pytest.mark.parametrize("k", [1, 5, 100])
def test_class_structure_is_that_of_a_plain_loop_leaving_each_image_out(random, k):
    labels = random.integers(0, 3, size=N)
    codes = random.normal(size=(N, 4)) + labels[:, None]
    hits = 0
    for i in range(N):
        distances = np.linalg.norm(codes - codes[i], axis=1)
        distances[i] = np.inf
        nearest = np.argsort(distances, kind="stable")[: min(k, N - 1)]
        hits += np.bincount(labels[nearest], minlength=3).argmax() == labels[i]
    found = projection.class_structure(codes, labels, k)
    assert found["silhouette"] == pytest.approx(silhouette_score(codes, labels))
    assert found["knn_accuracy"] == pytest.approx(hits / N)


def test_a_copy_is_a_neighbour_and_the_image_itself_is_not():
    codes = np.repeat(np.arange(10.0), 2)[:, None]
    assert projection.class_structure(codes, np.tile([0, 1], 10), k=1)["knn_accuracy"] == 0.0


def test_classes_far_apart_part_perfectly():
    codes = np.repeat([[0.0, 0.0], [100.0, 0.0]], 10, axis=0) + np.arange(20)[:, None] / 100
    found = projection.class_structure(codes, np.repeat([0, 1], 10), k=5)
    assert found["knn_accuracy"] == 1.0
    assert found["silhouette"] > 0.99
