"""Print the page of documentation that `describe` makes."""

import sys

from .describe import describe

if __name__ == "__main__":
    sys.stdout.write(describe())
