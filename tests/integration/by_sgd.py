"""`train.run`, but every stage learns by SGD, so that its weights can be compared (`tests/support/rounding.py`)."""

from __future__ import annotations

import sys

from transformers import Trainer

from tests.support.rounding import sgd_with_momentum
from train import run

if __name__ == "__main__":
    Trainer.get_optimizer_cls_and_kwargs = staticmethod(sgd_with_momentum)  # type: ignore[method-assign]
    sys.exit(run.entry(sys.argv[1:]))
