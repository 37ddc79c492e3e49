"""Names in an exported file by which loaders and quantizers know its parts."""

INPUT, OUTPUT, MAP = "input", "latent", "map"
# Nodes that prepare the input carry the first, in TFLite those of the network the second.
PREPROCESS, BACKBONE = "preprocess", "Backbone_"
