"""The `hub` of a recipe: where its stages are published."""

from __future__ import annotations

from pydantic import field_validator

from train.config.hub_names import name_flaw
from train.config.section import Section


class HubConfig(Section):
    """Where every stage goes when it is done and scored; see docs/hub.md."""

    repo: str
    """`user/name`; made if it is not there. Its main branch holds the newest stage."""
    private: bool = True
    license: str | None = None
    """In the model card; none is claimed by default."""

    @field_validator("repo")
    @classmethod
    def _name(cls, repo: str) -> str:
        if flaw := name_flaw(repo):
            raise ValueError(flaw)
        return repo
