"""The command `affectgpt push`: publish a stage of a run, with its model card, on the Hub."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

_NOTES = """
What is sent: the stage's weights (an adapter, or a whole model) and processor, README.md (the model card),
recipe.yaml, metrics.json and versions.json. None of them names a folder of this machine. A checkpoint is sent only if
its manifest holds. A failed upload is retried; run the same command again to send the rest.
Log in first, with: hf auth login
"""


def main(argv: list[str]) -> int:
    """Publish a stage of a run on the Hub, with a model card; an interrupted upload is resumed."""
    parser = argparse.ArgumentParser(
        prog="affectgpt push",
        description=f"{main.__doc__}\n{_NOTES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder, what a recipe calls output")
    parser.add_argument("--repo", required=True, metavar="user/name", help="repository; created if it does not exist")
    parser.add_argument("--stage", metavar="NAME", help="stage to publish (the last finished one)")
    parser.add_argument("--merge", action="store_true", help="publish one whole model, as `affectgpt export` makes it")
    parser.add_argument("--private", action="store_true", help="make the repository private")
    parser.add_argument("--license", metavar="NAME", help="licence in the card, such as apache-2.0 (none)")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object: the URL and the files that were sent"
    )
    options = parser.parse_args(argv)
    from affectgpt.problems import InputError
    from train.config.hub_names import name_flaw
    from train.hub.client import require_access
    from train.hub.push import push
    from train.libraries import quiet_libraries

    if flaw := name_flaw(options.repo):
        raise InputError(f"--repo: {flaw}")
    require_access()
    quiet_libraries()
    package, sent = push(
        options.run,
        options.repo,
        options.stage,
        options.merge,
        options.private,
        options.license,
        lambda text: print(text, file=sys.stderr, flush=True),
    )
    print(f"Stage '{package.stage.name}' is at {sent.url}", file=sys.stderr)
    if options.json:
        listed = {"repo": options.repo, "url": sent.url, "commit": sent.commit, "stage": package.stage.name}
        listed["private"] = sent.private
        print(json.dumps({**listed, "files": sorted(package.files), "mb": round(package.size / 1e6, 1)}))
    return 0


def entry() -> int:
    """Run `main` with bad input and Ctrl-C turned into messages and exit codes."""
    from affectgpt.command_line import run

    return run(main, sys.argv[1:])


if __name__ == "__main__":
    sys.exit(entry())
