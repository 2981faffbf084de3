"""What a batch costs beside a bare loop, what a kill costs it, and how little it remembers.

    python benchmarks/batch speed   [--items N] [--at-once 50,200,1000] [--rounds N]
    python benchmarks/batch crashes [--items N] [--kills N] [--seed S]
    python benchmarks/batch memory  [--items N]

`speed`: items of three calls to a provider that takes 200 ms, as a batch and as a bare
`asyncio.gather` under a semaphore over the same graph without a ledger, in pairs, each in a process
of its own. `crashes`: the batch is killed (SIGKILL) at random, and the same command given again;
then OUT is compared with the items and the ledger with the provider's own bill. `memory`: a million
items of a workflow that calls no model. Ends with 1 where a bound is passed.
"""

from __future__ import annotations

import argparse
import sys

import crashes
import memory
import speed


def main() -> int:
    """Measure what is asked for.

    Returns:
        0 when every bound is kept, else 1.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    kinds = parser.add_subparsers(required=True)
    for name, module in (("speed", speed), ("crashes", crashes), ("memory", memory)):
        kind = kinds.add_parser(name)
        module.options(kind)
        kind.set_defaults(measure=module.measure)
    given = parser.parse_args()
    return 0 if given.measure(given) else 1


if __name__ == "__main__":
    sys.exit(main())
