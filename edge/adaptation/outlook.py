"""Whether a head is good enough, or a tail is worth training."""

from collections.abc import Sequence

# So many times over could the samples double: a curve that does not get there by then is flat.
DOUBLINGS = 3
# Standard errors by which an accuracy must lie below another to be called lower.
SURE = 2.0


def is_enough(
    after: float, judged: int, home: float, curve: Sequence[tuple[int, float]], least: float = float("nan")
) -> bool | None:
    """Say whether a head is as good here as the shipped one is on the source, and if not, whether it may become so.

    Args:
        after: Held-out accuracy here, class-balanced; NaN where nothing could be held out.
        judged: Number of samples that it was measured on.
        home: Accuracy of the shipped head on the source probe, which is rather too high.
        curve: Training samples and accuracy, from few samples to all; see `learning_curve`.
        least: Accuracy that the shipped head has at least on samples of the source that it was not fitted on; NaN where
            nothing is known of it, and so nothing can be too low.

    Returns:
        True where it is as good. False where it is well below, and would be with eight times the samples, if each
        doubling brought as much as the last, or half of the one before: then a tail is worth training. None where it
        is close, where more samples may help, or where nothing can be said.
    """
    if not judged or not after >= 0 or not home >= 0:
        return None
    reach = after + SURE * (after * (1 - after) / judged) ** 0.5
    if reach >= home:
        return True
    if len(curve) < 3:
        return None
    last, before = (curve[-i][1] - curve[-i - 1][1] for i in (1, 2))
    # A step is noisy, and steps seldom fall off faster than by half.
    pace = max(last, before / 2, 0.0)
    return False if reach + DOUBLINGS * pace < least else None
