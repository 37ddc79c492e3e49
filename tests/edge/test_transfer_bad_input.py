"""Every kind of bad input that methods between domains meet, for every method that needs numpy alone.

One table of methods, one of inputs. Measures of a source, which take one domain, have theirs in
`test_choice_inputs.py`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from acclimate.edge.transfer.augmentation import augment, domain_layer
from acclimate.edge.transfer.class_embeddings import ClassEmbeddingMap
from acclimate.edge.transfer.components import primal_components, transfer_components
from acclimate.edge.transfer.concatenation import Concatenation
from acclimate.edge.transfer.coral import coral_samples
from acclimate.edge.transfer.domain_classifier import DomainClassifier
from acclimate.edge.transfer.joint_mmd import joint_mmd
from acclimate.edge.transfer.kliep import KLIEP
from acclimate.edge.transfer.kmm import KMM
from acclimate.edge.transfer.label_shift import estimate_prior, estimate_prior_black_box
from acclimate.edge.transfer.late_fusion import fit_late
from acclimate.edge.transfer.mmd import biased, fourier, linear_time, mmd, unbiased
from acclimate.edge.transfer.selection import NearestSelection, nearest_of_class
from acclimate.edge.transfer.shift_test import shift_test
from acclimate.edge.transfer.thin_coral import thin_coral_map, thin_of_samples
from acclimate.edge.transfer.ulsif import ULSIF
from acclimate.edge.transfer.weighting import SampleWeights, Weigher, least_size
from acclimate.errors import InputError, LabelError

Array = NDArray[Any]
Method = Callable[[Any, Any], Any]


def _projected(found: Any, source: Any, target: Any) -> Array:
    return np.concatenate([found.project(source), found.project(target)])


def _labelled(source: Any, target: Any) -> Array:
    rows, _ = nearest_of_class(source, np.arange(len(source)) % 2, target, np.arange(len(target)) % 2)
    return rows


def _zero_shot(source: Any, target: Any) -> Array:
    fitted = ClassEmbeddingMap.fit(source, np.arange(len(source)) % 3, np.eye(5))
    return fitted.scores(target, np.eye(5))


def _shift_of(source: Any, target: Any) -> Array:
    found = shift_test(source, target, permutations=39)
    return np.array([found.statistic, found.p_value])


WEIGHERS: tuple[Weigher, ...] = (KMM(), KLIEP(), ULSIF(), DomainClassifier(), NearestSelection())
# Between unlabelled domains; those that go by labels get two classes, or three that have an embedding.
METHODS: dict[str, Method] = {
    **{one.name: lambda s, t, one=one: one.weigh(s, t).weight for one in WEIGHERS},  # type: ignore[misc]  # a default
    "nearest of class": _labelled,
    "mmd": mmd,
    "biased mmd": biased,
    "unbiased mmd": unbiased,
    "linear-time mmd": linear_time,
    "mmd of random features": lambda s, t: fourier(s, t, features=64),
    "jmmd": lambda s, t: joint_mmd([s, s], [t, t]),
    "shift test": _shift_of,
    "coral": lambda s, t: coral_samples(s, t).apply(np.asarray(s)),
    "thin coral": lambda s, t: thin_coral_map(thin_of_samples(s), thin_of_samples(t)).apply(np.asarray(s)),
    "tca": lambda s, t: _projected(transfer_components(s, t, 3), s, t),
    "tca, gaussian": lambda s, t: _projected(transfer_components(s, t, 3, kernel="gaussian"), s, t),
    "tca, landmarks": lambda s, t: _projected(transfer_components(s, t, 3, kernel="gaussian", landmarks=6), s, t),
    "tca, primal": lambda s, t: _projected(primal_components(s, t, 3), s, t),
    "augmentation": lambda s, t: np.concatenate([augment(s, 0), augment(t, 1)]),
    "class embeddings": _zero_shot,
    "concatenation": lambda s, t: Concatenation.fit([s]).apply([t]),
}
# These take one side at a time, which has no width to differ from.
OF_ONE_SIDE = ("augmentation",)
TCA = tuple(name for name in METHODS if name.startswith("tca"))

DRAW = np.random.default_rng(0)
SOURCE, TARGET = DRAW.normal(size=(20, 4)), DRAW.normal(size=(14, 4)) + 0.5
every = pytest.mark.parametrize("method", METHODS)


def _with(x: Array, value: float) -> Array:
    found = x.copy()
    found[3, 1] = value
    return found


@every
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", ["source", "target"])
def test_values_that_are_not_finite_are_refused(method: str, value: float, side: str) -> None:
    """One of them on either side, by an error that says what was expected."""
    source, target = (_with(SOURCE, value), TARGET) if side == "source" else (SOURCE, _with(TARGET, value))
    with pytest.raises(InputError, match=r"expected finite .*(NaN or infinity|not finite)"):
        METHODS[method](source, target)


@pytest.mark.parametrize("method", [name for name in METHODS if name not in OF_ONE_SIDE])
def test_other_widths_are_refused(method: str) -> None:
    """Features of another backbone, on either side, with both widths told."""
    for source, target in ((SOURCE, TARGET[:, :3]), (SOURCE[:, :3], TARGET)):
        with pytest.raises(InputError, match=r"expected .*width.*4.*3|expected .*width.*3.*4"):
            METHODS[method](source, target)


HARD: dict[str, tuple[Array, Array]] = {
    "fewer samples than features": (DRAW.normal(size=(6, 30)), DRAW.normal(size=(5, 30)) + 0.3),
    "constant features": (np.c_[SOURCE, np.ones((20, 2))], np.c_[TARGET, np.ones((14, 2))]),
    "constant on one side": (np.c_[SOURCE, np.zeros((20, 2))], np.c_[TARGET, DRAW.normal(size=(14, 2))]),
    "duplicated rows": (np.repeat(SOURCE[:5], 4, axis=0), np.repeat(TARGET[:3], 4, axis=0)),
    "a target of one row, repeated": (SOURCE, np.repeat(TARGET[:1], 14, axis=0)),
    "no overlap": (SOURCE, TARGET + 1e4),
}
ALIKE: dict[str, tuple[Array, Array]] = {
    "all rows alike": (np.full((20, 4), 0.1), np.full((14, 4), 0.1)),
    "each side one point": (np.zeros((20, 4)), np.ones((14, 4))),
}


@every
@pytest.mark.parametrize("kind", HARD)
def test_what_is_degenerate_has_a_finite_answer(method: str, kind: str) -> None:
    """Without a warning: tests take warnings for errors."""
    assert np.isfinite(METHODS[method](*HARD[kind])).all()


@every
@pytest.mark.parametrize("kind", ALIKE)
def test_kernels_of_rank_one(method: str, kind: str) -> None:
    """No value differs, or one direction is all: finite; components are refused where there is no direction at all."""
    if method in TCA and kind == "all rows alike":
        with pytest.raises(InputError, match="expected samples that vary, found that they do not"):
            METHODS[method](*ALIKE[kind])
        return
    found = np.asarray(METHODS[method](*ALIKE[kind]))
    assert np.isfinite(found).all()
    if method in TCA:
        # As many components as the kernel has rank, however many are asked for.
        assert found.shape == (34, 1)


def _peaked() -> tuple[Array, Array]:
    """Return 400 source samples of which one is where the target is."""
    draw = np.random.default_rng(1)
    source = draw.normal(size=(400, 2))
    source[7] = [12.0, 0.0]
    return source, draw.normal(size=(60, 2)) * 0.1 + [12.0, 0.0]


@pytest.mark.parametrize("weigher", WEIGHERS, ids=lambda one: one.name)
def test_weights_that_collapse_on_one_sample_are_bounded_and_told(weigher: Weigher) -> None:
    """The effective size is Kish's of the weights, no less than the bound, and a note says what was done."""
    found: SampleWeights = weigher.weigh(*_peaked())
    kish = found.weight.sum() ** 2 / np.square(found.weight).sum()
    assert found.effective_size == pytest.approx(kish)
    assert found.effective_size >= least_size(400) * (1 - 1e-9)
    assert found.weight.argmax() == 7
    assert found.note


def test_a_class_that_one_side_lacks_is_named_and_none_shared_is_refused() -> None:
    """Selection within classes: rows of shared ones alone."""
    labels, wanted = np.arange(20) % 3, np.arange(14) % 2
    rows, lacking = nearest_of_class(SOURCE, labels, TARGET, wanted)
    assert lacking == (2,)
    assert set(labels[rows]) == {0, 1}
    assert nearest_of_class(TARGET, wanted, SOURCE, labels)[1] == (2,)
    with pytest.raises(
        InputError, match=r"expected source and target to share classes, found \[0, 1, 2\] and \[5, 6\]"
    ):
        nearest_of_class(SOURCE, labels, TARGET, wanted + 5)


def test_zero_shot_needs_no_shared_class_but_an_embedding_of_each() -> None:
    """Classes of the target that the source lacks are what it is for; one without an embedding is refused."""
    fitted = ClassEmbeddingMap.fit(SOURCE, np.arange(20) % 3, np.eye(5))
    assert set(fitted.predict(TARGET, np.eye(5)[3:])) <= {0, 1}
    with pytest.raises(LabelError, match="Give each class an embedding"):
        ClassEmbeddingMap.fit(SOURCE, np.arange(20) % 3 + 3, np.eye(5))


def test_label_shift_with_classes_that_one_side_lacks() -> None:
    """A class that does not occur here gets no share, one that the source lacks none either; none shared is refused."""
    sure = np.eye(3)[[0, 0, 1, 0]]
    np.testing.assert_allclose(estimate_prior(sure, [1, 1, 1]).prior, [0.75, 0.25, 0], atol=1e-6)
    np.testing.assert_allclose(estimate_prior(sure[:, [0, 2, 1]], [1, 1, 0]).prior, [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(estimate_prior_black_box(np.eye(3), sure.argmax(axis=1)).prior, [0.75, 0.25, 0])
    with pytest.raises(InputError, match="to share classes"):
        estimate_prior(np.eye(3)[[2, 2]], [1, 1, 0])
    with pytest.raises(InputError, match="to share classes"):
        estimate_prior_black_box(np.diag([1, 1, 0]), np.array([2, 2]))


def test_late_fusion_of_verdicts_that_say_nothing_or_the_same() -> None:
    """Constant, repeated and few verdicts have weights that add up to 1; a class that never occurs is no obstacle."""
    flat, y = np.full((3, 5), 0.2), np.array([0, 0, 4])
    for given in ([flat, flat], [flat, np.eye(5)[[0, 0, 4]]], [np.eye(5)[[1, 1, 2]], flat]):
        for pool in ("log", "linear"):
            found = fit_late(given, y, pool=pool)
            assert found.weight.sum() == pytest.approx(1)
            assert np.isfinite(found.loss)
    with pytest.raises(InputError, match="same samples and classes"):
        fit_late([flat, flat[:, :4]], y)


def test_a_layer_of_another_width_is_refused_for_augmented_features() -> None:
    """It would be cut in the wrong places."""
    with pytest.raises(InputError, match=r"expected .*found"):
        domain_layer(np.ones((2, 13)), 1)
