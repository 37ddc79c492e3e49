"""What `transfer_cost` measures: each method and what it is compared with, at one number of samples.

`python -m benchmarks.transfer_point METHOD WAY SAMPLES` runs one once, and prints by how many MB its peak memory is
above what the process had before.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from acclimate.edge.transfer.components import transfer_components
from acclimate.edge.transfer.kernels import gaussian, median_bandwidth
from acclimate.edge.transfer.kliep import KLIEP, MULTIPLES
from acclimate.edge.transfer.kmm import match

from .harness import peak_memory

Float64 = NDArray[np.float64]
WIDTH, COMPONENTS, RIDGE, LIMIT = 16, 10, 1.0, 1_000.0


def domains(samples: int) -> tuple[Float64, Float64]:
    """Return unit normal samples of two sides; the target's first feature is shifted by 1."""
    rng = np.random.default_rng(0)
    target = rng.normal(size=(samples, WIDTH))
    target[:, 0] += 1
    return rng.normal(size=(samples, WIDTH)), target


def kmm(samples: int) -> dict[str, Callable[[], Float64]]:
    """Kernel mean matching at one bandwidth; scipy's L-BFGS-B on the whole kernel: the sum's bounds do not bind."""
    from scipy.optimize import minimize
    from sklearn.metrics.pairwise import rbf_kernel

    source, target = domains(samples)
    bandwidth = median_bandwidth(source, target)
    gamma = 1 / (2 * bandwidth**2)

    def dense() -> Float64:
        kernel = rbf_kernel(source, gamma=gamma)
        kernel[np.diag_indices_from(kernel)] += RIDGE
        linear = rbf_kernel(source, target, gamma=gamma).sum(axis=1)

        def loss(w: Float64) -> tuple[float, Float64]:
            bent = kernel @ w
            return float(w @ bent) / 2 - float(linear @ w), bent - linear

        found = minimize(loss, np.ones(samples), jac=True, method="L-BFGS-B", bounds=[(0, LIMIT)] * samples)
        weight: Float64 = found.x
        return weight

    return {"ours": lambda: match(source, target, bandwidth, limit=LIMIT, ridge=RIDGE)[0].x, "theirs": dense}


def kmm_loss(samples: int, weight: Float64) -> float:
    """Return the loss of ``(samples,)`` weights with the whole kernel, a few rows of it at a time."""
    source, target = domains(samples)
    bandwidth = median_bandwidth(source, target)
    loss = RIDGE * float(weight @ weight) / 2
    for start in range(0, samples, 500):
        rows, part = source[start : start + 500], weight[start : start + 500]
        loss += float(part @ (gaussian(rows, source, bandwidth) @ weight)) / 2
        loss -= float(part @ gaussian(rows, target, bandwidth).sum(axis=1))
    return loss


def kliep(samples: int) -> dict[str, Callable[[], Float64]]:
    """KLIEP with its choice of a bandwidth, 100 kernels; densratio's with the same candidates."""
    from densratio import densratio

    source, target = domains(samples)
    candidates = [multiple * median_bandwidth(source, target) for multiple in MULTIPLES]

    def theirs() -> Float64:
        np.random.seed(0)  # noqa: NPY002 - densratio draws from it
        found = densratio(target, source, method="KLIEP", sigma=candidates, verbose=False)
        return np.asarray(found.compute_density_ratio(source))

    return {"ours": lambda: KLIEP().weigh(source, target).weight, "theirs": theirs}


def tca(samples: int) -> dict[str, Callable[[], Float64]]:
    """Ten components of a Gaussian kernel, half of the samples on each side; scikit-learn's KernelPCA of both."""
    from sklearn.decomposition import KernelPCA

    source, target = domains(samples // 2)
    both = np.vstack([source, target])
    bandwidth = median_bandwidth(source, target)

    def theirs() -> Float64:
        model = KernelPCA(
            COMPONENTS, kernel="rbf", gamma=1 / (2 * bandwidth**2), eigen_solver="randomized", random_state=0
        )
        found: Float64 = model.fit_transform(both)
        return found

    def ours() -> Float64:
        return transfer_components(source, target, COMPONENTS, kernel="gaussian", bandwidth=bandwidth).project(both)

    return {"ours": ours, "theirs": theirs}


METHODS = {"KMM": kmm, "KLIEP": kliep, "TCA": tca}


def main(method: str, way: str, samples: str) -> None:
    """Run one method once, and print the memory that it took."""
    work = METHODS[method](int(samples))[way]
    before = int(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0]) * 1024 / 1e6
    with threadpool_limits(1):
        work()
    print(peak_memory() - before)


if __name__ == "__main__":
    main(*sys.argv[1:])
