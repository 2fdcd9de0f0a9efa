"""The `hub` of a recipe: where its stages are published."""

from __future__ import annotations

from pydantic import field_validator

from train.config.hub_names import name_flaw
from train.config.section import Section


class HubConfig(Section):
    """Repository to which every stage is published once it is trained and scored; see docs/hub.md."""

    repo: str
    """Repository, `user/name`; created if it does not exist. Its main branch holds the newest stage."""
    private: bool = True
    """Whether the repository is made private."""
    license: str | None = None
    """License that the model card states; none by default."""

    @field_validator("repo")
    @classmethod
    def _name(cls, repo: str) -> str:
        if flaw := name_flaw(repo):
            raise ValueError(flaw)
        return repo
