"""Keras 3 models. TensorFlow and torch never share a process: whatever needs TensorFlow runs in one of its own.

`convert`, `listing`, `archive`, `preparation` and `process` belong to the converting process, which needs neither; the
other modules run in TensorFlow's, which `worker` is the start of. The two talk through files in a temporary folder.
"""
