"""Distillation: the loss is the one written down, and students follow their teachers."""

import math

import pytest

pytest.importorskip("torch", reason="acclimate[server] is not installed")

import torch
from torch import nn

from acclimate.errors import InputError
from acclimate.server.distill import distill, distillation_loss
from acclimate.server.training import TrainingSettings, predict_logits

pytestmark = pytest.mark.needs_torch


def test_loss_equals_the_value_computed_by_hand() -> None:
    """Two samples, two classes, T = 2, w = 0.25: soft and hard parts from logarithms and exponentials alone."""
    student, teacher, labels = [[1.0, -1.0], [0.5, 2.0]], [[3.0, 0.0], [-1.0, 1.0]], [0, 1]

    def softmax(logits: list[float], temperature: float) -> list[float]:
        powers = [math.exp(value / temperature) for value in logits]
        return [power / sum(powers) for power in powers]

    soft = hard = 0.0
    for s, t, label in zip(student, teacher, labels, strict=True):
        p, q = softmax(t, 2.0), softmax(s, 2.0)
        soft += sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True)) / 2
        hard -= math.log(softmax(s, 1.0)[label]) / 2
    value = distillation_loss(
        torch.tensor(student, dtype=torch.float64),
        torch.tensor(teacher, dtype=torch.float64),
        torch.tensor(labels),
        temperature=2.0,
        hard_weight=0.25,
    )
    assert float(value) == pytest.approx(0.75 * 4 * soft + 0.25 * hard, rel=1e-12)


def test_no_gradient_where_the_student_equals_the_teacher() -> None:
    """Without labels the loss and its gradient vanish there, and the teacher gets none."""
    teacher = torch.randn(8, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    student = teacher.detach().clone().requires_grad_()
    loss = distillation_loss(student, teacher, torch.zeros(8, dtype=torch.int64), temperature=3.0, hard_weight=0.0)
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-14)
    assert student.grad is not None
    assert float(student.grad.abs().max()) < 1e-14
    assert teacher.grad is None


def test_gradient_agrees_with_finite_differences() -> None:
    """Of the whole loss in the student's logits, in float64."""
    generator = torch.Generator().manual_seed(1)
    student = torch.randn(3, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    teacher = torch.randn(3, 4, dtype=torch.float64, generator=generator)
    labels = torch.tensor([0, 3, 1])
    assert torch.autograd.gradcheck(lambda logits: distillation_loss(logits, teacher, labels), (student,))


def test_student_learns_what_the_teacher_answers() -> None:
    """From wrong labels at weight 0 the student still comes to answer as the teacher, which stays as it was."""
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(256, 6, generator=generator)
    teacher, student = nn.Linear(6, 4), nn.Linear(6, 4)
    nn.init.normal_(teacher.weight, generator=generator)
    nn.init.zeros_(student.weight)
    teacher.train()
    before = teacher.weight.detach().clone()
    distill(
        teacher,
        student,
        inputs,
        torch.zeros(256, dtype=torch.int64),
        temperature=2.0,
        hard_weight=0.0,
        settings=TrainingSettings(epochs=60, batch_size=64, learning_rate=0.1, weight_decay=0.0),
    )
    assert teacher.training
    assert torch.equal(teacher.weight, before)
    answers = [predict_logits(model, inputs).argmax(1) for model in (teacher, student)]
    assert float((answers[0] == answers[1]).double().mean()) > 0.97


def test_models_or_settings_that_do_not_fit_are_refused() -> None:
    """Another number of outputs, and temperature or weight out of range."""
    inputs, labels = torch.zeros(4, 6), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(InputError, match=r"same outputs, found \(4, 5\) and \(4, 3\)"):
        distill(nn.Linear(6, 5), nn.Linear(6, 3), inputs, labels)
    with pytest.raises(InputError, match="temperature above 0"):
        distill(nn.Linear(6, 3), nn.Linear(6, 3), inputs, labels, temperature=0.0)
    with pytest.raises(InputError, match="hard_weight from 0 to 1"):
        distill(nn.Linear(6, 3), nn.Linear(6, 3), inputs, labels, hard_weight=1.5)
