"""Whether a head is good enough, or a tail is worth training."""

from collections.abc import Sequence

# So many times over could the samples double: a curve that does not get there by then is flat.
DOUBLINGS = 3
# Standard errors by which an accuracy must lie below another to be called lower.
SURE = 2.0


def is_enough(after: float, judged: int, home: float, curve: Sequence[tuple[int, float]]) -> bool | None:
    """Say whether a head is as good here as the shipped one is on the source, and if not, whether it may become so.

    Args:
        after: Held-out accuracy here, class-balanced; NaN where nothing could be held out.
        judged: Number of samples that it was measured on.
        home: Accuracy of the shipped head on the source probe.
        curve: Training samples and accuracy, from few samples to all; see `learning_curve`.

    Returns:
        True where it is as good. False where it is not, and would not be with eight times the samples, if each doubling
        brought as much as the last: then a tail is worth training. None where more samples may help, or nothing can be
        said.
    """
    if not judged or not after >= 0 or not home >= 0:
        return None
    if after + SURE * (after * (1 - after) / judged) ** 0.5 >= home:
        return True
    if len(curve) < 2:
        return None
    pace = max(curve[-1][1] - curve[-2][1], 0.0)
    return None if after + DOUBLINGS * pace >= home else False
