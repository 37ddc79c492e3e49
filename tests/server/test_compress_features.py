"""What a student learns besides answers: losses that vanish where they must, with gradients that are right."""

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")

import torch
from torch import Tensor, nn

from acclimate.errors import InputError
from acclimate.server.compress import (
    FeatureMatch,
    Hints,
    angle_loss,
    distance_loss,
    feature_loss,
    relational_loss,
)
from acclimate.server.distill import distill
from acclimate.server.training import TrainingSettings

pytestmark = pytest.mark.needs_torch
LOSSES = (distance_loss, angle_loss, relational_loss)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def rotation(size: int, seed: int) -> Tensor:
    found: Tensor = torch.linalg.qr(normal(size, size, seed=seed))[0]
    return found


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("seed", range(5))
def test_relations_do_not_change_under_rotation_shift_and_scale(loss: object, seed: int) -> None:
    """Also where the teacher's embedding lies in a space of more dimensions than the student's."""
    assert callable(loss)
    student = normal(7, 4, seed=seed)
    moved = 3.7 * torch.cat((student, torch.zeros(7, 2)), 1) @ rotation(6, seed + 100) + normal(6, seed=seed + 200)
    assert float(loss(student, moved)) == pytest.approx(0, abs=1e-24)
    bent = moved.clone()
    bent[0] += 1
    assert float(loss(student, bent)) > 1e-5


def test_relations_equal_the_values_computed_by_hand() -> None:
    """A right-angled triangle against a straight line: three pairs, six ordered triples."""
    corner = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]], dtype=torch.float64)
    line = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64)

    def huber(x: float) -> float:
        return 0.5 * x * x if abs(x) < 1 else abs(x) - 0.5

    distances = [(3 / 4, 1 / (4 / 3)), (4 / 4, 2 / (4 / 3)), (5 / 4, 1 / (4 / 3))]
    assert float(distance_loss(corner, line)) == pytest.approx(sum(huber(a - b) for a, b in distances) / 3)
    cosines = [(0.0, 1.0), (3 / 5, -1.0), (4 / 5, 1.0)]
    assert float(angle_loss(corner, line)) == pytest.approx(sum(huber(a - b) for a, b in cosines) / 3)


@pytest.mark.parametrize("loss", [*LOSSES, feature_loss])
def test_gradients_agree_with_finite_differences(loss: object) -> None:
    """In the student's features, in float64; the teacher gets none."""
    assert callable(loss)
    student, teacher = normal(5, 3, seed=1).requires_grad_(), normal(5, 3, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, teacher), (student,))
    loss(student, teacher).backward()
    assert teacher.grad is None


def test_equal_samples_have_a_finite_gradient() -> None:
    """The distance of a sample to its copy is 0, where the root has no derivative."""
    student = normal(1, 3, seed=3).repeat(4, 1).requires_grad_()
    relational_loss(student, normal(4, 3, seed=4)).backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    assert bool(student.grad.isfinite().all())


def test_features_are_compared_by_direction_alone() -> None:
    """Equal up to the scale of each sample: 0; opposite: 4; orthogonal: 2."""
    x = normal(6, 5, 3, 3, seed=5)
    scales = torch.linspace(0.1, 9, 6, dtype=torch.float64).reshape(-1, 1, 1, 1)
    assert float(feature_loss(x * scales, x)) == pytest.approx(0, abs=1e-14)
    assert float(feature_loss(-x, x)) == pytest.approx(4)
    assert float(feature_loss(torch.eye(4)[:2], torch.eye(4)[2:])) == pytest.approx(2)


def test_projection_finds_a_linear_map() -> None:
    """Features of a teacher that are a linear map of the student's, on finer maps, are matched; constants are not."""
    map_ = normal(6, 4, seed=6).float()
    student = normal(32, 4, 2, 2, seed=7).float()
    teacher = torch.einsum("tc,ncij->ntij", map_, student).repeat_interleave(2, 2).repeat_interleave(2, 3)
    match = FeatureMatch(4, 6)
    before = float(match(student, teacher).detach())
    optimiser = torch.optim.LBFGS(match.parameters(), max_iter=200, tolerance_grad=1e-9)

    def close() -> Tensor:
        optimiser.zero_grad()
        loss: Tensor = match(student, teacher)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(close)  # type: ignore[no-untyped-call]
    assert before > 0.5
    assert float(match(student, teacher).detach()) < 1e-5


class Two(nn.Module):
    """Two layers, with features between them."""

    def __init__(self, width: int, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.body, self.head = nn.Sequential(nn.Linear(6, width), nn.Tanh()), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(x))
        return logits


class _Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


class Odd(nn.Module):
    """A student with places whose features cannot be compared with others."""

    def __init__(self) -> None:
        super().__init__()
        self.deep, self.pair, self.spare = nn.Unflatten(1, (6, 1)), _Pair(), nn.Linear(6, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.pair(self.deep(x).flatten(1))[0])
        return logits


def test_hints_bring_the_student_closer_to_its_teacher() -> None:
    """In what they weigh: features by their loss, relations by theirs; projections are no part of the student."""
    x = normal(128, 6, seed=8).float()
    y = torch.zeros(128, dtype=torch.int64)
    teacher, settings = Two(8, seed=0), TrainingSettings(epochs=30, batch_size=32, learning_rate=3e-2)
    relations: dict[str, float] = {}
    for name, hints in {
        "none": None,
        "features": Hints(features=(("body", "body"),), feature_weight=10),
        "relations": Hints(relations=("head:input", "body"), distance_weight=100, angle_weight=100),
    }.items():
        student = Two(4, seed=1)
        distill(teacher, student, x, y, hints=hints, hard_weight=0, settings=settings)
        with torch.no_grad():
            relations[name] = float(relational_loss(student.body(x), teacher.body(x)))
        assert set(student.state_dict()) == set(teacher.state_dict())
        assert not any(module._forward_hooks for module in (*student.modules(), *teacher.modules()))
    assert relations["relations"] < 0.7 * relations["none"]
    assert relations["features"] < relations["none"]


def test_the_same_without_hints_to_the_bit() -> None:
    """A hint of weight 0 changes no weight of the student: nothing is drawn from the global generator."""
    x, y = normal(64, 6, seed=9).float(), torch.zeros(64, dtype=torch.int64)
    students = Two(4, seed=1), Two(4, seed=1)
    settings = TrainingSettings(epochs=2, batch_size=32, gradient_norm=1e9)
    for student, hints in zip(students, (None, Hints(features=(("body", "body"),), feature_weight=0)), strict=True):
        distill(Two(8, seed=0), student, x, y, hints=hints, settings=settings)
    for a, b in zip(*(student.state_dict().values() for student in students), strict=True):
        assert torch.equal(a, b)


def test_what_does_not_fit_is_refused() -> None:
    """Unknown places, none at all, other kinds of features, too few samples."""
    x, y = normal(8, 6, seed=10).float(), torch.zeros(8, dtype=torch.int64)
    for hints, message in (
        (Hints(features=(("neck", "body"),)), r"module of the student \(Two\).* in objective\.hints, found 'neck'"),
        (Hints(features=(("body", "bod"),)), r"teacher .* in objective\.hints, found 'bod'.* Did you mean 'body'"),
        (Hints(relations=("body", "neck:input")), r"of the teacher .* in objective\.relations, found 'neck:input'"),
        (Hints(features=(("body", "body:output"),)), r"of the teacher .* in objective\.hints, found 'body:output'"),
    ):
        with pytest.raises(InputError, match=message):
            distill(Two(8, 0), Two(4, 1), x, y, hints=hints)
    for hints, message in (
        (
            Hints(relations=("spare", "body")),
            r"student .* pass through in objective\.relations, found 'spare', which is unused",
        ),
        (
            Hints(features=(("deep", "body"),)),
            r"axes .* in objective\.hints, found \(2, 6, 1\) at 'deep' of the student",
        ),
        (Hints(features=(("pair", "body"),)), r"features \(n, d, ...\) at 'pair' of the student .* found tuple"),
    ):
        with pytest.raises(InputError, match=message):
            distill(Two(8, 0), Odd(), x, y, hints=hints)
    with pytest.raises(InputError, match="found neither"):
        Hints()
    with pytest.raises(InputError, match="weights of 0 or more"):
        Hints(relations=("body", "body"), angle_weight=-1)
    with pytest.raises(InputError, match="as many axes"):
        FeatureMatch(4, 4)(torch.zeros(2, 4), torch.zeros(2, 4, 1, 1))
    with pytest.raises(InputError, match="3 samples or more"):
        angle_loss(torch.zeros(2, 4), torch.zeros(2, 4))
