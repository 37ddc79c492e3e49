"""The operators that a tail's TFLite files are made of, with how many inputs each cannot do without.

LiteRT takes it from the file that they are there, and ends the process where they are not (found by fuzzing 2.3.0).
"""

from collections.abc import Mapping

_ONE = {
    "CONCATENATION": 2,
    "LOGISTIC": 14,
    "RELU": 19,
    # Its lengths may stand in its options.
    "RESHAPE": 22,
    "SOFTMAX": 25,
    "TANH": 28,
    "SQUEEZE": 43,
    "EXP": 47,
    "LOG_SOFTMAX": 50,
    "CAST": 53,
    "NEG": 59,
    "SIN": 66,
    "LOG": 73,
    "SQRT": 75,
    "RSQRT": 76,
    "LOGICAL_NOT": 87,
    "ABS": 101,
    "COS": 108,
    "HARD_SWISH": 117,
    "SIGN": 158,
}
_TWO = {
    "ADD": 0,
    "MUL": 18,
    "PAD": 34,
    "GATHER": 36,
    "TRANSPOSE": 39,
    "MEAN": 40,
    "SUB": 41,
    "DIV": 42,
    "MAXIMUM": 55,
    "ARG_MAX": 56,
    "MINIMUM": 57,
    "LESS": 58,
    "GREATER": 61,
    "GREATER_EQUAL": 62,
    "LESS_EQUAL": 63,
    "EXPAND_DIMS": 70,
    "EQUAL": 71,
    "SUM": 74,
    "POW": 78,
    "REDUCE_MAX": 82,
    "LOGICAL_OR": 84,
    "LOGICAL_AND": 86,
    "REDUCE_MIN": 89,
    "BATCH_MATMUL": 126,
    "BROADCAST_TO": 130,
}
_MORE = {"PADV2": (60, 3), "SPLIT_V": (102, 3), "SELECT_V2": (123, 3), "STRIDED_SLICE": (45, 4)}
# Inputs by operator.
NEEDED: Mapping[int, int] = {
    **dict.fromkeys(_ONE.values(), 1),
    **dict.fromkeys(_TWO.values(), 2),
    **dict(_MORE.values()),
}
