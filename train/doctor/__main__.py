"""Entry point for the launcher: `deepspeed --hostfile HOSTS --module train.doctor [RECIPE]`."""

import sys

from affectgpt.command_line import run
from train.doctor.command import main

if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
