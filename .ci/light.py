"""Check an install without extras: it imports, it is light, and it says what to install."""

import sys
from importlib.util import find_spec

import acclimate.edge
from acclimate import AcclimateError

HEAVY = ("torch", "tensorflow", "onnx", "onnxruntime", "ai_edge_litert", "scipy", "sklearn")
present = [name for name in HEAVY if find_spec(name)]
if present:
    sys.exit(f"expected an environment without {HEAVY}, found {present}")
try:
    acclimate.edge.Learner.open("tests/fixtures/tiny.acc")
except AcclimateError as error:
    if "pip install 'acclimate[onnx]'" not in str(error):
        sys.exit(f"expected to be told what to install, found: {error}")
else:
    sys.exit("expected an error without a runtime, found none")
try:
    from acclimate.converters import convert  # noqa: F401
except ImportError as error:
    if "pip install 'acclimate[convert]'" not in str(error):
        sys.exit(f"expected to be told what to install, found: {error}")
else:
    sys.exit("expected the converters to need their extra, found that they import")
print("light install: acclimate.edge imports, and says which runtime to install")
