"""Keras 3 models in `pretrain`: settings, data, logs, scores and checkpoints stay here, `model.fit` runs elsewhere.

TensorFlow and torch never share a process. `child`, `build` and `trainee` run in TensorFlow's; the other modules belong
to the process with torch. The two talk through pipes in `messages`, which needs neither.
"""
