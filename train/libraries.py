"""Settings of the libraries that a run uses: what they print, and where W&B writes."""

from __future__ import annotations

import importlib.util
import logging
import netrc
import os
import warnings
from pathlib import Path

import torch
import transformers

from affectgpt.problems import InputError


def set_up_wandb(folder: Path) -> None:
    """Keep W&B's files in the run folder; log offline unless the user is logged in.

    Raises:
        InputError: the package is not installed.
    """
    if importlib.util.find_spec("wandb") is None:
        raise InputError("wandb: true needs the package. Install it with: pip install -c constraints.txt -e '.[wandb]'")
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("WANDB_DIR", str(folder))
    os.environ.setdefault("WANDB_PROJECT", "affectgpt")
    try:
        logged_in = netrc.netrc().authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        logged_in = False
    if not logged_in and not os.environ.get("WANDB_API_KEY"):
        os.environ.setdefault("WANDB_MODE", "offline")


def quiet_libraries() -> None:
    """Keep the libraries' progress bars and notices off the console; the run prints its own."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not torch.accelerator.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # else DeepSpeed warns that it found nothing better
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
