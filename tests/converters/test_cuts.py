"""The list of cuts: what separates, what each costs, and which one fits a budget."""

import functools
from collections.abc import Callable

import pytest

pytest.importorskip("torch", reason="acclimate[convert] is not installed")

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from acclimate.converters.splitting.blocks import Survey, survey
from acclimate.converters.splitting.cuts import Cut, list_cuts, recommend
from acclimate.converters.splitting.examine import examine
from acclimate.converters.splitting.separation import before, dependents, separators, sides
from acclimate.converters.splitting.split import split
from acclimate.converters.splitting.tail import split_tail
from acclimate.errors import CutError, InputError

from .test_tail import Functional, ResidualNet, Settle, bert, densenet, images, vit

pytestmark = pytest.mark.needs_torch


def perceptron() -> tuple[nn.Module, Tensor]:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 9), nn.Tanh(), nn.Linear(9, 3)), torch.randn(4, 6)


def test_cuts_of_a_perceptron_by_hand() -> None:
    """Every figure of a network that is small enough to count on paper."""
    head, deeper = list_cuts(*perceptron())
    assert (head.name, head.blocks, head.map_shape) == ("4:input", 0, (9,))
    assert (head.latent_bytes, head.parameters, head.multiply_adds) == (8 + 9, 9 * 3 + 3, 27)
    assert (deeper.name, deeper.blocks, deeper.map_shape) == ("1", 1, (8,))
    assert (deeper.latent_bytes, deeper.parameters) == (8 + 9 + 8, 30 + 8 * 9 + 9)
    assert (deeper.multiply_adds, deeper.compute_share) == (72 + 27, 99 / (48 + 72 + 27))
    assert deeper.parameter_share == pytest.approx(111 / (111 + 6 * 8 + 8))
    # Behind the cut: a product, a hyperbolic tangent and the logits.
    assert deeper.activation_bytes == 32 * 4 * (9 + 9 + 3)
    assert deeper.activation_share == pytest.approx(21 / (8 + 8 + 9 + 9 + 3))


MODELS: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "functional": lambda: (Functional(), images(16)),
    "residual": lambda: (ResidualNet(), images(8)),
    "DenseNet": densenet,
    "vision transformer": vit,
    "text encoder": bert,
}


@pytest.mark.parametrize("name", MODELS)
def test_counts_agree_with_torch(name: str, trained_statistics: Settle) -> None:
    """Multiply-adds of each tail are half of what torch's own counter counts when the tail runs."""
    model, x = MODELS[name]()
    model = trained_statistics(model, x)
    cuts = list_cuts(model, x)
    assert [cut.blocks for cut in cuts] == list(range(len(cuts)))
    assert [cut.multiply_adds for cut in cuts] == sorted(cut.multiply_adds for cut in cuts)
    assert cuts[-1].compute_share <= 1
    # The counter knows attention as matrix products only, not as the processor's fused kernel.
    plain = functools.partial(sdpa_kernel, SDPBackend.MATH)
    with plain(), FlopCounterMode(display=False) as whole, torch.no_grad():
        model(x)
    assert cuts[1].multiply_adds / cuts[1].compute_share == pytest.approx(
        whole.get_total_flops() / 2 / len(x), rel=1e-6
    )
    parts = split_tail(model, x, cuts[1].name)
    _, maps = parts.backbone(x)
    with plain(), FlopCounterMode(display=False) as counter, torch.no_grad():
        parts.tail.module(maps)
    assert counter.get_total_flops() == 2 * len(x) * cuts[1].multiply_adds
    assert cuts[1].parameters == sum(p.numel() for p in parts.tail.module.parameters())
    width = split(model, x).backbone(x).shape[1]
    assert cuts[1].latent_bytes == width + maps[0].numel()
    assert cuts[0].latent_bytes == width


def surveyed(name: str, settle: Settle) -> Survey:
    model, x = MODELS[name]()
    return survey(examine(settle(model, x), x))


@pytest.mark.parametrize("name", ["functional", "residual", "DenseNet"])
def test_separators_are_those_without_which_the_output_is_cut_off(name: str, trained_statistics: Settle) -> None:
    """Against the definition, node by node: taking a separator out leaves no path from the input to the logits."""
    graph = surveyed(name, trained_statistics).graph
    relevant = dependents(graph, graph.input) & before([graph.logits])
    found = set(separators(graph))
    assert 2 <= len(found) <= len(relevant)
    for node in relevant:
        reached = {graph.input}
        for other in graph.graph.nodes:
            if other in relevant and other is not node and any(source in reached for source in other.all_input_nodes):
                reached.add(other)
        if isinstance(node.meta["val"], Tensor):
            assert (node in found) == (graph.logits not in reached), node
            assert (node in found) == (sides(graph, node).passing is None), node


def test_a_dense_network_separates_between_its_blocks_only(trained_statistics: Settle) -> None:
    """Inside a dense block every earlier layer passes by."""
    model, x = densenet()
    names = [cut.name for cut in list_cuts(trained_statistics(model, x), x)]
    assert names == ["classifier:input", "features.transition1", "features.denseblock1", "features.pool0"]


def test_shared_weights_are_marked_and_never_recommended() -> None:
    """A layer on both sides of a cut is named; cuts behind and in front of both uses stay possible."""
    layer = nn.Linear(6, 6)
    model = nn.Sequential(layer, nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), layer, nn.ReLU(), nn.Linear(6, 6), nn.ReLU())
    model.append(nn.Linear(6, 2))
    cuts = list_cuts(model, torch.randn(4, 6))
    assert [bool(cut.shared) for cut in cuts] == [False, False, True, True]
    assert all("weight" in "".join(cut.shared) for cut in cuts[2:])
    assert recommend(cuts, compute_share=1.0).cut == cuts[1]
    assert "serve both sides" in recommend([cuts[0], *cuts[2:]]).reason


def test_notes_name_normalisation_and_dropout(trained_statistics: Settle) -> None:
    """They grow with the depth of the cut; the head alone has neither batch normalisation nor dropout behind it."""
    cuts = list_cuts(trained_statistics(ResidualNet(), images(8)), images(8))
    assert cuts[0].notes == ()
    assert any("1 batch norm" in note for note in cuts[1].notes)
    assert any("2 batch norm" in note for note in cuts[2].notes)


def cut(blocks: int, latent_bytes: int, share: float, shared: tuple[str, ...] = ()) -> Cut:
    return Cut(f"block {blocks}", blocks, (8,), latent_bytes, 1, 0.1, 1, share, 1, 0.1, shared, ())


CUTS = [cut(0, 100, 0.0), cut(1, 5_000, 0.1), cut(2, 2_000, 0.2), cut(3, 9_000, 0.4), cut(4, 1_000, 0.5, ("w",))]


@pytest.mark.parametrize(
    ("latent_bytes", "share", "blocks", "reason"),
    [
        (10_000, 0.3, 2, "the deepest cut within 10,000 bytes per sample and 30% of the compute: 2,000 bytes"),
        (10_000, 1.0, 3, "9,000 bytes per sample, 40.0% of the compute behind it"),
        (3_000, 0.3, 2, "2,000 bytes"),
        (1_500, 1.0, 0, "the head alone: no deeper cut .*: the smallest, 'block 2', needs 2,000 bytes"),
        (10_000, 0.05, 0, "'block 2' needs 2,000 bytes and leaves 20% to the device"),
    ],
)
def test_the_deepest_cut_within_the_budget_is_recommended(
    latent_bytes: int, share: float, blocks: int, reason: str
) -> None:
    """Depth counts, not the order of sizes; the reason names the budget and what stands in its way."""
    chosen = recommend(CUTS, latent_bytes=latent_bytes, compute_share=share)
    assert chosen.cut.blocks == blocks
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(chosen.reason)


def test_impossible_budgets_are_refused() -> None:
    """No bytes, a share above one, no cuts at all."""
    with pytest.raises(InputError, match="expected a budget of at least 1 byte"):
        recommend(CUTS, latent_bytes=0)
    with pytest.raises(InputError, match=r"a share in 0 to 1, found 32768 bytes and 1\.5"):
        recommend(CUTS, compute_share=1.5)
    with pytest.raises(CutError, match="expected at least one cut"):
        recommend([])
