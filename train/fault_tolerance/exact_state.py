"""State of a trainer that a checkpoint of `transformers` leaves out; with it a resumed run gives the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor


class ExactStateMixin:
    """Mixin for `transformers.Trainer`; list it before the trainer class. Every process keeps its own part in a file.

    The file is read where the random generators are restored, if it was written by as many processes as there are now;
    otherwise it is ignored. The order of rows does not depend on the number of processes.
    """

    args: Any
    state: Any
    _tr_loss: Tensor
    _globalstep_last_logged: int

    def kept(self) -> dict[str, Any]:
        """Return the state, of tensors, numbers, texts, lists, dicts; here the losses since the last log line."""
        return {"loss": self._tr_loss, "last_logged": self._globalstep_last_logged}

    def restore(self, kept: dict[str, Any]) -> None:
        """Restore the state that `kept` returned."""
        self._tr_loss.copy_(kept["loss"])
        self._globalstep_last_logged = kept["last_logged"]

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)  # type: ignore[misc]
        torch.save({"world": self.args.world_size, **self.kept()}, self._place(output_dir))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        super()._load_rng_state(checkpoint)  # type: ignore[misc]
        if checkpoint is None or not self._place(checkpoint).is_file():
            return
        kept = torch.load(self._place(checkpoint), weights_only=True)
        if kept["world"] == self.args.world_size:
            self.restore(kept)

    def _place(self, checkpoint: str) -> Path:
        return Path(checkpoint, f"progress-{self.args.process_index}.pt")
