"""On a new machine or runtime, check that the backbone computes what the bundle says."""

import hashlib
import platform
from pathlib import Path

import numpy as np

from ...bundle import Bundle
from ...errors import ConformanceError
from ...manifest import Runtime
from .runtime import Embedder


def check_conformance(bundle: Bundle, runtime: Runtime, embedder: Embedder, known: str) -> str:
    """Run the bundle's own test inputs, unless this machine and runtime were checked before.

    Args:
        bundle: The bundle.
        runtime: The variant that is loaded.
        embedder: Its backbone.
        known: What this function returned when it last found nothing wrong.

    Returns:
        A description of this runtime and machine.

    Raises:
        ConformanceError: If a latent differs by more than the variant's tolerance.
    """
    here = f"{bundle.variant(runtime).hash[:12]} on {embedder.description}, {describe_processor()}"
    if here == known:
        return here
    conformance, tolerance = bundle.conformance(runtime), bundle.variant(runtime).tolerance
    if len(conformance.input):
        # One at a time: a batch would make the runtime claim memory that the device may never need again.
        found = np.concatenate([embedder.embed(np.ascontiguousarray(frame[None])) for frame in conformance.input])
        scale = float(np.abs(conformance.latent).max()) or 1.0
        off = float(np.abs(found - conformance.latent).max()) / scale
        if not off <= tolerance:
            raise ConformanceError(
                f"{bundle.path.name}: expected latents within {tolerance:.2g} of the bundle's on its own test inputs, "
                f"found {off:.2g} with {embedder.description} on this {platform.machine()} processor. On x86 "
                f"processors without VNNI, 8-bit products can saturate: use the other runtime, or a bundle converted "
                f"with quantize=False."
            )
    return here


def describe_processor() -> str:
    """Return the kind of processor and a digest of what it can do: 8-bit arithmetic depends on its instructions."""
    abilities = ""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        abilities = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        # Not Linux: the processor's name has to do.
        abilities = platform.processor()
    return f"{platform.machine()} {hashlib.sha256(abilities.encode()).hexdigest()[:8]}"
