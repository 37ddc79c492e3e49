"""The adapted model as an ordinary ONNX or TFLite file, written without their packages."""
