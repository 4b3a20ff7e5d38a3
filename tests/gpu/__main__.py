"""Checks on one GPU of what only a GPU shows: exactness, speed, memory. It ends with one table, within ten minutes.

python -m tests.gpu [--only NAME ...]
python -m tests.gpu --size tiny --device cpu      a rehearsal without a GPU

Exit codes: 0 all is as expected, 1 something is not, 2 there is no CUDA device, so there is nothing to check.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module

from tests.gpu.table import Machine, Row, table

CHECKS = {
    "attention": "layouts",
    "exactness": "layouts",
    "adapters": "adapters",
    "speed": "speed",
    "processes": "processes",
}
"""Function -> its module. The quick checks come first."""
SECONDS = 600


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=["full", "tiny"], default="full")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--only", choices=CHECKS, action="append", help="one check alone; repeatable")
    given = parser.parse_args(arguments)
    if given.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import torch

    if given.device == "cuda" and not torch.cuda.is_available():
        print("There is no CUDA device here, so there is nothing to check.")
        print("A rehearsal on the CPU: python -m tests.gpu --size tiny --device cpu")
        return 2
    import hasse.stages.train.preload  # noqa: F401  quiet libraries

    machine = Machine(given.device, given.size == "tiny")
    name = torch.cuda.get_device_name() if given.device == "cuda" else "CPU, as a rehearsal"
    rows = _checked(machine, given.only or list(CHECKS))
    print(f"\n{name}, torch {torch.__version__}\n\n{table(rows)}")
    return int(any(row.ok is False for row in rows))


def _checked(machine: Machine, names: Sequence[str]) -> list[Row]:
    """The rows of all checks. A check that fails with an error is a row, and the others go on."""
    import torch

    rows: list[Row] = []
    start = time.perf_counter()
    for name in names:
        began = time.perf_counter()
        torch._dynamo.reset()
        try:
            for row in getattr(import_module(f"tests.gpu.{CHECKS[name]}"), name)(machine):
                rows.append(row)
                print(f"  {row.check}: {row.found}", file=sys.stderr, flush=True)
        except Exception as error:
            first = (str(error).strip().splitlines() or [""])[0]
            rows.append(Row(name, "no error", f"{type(error).__name__}: {first}"[:160], False))
        print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    spent = time.perf_counter() - start
    return [*rows, Row("all checks", f"within {SECONDS} s", f"{spent:.0f} s", spent <= SECONDS)]


if __name__ == "__main__":
    sys.exit(main())
